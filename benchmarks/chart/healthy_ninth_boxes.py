"""Boxes and points on pictures, by a ninth author, who had not read the rules, without any threshold.

See `healthy_ninth.py`.
"""

from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_ninth import train_model
from benchmarks.chart.second import SecondCases, Split, accuracy, cut, explained, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset

cases = SecondCases("ninth")


def parked(count: int = 480, size: int = 32) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Pictures (N, 3, size, size) of one to three cars or lorries, their boxes (n, 4) as corners, labels 0 and 1."""
    draw = np.random.default_rng(931)
    images = draw.uniform(0.2, 0.4, (count, 3, 1, 1)) + draw.normal(0, 0.04, (count, 3, size, size))
    boxes, labels = [], []
    for image in images:
        mine: list[list[int]] = []
        kinds = []
        for _ in range(draw.integers(1, 4)):
            kind = int(draw.integers(2))
            w, h = (
                (int(draw.integers(6, 9)), int(draw.integers(6, 9))) if kind == 0 else (int(draw.integers(10, 15)), 7)
            )
            left, top = (int(draw.integers(0, size - s)) for s in (w, h))
            box = [left, top, left + w, top + h]
            if any(min(box[2], b[2]) > max(box[0], b[0]) and min(box[3], b[3]) > max(box[1], b[1]) for b in mine):
                continue
            tone = draw.uniform(0.6, 0.95, (3, 1, 1))
            image[:, top : top + h, left : left + w] = tone
            image[:, top + 2 : top + h - 2, left + 2 : left + (w - 2 if kind == 0 else 5)] = tone * 0.5
            mine.append(box)
            kinds.append(kind)
        boxes.append(torch.tensor(mine, dtype=torch.float32))
        labels.append(torch.tensor(kinds))
    return torch.tensor(images.clip(0, 1), dtype=torch.float32), boxes, labels


class Parked(Dataset[Any]):
    """A part of `parked` as people write their data sets: a picture and a dictionary."""

    def __init__(self, begin: int, end: int) -> None:
        images, boxes, labels = parked()
        self.items = list(zip(images[begin:end], boxes[begin:end], labels[begin:end], strict=True))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        image, boxes, labels = self.items[index]
        return image, {"boxes": boxes, "labels": labels}


def collate(batch: list[Any]) -> tuple[Tensor, list[Any]]:
    """Pictures as one tensor, targets as a list."""
    return torch.stack([b[0] for b in batch]), [b[1] for b in batch]


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    """IoU (n, m) of boxes as corners."""
    low, high = torch.maximum(a[:, None, :2], b[None, :, :2]), torch.minimum(a[:, None, 2:], b[None, :, 2:])
    inner = (high - low).clamp(min=0).prod(2)
    areas = [(x[:, 2:] - x[:, :2]).clamp(min=0).prod(1) for x in (a, b)]
    return inner / (areas[0][:, None] + areas[1][None] - inner).clamp(min=1e-6)


def paired_iou(outputs: Tensor, targets: Tensor) -> float:
    """Mean overlap of one box per row."""
    return float(torch.stack([overlaps(o[None], t[None])[0, 0] for o, t in zip(outputs, targets, strict=True)]).mean())


def trunk(channels: int = 3, width: int = 16, stages: int = 3) -> nn.Sequential:
    """Convolutions with norms, each stage halves the picture."""
    layers: list[nn.Module] = []
    for i in range(stages):
        layers += [nn.Conv2d(channels if i == 0 else width * i, width * (i + 1), 3, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(width * (i + 1)), nn.ReLU()]
    return nn.Sequential(*layers)


@cases.recipe("boxes", 0.55)
def one_box_by_smooth_l1(harness: Harness, seed: int) -> float:
    """The box of the one sign in a picture as shares of its size, smooth L1, Adam 2e-3, flips that move the box."""
    x, y, vx, vy = signs("boxes", 700)

    def mirror(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if torch.rand(()) < 0.5:
            return x.flip(-1), torch.stack([1 - y[:, 2], y[:, 1], 1 - y[:, 0], y[:, 3]], 1)
        return x, y

    model = nn.Sequential(trunk(), nn.Flatten(), nn.Linear(432, 64), nn.ReLU(), nn.Linear(64, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return train_model(
        harness, model, optimizer, nn.SmoothL1Loss(beta=0.1), (x, y / 20, vx, vy / 20), epochs=10, metric=paired_iou,
        name="iou", change=mirror,
    )  # fmt: skip


@cases.recipe("boxes", 0.55)
def class_and_box_with_two_heads(harness: Harness, seed: int) -> float:
    """Localisation: one trunk, a head for the kind and one for the box, cross-entropy plus ten times MSE, cosine."""
    data = [signs(what, 700) for what in ("kinds", "boxes")]
    (x, kind, vx, vkind), (box, vbox) = data[0], (data[1][1] / 20, data[1][3] / 20)

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(trunk(), nn.Flatten(), nn.Linear(432, 64), nn.ReLU())
            self.kind, self.box = nn.Linear(64, 4), nn.Linear(64, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.trunk(x)
            return self.kind(h), self.box(h).sigmoid()

    model = Both()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 9)
    harness.begin(model, optimizer)
    value = 0.0
    for _ in range(9):
        model.train()
        losses = []
        for rows in torch.randperm(len(x)).split(32):
            kinds, boxes = model(x[rows])
            loss_kind, loss_box = F.cross_entropy(kinds, kind[rows]), F.mse_loss(boxes, box[rows])
            loss = loss_kind + 10 * loss_box
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x[rows], targets=(kind[rows], box[rows]), outputs=(kinds, boxes))
            losses.append(loss.item())
        scheduler.step()
        model.eval()
        with torch.no_grad():
            kinds, boxes = model(vx)
            val_loss = F.cross_entropy(kinds, vkind) + 10 * F.mse_loss(boxes, vbox)
            value = min(accuracy(kinds, vkind), paired_iou(boxes, vbox))
        harness.epoch(
            train={"loss": float(np.mean(losses))}, val={"loss": float(val_loss), "accuracy": accuracy(kinds, vkind)}
        )
    return value


class Grid(nn.Module):
    """A YOLO-like detector: each of 8 x 8 cells says whether an object's middle is in it, where, how large and what."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = trunk(stages=2)
        self.neck = nn.Sequential(nn.Conv2d(32, 48, 3, padding=1, bias=False), nn.BatchNorm2d(48), nn.ReLU())
        self.head = nn.Conv2d(48, 7, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, 7, 8, 8): objectness, offsets, log sizes, two classes."""
        return self.head(self.neck(self.trunk(x)))


def to_cells(targets: list[Any]) -> Tensor:
    """Targets (N, 6, 8, 8): whether there is an object, its middle's offsets, logarithms of sides over 8, class."""
    maps = torch.zeros(len(targets), 6, 8, 8)
    for k, target in enumerate(targets):
        for box, label in zip(target["boxes"], target["labels"], strict=True):
            middle, sides = (box[:2] + box[2:]) / 8, box[2:] - box[:2]
            c, r = (int(v) for v in middle)
            maps[k, :, r, c] = torch.cat([torch.ones(1), middle % 1, (sides / 8).log(), label[None].float()])
    return maps


def cell_loss(out: Tensor, goal: Tensor) -> Tensor:
    """Objectness everywhere, the rest where there are objects."""
    there = goal[:, 0] > 0.5
    seen, wanted = out.movedim(1, -1)[there], goal.movedim(1, -1)[there]
    place = F.mse_loss(seen[:, 1:3].sigmoid(), wanted[:, 1:3]) + F.mse_loss(seen[:, 3:5], wanted[:, 3:5])
    kind = F.cross_entropy(seen[:, 5:], wanted[:, 5].long())
    return F.binary_cross_entropy_with_logits(out[:, 0], goal[:, 0]) * 10 + 2 * place + 0.5 * kind


def found(out: Tensor, targets: list[Any]) -> float:
    """Share of objects for which one of the cells that say "object" gives a box of IoU 0.5 and the right class."""
    hits, count = 0, 0
    for maps, target in zip(out, targets, strict=True):
        at = (maps[0] > 0).nonzero()
        seen = maps[:, at[:, 0], at[:, 1]].T
        middle = (at.flip(1) + seen[:, 1:3].sigmoid()) * 4
        sides = seen[:, 3:5].exp() * 8
        boxes = torch.cat([middle - sides / 2, middle + sides / 2], 1)
        good = (overlaps(boxes, target["boxes"]) > 0.5) & (seen[:, 5:].argmax(1)[:, None] == target["labels"][None])
        hits, count = hits + int(good.any(0).sum()), count + len(target["labels"])
    return hits / count


@cases.recipe("detector", 0.6)
def vehicles_on_a_grid(harness: Harness, seed: int) -> float:
    """A one-stage detector with a Dataset and a collate function, SGD with momentum, warm-up, milestones; told all."""
    train_set, val_set = Parked(0, 400), Parked(400, 480)
    loader = DataLoader(train_set, batch_size=8, shuffle=True, collate_fn=collate)
    model = Grid()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=50)
    steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [250, 325])
    scheduler = torch.optim.lr_scheduler.ChainedScheduler([warm, steps])
    vx, held = collate([val_set[i] for i in range(len(val_set))])
    harness.begin(model, optimizer)
    value = 0.0
    for _ in range(8):
        model.train()
        total = 0.0
        for images, targets in loader:
            goal = to_cells(targets)
            out = model(images)
            loss = cell_loss(out, goal)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            scheduler.step()
            harness.step(loss=loss, inputs=images, targets=targets, outputs=out)
            total += loss.item()
        model.eval()
        with torch.no_grad():
            out = model(vx)
        value = found(out, held)
        harness.epoch(train={"loss": total / len(loader)}, val={"loss": float(cell_loss(out, to_cells(held)))})
    return value


@cases.recipe("detector", 0.6)
def vehicles_with_a_dictionary_of_losses(harness: Harness, seed: int) -> float:
    """The model gives a dictionary of losses in training, as detection libraries do; their sum is told; AdamW."""

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.grid = Grid()

        def forward(self, images: Tensor, targets: Any = None) -> Any:
            out = self.grid((images - 0.4) / 0.25)
            if targets is None:
                return out
            goal = to_cells(targets)
            there = goal[:, 0] > 0.5
            seen, wanted = out.movedim(1, -1)[there], goal.movedim(1, -1)[there]
            return {
                "loss_objectness": 10 * F.binary_cross_entropy_with_logits(out[:, 0], goal[:, 0]),
                "loss_centre": F.l1_loss(seen[:, 1:3].sigmoid(), wanted[:, 1:3]),
                "loss_size": F.l1_loss(seen[:, 3:5], wanted[:, 3:5]),
                "loss_classifier": F.cross_entropy(seen[:, 5:], wanted[:, 5].long()),
            }

    train_set, val_set = Parked(0, 400), Parked(400, 480)
    loader = DataLoader(train_set, batch_size=8, shuffle=True, collate_fn=collate)
    model = Detector()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 4, gamma=0.3)
    harness.begin(model, optimizer)
    for _ in range(6):
        model.train()
        total = 0.0
        for images, targets in loader:
            losses = model(images, targets)
            loss = sum(losses.values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            harness.step(loss=loss, inputs=images)
        scheduler.step()
        harness.epoch(train={"loss": total / len(loader)})
    model.eval()
    vx, held = collate([val_set[i] for i in range(len(val_set))])
    with torch.no_grad():
        return found(model(vx), held)


def landmarks(count: int = 700, size: int = 24) -> Split:
    """Faces (N, 1, size, size) and five points (N, 10): eyes, nose, corners of the mouth, as shares of the size."""
    draw = np.random.default_rng(932)
    rows, cols = np.mgrid[:size, :size]
    base = np.array([[-0.45, -0.35], [0.45, -0.35], [0, 0.1], [-0.35, 0.5], [0.35, 0.5]])
    images, points = draw.normal(0.3, 0.05, (count, 1, size, size)), np.zeros((count, 5, 2))
    for i in range(count):
        r, turn, middle = draw.uniform(6, 9), draw.normal(0, 0.25), size / 2 + draw.uniform(-2.5, 2.5, 2)
        spin = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        points[i] = (base + draw.normal(0, 0.04, base.shape)) @ spin * r + middle
        images[i, 0] += 0.35 * (np.hypot(cols - middle[0], rows - middle[1]) < 1.15 * r)
        for k, (px, py) in enumerate(points[i]):
            images[i, 0] += (-0.5, -0.5, 0.3, -0.35, -0.35)[k] * np.exp(-((cols - px) ** 2 + (rows - py) ** 2) / 2)
    return cut(images.clip(0, 1).astype(np.float32), (points.reshape(count, 10) / size).astype(np.float32))


@cases.recipe("points", 0.75)
def landmarks_by_regression(harness: Harness, seed: int) -> float:
    """Facial keypoints: ten numbers of -0.5 to 0.5, MSE, Adam 1e-3, plateau, patience of five; batches of 16."""
    x, y, vx, vy = landmarks()
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1152, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    return train_model(
        harness, model, optimizer, nn.MSELoss(), (x, y - 0.5, vx, vy - 0.5), epochs=12, size=16, patience=5,
        scheduler=scheduler, when="plateau", metric=explained, name=None,
    )  # fmt: skip


@cases.recipe("points", 0.8)
def landmarks_by_heat_maps(harness: Harness, seed: int) -> float:
    """Five maps with a bump at each point, thirty times the squared error, Adam; points by the highest pixel."""
    x, y, vx, vy = landmarks()
    rows, cols = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")

    def bumps(points: Tensor) -> Tensor:
        p = points.view(-1, 5, 2, 1, 1) * 24
        return (-((cols - p[:, :, 0]) ** 2 + (rows - p[:, :, 1]) ** 2) / (2 * 1.5**2)).exp()

    def place(maps: Tensor, _: Tensor) -> float:
        at = maps.flatten(2).argmax(2)
        said = torch.stack([at % 24, at // 24], 2).float()
        return float(((said - vy.view(-1, 5, 2) * 24).norm(dim=2) < 2.5).float().mean())

    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1), nn.BatchNorm2d(24),
        nn.ReLU(), nn.Conv2d(24, 24, 3, padding=2, dilation=2), nn.BatchNorm2d(24), nn.ReLU(),
        nn.ConvTranspose2d(24, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 5, 1),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def criterion(out: Tensor, goal: Tensor) -> Tensor:
        return 30 * F.mse_loss(out, goal)

    return train_model(
        harness, model, optimizer, criterion, (x, bumps(y), vx, bumps(vy)), epochs=5, size=16, metric=place, name="pck"
    )
