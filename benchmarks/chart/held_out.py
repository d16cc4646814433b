"""Data, networks and a loop of the held-out cases: what the other cases of the chart do not use."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from benchmarks.chart.case import Cases, Harness
from sklearn.datasets import load_breast_cancer, load_wine, make_moons
from torch import Tensor, nn
from torch.optim import Optimizer

Split = tuple[Tensor, Tensor, Tensor, Tensor]
"""Training inputs and targets, validation inputs and targets."""
VOCABULARY = 31


class UnseenCases(Cases):
    """Healthy cases of a held-out module count among the unseen ones."""

    def _well(self) -> Literal["unseen"]:
        return "unseen"


def cut(x: Any, y: Any, share: float = 0.75, seed: int = 0) -> Split:
    """Shuffled rows, the first `share` of them for training."""
    order = np.random.default_rng(seed).permutation(len(x))
    inputs, targets = torch.as_tensor(np.asarray(x))[order], torch.as_tensor(np.asarray(y))[order]
    if inputs.dtype == torch.float64:
        inputs = inputs.float()
    at = int(len(x) * share)
    return inputs[:at].clone(), targets[:at].clone(), inputs[at:].clone(), targets[at:].clone()


def standardised(split: Split) -> Split:
    """Features by mean and deviation of the training part."""
    x, y, vx, vy = split
    mean, std = x.mean(0), x.std(0)
    return (x - mean) / std, y, (vx - mean) / std, vy


def cancer(raw: bool = False) -> Split:
    """Thirty features of 569 tumours, 0 malignant, 1 benign."""
    split = cut(*load_breast_cancer(return_X_y=True))
    return split if raw else standardised(split)


def wine(raw: bool = False) -> Split:
    """Thirteen features of 178 wines of 3 cultivars."""
    split = cut(*load_wine(return_X_y=True))
    return split if raw else standardised(split)


def moons(count: int = 960, noise: float = 0.2) -> Split:
    """Two interleaved half circles, about standardised."""
    return standardised(cut(*make_moons(count, noise=noise, random_state=0)))


@cache
def _shapes(count: int, size: int) -> tuple[np.ndarray, ...]:
    draw = np.random.default_rng(7)
    rows, cols = np.mgrid[:size, :size]
    images = draw.normal(0.25, 0.05, (count, 1, size, size))
    kinds, half = draw.integers(0, 3, count), draw.integers(3, size // 4 + 1, count)
    centre = draw.integers(size // 4 + 1, size - size // 4, (count, 2))
    masks = np.zeros((count, size, size), np.int64)
    for i in range(count):
        dy, dx, h = rows - centre[i, 1], cols - centre[i, 0], half[i]
        inside = (
            dy**2 + dx**2 <= h**2,
            (np.maximum(abs(dy), abs(dx)) <= h) & (np.maximum(abs(dy), abs(dx)) >= h - 1),
            (np.minimum(abs(dy), abs(dx)) <= h // 3) & (np.maximum(abs(dy), abs(dx)) <= h),
        )[kinds[i]]
        images[i, 0] += inside * draw.uniform(0.4, 0.6)
        masks[i] = inside
    boxes = np.concatenate([centre - half[:, None], centre + half[:, None] + 1], 1).clip(0, size)
    return images.astype(np.float32), kinds, masks, centre.astype(np.float32), boxes.astype(np.float32)


def shapes(what: str = "kinds", count: int = 800, size: int = 16) -> Split:
    """Grey images (N, 1, size, size) in 0..1 with one disc, frame or cross, standardised.

    `what`: the targets: kinds (N,), masks (N, size, size), centres (N, 2) x and y, or boxes (N, 4) of corners, pixels.
    """
    images, kinds, masks, centres, boxes = _shapes(count, size)
    images = (images - images.mean()) / images.std()
    return cut(images, {"kinds": kinds, "masks": masks, "centres": centres, "boxes": boxes}[what])


def waves(count: int = 640, length: int = 48) -> Split:
    """Noisy series (N, length, 1) of a sine, a square, a saw or a chirp."""
    draw = np.random.default_rng(3)
    kinds = draw.integers(0, 4, count)
    t = np.arange(length)[None] / length
    phase = draw.uniform(0, 1, (count, 1)) + t * draw.uniform(2, 4, (count, 1))
    sine, chirp = np.sin(2 * np.pi * phase), np.sin(2 * np.pi * (phase + 4 * t**2))
    forms = np.stack([sine, np.sign(sine), 2 * (phase % 1) - 1, chirp])
    series = forms[kinds, np.arange(count)] + draw.normal(0, 0.2, (count, length))
    return cut(series[..., None].astype(np.float32), kinds)


def reviews(count: int = 800, length: int = 20) -> Split:
    """Token ids (N, length), 0 is padding; class 1 where words 1..10 outnumber words 11..20."""
    draw = np.random.default_rng(5)
    tokens = draw.integers(1, VOCABULARY, (count, length))
    tokens[np.arange(length)[None] >= draw.integers(5, length + 1, (count, 1))] = 0
    good, bad = ((tokens > 0) & (tokens <= 10)).sum(1), ((tokens > 10) & (tokens <= 20)).sum(1)
    return cut(tokens, (good > bad).astype(np.int64))


def sentences(count: int = 640, length: int = 25) -> tuple[Tensor, Tensor]:
    """Token ids (N, length) of texts in which a word mostly settles the next; training and validation part."""
    draw = np.random.default_rng(9)
    follow = np.stack([draw.permutation(np.arange(1, VOCABULARY)) for _ in range(2)])
    out = np.empty((count, length), np.int64)
    out[:, 0] = draw.integers(1, VOCABULARY, count)
    for i in range(1, length):
        out[:, i] = follow[(draw.random(count) < 0.2).astype(int), out[:, i - 1] - 1]
    at = count * 3 // 4
    return torch.tensor(out[:at]), torch.tensor(out[at:])


def batches(x: Tensor, y: Tensor, size: int = 32) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of shuffled batches, the incomplete last one dropped."""
    for rows in torch.randperm(len(x)).split(size)[: len(x) // size]:
        yield x[rows], y[rows]


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Share of right classes; classes on axis 1."""
    return float((outputs.argmax(1) == targets).float().mean())


def fit(
    harness: Harness,
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[..., Tensor],
    split: Split,
    *,
    epochs: int = 8,
    size: int = 32,
    scheduler: Any = None,
    per_batch: bool = False,
    measure: Callable[[Tensor, Tensor], float] | None = accuracy,
) -> float | None:
    """The usual loop, with a validation after each epoch. Returns the last score."""
    x, y, vx, vy = split
    harness.begin(model, optimizer, loss_fn=loss_fn)
    val: dict[str, float] = {}
    for _ in range(epochs):
        model.train()
        total = []
        for inputs, targets in batches(x, y, size):
            optimizer.zero_grad()
            outputs = model(inputs)
            loss = loss_fn(outputs, targets)
            loss.backward()
            optimizer.step()
            if scheduler is not None and per_batch:
                scheduler.step()
            total.append(loss.item())
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=outputs)
        if scheduler is not None and not per_batch:
            scheduler.step()
        model.eval()
        with torch.no_grad():
            outputs = model(vx)
            val = {"loss": float(loss_fn(outputs, vy))}
            if measure is not None:
                val["accuracy"] = measure(outputs, vy)
        harness.epoch(train={"loss": float(np.mean(total))}, val=val)
    return val.get("accuracy")


def table_net(features: int, outputs: int, width: int = 48) -> nn.Sequential:
    """Three linear layers with GELU."""
    return nn.Sequential(
        nn.Linear(features, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, outputs)
    )


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, LayerNorm over channels, an inverted bottleneck and a scale per channel."""

    def __init__(self, width: int, scale: float = 0.1) -> None:
        super().__init__()
        self.dw, self.norm = nn.Conv2d(width, width, 5, padding=2, groups=width), nn.LayerNorm(width)
        self.pw1, self.pw2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        h = self.norm(self.dw(x).permute(0, 2, 3, 1))
        h = self.gamma * self.pw2(nn.functional.gelu(self.pw1(h)))
        return x + h.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """A stem, two blocks and a classifier."""

    def __init__(self, classes: int = 3, width: int = 24, scale: float = 0.1) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 2, stride=2)
        self.blocks = nn.Sequential(ConvNeXtBlock(width, scale), ConvNeXtBlock(width, scale))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.head(self.norm(self.blocks(self.stem(x)).mean((2, 3))))


class MixerBlock(nn.Module):
    """MLP over tokens and MLP over channels."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(tokens, 32), nn.GELU(), nn.Linear(32, tokens))
        self.channels = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, width) to the same."""
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Mixer(nn.Module):
    """MLP-Mixer on 16 patches."""

    def __init__(self, classes: int = 3, width: int = 32) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 4, stride=4)
        self.blocks = nn.Sequential(MixerBlock(16, width), MixerBlock(16, width))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.head(self.norm(self.blocks(self.patch(x).flatten(2).transpose(1, 2))).mean(1))


class SmallUNet(nn.Module):
    """One level down and up, with a skip connection; logits (N, classes, H, W)."""

    def __init__(self, classes: int = 2, width: int = 8) -> None:
        super().__init__()

        def double(into: int, out: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(into, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(), nn.Conv2d(out, out, 3, padding=1),
                nn.BatchNorm2d(out), nn.ReLU(),
            )  # fmt: skip

        self.down, self.middle, self.up = double(1, width), double(width, 2 * width), double(3 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        fine = self.down(x)
        coarse = nn.functional.interpolate(self.middle(nn.functional.max_pool2d(fine, 2)), scale_factor=2.0)
        return self.head(self.up(torch.cat([fine, coarse], 1)))


class CausalTCN(nn.Module):
    """Dilated convolutions over an embedding; each position sees itself and earlier ones. Logits (N, T, vocabulary)."""

    def __init__(self, causal: bool = True, width: int = 32) -> None:
        super().__init__()
        self.causal = causal
        self.embed = nn.Embedding(VOCABULARY, width)
        self.convs = nn.ModuleList([nn.Conv1d(width, width, 3, dilation=d) for d in (1, 2)])
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, x: Tensor) -> Tensor:
        """From ids (N, T)."""
        h = self.embed(x).transpose(1, 2)
        for conv in self.convs:
            reach = 2 * conv.dilation[0]
            pad = (reach, 0) if self.causal else (reach // 2, reach // 2)
            h = h + nn.functional.relu(conv(nn.functional.pad(h, pad)))
        return self.head(h.transpose(1, 2))


class CenterDetector(nn.Module):
    """A tiny anchor-free detector: a heatmap of 3 classes and the distances to the 4 sides, at stride 2."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        )  # fmt: skip
        self.heat, self.sides = nn.Conv2d(width, 3, 1), nn.Conv2d(width, 4, 1)
        nn.init.constant_(self.heat.bias, -3.0)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """ "heat" (N, 3, H/2, W/2) logits and "sides" (N, 4, H/2, W/2) in pixels."""
        h = self.trunk(x)
        return {"heat": self.heat(h), "sides": nn.functional.softplus(self.sides(h)) * 2}


def detection_loss(outputs: dict[str, Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
    """Focal loss of the heatmap, and L1 of the sides at cells that lie inside a box; boxes are corners in pixels."""
    heat, sides = outputs["heat"], outputs["sides"]
    where = (torch.arange(heat.shape[-1]) + 0.5) * 2
    wanted, box_loss, positives = torch.zeros_like(heat), heat.new_zeros(()), 0
    for i, target in enumerate(targets):
        for box, label in zip(target["boxes"], target["labels"], strict=True):
            x, y = where[None, :], where[:, None]
            four = torch.stack([x - box[0] + 0 * y, y - box[1] + 0 * x, box[2] - x + 0 * y, box[3] - y + 0 * x])
            inside = four.amin(0) > 0
            if inside.any() and 0 <= int(label) < 3:
                wanted[i, int(label)][inside] = 1
                box_loss = box_loss + (sides[i][:, inside] - four[:, inside]).abs().mean()
                positives += 1
    p = heat.sigmoid()
    right = torch.where(wanted == 1, p, 1 - p)
    focal = -(torch.where(wanted == 1, 0.75, 0.25) * (1 - right) ** 2 * right.clamp(min=1e-6).log()).sum()
    return focal / max(1, int(wanted.sum())) + 0.2 * box_loss / max(1, positives)
