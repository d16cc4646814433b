"""A class for each pixel, by a ninth author, who had not read the rules, without any threshold.

See `healthy_ninth.py`.
"""

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_ninth import train_model
from benchmarks.chart.second import SecondCases, Split, cut, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("ninth")


def cells(count: int = 320, size: int = 32, crowd: int = 5) -> Split:
    """Pictures (N, 1, size, size) of up to `crowd` dim cells and masks (N, 1, size, size) of 0 and 1."""
    draw = np.random.default_rng(921)
    rows, cols = np.mgrid[:size, :size]
    masks = np.zeros((count, 1, size, size))
    light = np.zeros((count, 1, size, size))
    for i in range(count):
        for _ in range(draw.integers(2, crowd + 1)):
            r, c, turn = draw.uniform(4, size - 4), draw.uniform(4, size - 4), draw.uniform(0, np.pi)
            a, b = draw.uniform(3, 5.5), draw.uniform(2, 4)
            u = (cols - c) * np.cos(turn) + (rows - r) * np.sin(turn)
            v = (rows - r) * np.cos(turn) - (cols - c) * np.sin(turn)
            inside = (u / a) ** 2 + (v / b) ** 2 < 1
            masks[i, 0] = np.maximum(masks[i, 0], inside)
            light[i, 0] = np.maximum(light[i, 0], inside * draw.uniform(0.25, 0.5))
    ground = 0.2 + 0.1 * draw.normal(0, 1, (count, 1, 1, 1)) * (cols / size)[None, None]
    images = ground + light + draw.normal(0, 0.08, light.shape)
    return cut(images.clip(0, 1).astype(np.float32), masks.astype(np.float32))


def streets(count: int = 320, size: int = 32) -> Split:
    """Colour pictures (N, 3, size, size) from a car: sky (0), building (1), road (2), car (3)."""
    draw = np.random.default_rng(922)
    rows, cols = np.mgrid[:size, :size]
    masks = np.zeros((count, size, size), np.int64)
    images = np.zeros((count, 3, size, size), np.float32)
    for i in range(count):
        level, slope = draw.uniform(0.45, 0.65) * size, draw.uniform(-0.15, 0.15)
        ground = rows > level + slope * (cols - size / 2)
        for _ in range(draw.integers(1, 4)):
            left, wide, top = draw.integers(0, size - 6), draw.integers(5, 12), draw.uniform(0.05, 0.35) * size
            masks[i][(cols >= left) & (cols < left + wide) & (rows > top)] = 1
        masks[i][ground] = 2
        for _ in range(draw.integers(0, 3)):
            r, c = draw.uniform(level + 1, size - 3), draw.uniform(3, size - 3)
            masks[i][(np.abs(rows - r) < 2.5) & (np.abs(cols - c) < 4)] = 3
        tones = np.array([[0.5, 0.6, 0.75], [0.5, 0.45, 0.4], [0.4, 0.4, 0.42], draw.uniform(0.1, 0.9, 3)])
        tones = tones + draw.normal(0, 0.06, (4, 3)) + draw.normal(0, 0.05)
        images[i] = tones[masks[i]].transpose(2, 0, 1) + draw.normal(0, 0.05, (3, size, size))
    return cut(images.clip(0, 1), masks)


def iou(outputs: Tensor, targets: Tensor) -> float:
    """Overlap of foreground, from logits (N, 1, H, W)."""
    said, real = outputs > 0, targets > 0.5
    return float((said & real).sum() / (said | real).sum().clamp(min=1))


def mean_iou(outputs: Tensor, targets: Tensor) -> float:
    """Mean over classes of the overlap, from logits (N, C, H, W)."""
    said = outputs.argmax(1)
    each = [
        ((said == k) & (targets == k)).sum() / ((said == k) | (targets == k)).sum() for k in range(outputs.shape[1])
    ]
    return float(torch.stack(each).mean())


def dice_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """One less the soft Dice of each picture, averaged."""
    p = outputs.sigmoid().flatten(1)
    t = targets.flatten(1)
    return (1 - (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)).mean()


class DoubleConv(nn.Sequential):
    """(convolution, norm, ReLU) twice."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__(
            nn.Conv2d(into, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True),
            nn.Conv2d(out, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True),
        )  # fmt: skip


class UNet(nn.Module):
    """The well-known one, with two steps down and transposed convolutions or upsampling on the way up."""

    def __init__(self, channels: int, classes: int, width: int = 8, bilinear: bool = False) -> None:
        super().__init__()
        w = width
        self.inc, self.down1, self.down2 = DoubleConv(channels, w), DoubleConv(w, 2 * w), DoubleConv(2 * w, 4 * w)
        self.up1: nn.Module
        self.up2: nn.Module
        if bilinear:
            self.up1 = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(4 * w, 2 * w, 1))
            self.up2 = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(2 * w, w, 1))
        else:
            self.up1, self.up2 = nn.ConvTranspose2d(4 * w, 2 * w, 2, 2), nn.ConvTranspose2d(2 * w, w, 2, 2)
        self.conv1, self.conv2 = DoubleConv(4 * w, 2 * w), DoubleConv(2 * w, w)
        self.outc = nn.Conv2d(w, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each pixel."""
        a = self.inc(x)
        b = self.down1(F.max_pool2d(a, 2))
        c = self.down2(F.max_pool2d(b, 2))
        b = self.conv1(torch.cat([b, self.up1(c)], 1))
        return self.outc(self.conv2(torch.cat([a, self.up2(b)], 1)))


def flip_both(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures and masks of a batch turned alike."""
    for axis in (-1, -2):
        if torch.rand(()) < 0.5:
            x, y = x.flip(axis), y.flip(axis)
    return x, y


@cases.recipe("unet", 0.7)
def cells_by_bce(harness: Harness, seed: int) -> float:
    """U-Net of one class, BCEWithLogitsLoss, Adam 3e-3, batches of 8, flips of pictures and masks alike, IoU."""
    model = UNet(1, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return train_model(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), cells(), epochs=5, size=8, metric=iou, name="iou",
        change=flip_both,
    )  # fmt: skip


@cases.recipe("unet", 0.7)
def cells_by_bce_and_dice_keeping_the_best(harness: Harness, seed: int) -> float:
    """Half BCE and half Dice, AdamW, plateau on the validation loss, the best checkpoint is loaded at the end."""

    def criterion(out: Tensor, goal: Tensor) -> Tensor:
        return 0.5 * F.binary_cross_entropy_with_logits(out, goal) + 0.5 * dice_loss(out, goal)

    model = UNet(1, 1, bilinear=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1, factor=0.3)
    return train_model(
        harness, model, optimizer, criterion, cells(), epochs=6, size=8, metric=iou, name="iou", scheduler=scheduler,
        when="plateau", keep_best=True, change=flip_both,
    )  # fmt: skip


@cases.recipe("unet", 0.65)
def streets_by_cross_entropy(harness: Harness, seed: int) -> float:
    """Four classes from a car, U-Net, cross-entropy, SGD with momentum and polynomial decay per step, mean IoU."""
    model = UNet(3, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, 40 * 6, power=0.9)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), streets(), epochs=6, size=6, metric=mean_iou, name="iou",
        scheduler=scheduler, when="batch",
    )  # fmt: skip


@cases.recipe("unet", 0.65)
def streets_with_weights_for_cars(harness: Harness, seed: int) -> float:
    """Class weights by the root of inverse frequency, one-cycle, clipping, horizontal flips, told by the loss only."""
    x, y, vx, vy = streets()
    share = y.flatten().bincount(minlength=4).float() / y.numel()
    criterion = nn.CrossEntropyLoss(weight=(0.25 / share).sqrt())
    model = UNet(3, 4, bilinear=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=30 * 6)

    def mirror(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return (x.flip(-1), y.flip(-1)) if torch.rand(()) < 0.5 else (x, y)

    return train_model(
        harness, model, optimizer, criterion, (x, y, vx, vy), epochs=6, size=8, metric=mean_iou, name="iou",
        scheduler=scheduler, when="batch", clip=1.0, change=mirror, told="loss",
    )  # fmt: skip


@cases.recipe("fcn", 0.6)
def streets_by_a_plain_fcn(harness: Harness, seed: int) -> float:
    """An encoder with strides, a 1x1 head at a quarter of the size, bilinear upsampling; Adam, no augmentation."""

    class FCN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
            self.deep = nn.Sequential(
                nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU()
            )
            self.score, self.skip = nn.Conv2d(32, 4, 1), nn.Conv2d(16, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            half = self.stem(x)
            up = F.interpolate(self.score(self.deep(half)), scale_factor=2, mode="bilinear")
            return F.interpolate(up + self.skip(half), scale_factor=2, mode="bilinear")

    model = FCN()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), streets(), epochs=8, size=10, metric=mean_iou, name="iou"
    )


@cases.recipe("unet", 0.6)
def signs_in_three_classes(harness: Harness, seed: int) -> float:
    """Masks of 0, 1 and 2 by a U-Net with bfloat16 autocast, Adam, small steps; validated after each of six epochs."""
    x, y, vx, vy = signs("masks", 480)
    model = UNet(3, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), (x, y, vx, vy), epochs=6, size=10, metric=mean_iou,
        name="iou", cast=torch.bfloat16,
    )  # fmt: skip


@cases.recipe("unet", 0.7)
def cells_with_tiny_batches_and_group_norm(harness: Harness, seed: int) -> float:
    """Batches of two, group norm in place of batch norm, four batches per step, Dice alone."""

    def part(into: int, out: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(into, out, 3, padding=1), nn.GroupNorm(4, out), nn.LeakyReLU(0.01, inplace=True))

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = part(1, 12), part(12, 24), part(24, 24)
            self.up, self.out = part(36, 12), nn.Conv2d(12, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            a = self.a(x)
            low = self.c(self.b(F.max_pool2d(a, 2)))
            return self.out(self.up(torch.cat([a, F.interpolate(low, scale_factor=2)], 1)))

    model = Small()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return train_model(
        harness, model, optimizer, dice_loss, cells(384), epochs=4, size=2, accumulate=4, metric=iou, name="iou"
    )


@cases.recipe("unet", 0.65)
def cells_with_a_trained_encoder(harness: Harness, seed: int) -> float:
    """The encoder comes from counting cells and learns ten times slower than the decoder; BCE, cosine per epoch."""
    x, y, vx, vy = cells(360)
    net = UNet(1, 1)
    down = nn.Sequential(net.inc, nn.MaxPool2d(2), net.down1, nn.MaxPool2d(2), net.down2)
    head = nn.Linear(32, 1)
    first = torch.optim.Adam([*down.parameters(), *head.parameters()], lr=3e-3)
    share = y.mean((1, 2, 3))[:, None] * 10
    for _ in range(4):
        for rows in torch.randperm(len(x)).split(16):
            first.zero_grad()
            F.mse_loss(head(down(x[rows]).mean((2, 3))), share[rows]).backward()
            first.step()
    slow = list(down.parameters())
    ids = {id(p) for p in slow}
    fast = [p for p in net.parameters() if id(p) not in ids]
    optimizer = torch.optim.Adam([{"params": slow, "lr": 3e-4}, {"params": fast, "lr": 3e-3}])
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    return train_model(
        harness, net, optimizer, nn.BCEWithLogitsLoss(), (x, y, vx, vy), epochs=6, size=8, metric=iou, name="iou",
        scheduler=scheduler,
    )  # fmt: skip
