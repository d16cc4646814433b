"""Short watched trainings with known faults in other forms than elsewhere, each beside a sound twin."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

import snellen
from snellen.facts import Facts, table
from snellen.watching.facts import EVENTS
from tests.rules.run_data_injections import parts, seeded
from tests.rules.run_injections import batches, mlp
from tests.rules.run_loss_injections import head, loop

Make = Callable[[Path], list[Facts]]


class Enough(Exception):  # noqa: N818  (it is no error)
    """Ends a loop on purpose."""


def ended(*, outputs: int = 10, vocabulary: int = 10, labels: int = 10, stop: bool = False) -> list[Facts]:
    """The label is the id of the input, 0 to 9, modulo `labels`; the loop may end with an exception."""
    model = nn.Sequential(
        nn.Embedding(vocabulary, 16), nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, outputs)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    watch = snellen.watch(model, optimizer)
    try:
        with watch:
            for step in range(40):
                x = torch.randint(0, 9 if step < 30 else 10, (32, 1))
                y = x[:, 0] % labels
                optimizer.zero_grad()
                out = model(x)
                loss = F.cross_entropy(out, y)
                loss.backward()
                optimizer.step()
                watch.step(loss=loss, inputs=x, targets=y, outputs=out)
            if stop:
                raise Enough("it has learned enough")
    except (IndexError, Enough):
        pass  # What ended the loop is the subject of the examination.
    return [watch.facts()]


def added_up(*, share: float) -> list[Facts]:
    """Four batches make a step; no loss function is told."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    with snellen.watch(model, optimizer, trials=False) as watch:
        for number, (x, y) in enumerate(batches(240, 16)):
            out = model(x)
            loss = F.cross_entropy(out, y)
            (share * loss).backward()
            if number % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
            watch.step(loss=loss, inputs=x, targets=y, outputs=out)
        return [watch.facts()]


def scaled(*, anew: bool) -> list[Facts]:
    """Half precision with a scaler whose first scale is too large."""
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
    with snellen.watch(model, optimizer, trials=False) as watch:
        for x, y in batches(80):
            scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24) if anew else scaler
            with torch.autocast("cpu", dtype=torch.float16):
                out = model(x)
                loss = F.cross_entropy(out.float(), y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            watch.step(loss=loss, inputs=x, targets=y, outputs=out)
        return [watch.facts()]


def loaded(choose: Callable[[list[float]], float]) -> list[Facts]:
    """At the end the weights of one epoch are loaded, by its accuracy, and nothing more is reported."""
    x, y, vx, vy = parts()
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    kept: list[tuple[float, Any]] = []
    with snellen.watch(model, optimizer, trials=False) as watch:
        for _ in range(6):
            for rows in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                out = model(x[rows])
                loss = F.cross_entropy(out, y[rows])
                loss.backward()
                optimizer.step()
                watch.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
            with torch.no_grad():
                out = model(vx)
            right = float((out.argmax(1) == vy).float().mean())
            watch.epoch(val={"loss": float(F.cross_entropy(out, vy)), "accuracy": right})
            kept.append((right, copy.deepcopy(model.state_dict())))
        wanted = choose([right for right, _ in kept])
        model.load_state_dict(next(weights for right, weights in kept if right == wanted))
    return [watch.facts()]


def pictures(count: int) -> tuple[Tensor, Tensor]:
    """One bright rectangle in each picture (count, 1, 16, 16), and its corners in pixels, (count, 4)."""
    pick = torch.Generator().manual_seed(0)
    corner, side = torch.randint(0, 8, (count, 2), generator=pick), torch.randint(3, 8, (count, 2), generator=pick)
    x = 0.1 * torch.randn(count, 1, 16, 16, generator=pick)
    boxes = torch.cat([corner, corner + side], 1)
    for image, (x1, y1, x2, y2) in zip(x, boxes.tolist(), strict=True):
        image[0, y1:y2, x1:x2] += 1
    return x, boxes.float()


class Locator(nn.Module):
    """A small network over pictures with an answer in each of 4 x 4 cells, (N, 1, 4, 4), and four numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.mark, self.box = nn.Conv2d(32, 1, 1), nn.Sequential(nn.Flatten(), nn.Linear(512, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.body(x)
        return self.mark(maps), self.box(maps)


def located(*, flat: bool) -> list[Facts]:
    """Regresses corners; one of them may be a click."""
    x, boxes = pictures(320)
    if flat:
        boxes[5, 2:] = boxes[5, :2]
    model = Locator()
    optimizer = torch.optim.Adam([*model.body.parameters(), *model.box.parameters()], lr=2e-3)
    with snellen.watch(nn.Sequential(model.body, model.box), optimizer, trials=False) as watch:
        for rows in _turns(len(x), 4):
            optimizer.zero_grad()
            out = model.box(model.body(x[rows]))
            loss = F.smooth_l1_loss(out / 16, boxes[rows] / 16, beta=0.1)
            loss.backward()
            optimizer.step()
            watch.step(loss=loss, inputs=x[rows], targets=boxes[rows], outputs=out)
        return [watch.facts()]


def marked(*, reach: float) -> list[Facts]:
    """A cell is positive when the centre of the box is nearer than `reach` pixels; boxes count in positive cells."""
    x, boxes = pictures(320)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    cells = torch.stack(torch.meshgrid(*[torch.arange(2, 16, 4)] * 2, indexing="xy"), -1).reshape(-1, 2)
    marks = (torch.cdist(centres, cells.float()) < reach).float().reshape(-1, 1, 4, 4)
    model = Locator()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with snellen.watch(model, optimizer, trials=False) as watch:
        for rows in _turns(len(x), 6):
            optimizer.zero_grad()
            mark, box = model(x[rows])
            positive = marks[rows].amax((1, 2, 3))[:, None]
            loss = F.binary_cross_entropy_with_logits(mark, marks[rows])
            loss = loss + (positive * (box - boxes[rows] / 16).square()).sum() / positive.sum().clamp_min(1)
            loss.backward()
            optimizer.step()
            watch.step(loss=loss, inputs=x[rows], targets=marks[rows], outputs=mark)
        return [watch.facts()]


def listed(*, lost: float) -> list[Facts]:
    """Marks of cells, told as a list of boxes (M, 4) an image, of which a share of images has none."""
    x, boxes = pictures(320)
    found = [b[None] if i >= lost * len(x) else b[None][:0] for i, b in enumerate(boxes)]
    model = Locator()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with snellen.watch(model, optimizer, trials=False) as watch:
        for rows in _turns(len(x), 4):
            optimizer.zero_grad()
            mark, box = model(x[rows])
            there = torch.tensor([float(len(found[i])) for i in rows.tolist()])[:, None]
            loss = F.binary_cross_entropy_with_logits(mark.amax((2, 3)), there)
            loss = loss + (there * (box - boxes[rows] / 16).square()).mean()
            loss.backward()
            optimizer.step()
            watch.step(loss=loss, inputs=x[rows], targets=[found[i] for i in rows.tolist()], outputs=mark)
        return [watch.facts()]


def _turns(count: int, epochs: int) -> Iterator[Tensor]:
    for _ in range(epochs):
        yield from torch.randperm(count).split(16)


class Endless(IterableDataset[tuple[Tensor, Tensor]]):
    """Digits in order; each worker may take a share of them."""

    def __init__(self, shared: bool) -> None:
        self.shared = shared
        self.x, self.y, _, _ = parts()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = get_worker_info()
        rows = range(worker.id, len(self.x), worker.num_workers) if self.shared and worker else range(len(self.x))
        return ((self.x[i], self.y[i]) for i in rows)


def by_workers(*, shared: bool) -> list[Facts]:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = DataLoader(Endless(shared), batch_size=32, num_workers=2)
    with snellen.watch(model, optimizer, trials=False) as watch:
        for x, y in loader:
            optimizer.zero_grad()
            out = model(x)
            loss = F.cross_entropy(out, y)
            loss.backward()
            optimizer.step()
            watch.step(loss=loss, inputs=x, targets=y, outputs=out)
        return [watch.facts()]


class Plain(nn.Module):
    """Two convolutions, with or without a shortcut."""

    def __init__(self, width: int, shortcut: bool) -> None:
        super().__init__()
        self.one, self.two = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.norm, self.shortcut = nn.GroupNorm(4, width), shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = self.two(self.one(self.norm(x)).relu())
        return out + x if self.shortcut else out


def deep(*, shortcut: bool) -> list[Facts]:
    model = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3, 2, 1), *(Plain(8, shortcut) for _ in range(14)),
        nn.ReLU(), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    return loop(model, optimizer=torch.optim.SGD, lr=0.02)


class Norm(nn.Module):
    """A layer norm, written by hand, over features (axis 2) or places (axis 1)."""

    def __init__(self, width: int, axis: int) -> None:
        super().__init__()
        self.gain, self.bias, self.axis = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width)), axis

    def forward(self, x: Tensor) -> Tensor:
        middle, spread = x.mean(self.axis, keepdim=True), x.std(self.axis, keepdim=True, correction=0)
        return self.gain * (x - middle) / (spread + 1e-6) + self.bias


class Lines(nn.Module):
    """Reads the lines of a digit."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.embed, self.norm = nn.Linear(8, 12), Norm(12, axis)
        self.reader, self.head = nn.GRU(12, 32, batch_first=True), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.reader(self.norm(self.embed(x.view(-1, 8, 8))))[0][:, -1])


def masked(*, shift: int) -> list[Facts]:
    """Class ids of pixels: ground, and rectangles of two brightnesses; `shift` is taken off, 255 is ignored."""
    x, boxes = pictures(240)
    ids = torch.zeros(len(x), 16, 16, dtype=torch.uint8)
    for number, (x1, y1, x2, y2) in enumerate(boxes.int().tolist()):
        ids[number, y1:y2, x1:x2] = 1 + number % 2
        x[number] *= 1 + number % 2
    targets = (ids - shift).long()
    model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    with snellen.watch(model, optimizer, trials=False) as watch:
        for rows in _turns(len(x), 5):
            optimizer.zero_grad()
            out = model(x[rows])
            loss = F.cross_entropy(out, targets[rows], ignore_index=255)
            loss.backward()
            optimizer.step()
            watch.step(loss=loss, inputs=x[rows], targets=targets[rows], outputs=out)
        return [watch.facts()]


def one_of_two_processes() -> list[Facts]:
    """Half of the classes are another process's."""
    (facts,) = loop(head(40))
    told = {"step": None, "kind": "distributed", "layer": None, "message": "2 processes train together", "value": 2.0}
    return [replace(facts, events=pl.concat([facts.events, table(EVENTS, [told])]))]


SICK: dict[str, Make] = {
    "stopped-by-error": seeded(lambda: ended(outputs=9)),
}

MORE: dict[str, tuple[str, Make]] = {
    "an id is beyond the table": ("stopped-by-error", seeded(lambda: ended(outputs=9, vocabulary=9, labels=9))),
    "batches are added up and no loss is told": ("accumulation-not-averaged", seeded(lambda: added_up(share=1.0))),
    "a scaler is made for every batch": ("scaler-skips", seeded(lambda: scaled(anew=True))),
    "the worst epoch is loaded at the end": ("worst-checkpoint-kept", seeded(lambda: loaded(min))),
    "one box an image, and one is a click": ("degenerate-target-boxes", seeded(lambda: located(flat=True))),
    "no cell is near enough": ("no-positive-targets", seeded(lambda: marked(reach=0.0))),
    "most lists of boxes are empty": ("mostly-empty-targets", seeded(lambda: listed(lost=0.9))),
    "two workers read the same": ("augmentation-repeats", seeded(lambda: by_workers(shared=False))),
    "28 convolutions in a row": ("residual-missing", seeded(lambda: deep(shortcut=False))),
    "a norm by hand over places": ("norm-over-wrong-axis", seeded(lambda: loop(Lines(axis=1)))),
    "ids of pixels are one too low": ("targets-ignored", seeded(lambda: masked(shift=1))),
}
"""Rules that are injected elsewhere, from another side."""

ALSO: dict[str, set[str]] = {}

CLEAN: dict[str, Make] = {
    "as many outputs as labels": seeded(ended),
    "a loop ends itself": seeded(lambda: ended(stop=True)),
    "batches are averaged": seeded(lambda: added_up(share=0.25)),
    "a scaler finds its scale": seeded(lambda: scaled(anew=False)),
    "the best epoch is loaded at the end": seeded(lambda: loaded(max)),
    "one box an image": seeded(lambda: located(flat=False)),
    "cells near the centre": seeded(lambda: marked(reach=4.0)),
    "a tenth of the lists is empty": seeded(lambda: listed(lost=0.1)),
    "two workers share": seeded(lambda: by_workers(shared=True)),
    "14 blocks with shortcuts": seeded(lambda: deep(shortcut=True)),
    "a norm by hand over features": seeded(lambda: loop(Lines(axis=2))),
    "ids of pixels": seeded(lambda: masked(shift=0)),
    "half of the classes are another process's": seeded(one_of_two_processes),
}
