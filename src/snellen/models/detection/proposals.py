"""Where objects may be, before any network looks: selective search, or boxes that are given.

Uijlings et al. 2013, "Selective Search for Object Recognition", IJCV 104, sec. 3: an image is cut into small regions,
the two most similar neighbours are merged until one region is left, and the box around every region that ever was is a
proposal. Several ways of cutting and comparing find what one misses (sec. 3.2).
Felzenszwalb & Huttenlocher 2004, "Efficient Graph-Based Image Segmentation", IJCV 59, sec. 3 and 4: the first cut.

Shapes: image of H W pixels, L regions, F values that describe one, P proposals.
"""

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

COLOUR_BINS = 25
ORIENTATIONS = 8
TEXTURE_BINS = 10
"""Uijlings 2013, sec. 3.2."""
MEAN, SPREAD = 0.449, 0.226
"""Of the pixels of natural images, 0..1: undoes a normalised image nearly enough to cut it."""

ProposalSource = Callable[[Tensor], Tensor]
"""A normalised image (3, H, W) -> proposals (P, 4) float32 xyxy pixels on the same device, best first."""


@dataclass(frozen=True)
class Strategy:
    """One way of cutting and comparing (Uijlings 2013, table 5)."""

    space: str = "lab"
    """Colours in which regions are cut and compared: lab or hsv."""
    scale: float = 100.0
    """Felzenszwalb's k: the larger, the larger the regions of the first cut."""
    colour: bool = True
    """Compare colours, too, and not only texture, size and fill."""


SINGLE = (Strategy(),)
SMALL = (Strategy(scale=50.0), Strategy(scale=150.0))
"""Of images of some hundred pixels."""
FAST = tuple(Strategy(s, k, c) for s in ("hsv", "lab") for k in (50.0, 100.0) for c in (True, False))
"""The paper's "fast": two colour spaces, two cuts, two comparisons."""


def selective_search(
    image_HW3: NDArray[np.uint8],
    strategies: Sequence[Strategy] = FAST,
    *,
    least_region: int = 20,
    least_side: int = 4,
    limit: int = 2000,
) -> NDArray[np.float32]:
    """Proposals (P, 4) float32, xyxy pixels of whole numbers, without doubles; what was merged last comes first.

    The paper shuffles the order at random; here it depends on the image alone, the strategies taking turns.

    Args:
        image_HW3: RGB.
        strategies: Ways of cutting and comparing.
        least_region: Pixels below which a region of the first cut is merged with a neighbour.
        least_side: Boxes with a shorter side are left out.
        limit: Proposals, at most.
    """
    ranked: list[tuple[int, int, tuple[int, ...]]] = []
    for number, strategy in enumerate(strategies):
        code = cv2.COLOR_RGB2LAB if strategy.space == "lab" else cv2.COLOR_RGB2HSV_FULL
        pixels = cv2.cvtColor(image_HW3, code).astype(np.float32)
        labels = segment(pixels, strategy.scale, least_region)
        boxes = _group(labels, _describe(pixels, labels), strategy.colour)
        ranked += [(rank, number, tuple(box)) for rank, box in enumerate(boxes[::-1].tolist())]
    seen = dict.fromkeys(box for _, _, box in sorted(ranked))
    kept = [b for b in seen if b[2] - b[0] >= least_side and b[3] - b[1] >= least_side]
    return np.array(kept[:limit], np.float32).reshape(-1, 4)


def segment(pixels_HW3: NDArray[np.float32], scale: float, least_region: int, blur: float = 0.8) -> NDArray[np.int64]:
    """Cut an image into regions, (H, W) int64 numbered from 0 (Felzenszwalb 2004, algorithm 1 with eq. 2 to 4).

    Two regions are merged where the edge between them is no stronger than the strongest within either, plus
    `scale` / pixels. Pixels are joined with their eight neighbours.

    Args:
        pixels_HW3: Values of about 0..255.
        scale: The paper's k.
        least_region: Smaller regions are merged with a neighbour.
        blur: Standard deviation of the Gaussian beforehand, pixels.
    """
    smooth = cv2.GaussianBlur(pixels_HW3, (0, 0), blur)
    height, width = smooth.shape[:2]
    number = np.arange(height * width).reshape(height, width)
    weights, one, other = [], [], []
    for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
        rows, columns = slice(0, height - down), slice(max(0, -across), width - max(0, across))
        shifted = slice(down, height), slice(max(0, across), width + min(0, across))
        weights.append(np.sqrt(((smooth[rows, columns] - smooth[shifted]) ** 2).sum(-1)).ravel())
        one.append(number[rows, columns].ravel())
        other.append(number[shifted].ravel())
    weight, a, b = np.concatenate(weights), np.concatenate(one), np.concatenate(other)
    order = np.argsort(np.minimum(weight * 128, 65535).astype(np.uint16), kind="stable")
    return _merge_edges(weight[order], a[order], b[order], height * width, scale, least_region).reshape(height, width)


@njit(cache=True, error_model="numpy")
def _root(parent, i):  # type: ignore[no-untyped-def]
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, error_model="numpy")
def _merge_edges(weight, one, other, count, scale, least):  # type: ignore[no-untyped-def]
    parent, size = np.arange(count), np.ones(count, np.int64)
    limit = np.full(count, scale)  # strongest edge within, plus scale / pixels
    for second in (False, True):  # what is left too small is joined in a second round
        for e in range(len(weight)):
            a, b = _root(parent, one[e]), _root(parent, other[e])
            if a == b:
                continue
            alike, small = weight[e] <= min(limit[a], limit[b]), min(size[a], size[b]) < least
            if small if second else alike:
                parent[b] = a
                size[a] += size[b]
                limit[a] = weight[e] + scale / size[a]
    names, labels, found = np.full(count, -1, np.int64), np.empty(count, np.int64), 0
    for i in range(count):
        root = _root(parent, i)
        if names[root] < 0:
            names[root] = found
            found += 1
        labels[i] = names[root]
    return labels


def _describe(pixels_HW3: NDArray[np.float32], labels_HW: NDArray[np.int64]) -> NDArray[np.float64]:
    """Histograms (L, F) of each region's pixels: colours, then textures (sec. 3.2, "similarity measures").

    Texture is the derivative of a Gaussian (sigma 1) in eight directions, of each channel. Not normalised.
    """
    smooth = cv2.GaussianBlur(pixels_HW3, (0, 0), 1.0)
    across, down = (
        cv2.Sobel(smooth, cv2.CV_32F, *d, ksize=1, borderType=cv2.BORDER_REPLICATE) for d in ((1, 0), (0, 1))
    )
    largest = max(float(np.abs(across).max()), float(np.abs(down).max()), 1e-6) * math.sqrt(2)
    bins = np.minimum(pixels_HW3 * (COLOUR_BINS / 256), COLOUR_BINS - 1).astype(np.int64)
    return _histograms(labels_HW.ravel(), bins.reshape(-1, 3), across.reshape(-1, 3), down.reshape(-1, 3), largest)


@njit(cache=True, error_model="numpy")
def _histograms(labels, bins, across, down, largest):  # type: ignore[no-untyped-def]
    colours = 3 * COLOUR_BINS
    out = np.zeros((labels.max() + 1, colours + 3 * ORIENTATIONS * TEXTURE_BINS))
    turns = np.arange(ORIENTATIONS) * (2 * math.pi / ORIENTATIONS)
    cosine, sine = np.cos(turns), np.sin(turns)
    for i in range(len(labels)):
        row = out[labels[i]]
        for channel in range(3):
            row[channel * COLOUR_BINS + bins[i, channel]] += 1
            for turn in range(ORIENTATIONS):
                value = cosine[turn] * across[i, channel] + sine[turn] * down[i, channel]
                bin_ = min(int(max(value, 0.0) / largest * TEXTURE_BINS), TEXTURE_BINS - 1)
                row[colours + (channel * ORIENTATIONS + turn) * TEXTURE_BINS + bin_] += 1
    return out


@njit(cache=True, error_model="numpy")
def _similarity(a, b, histograms, sizes, boxes, pixels, colour):  # type: ignore[no-untyped-def]
    """Sum of eq. 2 to 5: colour, texture, size, fill, each in 0..1."""
    total = 0.0
    split = 3 * COLOUR_BINS
    if colour:
        for f in range(split):
            total += min(histograms[a, f] / (3 * sizes[a]), histograms[b, f] / (3 * sizes[b]))
    across = 3 * ORIENTATIONS
    for f in range(split, histograms.shape[1]):
        total += min(histograms[a, f] / (across * sizes[a]), histograms[b, f] / (across * sizes[b]))
    width = max(boxes[a, 2], boxes[b, 2]) - min(boxes[a, 0], boxes[b, 0])
    height = max(boxes[a, 3], boxes[b, 3]) - min(boxes[a, 1], boxes[b, 1])
    both = sizes[a] + sizes[b]
    return total + (1 - both / pixels) + (1 - (width * height - both) / pixels)


@njit(cache=True, error_model="numpy")
def _group(labels, described, colour):  # type: ignore[no-untyped-def]
    """Boxes (2 L - 1, 4) of the regions and of all that come of merging the two most alike neighbours (algorithm 1)."""
    height, width = labels.shape
    count = len(described)
    total = 2 * count - 1
    histograms = np.zeros((total, described.shape[1]))
    histograms[:count] = described
    sizes, boxes = np.zeros(total), np.zeros((total, 4), np.int64)
    boxes[:count, 0], boxes[:count, 1] = width, height
    beside = np.zeros((count, count), np.bool_)
    for y in range(height):
        for x in range(width):
            k = labels[y, x]
            sizes[k] += 1
            boxes[k, 0], boxes[k, 1] = min(boxes[k, 0], x), min(boxes[k, 1], y)
            boxes[k, 2], boxes[k, 3] = max(boxes[k, 2], x + 1), max(boxes[k, 3], y + 1)
            for v, u in ((y, x + 1), (y + 1, x), (y + 1, x + 1), (y + 1, x - 1)):
                if v < height and 0 <= u < width and labels[v, u] != k:
                    a, b = min(k, labels[v, u]), max(k, labels[v, u])
                    beside[a, b] = True
    pixels = height * width
    edges = int(beside.sum())
    one, other, value = np.empty(edges, np.int64), np.empty(edges, np.int64), np.empty(edges)
    edge = 0
    for a in range(count):
        for b in range(a + 1, count):
            if beside[a, b]:
                one[edge], other[edge] = a, b
                value[edge] = _similarity(a, b, histograms, sizes, boxes, pixels, colour)
                edge += 1
    last_seen = np.full(total, -1, np.int64)
    new = count
    while edges and new < total:
        best = 0
        for e in range(1, edges):
            if value[e] > value[best]:
                best = e
        a, b = one[best], other[best]
        histograms[new] = histograms[a] + histograms[b]
        sizes[new] = sizes[a] + sizes[b]
        for c in range(2):
            boxes[new, c] = min(boxes[a, c], boxes[b, c])
            boxes[new, c + 2] = max(boxes[a, c + 2], boxes[b, c + 2])
        left = 0
        for e in range(edges):
            u, v = one[e], other[e]
            touched = u in (a, b) or v in (a, b)
            if touched:
                neighbour = v if u in (a, b) else u
                if neighbour in (a, b) or last_seen[neighbour] == new:
                    continue
                last_seen[neighbour] = new
                u, v = neighbour, new
            one[left], other[left] = u, v
            value[left] = _similarity(u, v, histograms, sizes, boxes, pixels, colour) if touched else value[e]
            left += 1
        edges = left
        new += 1
    return boxes[:new]


class SelectiveSearch:
    """Selective search of normalised images, each content once: the next epoch finds it in a cache."""

    def __init__(self, strategies: Sequence[Strategy] = FAST, *, limit: int = 2000, remembered: int = 20_000) -> None:
        """`limit`: proposals of an image, at most; `remembered`: images whose proposals are kept, the latest used."""
        self.strategies = tuple(strategies)
        self.limit = limit
        self.remembered = remembered
        self._cache: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()

    def __call__(self, image: Tensor) -> Tensor:
        """(3, H, W) normalised -> (P, 4) float32 xyxy pixels on the same device."""
        undone = ((image.detach().float() * SPREAD + MEAN) * 255).round().clamp(0, 255).to("cpu", torch.uint8)
        pixels = np.ascontiguousarray(undone.permute(1, 2, 0).numpy())
        key = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
        boxes = self._cache.pop(key, None)
        if boxes is None:
            boxes = selective_search(pixels, self.strategies, limit=self.limit)
        self._cache[key] = boxes
        while len(self._cache) > self.remembered:
            self._cache.popitem(last=False)
        return torch.from_numpy(boxes.copy()).to(image.device)
