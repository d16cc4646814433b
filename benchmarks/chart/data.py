"""Small data for the subjects: scikit-learn's digits, diabetes and wine, and synthetic images, texts and series."""

from functools import cache

import numpy as np
import torch
from benchmarks.chart.program import Data
from sklearn.datasets import load_diabetes, load_digits, load_wine
from torch import Tensor

DIGITS_MEAN, DIGITS_STD = 4.884, 6.017
"""Of the pixels of scikit-learn's digits, which run from 0 to 16."""
PIXEL_MEAN, PIXEL_STD = 110.0, 60.0
"""Of the pixels of `shapes`, about; they run from 0 to 255."""
VOCABULARY = 20


@cache
def _digits() -> tuple[Tensor, Tensor]:
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return torch.tensor(x[order], dtype=torch.float32), torch.tensor(y[order])


def digits(train: int = 960, val: int = 400) -> tuple[Data, Data]:
    """Images of digits, (N, 64) float32 in 0..16, and their classes 0..9. `train` + `val` is at most 1797."""
    x, y = _digits()
    return Data(x[:train].clone(), y[:train].clone()), Data(x[-val:].clone(), y[-val:].clone())


def normalise_digits(x: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1."""
    return (x - DIGITS_MEAN) / DIGITS_STD


def diabetes() -> tuple[Data, Data]:
    """Ten standardised features of 442 patients; the target (N, 1) is standardised, too."""
    return _table(*load_diabetes(return_X_y=True), regression=True)


def wine() -> tuple[Data, Data]:
    """Thirteen standardised features of 178 wines of 3 cultivars."""
    return _table(*load_wine(return_X_y=True), regression=False)


def _table(x: np.ndarray, y: np.ndarray, regression: bool) -> tuple[Data, Data]:
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    x = (x - x.mean(0)) / x.std(0)
    target = torch.tensor(((y - y.mean()) / y.std())[:, None], dtype=torch.float32) if regression else torch.tensor(y)
    features, cut = torch.tensor(x, dtype=torch.float32), len(x) * 3 // 4
    return Data(features[:cut], target[:cut]), Data(features[cut:], target[cut:])


@cache
def _scenes(
    count: int, size: int, objects: int, seed: int, reach: tuple[float, float] = (0.125, 0.2)
) -> tuple[Tensor, Tensor, tuple[dict[str, Tensor], ...]]:
    """Images (N, 3, size, size) of 0..255, masks (N, size, size) and boxes of `objects` or fewer shapes.

    `reach`: half of an object's side, least and most, as shares of the image's.
    """
    draw = np.random.default_rng(seed)
    rows, cols = np.mgrid[:size, :size]
    images, masks, targets = [], [], []
    for _ in range(count):
        image = draw.uniform(30, 110, (3, 1, 1)) + draw.normal(0, 8, (3, size, size))
        mask = np.zeros((size, size), np.int64)
        boxes, labels = [], []
        for _ in range(draw.integers(1, objects + 1)):
            kind, half = int(draw.integers(3)), int(draw.integers(int(size * reach[0]), int(size * reach[1]) + 1))
            r, c = draw.integers(half, size - half, 2)
            box = (c - half, r - half, c + half, r + half)
            if any(min(box[2], b[2]) > max(box[0], b[0]) and min(box[3], b[3]) > max(box[1], b[1]) for b in boxes):
                continue  # Objects do not overlap.
            dr, dc = rows - r, cols - c
            inside = (
                (abs(dr) < half) & (abs(dc) < half),
                dr**2 + dc**2 < half**2,
                (abs(dr) < half) & (abs(dc) * 2 < dr + half),
            )[kind]
            image[:, inside] = draw.uniform(130, 250, (3, 1)) + draw.normal(0, 8, (3, int(inside.sum())))
            mask[inside] = kind + 1
            boxes.append(box)
            labels.append(kind)
        images.append(image.clip(0, 255))
        masks.append(mask)
        targets.append(
            {"boxes": torch.tensor(boxes, dtype=torch.float32), "labels": torch.tensor(labels, dtype=torch.int64)}
        )
    return torch.tensor(np.stack(images), dtype=torch.float32), torch.tensor(np.stack(masks)), tuple(targets)


def normalise_pixels(x: Tensor) -> Tensor:
    """Pixels of 0..255 to about mean 0 and standard deviation 1."""
    return (x.float() - PIXEL_MEAN) / PIXEL_STD


def shapes(train: int = 512, val: int = 256, size: int = 16) -> tuple[Data, Data]:
    """One square, disc or triangle per image, (N, 3, size, size) in 0..255; the class is 0, 1 or 2."""
    x, _, targets = _scenes(train + val, size, 1, 1, (0.25, 0.4))
    y = torch.stack([t["labels"][0] for t in targets])
    return Data(x[:train].clone(), y[:train]), Data(x[train:].clone(), y[train:])


def masks(train: int = 256, val: int = 96, size: int = 32) -> tuple[Data, Data]:
    """Scenes of 1 to 3 shapes with masks (N, size, size): 0 is background, 1..3 the kinds of shapes."""
    x, y, _ = _scenes(train + val, size, 3, 2)
    return Data(x[:train].clone(), y[:train].clone()), Data(x[train:].clone(), y[train:].clone())


def boxes(train: int = 384, val: int = 96, size: int = 32) -> tuple[Data, Data]:
    """Scenes of 1 to 3 shapes; a target is {"boxes": (n, 4) xyxy pixels, "labels": (n,) of 0..2}."""
    x, _, targets = _scenes(train + val, size, 3, 3)
    copies = [{key: value.clone() for key, value in t.items()} for t in targets]
    return Data(x[:train].clone(), copies[:train]), Data(x[train:].clone(), copies[train:])


def text(train: int = 768, val: int = 256, length: int = 24) -> tuple[Data, Data]:
    """Lines of tokens 1..19 (0 is padding, unused here) for the next token: x (N, length), y the same one later.

    A line counts up or down in steps of 1 to 3 and turns at a token divisible by 5; one in twenty tokens is random.
    No two lines begin with the same 14 tokens.
    """
    draw = np.random.default_rng(4)
    lines = np.zeros((4 * (train + val), length + 1), np.int64)
    for line in lines:
        token, stride = draw.integers(VOCABULARY - 1), draw.integers(1, 4) * draw.choice([-1, 1])
        for i in range(length + 1):
            line[i] = token + 1
            if token % 5 == 0 and i:
                stride = -stride
            token = (draw.integers(VOCABULARY - 1) if draw.random() < 0.05 else token + stride) % (VOCABULARY - 1)
    different = np.sort(np.unique(lines[:, :14], axis=0, return_index=True)[1])[: train + val]
    tokens = torch.tensor(lines[different])
    return Data(tokens[:train, :-1], tokens[:train, 1:]), Data(tokens[train:, :-1], tokens[train:, 1:])


def series(train: int = 640, val: int = 256, length: int = 24) -> tuple[Data, Data]:
    """Noisy waves (N, length, 2) of mean 0 and deviation about 1; the class says which of 4 forms the wave has."""
    draw = np.random.default_rng(5)
    y = draw.integers(4, size=train + val)
    t = np.arange(length)[None] * draw.uniform(0.3, 0.6, (train + val, 1)) + draw.uniform(
        0, 2 * np.pi, (train + val, 1)
    )
    forms = np.stack([np.sin(t), np.sign(np.sin(t)), 2 * np.abs((t / np.pi) % 2 - 1) - 1, np.sin(t) * np.sin(t / 3)])
    wave = forms[y, np.arange(train + val)] * 1.4
    other = np.cos(t) + draw.normal(0, 0.5, wave.shape)
    x = torch.tensor(np.stack([wave + draw.normal(0, 0.3, wave.shape), other], -1), dtype=torch.float32)
    label = torch.tensor(y)
    return Data(x[:train], label[:train]), Data(x[train:], label[train:])
