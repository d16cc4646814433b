"""Short watched trainings of a small detector whose boxes are at fault, and ones whose boxes only look so."""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import snellen
from snellen.facts import Facts
from tests.rules.run_injections import SEED

Make = Callable[[Path], list[Facts]]
Box = dict[str, Tensor]
SIDE = 32


@cache
def scenes(count: int = 128) -> tuple[Tensor, tuple[Box, ...]]:
    """Images (N, 3, 32, 32) of mean 0 with one to three bright rectangles of two kinds, and their boxes."""
    draw = np.random.default_rng(0)
    images, targets = [], []
    for _ in range(count):
        image = draw.normal(-0.5, 0.1, (3, SIDE, SIDE))
        boxes, labels = [], []
        for _ in range(draw.integers(1, 4)):
            kind, (w, h) = int(draw.integers(2)), draw.integers(6, 12, 2)
            x, y = draw.integers(0, SIDE - w), draw.integers(0, SIDE - h)
            if any(x < b[2] and b[0] < x + w and y < b[3] and b[1] < y + h for b in boxes):
                continue
            image[kind:, y : y + h, x : x + w] = draw.uniform(1, 2)
            boxes.append((x, y, x + w, y + h))
            labels.append(kind)
        images.append(image)
        targets.append({"boxes": torch.tensor(np.array(boxes), dtype=torch.float32), "labels": torch.tensor(labels)})
    return torch.tensor(np.stack(images), dtype=torch.float32), tuple(targets)


class Detector(nn.Module):
    """Per cell of 4 x 4 pixels class scores and a box; in `finished` evaluation it drops what scores too low."""

    def __init__(self, classes: int = 2, score_thresh: float | None = None, shares: bool = False, prior: float = 0.1):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32),
            nn.ReLU(), nn.Conv2d(32, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU(),
        )  # fmt: skip
        self.classify, self.regress = nn.Conv2d(32, classes, 1), nn.Conv2d(32, 4, 1)
        nn.init.constant_(self.classify.bias, -math.log((1 - prior) / prior))
        self.shares = shares
        if score_thresh is not None:
            self.score_thresh = score_thresh

    def forward(self, x: Tensor) -> Any:
        features = self.stem(x)
        h, w = features.shape[-2:]
        ys, xs = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        points = torch.stack([xs, ys], -1).reshape(-1, 2).float() * 4 + 2
        sides = F.softplus(self.regress(features)).flatten(2).transpose(1, 2) * 4
        boxes = torch.cat([points - sides[..., :2], points + sides[..., 2:]], -1)
        boxes = boxes / SIDE if self.shares else boxes
        logits = self.classify(features).flatten(2).transpose(1, 2)
        if self.training or not hasattr(self, "score_thresh"):
            return {"logits": logits, "boxes": boxes, "points": points}
        found = []
        for score, box in zip(logits.sigmoid(), boxes, strict=True):
            best, kind = score.max(-1)
            keep = best > self.score_thresh
            found.append({"boxes": box[keep], "scores": best[keep], "labels": kind[keep]})
        return found


def detection_loss(out: Any, targets: list[Box], unit: float = 1.0) -> Tensor:
    """Cross-entropy of each class and L1 of the sides where a cell's middle lies in a box."""
    wanted = torch.zeros_like(out["logits"])
    parts = [out["boxes"].new_zeros(())]
    for i, t in enumerate(targets):
        for box, kind in zip(t["boxes"] / unit, t["labels"], strict=True):
            inside = ((out["points"] >= box[:2] - 1) & (out["points"] <= box[2:] + 1)).all(1)
            wanted[i, inside, kind] = 1.0
            if inside.any():
                parts.append((out["boxes"][i, inside] / unit - box).abs().mean() / SIDE)
    return F.binary_cross_entropy_with_logits(out["logits"], wanted) * 4 + torch.stack(parts).sum() / len(targets)


def fit(
    change: Callable[[Box], Box] | None = None,
    *,
    model: nn.Module | None = None,
    augment: Callable[[Tensor, list[Box]], tuple[Tensor, list[Box]]] | None = None,
    pair: Callable[[list[Box]], list[Box]] | None = None,
    loss: Callable[[Any, list[Box]], Tensor] = detection_loss,
    steps: int = 45,
    size: int = 16,
    metric: float | None = None,
    seed_of_targets: int = 0,
) -> list[Facts]:
    model = model or Detector()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    images, given = scenes()
    draw = torch.Generator().manual_seed(seed_of_targets)
    targets = [{k: v.clone() for k, v in t.items()} for t in given]
    targets = [change(t) for t in targets] if change else targets
    targets = pair(targets) if pair else targets
    with snellen.watch(model, optimizer, trials=False, task="detection") as watch:
        for _ in range(3):
            model.train()
            for _ in range(steps // 3):
                rows = torch.randint(0, 96, (size,), generator=draw)
                x, y = images[rows], [targets[i] for i in rows.tolist()]
                x, y = augment(x, y) if augment else (x, y)
                optimizer.zero_grad()
                out = model(x)
                value = loss(out, y)
                value.backward()
                optimizer.step()
                watch.step(loss=value.detach(), inputs=x, targets=y, outputs=out)
            model.eval()
            with torch.no_grad():
                model(images[96:])
            if metric is not None:
                watch.epoch(val={"map": metric})
        return [watch.facts()]


def seeded(make: Callable[[], list[Facts]]) -> Make:
    def run(_: Path) -> list[Facts]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return make()

    return run


def boxes(change: Callable[[Tensor], Tensor]) -> Callable[[Box], Box]:
    return lambda t: t | {"boxes": change(t["boxes"])}


def sides(b: Tensor) -> Tensor:
    return torch.cat([b[:, :2], b[:, 2:] - b[:, :2]], 1)


def flat(b: Tensor) -> Tensor:
    return torch.where((b[:, :1] < 4).expand_as(b), torch.cat([b[:, :3], b[:, 1:2]], 1), b)


def none(t: Box) -> Box:
    return {k: v[:0] for k, v in t.items()}


def every(n: int, change: Callable[[Box], Box]) -> Callable[[list[Box]], list[Box]]:
    return lambda targets: [t if i % n == 0 else change(t) for i, t in enumerate(targets)]


def flip(boxes_too: bool) -> Callable[[Tensor, list[Box]], tuple[Tensor, list[Box]]]:
    def both(x: Tensor, y: list[Box]) -> tuple[Tensor, list[Box]]:
        turned = torch.rand(len(x)) < 0.5
        if boxes_too:
            mirrored = [
                boxes(lambda b: torch.stack([SIDE - b[:, 2], b[:, 1], SIDE - b[:, 0], b[:, 3]], 1))(t) for t in y
            ]
            y = [m if turn else t for m, t, turn in zip(mirrored, y, turned.tolist(), strict=True)]
        return torch.where(turned[:, None, None, None], x.flip(-1), x), y

    return both


def pulled_down(out: Any, targets: list[Box]) -> Tensor:
    """The classes' loss knows background only; the boxes' one is sound."""
    nothing = [t | {"labels": t["labels"]} for t in targets]
    wrong = F.binary_cross_entropy_with_logits(out["logits"], torch.zeros_like(out["logits"])) * 4
    whole = detection_loss(out, nothing)
    return wrong + whole - detection_loss(out | {"boxes": out["boxes"].detach()}, nothing)


SICK: dict[str, Make] = {
    "degenerate-target-boxes": seeded(lambda: fit(boxes(flat))),
    "target-boxes-as-sides": seeded(lambda: fit(boxes(sides))),
    "target-boxes-in-other-units": seeded(lambda: fit(boxes(lambda b: b / SIDE))),
    "target-boxes-not-resized": seeded(lambda: fit(boxes(lambda b: b * 2))),
    "boxes-not-augmented": seeded(lambda: fit(augment=flip(boxes_too=False))),
    "boxes-off-objects": seeded(lambda: fit(pair=lambda ts: ts[5:] + ts[:5])),
    "mostly-empty-targets": seeded(lambda: fit(pair=every(10, none))),
    "target-classes-shifted": seeded(
        lambda: fit(lambda t: t | {"labels": t["labels"] + 1}, model=Detector(3), metric=0.0)
    ),
    "classes-never-taught": seeded(lambda: fit(lambda t: t | {"labels": t["labels"] * 0}, model=Detector(6), steps=90)),
    "postprocessing-hides-predictions": seeded(lambda: fit(model=Detector(score_thresh=1.1))),
    "detector-scores-near-zero": seeded(lambda: fit(loss=pulled_down, steps=120)),
}

ALSO: dict[str, set[str]] = {}


def in_shares() -> list[Facts]:
    """Boxes as centre, width and height in shares of the image, as DETR has them; the model speaks so, too."""

    def told(t: Box) -> Box:
        b = t["boxes"]
        return t | {"boxes": torch.cat([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]], 1) / SIDE}

    def loss(out: Any, targets: list[Box]) -> Tensor:
        corners = [
            t
            | {
                "boxes": torch.cat(
                    [t["boxes"][:, :2] - t["boxes"][:, 2:] / 2, t["boxes"][:, :2] + t["boxes"][:, 2:] / 2], 1
                )
            }
            for t in targets
        ]
        return detection_loss(out | {"points": out["points"] / SIDE * 1.0}, corners)

    return fit(told, model=Detector(shares=True), loss=loss)


CLEAN: dict[str, Make] = {
    "a detector": seeded(fit),
    "a third of the images empty": seeded(
        lambda: fit(pair=lambda ts: [none(t) if i % 3 else t for i, t in enumerate(ts)])
    ),
    "flipped with its boxes": seeded(lambda: fit(augment=flip(boxes_too=True))),
    "five images a batch": seeded(lambda: fit(size=5, steps=60)),
    "detections left by a low threshold": seeded(lambda: fit(model=Detector(score_thresh=0.05), steps=90)),
    "boxes cut at the border by a rounding error": seeded(lambda: fit(boxes(lambda b: b + 0.4))),
    "one class of one": seeded(lambda: fit(lambda t: t | {"labels": t["labels"] * 0}, model=Detector(1))),
    "boxes in shares, as DETR has them": seeded(in_shares),
}
