"""Data, a loop and a registry of the second look: cases by a second author, who had not read the rules.

Every recipe names the score that it reaches at least when it learns; `python -m benchmarks.chart.second_check` trains
them all without a tool and says which fall short. Every faulty loop takes `wrong` and has a sound twin, in which
nothing else differs; the twins count among the healthy recipes on which no threshold is set.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from benchmarks.chart.case import Cases, Harness, Run
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Split = tuple[Tensor, Tensor, Tensor, Tensor]
"""Training inputs and targets, validation inputs and targets."""
Loop = Callable[[Harness, int, bool], float | None]
BARS: dict[str, float] = {}
"""By name of case: the score that it reaches at least when it learns."""
TWINS: dict[str, str] = {}
"""By name of a faulty case: its sound twin."""


class SecondCases(Cases):
    """Cases of the second look: their healthy runs count among the unseen ones."""

    def _well(self) -> Literal["unseen"]:
        return "unseen"

    def recipe(self, subject: str, bar: float) -> Callable[[Run], Run]:
        """Register a healthy loop whose score is at least `bar` when it learns."""

        def register(loop: Run) -> Run:
            self.healthy_loop(subject)(loop)
            BARS[self.cases[-1].name] = bar
            return loop

        return register

    def pair(
        self, subject: str, bar: float, *, accepts: Iterable[str], number: int | None = None, place: str | None = None
    ) -> Callable[[Loop], Loop]:
        """Register a loop with a fault, and the same one without it, whose score is at least `bar`."""

        def register(loop: Loop) -> Loop:
            @functools.wraps(loop)
            def faulty(harness: Harness, seed: int) -> float | None:
                return loop(harness, seed, True)

            def sound(harness: Harness, seed: int) -> float | None:
                return loop(harness, seed, False)

            sound.__name__, sound.__doc__ = f"{loop.__name__}_sound", f"Without the fault: {loop.__doc__}"
            self.restated(subject, accepts=accepts, number=number, place=place)(faulty)
            TWINS[self.cases[-1].name] = f"{self.group}/{sound.__name__.replace('_', '-')}/{subject}"
            self.recipe(subject, bar)(sound)
            return loop

        return register


def cut(x: Any, y: Any, share: float = 0.75, seed: int = 3) -> Split:
    """Rows in a fixed random order, the first `share` of them for training; doubles become floats."""
    order = torch.as_tensor(np.random.default_rng(seed).permutation(len(x)))
    inputs, targets = (torch.as_tensor(np.asarray(a)) for a in (x, y))
    inputs, targets = (a.float() if a.dtype == torch.float64 else a for a in (inputs, targets))
    inputs, targets, at = inputs[order], targets[order], int(len(x) * share)
    return inputs[:at].clone(), targets[:at].clone(), inputs[at:].clone(), targets[at:].clone()


def by_train(split: Split) -> Split:
    """Features by mean and deviation of the training part."""
    x, y, vx, vy = split
    mean, std = x.mean(0), x.std(0).clamp(min=1e-6)
    return (x - mean) / std, y, (vx - mean) / std, vy


def digits(scale: str = "unit", image: bool = True, count: int = 1400) -> Split:
    """Real digits, (N, 1, 8, 8) or (N, 64): "unit" 0..1, "signed" -1..1, "standard" mean 0 and deviation 1, "raw"."""
    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x[:count], dtype=torch.float32)
    x = {"unit": x / 16, "signed": x / 8 - 1, "standard": (x - 4.88) / 6.02, "raw": x}[scale]
    return cut(x.view(-1, 1, 8, 8) if image else x, y[:count])


def cancer() -> Split:
    """Thirty standardised features of tumours; 1 is benign."""
    return by_train(cut(*load_breast_cancer(return_X_y=True)))


def wine() -> Split:
    """Thirteen standardised features of wines of 3 cultivars."""
    return by_train(cut(*load_wine(return_X_y=True), share=0.7))


def diabetes(raw: bool = False) -> Split:
    """Ten standardised features; the target (N, 1) runs from 25 to 346, or is standardised."""
    x, y = load_diabetes(return_X_y=True)
    return by_train(cut(x, (y if raw else (y - y.mean()) / y.std())[:, None]))


@cache
def _housing(count: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(12)
    income, age, rooms = draw.lognormal(1.2, 0.45, count), draw.integers(1, 52, count), draw.lognormal(1.6, 0.3, count)
    crowd, lat, lon = draw.lognormal(1.0, 0.3, count), draw.uniform(32, 42, count), draw.uniform(-124, -114, count)
    coast = np.exp(-((lon + 124 - 0.6 * (42 - lat)) ** 2) / 6)
    price = 0.45 * income + 0.008 * age + 1.4 * coast - 0.2 * crowd + 0.1 * rooms * coast + draw.normal(0, 0.25, count)
    return np.stack([income, age, rooms, crowd, lat, lon], 1), price.clip(0.15, 5.0)


def housing(count: int = 1200) -> Split:
    """Six standardised features of districts (incomes, places, ...) and a price (N, 1) of 0.15 to 5."""
    x, y = _housing(count)
    return by_train(cut(x, y[:, None]))


@cache
def _signs(count: int, size: int) -> tuple[np.ndarray, ...]:
    draw = np.random.default_rng(21)
    rows, cols = np.mgrid[:size, :size]
    images = draw.uniform(0.1, 0.35, (count, 3, 1, 1)) + draw.normal(0, 0.04, (count, 3, size, size))
    kinds, half = draw.integers(0, 4, count), draw.integers(size // 6, size // 4 + 1, count)
    middle = draw.integers(size // 4 + 1, size - size // 4 - 1, (count, 2))
    masks = np.zeros((count, size, size), np.int64)
    for i in range(count):
        dx, dy, h = cols - middle[i, 0], rows - middle[i, 1], half[i]
        box = (abs(dx) <= h) & (abs(dy) <= h)
        forms = (
            box & (dx + dy <= 0),
            box & (abs(abs(dx) - abs(dy)) <= 1),
            box & (abs(dy) <= h // 2),
            dx**2 + dy**2 <= h**2,
        )
        inside = forms[kinds[i]]
        images[i][:, inside] += draw.uniform(0.3, 0.6, (3, 1))
        masks[i] = inside * (1 + kinds[i] % 2)
    boxes = np.concatenate([middle - half[:, None], middle + half[:, None] + 1], 1)
    return images.clip(0, 1).astype(np.float32), kinds, masks, middle.astype(np.float32), boxes.astype(np.float32)


def signs(what: str = "kinds", count: int = 640, size: int = 20) -> Split:
    """Colour images (N, 3, size, size) in 0..1 with one corner, cross, bar or disc.

    `what`: the targets: kinds (N,) of 0..3, masks (N, size, size) of 0..2, middles (N, 2) x and y, or boxes (N, 4) of
    corners, in pixels.
    """
    images, kinds, masks, middle, boxes = _signs(count, size)
    return cut(images, {"kinds": kinds, "masks": masks, "middles": middle, "boxes": boxes}[what])


@cache
def prose() -> tuple[Tensor, int]:
    """Characters of scikit-learn's descriptions of its data sets, real English, and the size of the alphabet."""
    text = " ".join(load().DESCR.lower() for load in (load_breast_cancer, load_diabetes, load_wine))
    letters = sorted(set(text))
    return torch.tensor([letters.index(c) for c in text]), len(letters)


def windows(length: int = 24, stride: int = 9) -> Split:
    """Pieces of the prose (N, length) and the same one character later."""
    text, _ = prose()
    pieces = text.unfold(0, length + 1, stride)
    at = int(len(pieces) * 0.85)
    return pieces[:at, :-1], pieces[:at, 1:], pieces[at:, :-1], pieces[at:, 1:]


def gaits(count: int = 700, length: int = 32) -> Split:
    """Three-axis series (N, length, 3) of four movements that differ in rhythm and form."""
    draw = np.random.default_rng(31)
    kind, t = draw.integers(0, 4, count), np.arange(length)[None]
    rate = np.array([0.25, 0.5, 0.25, 0.5])[kind][:, None] * draw.uniform(0.9, 1.1, (count, 1))
    phase = rate * t + draw.uniform(0, 6.28, (count, 1))
    form = np.where((kind < 2)[:, None], np.sin(phase), np.sign(np.sin(phase)) * np.abs(np.sin(phase)) ** 0.3)
    x = np.stack([form, np.cos(phase), 0.3 * np.sin(2 * phase)], -1) + draw.normal(0, 0.25, (count, length, 3))
    return cut(x, kind)


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Share of right classes; classes on axis 1."""
    return float((outputs.argmax(1) == targets).float().mean())


def token_accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Share of right classes on the last axis, where the target is not negative."""
    return float((outputs.argmax(-1) == targets)[targets >= 0].float().mean())


def binary_accuracy(outputs: Tensor, targets: Tensor) -> float:
    """One logit per row; above 0 is class 1."""
    return float(((outputs.flatten() > 0) == (targets.flatten() > 0.5)).float().mean())


def explained(outputs: Tensor, targets: Tensor) -> float:
    """Share of the target's variance that the outputs explain."""
    return float(1 - (outputs - targets).square().mean() / (targets - targets.mean(0)).square().mean())


def token_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of (N, T, classes) and (N, T); -100 is left out."""
    return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())


def dense(*widths: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of these widths with an activation between them."""
    layers: list[nn.Module] = []
    for i, (into, out) in enumerate(itertools.pairwise(widths)):
        layers += [nn.Linear(into, out)] + ([act()] if i < len(widths) - 2 else [])
    return nn.Sequential(*layers)


def convs(
    channels: int = 1, classes: int = 10, width: int = 16, norm: Callable[[int], nn.Module] = nn.BatchNorm2d
) -> Any:
    """Two convolutions with norms, pooling to one vector, a linear head."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), norm(width), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), norm(2 * width), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8 * width, classes),
    )  # fmt: skip


def draws(x: Tensor, y: Tensor, size: int = 32, whole: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of shuffled batches, with the incomplete last one unless `whole`."""
    for rows in torch.randperm(len(x)).split(size):
        if len(rows) == size or not whole:
            yield x[rows], y[rows]


def fit(
    harness: Harness,
    model: nn.Module,
    optimizer: Any,
    loss_fn: Callable[..., Tensor],
    split: Split,
    *,
    epochs: int = 8,
    size: int = 32,
    score: Callable[[Any, Any], float] = accuracy,
    metric: str | None = "accuracy",
    scheduler: Any = None,
    per: str = "epoch",
    before: Callable[[Tensor, Tensor], tuple[Any, Any]] = lambda x, y: (x, y),
    clip: Callable[[], Any] = lambda: None,
    after: Callable[[], Any] = lambda: None,
    whole: bool = False,
    judge: nn.Module | None = None,
    cast: torch.dtype | None = None,
) -> float:
    """A loop with a validation after each epoch. Returns the last score.

    `before` changes a training batch, `after` is called after each step, `judge` is validated instead of the model,
    `cast` is the type of autocast.
    """
    x, y, vx, vy = split
    harness.begin(model, optimizer, loss_fn=loss_fn)
    value = 0.0
    for _ in range(epochs):
        model.train()
        total, seen = 0.0, 0
        for batch in draws(x, y, size, whole):
            inputs, targets = before(*batch)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cpu", dtype=cast) if cast else nullcontext():
                outputs = model(inputs)
                loss = loss_fn(outputs, targets)
            loss.backward()
            clip()
            optimizer.step()
            after()
            if scheduler is not None and per == "batch":
                scheduler.step()
            total, seen = total + loss.item() * len(inputs), seen + len(inputs)
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=outputs)
        if scheduler is not None and per == "epoch":
            scheduler.step()
        tested = judge or model
        tested.eval()
        with torch.no_grad():
            outputs = tested(vx)
            value, val_loss = score(outputs, vy), float(loss_fn(outputs, vy))
        harness.epoch(train={"loss": total / seen}, val={"loss": val_loss} | ({metric: value} if metric else {}))
    return value
