"""Masks, boxes, points, depth and motion in tiny scenes, by a fourth author, without any threshold.

See `healthy_fourth.py`.
"""

from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, school, some
from benchmarks.chart.second import SecondCases, explained, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


def cbr(into: int, out: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(into, out, 3, stride, 1), nn.BatchNorm2d(out), nn.ReLU())


def iou_of(out: Tensor, goal: Tensor) -> float:
    """Of one logit map with a mask of 0 and 1."""
    a, b = out.squeeze(1) > 0, goal.squeeze(1) > 0.5
    return float((a & b).sum() / (a | b).sum().clamp(min=1))


def foreground() -> tuple[Tensor, ...]:
    """Colour images of 20 pixels and masks (N, 1, 20, 20) of 0 and 1."""
    x, y, vx, vy = signs("masks", count=400)
    return x, (y > 0).float()[:, None], vx, (vy > 0).float()[:, None]


@cases.recipe("segmentation", 0.7)
def summed_over_pixels(harness: Harness, seed: int) -> float:
    """FCN of old: cross-entropy summed over all pixels and images, SGD at 2e-5 with momentum 0.95, bilinear growth."""
    x, y, vx, vy = signs("masks", count=480)
    body = nn.Sequential(cbr(3, 16), cbr(16, 32, 2), cbr(32, 32), nn.Conv2d(32, 3, 1))
    model = nn.Sequential(body, nn.Upsample(scale_factor=2, mode="bilinear"))

    def mean_iou(out: Tensor, goal: Tensor) -> float:
        p = out.argmax(1)
        each = [((p == k) & (goal == k)).sum() / ((p == k) | (goal == k)).sum().clamp(min=1) for k in range(3)]
        return float(torch.stack(each).mean())

    optimizer = torch.optim.SGD(model.parameters(), lr=2e-5, momentum=0.95)
    loss_fn = nn.CrossEntropyLoss(reduction="sum")
    return school(harness, model, optimizer, loss_fn, (x, y, vx, vy), epochs=8, size=12, score=mean_iou, key="miou")


@cases.recipe("segmentation", 0.75)
def borders_weigh_more(harness: Harness, seed: int) -> float:
    """A small U-Net with a map of weights that is 5 near borders, He's weights, momentum 0.9, batches of 8."""

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down1, self.down2 = cbr(3, 12), cbr(12, 24)
            self.up, self.top = nn.ConvTranspose2d(24, 12, 2, 2), cbr(24, 12)
            self.head = nn.Conv2d(12, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            a = self.down1(x)
            return self.head(self.top(torch.cat([a, self.up(self.down2(F.max_pool2d(a, 2)))], 1)))

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        edge = F.max_pool2d(goal, 3, 1, 1) + F.max_pool2d(-goal, 3, 1, 1)
        return F.binary_cross_entropy_with_logits(out, goal, 1 + 4 * edge)

    model = UNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return school(harness, model, optimizer, loss_fn, foreground(), epochs=5, size=8, score=iou_of, key="iou")


@cases.recipe("segmentation", 0.75)
def logarithm_of_overlap(harness: Harness, seed: int) -> float:
    """TernausNet's loss: cross-entropy minus the logarithm of the soft Jaccard index; it may be below 0 elsewhere."""

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        p = out.sigmoid()
        both, one = (p * goal).sum(), (p + goal).sum()
        return F.binary_cross_entropy_with_logits(out, goal) - ((both + 1e-7) / (one - both + 1e-7)).log()

    model = nn.Sequential(cbr(3, 16), cbr(16, 24, 2), cbr(24, 24), nn.ConvTranspose2d(24, 16, 2, 2), nn.ReLU(),
                          nn.Conv2d(16, 1, 3, padding=1))  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return school(harness, model, optimizer, loss_fn, foreground(), epochs=5, size=16, score=iou_of, key="iou")


@cases.recipe("segmentation", 0.75)
def hinge_of_lovasz(harness: Harness, seed: int) -> float:
    """Lovász hinge on logits after 40 steps of plain cross-entropy; dilated convolutions instead of pooling."""
    x, y, vx, vy = foreground()

    def lovasz(out: Tensor, goal: Tensor) -> Tensor:
        error, order = (1 - out * (2 * goal - 1)).sort(descending=True)
        hit = goal[order]
        jaccard = 1 - (hit.sum() - hit.cumsum(0)) / (hit.sum() + (1 - hit).cumsum(0))
        return (error.relu() * torch.cat([jaccard[:1], jaccard.diff()])).sum()

    layers: list[nn.Module] = [cbr(3, 12)]
    for d in (2, 4):
        layers += [nn.Conv2d(12, 12, 3, padding=d, dilation=d), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(12, 1, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)

    def compute(i: int) -> Any:
        a, b = some(12, x, y)
        out = model(a)
        easy = F.binary_cross_entropy_with_logits(out, b)
        loss = easy if i < 40 else torch.stack([lovasz(o.flatten(), g.flatten()) for o, g in zip(out, b)]).mean()  # noqa: B905
        return {"loss": loss, "inputs": a, "targets": b, "outputs": out}

    march(harness, model, optimizer, compute, 150)
    return iou_of(model.eval()(vx), vy)


@cases.recipe("segmentation", 0.4)
def edges_with_side_outputs(harness: Harness, seed: int) -> float:
    """Holistically nested edges: three side outputs and their mix, each by class-balanced cross-entropy."""
    x, y, vx, vy = foreground()
    edge, vedge = ((F.max_pool2d(m, 3, 1, 1) + F.max_pool2d(-m, 3, 1, 1)).clamp(0, 1) for m in (y, vy))

    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([cbr(3, 12), cbr(12, 16, 2), cbr(16, 24)])
            self.sides = nn.ModuleList(nn.Conv2d(c, 1, 1) for c in (12, 16, 24))
            self.mix = nn.Conv2d(3, 1, 1)
            nn.init.constant_(self.mix.weight, 1 / 3)

        def forward(self, x: Tensor) -> list[Tensor]:
            outs = []
            for part, side in zip(self.parts, self.sides, strict=True):
                x = part(x)
                outs.append(F.interpolate(side(x), 20, mode="bilinear"))
            return [*outs, self.mix(torch.cat(outs, 1))]

    def loss_fn(outs: list[Tensor], goal: Tensor) -> Tensor:
        share = 1 - goal.mean()
        weight = torch.where(goal > 0.5, share, 1 - share)
        return torch.stack([F.binary_cross_entropy_with_logits(o, goal, weight) for o in outs]).sum()

    model = Nested()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return school(
        harness, model, optimizer, loss_fn, (x, edge, vx, vedge), epochs=5, size=12, tell="loss", key="iou",
        score=lambda o, t: iou_of(o[-1], t),
    )  # fmt: skip


@cases.recipe("detector", 0.55)
def objects_as_points(harness: Harness, seed: int) -> float:
    """CenterNet: penalty-reduced focal loss on Gaussian peaks at half size, width by L1 times 0.1 at the peak only."""
    x, boxes, vx, vboxes = signs("boxes", count=480)
    grid = torch.arange(10.0)

    def peaks(b: Tensor) -> tuple[Tensor, Tensor]:
        middle = (b[:, :2] + b[:, 2:]) / 4 - 0.25
        cell = middle.round().clamp(0, 9)
        gap = (grid - cell[:, :1, None]) ** 2 + (grid[:, None] - cell[:, 1:, None]) ** 2
        return (-gap / 2).exp(), (b[:, 2] - b[:, 0]) / 2

    class Points(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(cbr(3, 16), cbr(16, 32, 2), cbr(32, 32))
            self.heat, self.wide = nn.Conv2d(32, 1, 1), nn.Conv2d(32, 1, 1)
            nn.init.constant_(self.heat.bias, -2.19)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.body(x)
            return self.heat(h)[:, 0], self.wide(h)[:, 0]

    def loss_fn(out: tuple[Tensor, Tensor], b: Tensor) -> Tensor:
        heat, width = peaks(b)
        p = out[0].sigmoid().clamp(1e-4, 1 - 1e-4)
        at = heat >= 0.999
        focal = torch.where(at, (1 - p) ** 2 * p.log(), (1 - heat) ** 4 * p**2 * (1 - p).log())
        return -focal.sum() / len(b) + 0.1 * F.l1_loss(out[1][at], width)

    def found(out: tuple[Tensor, Tensor], b: Tensor) -> float:
        heat, width = peaks(b)
        best, right = out[0].flatten(1).argmax(1), heat.flatten(1).argmax(1)
        near = ((best // 10 - right // 10).abs() <= 1) & ((best % 10 - right % 10).abs() <= 1)
        guess = out[1].flatten(1).gather(1, best[:, None])[:, 0]
        return float((near & ((guess - width).abs() < 1)).float().mean())

    model = Points()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    split = x, boxes, vx, vboxes
    return school(harness, model, optimizer, loss_fn, split, epochs=7, size=24, score=found, key="recall", tell="pair")


@cases.recipe("keypoints", 0.6)
def hourglasses_in_a_row(harness: Harness, seed: int) -> float:
    """Two stacked hourglasses, each with heat maps that are supervised; squared error summed over places."""
    x, middle, vx, vmiddle = signs("middles", count=400)
    grid = torch.arange(20.0)

    def heat(m: Tensor) -> Tensor:
        return (-((grid - m[:, :1, None]) ** 2 + (grid[:, None] - m[:, 1:, None]) ** 2) / 4.5).exp()

    class Stacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = cbr(3, 10)
            self.glasses = nn.ModuleList(nn.Sequential(cbr(10, 16, 2), nn.Upsample(scale_factor=2)) for _ in range(2))
            self.feats = nn.ModuleList(nn.Conv2d(16, 10, 1) for _ in range(2))
            self.maps, self.back = nn.ModuleList(nn.Conv2d(10, 1, 1) for _ in range(2)), nn.Conv2d(1, 10, 1)

        def forward(self, x: Tensor) -> Tensor:
            x, outs = self.stem(x), []
            for glass, feat, to_map in zip(self.glasses, self.feats, self.maps, strict=True):
                f = feat(glass(x)).relu() + x
                outs.append(to_map(f))
                x = x + f + self.back(outs[-1]) if len(outs) < 2 else x
            return torch.cat(outs, 1)

    def loss_fn(out: Tensor, m: Tensor) -> Tensor:
        return (out - heat(m)[:, None]).square().sum((1, 2, 3)).mean()

    def near(out: Tensor, m: Tensor) -> float:
        at = out[:, -1].flatten(1).argmax(1)
        return float((torch.stack([at % 20, at // 20], 1) - m).norm(dim=1).le(2.5).float().mean())

    model = Stacked()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2.5e-3)
    split = x, middle, vx, vmiddle
    return school(harness, model, optimizer, loss_fn, split, epochs=6, size=12, score=near, key="pck", percent=True)


@cases.recipe("keypoints", 0.7)
def corners_by_wing_loss(harness: Harness, seed: int) -> float:
    """Four numbers in pixels (two corners) straight from a linear layer, wing loss with w = 5 and eps = 1."""

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        gap = (out - goal).abs()
        offset = 5 - 5 * float(np.log(1 + 5 / 1.0))
        return torch.where(gap < 5, 5 * torch.log1p(gap), gap - offset).sum(1).mean()

    model = nn.Sequential(
        cbr(3, 16), nn.MaxPool2d(2), cbr(16, 24), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(600, 64), nn.ReLU(),
        nn.Linear(64, 4),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    split = signs("boxes", count=500)
    return school(harness, model, optimizer, loss_fn, split, epochs=8, size=20, score=explained, key=None)
