"""Faulty loops by an eighth author, who had not read the rules, each with a sound twin: modes, norms, dropout, starts.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import copy

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eighth import held_out
from benchmarks.chart.second import SecondCases, accuracy, convs, cut, dense, digits, draws, explained, fit
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("eighth")


class Careless(nn.Module):
    """A network with functional dropout."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.one, self.two, self.always = nn.Linear(64, 96), nn.Linear(96, 10), always

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = F.relu(self.one(x))
        x = F.dropout(x, 0.8) if self.always else F.dropout(x, 0.8, training=self.training)
        return self.two(x)


@cases.pair("mlp", 0.85, accepts=["evaluation-not-deterministic"])
def functional_dropout_always(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`F.dropout(x, 0.8)` without training=self.training also drops in evaluation."""
    model = Careless(wrong)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("unit", image=False), epochs=6)


@cases.pair("mlp", 0.85, accepts=["dropout-drops-most"])
def share_kept_as_share_dropped(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The keep probability 0.95 of old TensorFlow code is given to nn.Dropout, which drops that share."""
    p = 0.95 if wrong else 0.05
    model = nn.Sequential(
        nn.Linear(64, 48), nn.ReLU(), nn.Dropout(p), nn.Linear(48, 48), nn.ReLU(), nn.Dropout(p), nn.Linear(48, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("unit", image=False), epochs=5)


@cases.pair("cnn", 0.85, accepts=["running-statistics-unusable", "train-eval-mismatch"])
def running_statistics_stand_still(harness: Harness, seed: int, wrong: bool) -> float | None:
    """BatchNorm's momentum is 0.0005 (a Keras 0.9995 "converted"): the running statistics hardly leave their start."""
    model = convs(norm=lambda width: nn.BatchNorm2d(width, momentum=0.0005 if wrong else 0.1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("raw"), epochs=3)


@cases.pair("mlp", 0.85, accepts=["validation-in-train-mode"])
def validated_in_train_mode(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Validation runs without `eval()`, in batches sorted by class: BatchNorm takes the statistics of one class."""
    x, y, vx, vy = digits("unit", image=False)
    order = vy.argsort()
    vx, vy = vx[order], vy[order]
    model = nn.Sequential(nn.BatchNorm1d(64), nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    value = 0.0
    for _ in range(4):
        model.train()
        total, count = 0.0, 0
        for inputs, targets in draws(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            total, count = total + loss.item(), count + 1
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        if not wrong:
            model.eval()
        with torch.no_grad():
            out = torch.cat([model(part) for part in vx.split(15)])
        value = accuracy(out, vy)
        harness.epoch(train={"loss": total / count}, val={"loss": float(F.cross_entropy(out, vy)), "accuracy": value})
    return value


@cases.pair("mlp", 0.85, accepts=["noisy-labels", "labels-carry-no-information"])
def mixed_up_shares(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Mixup's share goes to the wrong label: the image that is hardly seen gives most of the target."""
    split = digits("unit", image=False)
    model = dense(64, 64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer)
    for _ in range(6):
        total, count = 0.0, 0
        for x, y in draws(*split[:2]):
            share = float(np.random.beta(0.2, 0.2))
            share = max(share, 1 - share)
            other = torch.randperm(len(x))
            mixed = share * x + (1 - share) * x[other]
            out = model(mixed)
            first, second = (1 - share, share) if wrong else (share, 1 - share)
            loss = first * F.cross_entropy(out, y) + second * F.cross_entropy(out, y[other])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, count = total + loss.item(), count + 1
            harness.step(loss=loss, inputs=mixed, targets=y, outputs=out)
        harness.epoch(train={"loss": total / count}, val={"accuracy": held_out(model, split)})
    return held_out(model, split)


@cases.pair("cnn", 0.8, accepts=["running-statistics-unusable"])
def averaged_without_its_statistics(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The moving average of the weights leaves out BatchNorm's buffers: it is measured with those of step 0."""
    model = convs()
    average = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def update() -> None:
        with torch.no_grad():
            for a, p in zip(average.parameters(), model.parameters(), strict=True):
                a.lerp_(p, 0.05)
            if not wrong:
                for a, b in zip(average.buffers(), model.buffers(), strict=True):
                    a.copy_(b)

    return fit(harness, model, optimizer, F.cross_entropy, digits("raw"), epochs=4, after=update, judge=average)


@cases.pair("mlp", 0.8, accepts=["validates-another-model"])
def average_that_never_arrives(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The weights' moving average has a decay of 0.9999 in a run of 160 steps: what is validated is near the start."""
    model = dense(64, 48, 10)
    average = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def update() -> None:
        with torch.no_grad():
            for a, p in zip(average.parameters(), model.parameters(), strict=True):
                a.lerp_(p, 1e-4 if wrong else 0.1)

    split = digits("unit", image=False)
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=5, after=update, judge=average)


@cases.pair("regression", 0.8, accepts=["dropout-on-outputs"])
def dropout_on_the_answer(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Dropout follows the last layer of a regression: half of the answers are 0, the others doubled."""
    draw = np.random.default_rng(105)
    x = draw.normal(0, 1, (1000, 5))
    split = cut(x, (8 + 2 * x[:, 0] + x[:, 1] * x[:, 2])[:, None])
    model = dense(5, 32, 32, 1)
    if wrong:
        model.append(nn.Dropout(0.5))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.mse_loss, split, epochs=15, score=explained, metric=None)


class Start(nn.Module):
    """Weights from a normal distribution of deviation 1, as `nn.init.normal_` has it, or by fan-in."""

    def __init__(self, plain: bool) -> None:
        super().__init__()
        self.net = dense(64, 256, 256, 256, 10, act=nn.Tanh)
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight) if plain else nn.init.xavier_normal_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.net(x)


@cases.pair("mlp", 0.85, accepts=["initial-weights-off-scale"])
def normal_of_deviation_one(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`nn.init.normal_` with its default deviation of 1 on layers of 256: tanh saturates from the start."""
    model = Start(wrong)
    split = digits("standard", image=False)
    return fit(harness, model, torch.optim.SGD(model.parameters(), lr=0.05), F.cross_entropy, split, epochs=5)
