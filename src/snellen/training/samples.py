"""Training images and their targets in RAM, and the pure functions that say what comes when.

Order and augmentation depend on (seed, epoch, index) alone: not on workers, processes or where a run was resumed.

Shapes: H W side of the square input; M objects of one image; boxes xyxy pixels of that input.
"""

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import adjust_brightness, adjust_contrast, horizontal_flip, resize

from snellen.data.facts import DataFacts
from snellen.data.images import UNREADABLE
from snellen.data.records import leads_out
from snellen.errors import UseError
from snellen.facts import table
from snellen.training.recipe import Recipe

CACHE_BYTES = 4 * 2**30
"""Decoded images are kept up to this many bytes; beyond it they are decoded each time."""
PAD = 114
"""Grey of the letterbox and of what a shift brings in from outside."""
LEAST_VISIBLE = 0.3
"""An object of which less than this share stays inside the frame is dropped from the augmented image."""

LEDGER = {
    "image": (pl.String(), "key of the dataset's images"),
    "split": (pl.String(), "train or val; null when left out"),
    "used": (pl.Boolean(), "the image is trained on or validated with"),
    "objects": (pl.Int64(), "usable objects of the image; null in classification"),
    "reason": (pl.String(), "why it was left out; null when used"),
}


class SamplesError(UseError):
    """The dataset holds nothing that can be trained on."""


@dataclass(frozen=True)
class Example:
    """One image's label or objects; boxes are pixels of the decoded image, before any resize."""

    image: str
    label: int = -1
    boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    """(M, 4), xyxy."""
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class Split:
    """What is trained on, what is validated with, and an account of every image."""

    train: list[Example]
    val: list[Example]
    class_names: list[str]
    ledger: pl.DataFrame

    def without(self, unreadable: Mapping[str, str]) -> "Split":
        """The same less some images (image -> why). Raises SamplesError when a part is left empty."""
        if not unreadable:
            return self
        left = replace(
            self,
            train=[e for e in self.train if e.image not in unreadable],
            val=[e for e in self.val if e.image not in unreadable],
            ledger=table(LEDGER, (_amended(row, unreadable) for row in self.ledger.iter_rows(named=True))),
        )
        if not left.train or not left.val:
            image, why = next(iter(unreadable.items()))
            raise SamplesError(
                f"{len(left.train)} training and {len(left.val)} validation images could be read, and both are "
                f"needed; {image}: {why}"
            )
        return left


def _amended(row: dict[str, Any], unreadable: Mapping[str, str]) -> dict[str, Any]:
    if row["image"] not in unreadable:
        return row
    return {**row, "split": None, "used": False, "reason": f"unreadable: {unreadable[row['image']]}"}


def split_examples(data: DataFacts, seed: int = 0) -> Split:
    """The usable images of `data`, by the split it declares, else 80 : 20 within each class, decided by `seed`.

    Raises SamplesError when no image or no class is left.
    """
    classes = data.classes.unique("class_name", maintain_order=True).sort("class_id")
    used = set(data.boxes.filter("usable")["class_name"].drop_nulls() if data.task == "detection" else [])
    used |= set(data.images["class_name"].drop_nulls())
    class_names = [c["class_name"] for c in classes.iter_rows(named=True) if c["declared"] or c["class_name"] in used]
    index = {name: i for i, name in enumerate(class_names)}
    objects = _objects(data, index)
    root = Path(data.root)
    examples: list[tuple[Example, str | None]] = []
    rows: list[dict[str, Any]] = []
    for row in data.images.iter_rows(named=True):
        name = row["image"]
        reason = _left_out(row, root, index, data.task)
        if reason is not None:
            rows.append({"image": name, "used": False, "reason": reason})
            continue
        if data.task == "detection":
            boxes, labels = objects.get(name, (np.zeros((0, 4), np.float32), np.zeros(0, np.int64)))
            examples.append((Example(name, boxes=boxes, labels=labels), row["split"]))
        else:
            examples.append((Example(name, label=index[row["class_name"]]), row["split"]))
    if not class_names or not examples:
        reasons = Counter(row["reason"] for row in rows).most_common(1)
        why = f" ({reasons[0][1]} left out: {reasons[0][0]})" if reasons else ""
        raise SamplesError(
            f"{data.root}: nothing to train on: {len(examples)} usable images{why}, {len(class_names)} classes; "
            "`snellen check` says what is wrong with the dataset"
        )
    hashes = dict(data.images.select("image", "hash").drop_nulls().iter_rows())
    train, val, spare = _divide(examples, hashes, seed)
    if not train or not val:
        raise SamplesError(
            f"{data.root}: {len(train)} training and {len(val)} validation images are usable, and both are needed; "
            "`snellen check` says what is wrong with the dataset"
        )
    for part, chosen in (("train", train), ("val", val)):
        rows += [
            {"image": e.image, "split": part, "used": True, "objects": len(e.labels) if e.label < 0 else None}
            for e in chosen
        ]
    rows += [{"image": e.image, "used": False, "reason": "kept for testing"} for e in spare]
    return Split(train, val, class_names, table(LEDGER, rows))


def _left_out(row: dict[str, Any], root: Path, index: dict[str, int], task: str) -> str | None:
    if row["exists"] is False:
        return "no such file"
    if row["decoded"] is False or row["error"] is not None:
        return f"unreadable: {row['error']}"
    if not row["listed"]:
        return "not named by the annotations"
    if task == "classification" and row["class_name"] not in index:
        return "no known class"
    path = root / row["image"]
    if leads_out(root, path):
        return "outside the dataset's folder"
    # What was measured and is gone since is found, and told of, when it is to be decoded.
    return None if row["exists"] or path.is_file() else "no such file"


def _objects(data: DataFacts, index: dict[str, int]) -> dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]]:
    if data.task != "detection":
        return {}
    usable = data.boxes.filter(pl.col("usable") & ~pl.col("crowd").fill_null(False))
    found = {}
    for (name,), group in usable.group_by(["image"], maintain_order=True):
        boxes = group.select("x1", "y1", "x2", "y2").to_numpy().astype(np.float32)
        labels = np.array([index[c] for c in group["class_name"]], dtype=np.int64)
        found[str(name)] = (boxes, labels)
    return found


def _divide(
    examples: Sequence[tuple[Example, str | None]], hashes: Mapping[str, str], seed: int
) -> tuple[list[Example], list[Example], list[Example]]:
    """Train, val, and those of a test split; test stands in for val where val is not declared.

    Where the parts are drawn here, files with one hash go to one part, or the score would measure memory.
    """
    by_split: dict[str | None, list[Example]] = {}
    for example, split in examples:
        by_split.setdefault(split, []).append(example)
    train = by_split.get("train", [])
    test = by_split.get("test", [])
    if train and by_split.get("val"):
        return train, by_split["val"], test + by_split.get(None, [])
    if train and test:
        return train, test, by_split.get(None, [])
    pool = train or by_split.get(None, []) or by_split.get("val", []) or test
    strata: dict[int, list[Example]] = {}
    twins: dict[str, list[Example]] = {}
    for example in sorted(pool, key=lambda e: e.image):
        copies = twins.setdefault(hashes.get(example.image, example.image), [])
        copies.append(example)
        if len(copies) > 1:
            continue
        # An image of objects is filed under its rarest reading: the first object's class.
        key = example.label if example.label >= 0 else int(example.labels[0]) if len(example.labels) else -1
        strata.setdefault(key, []).append(example)
    learn: list[Example] = []
    check: list[Example] = []
    for key in sorted(strata):
        group = strata[key]
        shuffled = [group[i] for i in np.random.default_rng((seed, key + 1)).permutation(len(group))]
        held = round(len(group) / 5)
        check += shuffled[:held]
        learn += shuffled[held:]
    if not check and len(learn) > 1:
        check.append(learn.pop())
    return _with_twins(learn, twins, hashes), _with_twins(check, twins, hashes), []


def _with_twins(
    chosen: Sequence[Example], twins: Mapping[str, list[Example]], hashes: Mapping[str, str]
) -> list[Example]:
    return [twin for e in chosen for twin in twins[hashes.get(e.image, e.image)]]


def epoch_batches(count: int, batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Rows of an epoch's batches: a permutation cut into round(count / batch_size) parts, of sizes one apart at most.

    No image is dropped and no batch is a small rest, which BatchNorm would suffer from.
    """
    order = np.random.default_rng((seed, epoch)).permutation(count)
    return np.array_split(order, max(1, round(count / batch_size)))


def decode(path: Path) -> NDArray[np.uint8]:
    """RGB uint8 (H, W, 3), EXIF rotation applied, transparency on grey.

    Raises one of `snellen.data.images.UNREADABLE` when no decoder can read it.
    """
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            values = np.asarray(image, dtype=np.float32)
            top = 65535.0 if image.mode.startswith("I") else max(float(values.max()), 1e-6)
            grey = (values / top * 255).clip(0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            image = image.convert("RGBA")
            ground = Image.new("RGBA", image.size, (PAD, PAD, PAD, 255))
            image = Image.alpha_composite(ground, image)
        return np.asarray(image.convert("RGB"))


def fit_frame(image_HW3: NDArray[np.uint8], size: int, keep_ratio: bool) -> tuple[Tensor, float, float]:
    """Resize into a (3, size, size) uint8 frame; returns it and the horizontal and vertical scale.

    keep_ratio: letterbox, the image at the top left and grey beside it; else stretched to the square.
    """
    height, width = image_HW3.shape[:2]
    x = torch.from_numpy(np.array(image_HW3)).permute(2, 0, 1)
    if not keep_ratio:
        return resize(x, [size, size], antialias=True).contiguous(), size / width, size / height
    scale = size / max(height, width)
    new_h, new_w = max(1, round(height * scale)), max(1, round(width * scale))
    if (new_h, new_w) != (height, width):
        x = resize(x, [new_h, new_w], antialias=True)
    frame = torch.full((3, size, size), PAD, dtype=torch.uint8)
    frame[:, :new_h, :new_w] = x
    return frame, new_w / width, new_h / height


Sample = tuple[Tensor, Tensor, Tensor]
"""Image (3, S, S) uint8; boxes (M, 4) float32 xyxy, empty in classification; labels (M,) or (1,) int64."""


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
            return frame, torch.zeros(0, 4), torch.tensor([example.label])
        boxes = torch.from_numpy(example.boxes * np.array([scale_x, scale_y] * 2, np.float32))
        boxes[:, 0::2] = boxes[:, 0::2].clamp(0, pixels.shape[1] * scale_x)
        boxes[:, 1::2] = boxes[:, 1::2].clamp(0, pixels.shape[0] * scale_y)
        seen = ((boxes[:, 2:] - boxes[:, :2]) >= 1.0).all(dim=1)  # a side under a pixel cannot be learned
        return frame, boxes[seen], torch.from_numpy(example.labels)[seen]


def augmented(sample: Sample, recipe: Recipe, rng: np.random.Generator) -> Sample:
    """Random zoom, shift, mirror, brightness, contrast, by `rng` alone; boxes follow, and are cut at the frame."""
    image, boxes, labels = sample
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
    return image, boxes, labels


def _cut(boxes: Tensor, labels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Clip to the frame; drop what is hardly seen. In classification (no boxes) labels stay."""
    if not len(boxes):
        return boxes, labels
    inside = boxes.clamp(0, size)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    seen = (inside[:, 2:] - inside[:, :2]).prod(dim=1) >= LEAST_VISIBLE * area
    return inside[seen], labels[seen]


def collate(samples: Sequence[Sample]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Images (N, 3, S, S) uint8, boxes per image, labels per image."""
    images, boxes, labels = zip(*samples, strict=True)
    return torch.stack(images), list(boxes), list(labels)
