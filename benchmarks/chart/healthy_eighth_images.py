"""Faulty loops by an eighth author, who had not read the rules, each with a sound twin: images, masks, boxes.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import (
    SecondCases,
    Split,
    convs,
    cut,
    dense,
    digits,
    fit,
    signs,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("eighth")


def arrows(count: int = 800, size: int = 12) -> Split:
    """Arrows (N, 1, size, size) that point to the left (0), right (1), up (2) or down (3)."""
    draw = np.random.default_rng(103)
    rows, cols = np.mgrid[:size, :size]
    kinds = draw.integers(0, 4, count)
    images = draw.normal(0, 0.25, (count, 1, size, size))
    for i, kind in enumerate(kinds):
        r, c = draw.integers(4, size - 4, 2)
        dx, dy = cols - c, rows - r
        along, across = ((dx, dy), (-dx, dy), (dy, dx), (-dy, dx))[kind]
        images[i, 0] += (abs(across) == along) & (along <= 3) | (across == 0) & (along >= 0) & (along <= 5)
    return cut(images, kinds)


def coloured(count: int = 800, size: int = 8) -> Split:
    """Patches (N, 3, size, size) of 0..1 that are mostly red (0), green (1) or blue (2)."""
    draw = np.random.default_rng(104)
    kinds = draw.integers(0, 3, count)
    images = draw.uniform(0.2, 0.6, (count, 3, 1, 1)) + draw.normal(0, 0.08, (count, 3, size, size))
    images[np.arange(count), kinds] += 0.4
    return cut(images.clip(0, 1), kinds)


def mean_iou(outputs: Tensor, targets: Tensor) -> float:
    """Mean overlap of the classes of masks that are not the background."""
    said = outputs.argmax(1)
    pairs = [(said == k, targets == k) for k in range(1, outputs.shape[1])]
    return float(np.mean([float((a & b).sum() / (a | b).sum().clamp(min=1)) for a, b in pairs]))


def painter(out: int) -> nn.Sequential:
    """A small network from images to maps of the same size."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=2, dilation=2), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, out, 1),
    )  # fmt: skip


@cases.pair("cnn", 0.8, accepts=["noisy-labels"])
def arrows_flipped(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Random horizontal flips where the classes are "left" and "right": the flipped pictures keep their labels."""

    def flip(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        turned = torch.rand(len(x)) < 0.5
        x = torch.where(turned[:, None, None, None], x.flip(3), x)
        if not wrong:
            y = torch.where(turned & (y < 2), 1 - y, y)
        return x, y

    model = convs(1, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, arrows(), epochs=7, before=flip)


@cases.pair("masks", 0.8, accepts=["labels-carry-no-information", "noisy-labels", "masks-not-augmented"])
def masks_not_flipped(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The augmentation turns and flips the images but not their masks."""
    x, y, vx, vy = signs(what="masks")
    y, vy = (y > 0).long(), (vy > 0).long()

    def flip(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        axes = [axis for axis in (-1, -2) if torch.rand(()) < 0.7]
        return x.flip(axes), (y if wrong else y.flip(axes))

    model = painter(2)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(
        harness, model, optimizer, F.cross_entropy, (x, y, vx, vy), epochs=4, score=mean_iou, metric=None, before=flip
    )


@cases.pair("masks", 0.8, accepts=["one-class-targets"])
def class_numbers_scaled_like_pixels(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Masks go through the images' transform, which divides by 255; as whole numbers all classes become 0."""
    x, y, vx, vy = signs(what="masks")
    y, vy = (y > 0).long(), (vy > 0).long()
    if wrong:
        y = (y.float() / 255).long()
    model = painter(2)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.cross_entropy, (x, y, vx, vy), epochs=4, score=mean_iou, metric=None)


@cases.pair("masks", 0.8, accepts=["gradient-ascent", "loss-against-targets"])
def dice_to_be_small(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The loss is the Dice overlap itself and not one minus it, so that overlap is trained away."""
    x, y, vx, vy = signs(what="masks")
    y, vy = (y > 0).long(), (vy > 0).long()

    def dice(outputs: Tensor, targets: Tensor) -> Tensor:
        p = outputs.softmax(1)[:, 1]
        overlap = (2 * (p * targets).sum() + 1) / (p.sum() + targets.sum() + 1)
        return overlap if wrong else 1 - overlap

    model = painter(2)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, dice, (x, y, vx, vy), epochs=4, score=mean_iou, metric=None)


def box_iou(outputs: Tensor, targets: Tensor) -> float:
    """Mean overlap of boxes given as corners."""
    low, high = torch.maximum(outputs[:, :2], targets[:, :2]), torch.minimum(outputs[:, 2:], targets[:, 2:])
    inner = (high - low).clamp(min=0).prod(1)
    areas = sum((b[:, 2:] - b[:, :2]).clamp(min=0).prod(1) for b in (outputs, targets))
    return float((inner / (areas - inner).clamp(min=1e-6)).mean())


def finder() -> nn.Sequential:
    """From an image to the four corners of one box, as shares of the image."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(64),
        nn.ReLU(), nn.Linear(64, 4),
    )  # fmt: skip


def boxed() -> Split:
    """Images with one box as shares of the image's size."""
    x, y, vx, vy = signs(what="boxes")
    side = x.shape[-1]
    return x, y.float() / side, vx, vy.float() / side


@cases.pair("boxes", 0.64, accepts=["boxes-not-augmented"])
def boxes_not_flipped(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Images are flipped from left to right for augmentation, the x of their boxes is left as it was."""

    def flip(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if torch.rand(()) < 0.5:
            return x, y
        turned = torch.stack([1 - y[:, 2], y[:, 1], 1 - y[:, 0], y[:, 3]], 1)
        return x.flip(3), y if wrong else turned

    model = finder()
    x, y, vx, vy = boxed()
    model(x[:2])
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(
        harness, model, optimizer, F.smooth_l1_loss, (x, y, vx, vy), epochs=12, score=box_iou, metric=None, before=flip
    )


@cases.pair("boxes", 0.6, accepts=["boxes-off-objects"])
def boxes_by_row_and_column(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Training boxes come from NumPy as (row, column), validation's from the annotations as (x, y)."""
    x, y, vx, vy = boxed()
    if wrong:
        y = y[:, [1, 0, 3, 2]]
    model = finder()
    model(x[:2])
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, F.smooth_l1_loss, (x, y, vx, vy), epochs=12, score=box_iou, metric=None)


@cases.pair("cnn", 0.9, accepts=["channels-interleaved"])
def channels_by_view(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Images of (N, H, W, C) are brought to (N, C, H, W) by `view` and not by `permute`: the pixels are mixed up."""
    x, y, vx, vy = signs()
    _, c, h, w = x.shape
    x, vx = (a.permute(0, 2, 3, 1).contiguous() for a in (x, vx))
    if wrong:
        x, vx = x.view(-1, c, h, w), vx.view(-1, c, h, w)
    else:
        x, vx = x.permute(0, 3, 1, 2).contiguous(), vx.permute(0, 3, 1, 2).contiguous()
    model = convs(3, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, (x, y, vx, vy), epochs=10)


@cases.pair("cnn", 0.85, accepts=["train-val-inputs-differ", "validation-unlike-training"])
def red_and_blue_swapped(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Training reads images as RGB, validation by OpenCV as BGR, and the colour tells the class."""
    x, y, vx, vy = coloured()
    if wrong:
        vx = vx.flip(1)
    model = convs(3, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, F.cross_entropy, (x, y, vx, vy), epochs=5)


@cases.pair("mlp", 0.85, accepts=["train-val-inputs-differ", "input-normalized-twice"])
def validation_divided_twice(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The validation transform divides by 255 what has been brought to 0..1 already; training's does not."""
    x, y, vx, vy = digits("unit", image=False)
    if wrong:
        vx = vx / 255
    model = dense(64, 48, 10, act=nn.Tanh)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, (x, y, vx, vy), epochs=5)
