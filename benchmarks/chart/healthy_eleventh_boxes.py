"""Boxes, points and plates in pictures, by an eleventh author, who had not read the rules, without any threshold.

See `healthy_eleventh.py`.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eleventh import block, evaluate, stamp, standard, train
from benchmarks.chart.healthy_eleventh_scenes import UNet
from benchmarks.chart.second import SecondCases, cut, dense, explained, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("eleventh")


@cases.recipe("cnn", 0.6)
def middle_of_a_sign(harness: Harness, seed: int) -> float:
    """Where a sign stands, two shares of the size by a sigmoid, MSE, Adam 1e-3, batches of 32; R2."""
    x, y, vx, vy = standard(signs("middles", 900))
    model = nn.Sequential(
        block(3, 16), nn.MaxPool2d(2), block(16, 32), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(800, 64), nn.ReLU(),
        nn.Linear(64, 2), nn.Sigmoid(),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return train(
        harness, model, optimizer, nn.MSELoss(), (x, y / 20, vx, vy / 20), epochs=6, metric=explained, name="r2"
    )


def box_ious(a: Tensor, b: Tensor) -> Tensor:
    """IoU of corners, row by row."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    both = (high - low).clamp(min=0).prod(1)
    sizes = [(c[:, 2:] - c[:, :2]).clamp(min=0).prod(1) for c in (a, b)]
    return both / (sizes[0] + sizes[1] - both).clamp(min=1e-6)


@cases.recipe("cnn", 0.5)
def box_by_iou_loss(harness: Harness, seed: int) -> float:
    """One box per picture: middle and sides, smooth L1 plus one less the IoU, AdamW, plateau; the mean IoU is told."""
    x, y, vx, vy = standard(signs("boxes", 900))

    class Boxes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(block(3, 16), block(16, 32, 2), block(32, 32, 2), nn.Flatten())
            self.head = dense(800, 64, 4)

        def forward(self, x: Tensor) -> Tensor:
            out = self.head(self.trunk(x)).sigmoid()
            return torch.cat([out[:, :2] - out[:, 2:] / 2, out[:, :2] + out[:, 2:] / 2], 1)

    model = Boxes()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=2)
    return train(
        harness, model, optimizer, lambda o, t: F.smooth_l1_loss(o, t, beta=0.1) + 1 - box_ious(o, t).mean(),
        (x, y / 20, vx, vy / 20), epochs=9, metric=lambda o, t: float(box_ious(o, t).mean()), name="iou",
        scheduler=scheduler, when="plateau",
    )  # fmt: skip


@cases.recipe("cnn", 0.5)
def kind_and_box_with_learnt_weights(harness: Harness, seed: int) -> float:
    """Kind and box by two heads, a tuple of outputs and targets; losses weighted by learnt uncertainties."""
    x, kinds, vx, v_kinds = standard(signs("kinds", 900))
    _, boxes, _, v_boxes = signs("boxes", 900)

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(block(3, 16), block(16, 32, 2), block(32, 48, 2), nn.Flatten())
            self.kind, self.box = dense(1200, 48, 4), dense(1200, 48, 4)
            self.log_vars = nn.Parameter(torch.zeros(2))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.trunk(x)
            return self.kind(h), self.box(h)

    model = Heads()

    def criterion(o: tuple[Tensor, Tensor], t: tuple[Tensor, Tensor]) -> Tensor:
        losses = torch.stack([F.cross_entropy(o[0], t[0]), 5 * F.l1_loss(o[1], t[1])])
        return ((-model.log_vars).exp() * losses + model.log_vars).sum()

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return train(
        harness, model, optimizer, criterion, (x, (kinds, boxes / 20), vx, (v_kinds, v_boxes / 20)), epochs=6,
        metric=lambda o, t: float((o[0].argmax(1) == t[0]).float().mean()), told="all",
    )  # fmt: skip


@cache
def _shelves(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1141)
    x, y = draw.normal(0.3, 0.05, (count, 1, size, size)), np.zeros((count, 5, size // 4, size // 4))
    for i in range(count):
        taken = np.zeros((size // 4, size // 4), bool)
        for _ in range(draw.integers(1, 4)):
            h, w = draw.integers(4, 9, 2)
            r, c = draw.integers(0, size - h), draw.integers(0, size - w)
            p, q = int((r + h / 2) // 4), int((c + w / 2) // 4)
            if taken[max(p - 2, 0) : p + 3, max(q - 2, 0) : q + 3].any():
                continue
            taken[p, q] = True
            x[i, 0, r : r + h, c : c + w] += draw.uniform(0.25, 0.6)
            y[i, :, p, q] = 1, (r + h / 2) / 4 - p, (c + w / 2) / 4 - q, np.log(h / 6), np.log(w / 6)
    return x.astype(np.float32), y.astype(np.float32)


def grid_loss(o: Tensor, t: Tensor) -> Tensor:
    """Objectness of cells and, where there is an object, its middle and logarithms of sides."""
    there = t[:, :1]
    found = F.binary_cross_entropy_with_logits(o[:, :1], there, pos_weight=torch.tensor(4.0))
    near = (F.mse_loss(o[:, 1:3].sigmoid(), t[:, 1:3], reduction="none") * there).sum()
    sides = (F.mse_loss(o[:, 3:], t[:, 3:], reduction="none") * there).sum()
    return found + (near + sides) / there.sum().clamp(min=1)


def found_share(o: Tensor, t: Tensor) -> float:
    """F1 of cells with an object."""
    said, real = o[:, 0] > 0.5, t[:, 0] > 0.5
    return float(2 * (said & real).sum() / (said.sum() + real.sum()))


@cases.recipe("detector", 0.6)
def goods_on_a_grid(harness: Harness, seed: int) -> float:
    """A one-stage detector on a 6x6 grid: objectness, middles and sides; SGD with momentum, warm-up, milestones."""
    model = nn.Sequential(block(1, 16), block(16, 24, 2), block(24, 32, 2), block(32, 32), nn.Conv2d(32, 5, 1))
    nn.init.constant_(model[-1].bias[:1], -2.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=20)
    drop = torch.optim.lr_scheduler.MultiStepLR(optimizer, [150, 200])
    scheduler = torch.optim.lr_scheduler.ChainedScheduler([warm, drop])
    return train(
        harness, model, optimizer, grid_loss, cut(*_shelves(640, 24)), epochs=8, size=16, metric=found_share, name="f1",
        scheduler=scheduler, when="batch", said="val",
    )  # fmt: skip


@cases.recipe("detector", 0.6)
def goods_by_a_pyramid_and_parts_of_loss(harness: Harness, seed: int) -> float:
    """A small feature pyramid; the loop logs each part of the loss and tells the watch their sum only; Adam, clip."""

    class Pyramid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c2, self.c3 = nn.Sequential(block(1, 16, 2), block(16, 24, 2)), block(24, 32, 2)
            self.lat2, self.lat3, self.out = nn.Conv2d(24, 24, 1), nn.Conv2d(32, 24, 1), block(24, 24)
            self.find, self.shape = nn.Conv2d(24, 1, 1), nn.Conv2d(24, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            a = self.c2(x)
            h = self.out(self.lat2(a) + F.interpolate(self.lat3(self.c3(a)), scale_factor=2))
            return torch.cat([self.find(h), self.shape(h)], 1)

    x, y, vx, vy = cut(*_shelves(640, 24))
    model = Pyramid()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer)
    value = 0.0
    for _ in range(7):
        model.train()
        for rows in torch.randperm(len(x)).split(16):
            o, t = model(x[rows]), y[rows]
            there = t[:, :1]
            losses = {
                "find": F.binary_cross_entropy_with_logits(o[:, :1], there, pos_weight=torch.tensor(4.0)),
                "middle": (F.l1_loss(o[:, 1:3].sigmoid(), t[:, 1:3], reduction="none") * there).sum() / there.sum(),
                "sides": (F.l1_loss(o[:, 3:], t[:, 3:], reduction="none") * there).sum() / there.sum(),
            }
            loss = sum(losses.values(), torch.zeros(()))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
            harness.step(loss=loss)
        val_loss, value = evaluate(model, vx, vy, grid_loss, found_share)
        harness.epoch(val={"loss": val_loss, "f1": value})
    return value


@cache
def _hands(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1142)
    rows, cols = np.mgrid[:size, :size]
    x, y = draw.normal(0.2, 0.05, (count, 1, size, size)), np.zeros((count, 3, 2))
    for i in range(count):
        elbow, turn, bend = draw.uniform(7, size - 7, 2), draw.uniform(0, 6.28), draw.uniform(0.7, 2.2)
        y[i, 0], y[i, 1] = elbow + 6 * np.array([np.sin(turn), np.cos(turn)]), elbow
        y[i, 2] = elbow + 6 * np.array([np.sin(turn + bend), np.cos(turn + bend)])
        for a, b, tone in ((0, 1, 0.4), (1, 2, 0.6)):
            for s in np.linspace(0, 1, 12):
                p = y[i, a] * (1 - s) + y[i, b] * s
                spot = np.exp(-((rows - p[0]) ** 2 + (cols - p[1]) ** 2) / 2)
                x[i, 0] = np.maximum(x[i, 0], 0.2 + tone * spot)
    return x.astype(np.float32), y.astype(np.float32)


@cases.recipe("keypoints", 0.6)
def joints_by_maps_of_heat(harness: Harness, seed: int) -> float:
    """Shoulder, elbow and hand as Gaussian maps, weighted MSE, AdamW with a cosine; share of points within 2 pixels."""
    x, y, vx, vy = cut(*_hands(600, 24))
    rows = torch.arange(24.0)

    def maps(points: Tensor) -> Tensor:
        down = torch.exp(-((rows - points[..., :1]) ** 2) / 4.5)
        over = torch.exp(-((rows - points[..., 1:]) ** 2) / 4.5)
        return down[..., :, None] * over[..., None, :]

    def near(o: Tensor, t: Tensor) -> float:
        a, b = o.flatten(2).argmax(2), t.flatten(2).argmax(2)
        return float((((a // 24 - b // 24) ** 2 + (a % 24 - b % 24) ** 2) <= 4).float().mean())

    def criterion(o: Tensor, t: Tensor) -> Tensor:
        return ((1 + 10 * t) * (o - t).square()).mean()

    model = UNet(1, 3, 16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    return train(
        harness, model, optimizer, criterion, (x, maps(y), vx, maps(vy)), epochs=6, size=16, scheduler=scheduler,
        metric=near, name="pck",
    )  # fmt: skip


@cases.recipe("keypoints", 0.5)
def joints_as_six_numbers(harness: Harness, seed: int) -> float:
    """The same joints (N, 3, 2) by regression with a Wing-like smooth L1, Adam 1e-3 halved every four epochs."""
    x, y, vx, vy = cut(*_hands(1500, 24))
    model = nn.Sequential(
        block(1, 16), block(16, 32, 2), block(32, 48, 2), nn.Flatten(), nn.Linear(1728, 64), nn.ReLU(),
        nn.Linear(64, 6), nn.Unflatten(1, (3, 2)),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 4, 0.5)
    return train(
        harness, model, optimizer, nn.SmoothL1Loss(beta=0.05), (x, y / 12 - 1, vx, vy / 12 - 1), epochs=7, size=24,
        scheduler=scheduler, metric=lambda o, t: explained(o.flatten(1), t.flatten(1)), name="r2",
    )  # fmt: skip


def plates(count: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures (N, 1, 9, 7 * length + 2) of letters in a row, and which (N, length)."""
    draw = np.random.default_rng(seed)
    names = "ACEHKLNTXZ"
    x, y = draw.normal(0.2, 0.1, (count, 1, 9, 7 * length + 2)), draw.integers(0, 10, (count, length))
    for i in range(count):
        for j in range(length):
            r, c = draw.integers(1, 4), 7 * j + draw.integers(1, 4)
            x[i, 0, r : r + 5, c : c + 5] += stamp(names[y[i, j]]) * draw.uniform(0.5, 0.8)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


@cases.recipe("cnn", 0.8)
def plates_by_a_head_per_place(harness: Harness, seed: int) -> float:
    """Number plates of four letters: a trunk and ten logits per place (N, 10, 4), cross-entropy, Adam 2e-3."""
    (x, y), (vx, vy) = plates(2000, 4, 1143), plates(300, 4, 1144)
    model = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 4 * 15, 96), nn.ReLU(), nn.Linear(96, 40), nn.Unflatten(1, (10, 4)),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return train(harness, model, optimizer, nn.CrossEntropyLoss(), (x, y, vx, vy), epochs=5, size=32)


@cases.recipe("ocr", 0.75)
def plates_by_ctc(harness: Harness, seed: int) -> float:
    """CTC over columns: convolutions, a two-way LSTM, log_softmax, Adam 4e-3, clipping at 5; share of whole plates."""
    (x, y), (vx, vy) = plates(900, 4, 1145), plates(200, 4, 1146)

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Sequential(block(1, 16), nn.MaxPool2d(2), block(16, 32), nn.MaxPool2d((2, 1)))
            self.rnn, self.head = nn.LSTM(64, 48, bidirectional=True, batch_first=True), nn.Linear(96, 11)

        def forward(self, x: Tensor) -> Tensor:
            h = self.conv(x).flatten(1, 2).transpose(1, 2)
            return self.head(self.rnn(h)[0]).log_softmax(-1)

    def ctc(o: Tensor, t: Tensor) -> Tensor:
        wide, long = torch.full((len(o),), o.shape[1]), torch.full((len(o),), 4)
        return F.ctc_loss(o.transpose(0, 1), t + 1, wide, long, zero_infinity=True)

    def whole(o: Tensor, t: Tensor) -> float:
        read = [[k - 1 for k in torch.unique_consecutive(row).tolist() if k] for row in o.argmax(-1)]
        return float(np.mean([a == b for a, b in zip(read, t.tolist(), strict=True)]))

    model: Any = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return train(
        harness, model, optimizer, ctc, (x, y, vx, vy), epochs=10, size=32, clip=5.0, metric=whole, name="accuracy"
    )
