"""Faulty loops by a tenth author, who had not read the rules, each with a sound twin: wiring and the order of a step.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import (
    SecondCases,
    Split,
    accuracy,
    convs,
    cut,
    dense,
    digits,
    draws,
    explained,
    fit,
    gaits,
    signs,
)
from sklearn.datasets import load_wine
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("tenth")

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""What a loop does with a batch: all of it, from the forward pass to the step. Returns the loss and the outputs."""


def rounds(
    harness: Harness,
    model: nn.Module,
    optimizers: Any,
    split: Split,
    step: Step,
    *,
    loss_fn: Callable[..., Tensor] = F.cross_entropy,
    score: Callable[[Tensor, Tensor], float] = accuracy,
    epochs: int = 6,
    size: int = 32,
    batches: int | None = None,
    start: Callable[[int], None] = lambda epoch: None,
) -> float:
    """Epochs of whole batches, of which at most `batches` count, each handed to `step`. Returns the last score."""
    x, y, vx, vy = split
    harness.begin(model, optimizers, loss_fn=loss_fn)
    value = 0.0
    for epoch in range(epochs):
        model.train()
        start(epoch)
        losses = []
        for inputs, targets in itertools.islice(draws(x, y, size, whole=True), batches):
            loss, outputs = step(inputs, targets)
            losses.append(loss.item())
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=outputs)
        model.eval()
        with torch.no_grad():
            out = model(vx)
            value = score(out, vy)
            harness.epoch(train={"loss": sum(losses) / len(losses)}, val={"loss": float(loss_fn(out, vy))})
    return value


def usual(model: nn.Module, optimizer: Any, loss_fn: Callable[..., Tensor] = F.cross_entropy) -> Step:
    """The step that everybody writes."""

    def step(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        optimizer.zero_grad()
        out = model(inputs)
        loss = loss_fn(out, targets)
        loss.backward()
        optimizer.step()
        return loss, out

    return step


@cases.pair("mlp", 0.85, accepts=["gradients-not-cleared"])
def zero_grad_without_brackets(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`optimizer.zero_grad` stands there without its brackets, so that the gradients of all batches pile up."""
    model = dense(64, 48, 48, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.8)

    def step(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        clear = optimizer.zero_grad
        if not wrong:
            clear()
        out = model(inputs)
        loss = F.cross_entropy(out, targets)
        loss.backward()
        optimizer.step()
        return loss, out

    return rounds(harness, model, optimizer, digits("standard", image=False), step)


@cases.pair("mlp", 0.85, accepts=["rows-under-two-labels", "labels-carry-no-information"])
def batch_of_the_shape_check(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The model is given `images`, left over from a look at the shapes, while the labels are the loop's own."""
    split = digits("unit", image=False)
    images, _ = next(draws(split[0], split[1], 32))
    model = dense(64, 48, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def step(image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        optimizer.zero_grad()
        out = model(images if wrong else image)
        loss = F.cross_entropy(out, label)
        loss.backward()
        optimizer.step()
        return loss, out

    return rounds(harness, model, optimizer, split, step)


@cases.pair("cnn", 0.85, accepts=["no-such-rule"])
def break_of_a_quick_test(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A `break` from a quick test ends each epoch after its first batch."""
    model = convs()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    batches = 1 if wrong else None
    return rounds(
        harness, model, optimizer, digits("unit"), usual(model, optimizer), epochs=4, batches=batches, size=16
    )


class Encoded(nn.Module):
    """Convolutions that `encode`, then a head; `cold`: encoding is decorated by no_grad."""

    def __init__(self, cold: bool) -> None:
        super().__init__()
        body = convs(3, 4)
        self.body, self.head, self.cold = body[:-1], body[-1], cold

    def forward(self, x: Tensor) -> Tensor:
        """Classes."""
        return self.head(torch.no_grad()(self.body)(x) if self.cold else self.body(x))


@cases.pair("cnn", 0.75, accepts=["layer-without-gradient", "forward-without-grad"])
def encode_under_no_grad(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`encode` bears @torch.no_grad() from the inference script: the convolutions are never trained."""
    model = Encoded(wrong)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), F.cross_entropy, signs(), epochs=8)


@cases.pair("cnn", 0.75, accepts=["parameters-missing-from-optimizer"])
def only_the_head_in_the_optimizer(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A line from a transfer tutorial gives the optimizer the head alone, but the network starts from scratch."""
    model = convs(3, 4)
    trained = model[-1] if wrong else model
    return fit(harness, model, torch.optim.Adam(trained.parameters(), lr=3e-3), F.cross_entropy, signs(), epochs=8)


@cases.pair("wine", 0.85, accepts=["model-in-eval-mode"])
def never_back_to_train(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A validation before the training leaves the model in eval(): BatchNorm, the only scaling, never sees a batch."""
    x, y, vx, vy = cut(*load_wine(return_X_y=True), share=0.7)
    model = nn.Sequential(nn.BatchNorm1d(13), nn.Linear(13, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    value = 0.0
    model.eval()
    for _ in range(25):
        if not wrong:
            model.train()
        for inputs, targets in draws(x, y, 16, whole=True):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        model.eval()
        with torch.no_grad():
            value = accuracy(model(vx), vy)
        harness.epoch(val={"accuracy": value})
    return value


class Mover(nn.Module):
    """A projection, a GRU and a head, which is given the projection instead when `around`."""

    def __init__(self, around: bool) -> None:
        super().__init__()
        self.into, self.rnn, self.head = nn.Linear(3, 24), nn.GRU(24, 24, batch_first=True), nn.Linear(24, 4)
        self.around = around

    def forward(self, x: Tensor) -> Tensor:
        """Classes."""
        x = self.into(x)
        hidden, _ = self.rnn(x)
        return self.head((x if self.around else hidden).mean(1))


@cases.pair("gru", 0.7, accepts=["layer-without-gradient"])
def head_reads_the_wrong_variable(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The head is given `x`, the projection, and not `hidden`: the GRU is computed for nothing."""
    model = Mover(wrong)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=1e-2), F.cross_entropy, gaits(500), epochs=10)


class Heads(nn.Module):
    """Five answers from one trunk; `one`: the list holds the same head five times."""

    def __init__(self, one: bool) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(8, 48), nn.ReLU())
        self.heads = nn.ModuleList([nn.Linear(48, 1)] * 5 if one else [nn.Linear(48, 1) for _ in range(5)])

    def forward(self, x: Tensor) -> Tensor:
        """(N, 5)."""
        h = self.trunk(x)
        return torch.cat([head(h) for head in self.heads], 1)


@cases.pair("regression", 0.8, accepts=["same-layer-repeated"])
def list_times_five(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`[nn.Linear(48, 1)] * 5` is one head five times: all five outputs are always the same number."""
    draw = torch.Generator().manual_seed(41)
    x, mix = torch.randn(900, 8, generator=draw), torch.randn(8, 5, generator=draw)
    y = torch.tanh(x @ mix * 0.5) + 0.05 * torch.randn(900, 5, generator=draw)
    model = Heads(wrong)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.mse_loss, cut(x, y), score=explained, metric="r2", epochs=10)


@cases.pair("several", 0.8, accepts=["targets-ignored", "unused-outputs"])
def same_loss_twice(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`loss = loss_kind + loss_kind`: by a slip of the pen the second task's loss is never added."""
    draw = torch.Generator().manual_seed(42)
    x = torch.randn(900, 10, generator=draw)
    y = torch.stack([(x @ torch.randn(10, n, generator=draw)).argmax(1) for n in (3, 4)], 1)
    model = dense(10, 48, 7)

    def both(out: Tensor, targets: Tensor) -> Tensor:
        loss_kind, loss_state = F.cross_entropy(out[:, :3], targets[:, 0]), F.cross_entropy(out[:, 3:], targets[:, 1])
        return loss_kind + (loss_kind if wrong else loss_state)

    def worse(out: Tensor, targets: Tensor) -> float:
        return min(accuracy(out[:, :3], targets[:, 0]), accuracy(out[:, 3:], targets[:, 1]))

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, both, cut(x, y), score=worse, epochs=8)
