"""Training images and their targets in RAM, augmented, and the order they come in.

Order and augmentation depend on (seed, epoch, index) alone: not on workers, processes or where a run was resumed.

Shapes: H W side of the square input; M objects of one image; boxes xyxy pixels of that input.
"""

from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import adjust_brightness, adjust_contrast, horizontal_flip, resize

from snellen.data.decoding import UNREADABLE, decode
from snellen.training.pixels import PAD, fit_frame
from snellen.training.recipe import Recipe
from snellen.training.splits import Example, SamplesError

CACHE_BYTES = 4 * 2**30
"""Decoded images are kept up to this many bytes; beyond it they are decoded each time."""
LEAST_VISIBLE = 0.3
"""An object of which less than this share stays inside the frame is dropped from the augmented image."""


class Sample(NamedTuple):
    """One image and its targets."""

    image: Tensor
    """(3, S, S) uint8."""
    boxes: Tensor
    """(M, 4) float32 xyxy pixels of the input; empty in classification and segmentation."""
    labels: Tensor
    """(M,) int64 in detection, (1,) in classification, empty in segmentation."""
    masks: Tensor | None = None
    """(M, S, S) bool in detection with masks; (S, S) uint8 of class ids, 255 = ignored, in segmentation."""


class Batch(NamedTuple):
    """Samples together: one tensor of images, lists of one member an image."""

    images: Tensor
    """(N, 3, S, S) uint8."""
    boxes: list[Tensor]
    labels: list[Tensor]
    masks: list[Tensor | None]

    def to(self, device: torch.device | str) -> "Batch":
        """The same on `device`."""
        return Batch(
            self.images.to(device),
            [b.to(device) for b in self.boxes],
            [k.to(device) for k in self.labels],
            [m if m is None else m.to(device) for m in self.masks],
        )


class Samples(Dataset[Sample]):
    """Images at training size with their targets, decoded once; `augment` changes with `epoch`.

    What can no longer be decoded is noted in `unreadable` (image -> why) and must be left out before the first sample
    is asked for. Where the images do not fit in memory they are decoded later, and SamplesError is raised then.
    """

    def __init__(
        self,
        root: Path,
        examples: Sequence[Example],
        recipe: Recipe,
        augment: bool,
        tell: Callable[[int, int], None] | None = None,
    ) -> None:
        self.root = root
        self.examples = list(examples)
        self.recipe = recipe
        self.augment = augment
        self.epoch = 0
        fits = len(self.examples) * 3 * recipe.image_size**2 <= CACHE_BYTES
        self.unreadable: dict[str, str] = {}
        self._cache: list[Sample] | None = None
        if fits:
            cache: dict[str, Sample] = {}
            for i, example in enumerate(self.examples):
                try:
                    cache[example.image] = self._load(i)
                except SamplesError as error:
                    self.unreadable[example.image] = str(error)
                if tell is not None:
                    tell(i + 1, len(self.examples))
            self.leave_out(self.unreadable)
            self._cache = [cache[e.image] for e in self.examples]

    def leave_out(self, images: Container[str]) -> None:
        """Drop `images`; the others keep their order."""
        kept = [i for i, e in enumerate(self.examples) if e.image not in images]
        self.examples = [self.examples[i] for i in kept]
        if self._cache is not None:
            self._cache = [self._cache[i] for i in kept]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Sample:
        sample = self._cache[index] if self._cache is not None else self._load(index)
        if not self.augment:
            return sample
        return augmented(sample, self.recipe, np.random.default_rng((self.recipe.seed, self.epoch, index, 1)))

    def _load(self, index: int) -> Sample:
        example = self.examples[index]
        path = self.root / example.image
        try:
            pixels = decode(path)
        except UNREADABLE as error:
            why = " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
            raise SamplesError(f"{example.image} cannot be read any more: {why}") from error
        detection = self.recipe.task == "detection"
        frame, scale_x, scale_y = fit_frame(pixels, self.recipe.image_size, keep_ratio=detection)
        if not detection:
            return Sample(frame, torch.zeros(0, 4), torch.tensor([example.label]))
        boxes = torch.from_numpy(example.boxes * np.array([scale_x, scale_y] * 2, np.float32))
        boxes[:, 0::2] = boxes[:, 0::2].clamp(0, pixels.shape[1] * scale_x)
        boxes[:, 1::2] = boxes[:, 1::2].clamp(0, pixels.shape[0] * scale_y)
        seen = ((boxes[:, 2:] - boxes[:, :2]) >= 1.0).all(dim=1)  # a side under a pixel cannot be learned
        return Sample(frame, boxes[seen], torch.from_numpy(example.labels)[seen])


def augmented(sample: Sample, recipe: Recipe, rng: np.random.Generator) -> Sample:
    """Random zoom, shift, mirror, brightness, contrast, by `rng` alone; boxes follow, and are cut at the frame."""
    image, boxes, labels, masks = sample
    size = recipe.image_size
    zoom = 1 + recipe.jitter_scale * rng.uniform(-1, 1)
    shift_x, shift_y = rng.uniform(0, 1, 2)
    mirror = rng.uniform() < 0.5
    brightness, contrast = 1 + recipe.jitter_colour * rng.uniform(-1, 1, 2)
    if recipe.jitter_scale > 0:
        window = round(size / zoom)
        left, top = round(shift_x * (size - window)), round(shift_y * (size - window))
        # A window larger than the frame reaches outside it on the grey side; `crop` fills with black otherwise.
        shifted = image.new_full((3, window, window), PAD) if window > size else None
        if shifted is not None:
            shifted[:, -top : size - top, -left : size - left] = image
        else:
            shifted = image[:, top : top + window, left : left + window]
        image = resize(shifted, [size, size], antialias=True)
        factor = size / window
        offset = torch.tensor([left, top, left, top], dtype=torch.float32)
        boxes, labels = _cut((boxes - offset) * factor, labels, size)
    if recipe.flip and mirror:
        image = horizontal_flip(image)
        boxes = torch.stack([size - boxes[:, 2], boxes[:, 1], size - boxes[:, 0], boxes[:, 3]], dim=1)
    if recipe.jitter_colour > 0:
        image = adjust_contrast(adjust_brightness(image, float(brightness)), float(contrast))
    return Sample(image, boxes, labels, masks)


def _cut(boxes: Tensor, labels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Clip to the frame; drop what is hardly seen. In classification (no boxes) labels stay."""
    if not len(boxes):
        return boxes, labels
    inside = boxes.clamp(0, size)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    seen = (inside[:, 2:] - inside[:, :2]).prod(dim=1) >= LEAST_VISIBLE * area
    return inside[seen], labels[seen]


def collate(samples: Sequence[Sample]) -> Batch:
    """One batch of `samples`, in their order."""
    images, boxes, labels, masks = zip(*samples, strict=True)
    return Batch(torch.stack(images), list(boxes), list(labels), list(masks))


def epoch_batches(count: int, batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Rows of an epoch's batches: a permutation cut into round(count / batch_size) parts, of sizes one apart at most.

    No image is dropped and no batch is a small rest, which BatchNorm would suffer from.
    """
    order = np.random.default_rng((seed, epoch)).permutation(count)
    return np.array_split(order, max(1, round(count / batch_size)))
