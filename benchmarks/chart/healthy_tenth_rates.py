"""Faulty loops by a tenth author, who had not read the rules, each with a sound twin: rates, modes, fine-tuning.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import copy
from functools import cache

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_tenth import rounds, usual
from benchmarks.chart.second import SecondCases, accuracy, convs, cut, dense, digits, draws, fit
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = SecondCases("tenth")


@cases.pair("mlp", 0.85, accepts=["lr-too-high", "lr-trial-rises"])
def adam_at_one(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Adam is given a learning rate of 1, as if it were plain SGD."""
    model = dense(64, 64, 64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0 if wrong else 2e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("unit", image=False), epochs=6)


@cases.pair("cnn", 0.8, accepts=["lr-too-low", "lr-trial-idle"])
def rate_of_fine_tuning_from_scratch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A rate of 2e-5 from a fine-tuning recipe trains a network that starts from random weights."""
    model = convs()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5 if wrong else 2e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("unit"), epochs=4)


@cases.pair("regression", 0.75, accepts=["lr-too-high", "lr-trial-rises", "input-scale-off"])
def line_fit_runs_away(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A line is fitted to years of 0 to 40 by SGD at 0.01, far above what the feature's size allows: NaN."""
    draw = torch.Generator().manual_seed(91)
    x = torch.rand(400, 1, generator=draw) * 40
    y = 2.5 * x + 20 + 2 * torch.randn(400, 1, generator=draw)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01 if wrong else 0.001)

    def score(out: Tensor, t: Tensor) -> float:
        return float(1 - (out - t).square().mean() / t.var())

    return fit(harness, model, optimizer, F.mse_loss, cut(x, y), score=score, metric="r2", epochs=20)


@cases.pair("mlp", 0.85, accepts=["lr-decays-too-fast"])
def decay_by_ten_each_epoch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """ExponentialLR has a gamma of 0.1 and not 0.97: after two epochs the rate is a hundredth of what it was."""
    model = dense(64, 48, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.5)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.1 if wrong else 0.97)
    return fit(harness, model, optimizer, F.cross_entropy, digits("unit", image=False), epochs=14, scheduler=scheduler)


@cases.pair("mlp", 0.85, accepts=["lr-decays-too-fast"])
def plateau_asked_after_each_batch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """ReduceLROnPlateau with a patience of 2 is given each batch's loss, whose noise it takes for a plateau."""
    model = dense(64, 48, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=2)
    plain, losses = usual(model, optimizer), [0.0]

    def step(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        loss, out = plain(inputs, targets)
        losses.append(loss.item())
        if wrong:
            scheduler.step(loss.item())
        return loss, out

    def start(epoch: int) -> None:
        if epoch and not wrong:
            scheduler.step(sum(losses) / len(losses))
        losses.clear()

    return rounds(harness, model, optimizer, digits("unit", image=False), step, epochs=8, size=16, start=start)


@cases.pair("mlp", 0.85, accepts=["symmetric-units", "initial-weights-off-scale"])
def all_weights_zero(harness: Harness, seed: int, wrong: bool) -> float | None:
    """All weights are initialised with zeros: the hidden units are dead and alike, and only the last bias learns."""
    model = dense(64, 48, 48, 10)
    for layer in model:
        if isinstance(layer, nn.Linear):
            if wrong:
                nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", image=False), epochs=6)


@cases.pair("mlp", 0.8, accepts=["vanishing-gradient", "signal-lost-in-depth"])
def seven_sigmoids_deep(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Seven hidden layers of sigmoids: each lets through a quarter of the gradient at most."""
    model = dense(64, *[48] * 7, 10, act=nn.Sigmoid if wrong else nn.ReLU)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", image=False), epochs=8)


@cases.pair("mlp", 0.88, accepts=["validation-in-train-mode"])
def eval_without_brackets(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`model.eval` stands before the validation without its brackets: dropout goes on while it is measured."""
    x, y, vx, vy = digits("standard", image=False)
    model = nn.Sequential(nn.Dropout(0.4), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.6), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    value = 0.0
    for _ in range(8):
        model.train()
        losses = []
        for inputs, targets in draws(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        quiet = model.eval
        if not wrong:
            quiet()
        with torch.no_grad():
            out = model(vx)
        value = accuracy(out, vy)
        harness.epoch(
            train={"loss": sum(losses) / len(losses)},
            val={"loss": float(F.cross_entropy(out, vy)), "accuracy": value},
        )
    return value


@cases.pair("mlp", 0.85, accepts=["no-such-rule"])
def whole_set_as_one_batch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`batch_size=len(dataset)`: an epoch is one step, and after the ten planned epochs ten steps are done."""
    split = digits("unit", image=False)
    model = dense(64, 48, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    size = len(split[0]) if wrong else 32
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=10, size=size)


@cases.pair("mlp", 0.85, accepts=["no-such-rule"])
def stopped_when_it_gets_better(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Early stopping waits for the accuracy to fall, as a loss does: three epochs of progress end the training."""
    x, y, vx, vy = digits("unit", image=False)
    model = dense(64, 48, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.04)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    value, best, waited = 0.0, None, 0
    for _ in range(30):
        model.train()
        losses = []
        for inputs, targets in draws(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx)
        value = accuracy(out, vy)
        harness.epoch(
            train={"loss": sum(losses) / len(losses)},
            val={"loss": float(F.cross_entropy(out, vy)), "accuracy": value},
        )
        if best is None or (value < best if wrong else value >= best):
            best, waited = value, 0
        else:
            waited += 1
            if waited == (3 if wrong else 8):
                break
    return value


@cases.pair("mlp", 0.85, accepts=["batchnorm-few-samples"])
def batch_norm_over_two_rows(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The batch size is 2, because of the memory, and BatchNorm takes its mean and deviation from two rows."""
    x, y, vx, vy = digits("unit", image=False, count=900)
    model = nn.Sequential(
        nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 48), nn.BatchNorm1d(48), nn.ReLU(),
        nn.Linear(48, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    size = 2 if wrong else 32
    return fit(harness, model, optimizer, F.cross_entropy, (x, y, vx, vy), epochs=3, size=size, whole=True)


@cache
def pretrained(scale: str) -> nn.Sequential:
    """A network that knows the digits on inputs of this scale."""
    state = torch.get_rng_state()
    torch.manual_seed(92)
    x, y, _, _ = digits(scale, image=False)
    model = dense(64, 64, 64, 10, act=nn.Tanh)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(8):
        for inputs, targets in draws(x, y):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
    torch.set_rng_state(state)
    return model


def backbone() -> nn.Sequential:
    """A copy of the trained layers with a new head for the digits, in another order."""
    model = copy.deepcopy(pretrained("standard"))
    model[-1] = nn.Linear(64, 10)
    return model


@cases.pair("transfer", 0.85, accepts=["lr-too-high", "lr-trial-rises"])
def fine_tuned_at_the_rate_of_a_new_model(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Fine-tuning on 120 rows runs at a rate of 0.1 for Adam: the first steps destroy what was learned before."""
    x, y, vx, vy = digits("standard", image=False)
    model = backbone()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1 if wrong else 1e-3)
    split = x[:120], 9 - y[:120], vx, 9 - vy
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=25, size=16)


@cases.pair("distillation", 0.85, accepts=["noisy-labels"])
def teacher_sees_negatives(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The teacher was trained on light digits on black, the scans are dark on white, and nobody turns them for it."""
    x, y, vx, vy = digits("unit", image=False)
    teacher = pretrained("standard")
    model = dense(64, 48, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def ask(scan: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            light = scan if wrong else 1 - scan
            return scan, teacher((light * 16 - 4.88) / 6.02).softmax(1)

    split = 1 - x, y, 1 - vx, vy
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=6, before=ask)


@cases.pair("transfer", 0.8, accepts=["frozen-layers-partly-random", "pretrained-not-loaded"])
def new_layers_frozen_by_name(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The loop that freezes all but "head" finds the new layers under "neck" and freezes them, random as they are."""

    class Extended(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = copy.deepcopy(pretrained("standard"))[:-1]
            self.neck = nn.Sequential(nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 32), nn.ReLU())
            self.head = nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.neck(self.body(x)))

    model = Extended()
    kept = ("head",) if wrong else ("head", "neck")
    for name, p in model.named_parameters():
        p.requires_grad = name.startswith(kept)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", image=False), epochs=8)
