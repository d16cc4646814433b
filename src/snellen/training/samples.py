"""Training images and their targets in RAM, augmented, and the order they come in.

Order, mixing and augmentation depend on (seed, epoch, row) alone: not on workers, processes or where a run was resumed.

Shapes: S side of the square input; M objects of one image; boxes xyxy pixels of that input.
"""

from collections.abc import Callable, Container, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from snellen.data.decoding import UNREADABLE
from snellen.data.mask_classes import IGNORED
from snellen.errors import UseError
from snellen.training import samplers
from snellen.training.augmentation import LEAST_VISIBLE, augmented
from snellen.training.batches import Batch, Sample, collate
from snellen.training.mixing import copy_paste, cutmix, mixup, mosaic
from snellen.training.pixels import Frame, fitted, read_frame
from snellen.training.recipe import Recipe
from snellen.training.splits import Example, SamplesError

__all__ = ["LEAST_VISIBLE", "Batch", "Sample", "Samples", "augmented", "collate", "epoch_batches", "wants_masks"]

CACHE_BYTES = 4 * 2**30
"""Decoded images are kept up to this many bytes; beyond it they are decoded each time."""
AUGMENTED, MIXED, PARTNER, DRAWN = 1, 2, 3, 4
"""Streams of random numbers of one row: of its own changes, of what it is mixed with, of that image's changes, and of
what a detector draws of it."""
FOR_TASK = {
    "mixup": "classification", "cutmix": "classification", "mosaic": "detection", "copy_paste": "detection",
}  # fmt: skip
"""The task that each kind of mixing is for."""
MOSAIC_SCALE = (0.5, 1.0)
"""Smallest and largest scale of the four images of a mosaic."""
MOSAIC_CENTRE = (0.25, 0.75)
"""Where they may meet, share of the frame."""


class Samples(Dataset[Sample]):
    """Images at training size with their targets, decoded once; `augment` changes with `epoch`.

    What can no longer be decoded is noted in `unreadable` (image -> why) and must be left out before the first sample
    is asked for. Where the images do not fit into `cache_bytes` they are decoded later; SamplesError is raised then.

    Raises SamplesError when the recipe asks for what the task or the dataset cannot give.
    """

    def __init__(
        self,
        root: Path,
        examples: Sequence[Example],
        recipe: Recipe,
        augment: bool,
        tell: Callable[[int, int], None] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.root = root
        self.examples = list(examples)
        self.recipe = recipe
        self.augment = augment
        self.epoch = 0
        self._masked = wants_masks(recipe) if augment else _learns_masks(recipe)
        _refuse(self.examples, recipe)
        self.unreadable: dict[str, str] = {}
        self._cache: list[Sample] | None = None
        if self._bytes() <= cache_bytes:
            cache: dict[str, Sample] = {}
            for i, example in enumerate(self.examples):
                try:
                    cache[example.image] = _packed(self._load(i))
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

    def __getitem__(self, row: int) -> Sample:
        """The sample of a row; rows from the number of images on are further copies, augmented otherwise."""
        sample = self.plain(row)
        if not self.augment:
            return sample
        recipe = self.recipe
        if recipe.mosaic or recipe.copy_paste:
            sample = self._composed(sample, row)
        sample = augmented(sample, recipe, self._rng(row, AUGMENTED))
        if recipe.task == "detection":
            seed = int(self._rng(row, DRAWN).integers(2**31))
            return sample._replace(masks=sample.masks if _learns_masks(recipe) else None, seed=seed)
        return self._blended(sample, row) if recipe.mixup or recipe.cutmix else sample

    def batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """Rows of the epoch's batches, by the recipe's sampler; each epoch has as many."""
        recipe, count = self.recipe, len(self)
        return samplers.cut(samplers.epoch_rows(self._copies(), count, recipe.seed, epoch), recipe.batch_size)

    def _copies(self) -> NDArray[np.float64] | None:
        recipe = self.recipe
        if recipe.sampler == "uniform":
            return None
        labels = [np.array([e.label]) if e.label >= 0 else e.labels for e in self.examples]
        classes = max(self.examples[0].classes, 1 + max((int(k.max()) for k in labels if len(k)), default=0))
        if recipe.sampler == "class-balanced":
            return samplers.class_balanced(labels, classes)
        if recipe.sampler == "repeat-factor":
            return samplers.repeat_factors(labels, classes, recipe.repeat_threshold)
        return samplers.weighted(labels, recipe.sampler_weights)

    def _composed(self, sample: Sample, row: int) -> Sample:
        """A mosaic with three others, and objects of another pasted in, each as often as the recipe says."""
        rng = self._rng(row, MIXED)
        tiled, pasted = rng.uniform(size=2)
        others = rng.integers(len(self), size=4).tolist()
        scale, x, y = rng.uniform(size=3)
        if tiled < self.recipe.mosaic:
            low, high = MOSAIC_CENTRE
            centre = (low + (high - low) * float(x), low + (high - low) * float(y))
            scale = MOSAIC_SCALE[0] + (MOSAIC_SCALE[1] - MOSAIC_SCALE[0]) * float(scale)
            sample = mosaic([sample, *(self.plain(i) for i in others[:3])], scale, centre)
        if pasted < self.recipe.copy_paste:
            other = augmented(self.plain(others[3]), self.recipe, self._rng(row, PARTNER))
            sample = copy_paste(sample, other, rng)
        return sample

    def _blended(self, sample: Sample, row: int) -> Sample:
        """Mixup or cutmix with another image, which is augmented as well."""
        recipe, rng = self.recipe, self._rng(row, MIXED)
        other = augmented(self.plain(int(rng.integers(len(self)))), recipe, self._rng(row, PARTNER))
        coin, x, y = rng.uniform(size=3).tolist()
        classes = self.examples[0].classes
        if recipe.mixup and (not recipe.cutmix or coin < 0.5):
            return mixup(sample, other, float(rng.beta(recipe.mixup, recipe.mixup)), classes)
        return cutmix(sample, other, float(rng.beta(recipe.cutmix, recipe.cutmix)), (x, y), classes)

    def _rng(self, row: int, stream: int) -> np.random.Generator:
        return np.random.default_rng((self.recipe.seed, self.epoch, row, stream))

    def plain(self, row: int) -> Sample:
        """The sample of a row as it was read, never augmented."""
        index = row % len(self.examples)
        return _unpacked(self._cache[index]) if self._cache is not None else self._load(index)

    def _bytes(self) -> int:
        area = self.recipe.image_size**2
        objects = sum(len(e.labels) for e in self.examples) if self._masked else 0
        classes = area * len(self.examples) if self.recipe.task == "segmentation" else 0
        return len(self.examples) * 3 * area + objects * area // 8 + classes

    def _load(self, index: int) -> Sample:
        example, size = self.examples[index], self.recipe.image_size
        try:
            frame = read_frame(self.root / example.image, size, keep_ratio=self.recipe.task != "classification")
        except UNREADABLE as error:
            why = " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
            raise SamplesError(f"{example.image} cannot be read any more: {why}") from error
        if self.recipe.task == "classification":
            return Sample(frame.image, torch.zeros(0, 4), torch.tensor([example.label]))
        if self.recipe.task == "segmentation":
            return Sample(
                frame.image, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), self._class_map(index, frame)
            )
        return self._objects(example, frame)

    def _objects(self, example: Example, frame: Frame) -> Sample:
        corners = example.boxes * np.array([frame.scale_x, frame.scale_y] * 2, np.float32)
        corners = corners.clip(0, np.array([frame.width * frame.scale_x, frame.height * frame.scale_y] * 2, np.float32))
        seen = ((corners[:, 2:] - corners[:, :2]) >= 1.0).all(axis=1)  # a side under a pixel cannot be learned
        boxes, labels = torch.from_numpy(corners[seen]), torch.from_numpy(example.labels[seen])
        masks = None
        if example.outlines is not None and self._masked:
            size = self.recipe.image_size
            wanted = fitted(frame.width, frame.height, size, keep_ratio=True)
            drawn, _ = example.outlines.drawn(self.root, example.boxes, (frame.width, frame.height), wanted)
            masks = torch.zeros(len(drawn), size, size, dtype=torch.bool)
            masks[:, : wanted[1], : wanted[0]] = torch.from_numpy(drawn)
            masks = masks[torch.from_numpy(seen)]
        return Sample(frame.image, boxes, labels, masks)

    def _class_map(self, index: int, frame: Frame) -> Tensor:
        example, size = self.examples[index], self.recipe.image_size
        if example.class_map is None:
            raise SamplesError(f"{example.image} has no mask to learn from")
        wanted = fitted(frame.width, frame.height, size, keep_ratio=True)
        try:
            drawn = example.class_map.drawn(self.root, (frame.width, frame.height), wanted)
        except UseError as error:
            raise SamplesError(f"{example.image} cannot be learned from: {error}") from error
        classes = torch.full((size, size), IGNORED, dtype=torch.uint8)
        classes[: wanted[1], : wanted[0]] = torch.from_numpy(drawn)
        return classes


def wants_masks(recipe: Recipe) -> bool:
    """Whether the objects' outlines are learned, cut out, or turned: the hull of a turned outline fits the object."""
    turned = recipe.rotate or recipe.shear or recipe.perspective
    return recipe.task == "detection" and bool(_learns_masks(recipe) or recipe.copy_paste or turned)


def epoch_batches(count: int, batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Rows of an epoch's batches: a permutation cut into round(count / batch_size) parts, of sizes one apart at most.

    No image is dropped and no batch is a small rest, which BatchNorm would suffer from.
    """
    return samplers.cut(samplers.epoch_rows(None, count, seed, epoch), batch_size)


def _learns_masks(recipe: Recipe) -> bool:
    return recipe.task == "detection" and recipe.model.replace("-", "").replace("_", "").startswith("maskrcnn")


def _refuse(examples: Sequence[Example], recipe: Recipe) -> None:
    if _learns_masks(recipe) and all(e.outlines is None for e in examples):
        raise SamplesError(f"{recipe.model} learns outlines, and the dataset has boxes only: take another model")
    for name, task in FOR_TASK.items():
        if getattr(recipe, name) and recipe.task != task:
            raise SamplesError(f"{name}: for {task} only, and this is {recipe.task}")
    if recipe.sampler != "uniform" and recipe.task == "segmentation":
        raise SamplesError("sampler: images of whole class maps come once each; weigh classes by class_weights")
    if recipe.sampler == "weighted" and examples and len(recipe.sampler_weights) != examples[0].classes:
        raise SamplesError(f"sampler_weights: {len(recipe.sampler_weights)} weights for {examples[0].classes} classes")


def _packed(sample: Sample) -> Sample:
    """Instance masks in an eighth of the memory."""
    if sample.masks is None or sample.masks.ndim == 2:
        return sample
    return sample._replace(masks=torch.from_numpy(np.packbits(sample.masks.numpy(), axis=2)))


def _unpacked(sample: Sample) -> Sample:
    if sample.masks is None or sample.masks.ndim == 2:
        return sample
    bits = np.unpackbits(sample.masks.numpy(), axis=2, count=sample.image.shape[-1])
    return sample._replace(masks=torch.from_numpy(bits.view(np.bool_)))
