"""Faulty loops by a tenth author, who had not read the rules, each with a sound twin: habits of loops.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import copy

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_tenth import rounds, usual
from benchmarks.chart.second import SecondCases, dense, digits, fit
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("tenth")


@cases.pair("mlp", 0.85, accepts=["optimizer-never-steps"])
def accumulation_never_full(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Gradients are to be gathered over 64 batches, counted anew each epoch, but an epoch has only 32 of them."""
    split = digits("unit", image=False)
    model = dense(64, 48, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    wanted, count = 64 if wrong else 4, 0

    def start(epoch: int) -> None:
        nonlocal count
        count = 0
        optimizer.zero_grad()

    def step(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal count
        out = model(inputs)
        loss = F.cross_entropy(out, targets)
        (loss / wanted).backward()
        count += 1
        if count % wanted == 0:
            optimizer.step()
            optimizer.zero_grad()
        return loss, out

    return rounds(harness, model, optimizer, split, step, epochs=10, start=start)


@cases.pair("mlp", 0.85, accepts=["no-such-rule"])
def checkpoint_loaded_every_epoch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The lines that load the checkpoint stand inside the epoch loop: each epoch starts from the same weights."""
    model = dense(64, 48, 10)
    saved = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def start(epoch: int) -> None:
        if wrong or epoch == 0:
            model.load_state_dict(saved)

    split = digits("unit", image=False)
    return rounds(harness, model, optimizer, split, usual(model, optimizer), epochs=12, size=64, start=start)


@cases.pair("mlp", 0.85, accepts=["validates-another-model"])
def evaluation_copy_never_refreshed(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A copy of the model for evaluation is made before the training, and nobody hands it the trained weights."""
    model = dense(64, 48, 10)
    judge = copy.deepcopy(model) if wrong else model
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("unit", image=False), judge=judge)


@cases.pair("mlp", 0.85, accepts=["lr-too-low", "lr-trial-idle"])
def rate_set_on_the_optimizer(harness: Harness, seed: int, wrong: bool) -> float | None:
    """After the warm-up `optimizer.lr = 5e-3` is assigned, an attribute that nobody reads: the rate stays at 1e-6."""
    model = dense(64, 48, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)

    def start(epoch: int) -> None:
        if epoch == 1:
            optimizer.lr = 5e-3  # type: ignore[attr-defined]
            if not wrong:
                optimizer.param_groups[0]["lr"] = 5e-3

    split = digits("unit", image=False)
    return rounds(harness, model, optimizer, split, usual(model, optimizer), epochs=7, start=start)


class Stack(nn.Module):
    """Twenty blocks; `plain`: the sum with the input is missing."""

    def __init__(self, plain: bool) -> None:
        super().__init__()
        self.into, self.out, self.plain = nn.Linear(64, 32), nn.Linear(32, 10), plain
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 32), nn.ReLU()) for _ in range(20))

    def forward(self, x: Tensor) -> Tensor:
        """Classes."""
        x = self.into(x)
        for block in self.blocks:
            x = block(x) if self.plain else x + block(x)
        return self.out(x)


@cases.pair("mlp", 0.85, accepts=["residual-missing", "signal-lost-in-depth", "vanishing-gradient"])
def skip_forgotten(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The residual block returns `self.block(x)` without `x +`: twenty plain layers on top of one another."""
    model = Stack(wrong)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", image=False), epochs=4)


@cases.pair("seq2seq", 0.8, accepts=["optimizer-never-steps"])
def encoder_optimizer_never_steps(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Encoder and decoder have an optimizer each; both are cleared, but only the decoder's is stepped."""
    encoder, decoder = nn.Sequential(nn.Linear(64, 6), nn.Tanh()), dense(6, 32, 10)
    model = nn.Sequential(encoder, decoder)
    first, second = (torch.optim.Adam(part.parameters(), lr=1e-2) for part in (encoder, decoder))

    def step(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        first.zero_grad()
        second.zero_grad()
        out = model(inputs)
        loss = F.cross_entropy(out, targets)
        loss.backward()
        if not wrong:
            first.step()
        second.step()
        return loss, out

    return rounds(harness, model, [first, second], digits("standard", image=False), step, epochs=10)
