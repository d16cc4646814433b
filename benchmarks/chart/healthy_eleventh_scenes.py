"""Masks of pictures, by an eleventh author, who had not read the rules, without any threshold.

See `healthy_eleventh.py`.
"""

from functools import cache

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eleventh import block, leaves, standard, train
from benchmarks.chart.second import SecondCases, Split, cut, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("eleventh")


class UNet(nn.Module):
    """Two steps down, two up, with concatenated shortcuts."""

    def __init__(self, channels: int = 3, out: int = 1, width: int = 12) -> None:
        super().__init__()
        self.down1, self.down2 = block(channels, width), block(width, 2 * width)
        self.deep = block(2 * width, 4 * width)
        self.up2, self.up1 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.mix2, self.mix1 = block(4 * width, 2 * width), block(2 * width, width)
        self.head = nn.Conv2d(width, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the picture's size."""
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        h = self.mix2(torch.cat([self.up2(self.deep(F.max_pool2d(b, 2))), b], 1))
        return self.head(self.mix1(torch.cat([self.up1(h), a], 1)))


def overlap(outputs: Tensor, targets: Tensor) -> float:
    """IoU of the foreground of one logit."""
    said, real = outputs > 0, targets > 0.5
    return float((said & real).sum() / (said | real).sum().clamp(min=1))


def mean_overlap(outputs: Tensor, targets: Tensor) -> float:
    """Mean IoU of classes."""
    said = F.one_hot(outputs.argmax(1), outputs.shape[1]).flatten(0, 2) > 0
    real = F.one_hot(targets, outputs.shape[1]).flatten(0, 2) > 0
    return float(((said & real).sum(0) / (said | real).sum(0).clamp(min=1)).mean())


def dice_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """One less the soft Dice over the batch."""
    p = outputs.sigmoid()
    return 1 - (2 * (p * targets).sum() + 1) / (p.sum() + targets.sum() + 1)


@cache
def _streets(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1140)
    rows, cols = np.mgrid[:size, :size]
    x, y = draw.uniform(0.3, 0.6, (count, 3, 1, 1)) + draw.normal(0, 0.08, (count, 3, size, size)), []
    for i in range(count):
        mask = np.zeros((size, size), bool)
        for _ in range(draw.integers(1, 3)):
            turn, off = draw.uniform(0, np.pi), draw.uniform(-0.3, 0.3) * size
            mask |= abs((rows - size / 2) * np.cos(turn) + (cols - size / 2) * np.sin(turn) - off) < 1.6
        x[i][:, mask] += draw.choice([-1, 1]) * draw.uniform(0.2, 0.35)
        y.append(mask)
    return x.clip(0, 1), np.stack(y)[:, None].astype(np.float32)


def streets(count: int = 400, size: int = 24) -> Split:
    """Colour pictures (N, 3, size, size) from above and masks (N, 1, size, size) of the roads."""
    return cut(*_streets(count, size))


@cases.recipe("unet", 0.6)
def roads_by_bce_and_dice(harness: Harness, seed: int) -> float:
    """U-Net for roads: BCE plus Dice, Adam at 2e-3, batches of 8, the IoU of validation is told, the best kept."""
    model = UNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return train(
        harness, model, optimizer, lambda o, t: F.binary_cross_entropy_with_logits(o, t) + dice_loss(o, t), streets(),
        epochs=5, size=8, metric=overlap, name="iou", best="metric",
    )  # fmt: skip


@cases.recipe("unet", 0.6)
def ill_parts_of_leaves(harness: Harness, seed: int) -> float:
    """Sick tissue, a twentieth of the pixels: BCE with pos_weight 3, AdamW, cosine, flips of pictures and masks."""
    x, y, vx, vy = standard(leaves(600, what="masks"))

    def flip(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if torch.rand(()) < 0.5:
            x, y = x.flip(3), y.flip(3)
        return (x.flip(2), y.flip(2)) if torch.rand(()) < 0.5 else (x, y)

    model = UNet(width=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    return train(
        harness, model, optimizer, nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0)),
        (x, y[:, None].float(), vx, vy[:, None].float()), epochs=6, size=16, metric=overlap, name="iou",
        scheduler=scheduler, augment=flip,
    )  # fmt: skip


@cases.recipe("fcn", 0.55)
def signs_by_a_dilated_network(harness: Harness, seed: int) -> float:
    """Three classes per pixel by dilated convolutions, no pooling, cross-entropy, SGD, polynomial decay per step."""

    def deep(into: int, out: int, hole: int) -> nn.Sequential:
        conv = nn.Conv2d(into, out, 3, padding=hole, dilation=hole, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU())

    model = nn.Sequential(deep(3, 16, 1), deep(16, 24, 2), deep(24, 24, 4), deep(24, 24, 1), nn.Conv2d(24, 3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, 8 * 30, 0.9)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), standard(signs("masks", 640)), epochs=8, size=16,
        metric=mean_overlap, name="miou", scheduler=scheduler, when="batch", told="pair",
    )  # fmt: skip


@cases.recipe("unet", 0.5)
def signs_with_a_dict_of_outputs(harness: Harness, seed: int) -> float:
    """{"out", "aux"} as in the library: the sum of cross-entropy and 0.4 of the auxiliary one, outputs told as dict."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.early, self.late = block(3, 16), nn.Sequential(block(16, 32, 2), block(32, 32))
            self.head, self.aux = nn.Conv2d(48, 3, 3, padding=1), nn.Conv2d(16, 3, 1)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            a = self.early(x)
            up = F.interpolate(self.late(a), scale_factor=2, mode="bilinear", align_corners=False)
            return {"out": self.head(torch.cat([a, up], 1)), "aux": self.aux(a)}

    def criterion(o: dict[str, Tensor], t: Tensor) -> Tensor:
        return F.cross_entropy(o["out"], t) + 0.4 * F.cross_entropy(o["aux"], t)

    model = Two()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return train(
        harness, model, optimizer, criterion, standard(signs("masks", 640)), epochs=7, size=16, name="miou",
        metric=lambda o, t: mean_overlap(o["out"], t),
    )  # fmt: skip
