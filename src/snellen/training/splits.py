"""Which images are trained on, which are validated with, and an account of those that are neither.

Shapes: M objects of one image; boxes xyxy pixels of the decoded image.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from snellen.data.facts import DataFacts
from snellen.data.mask_classes import IGNORED
from snellen.data.records import leads_out
from snellen.errors import UseError
from snellen.facts import table
from snellen.training.class_maps import ClassMap, maps_by_image, names_background
from snellen.training.outline_masks import ObjectOutlines, outlines_of

LEDGER = {
    "image": (pl.String(), "key of the dataset's images"),
    "split": (pl.String(), "train or val; null when left out"),
    "used": (pl.Boolean(), "the image is trained on or validated with"),
    "objects": (pl.Int64(), "usable objects of the image; null in classification and segmentation"),
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
    outlines: ObjectOutlines | None = None
    """Of the objects, in their order; None where the dataset draws none."""
    class_map: ClassMap | None = None
    """In segmentation: the class of each pixel."""
    classes: int = 0
    """Classes of the dataset."""


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


def split_examples(data: DataFacts, seed: int = 0, task: str | None = None) -> Split:
    """The usable images of `data`, by the split it declares, else 80 : 20 within each class, decided by `seed`.

    `task` (None: the dataset's own): detection of a panoptic set's countable objects, and segmentation of objects with
    outlines, where what no object covers is a class `background` before the others unless the dataset names it first.

    Raises SamplesError when no image or no class is left, and when segmentation has 255 classes or more.
    """
    task = task or data.task
    class_names = _class_names(data, task)
    index = {name: i for i, name in enumerate(class_names)}
    maps = maps_by_image(data, class_names) if task == "segmentation" else {}
    objects = {} if task == "classification" or maps else _objects(data, index, task)
    bare = ObjectOutlines(data.outlines, 0, 0) if len(data.outlines) else None
    root = Path(data.root)
    examples: list[tuple[Example, str | None]] = []
    rows: list[dict[str, Any]] = []
    for row in data.images.iter_rows(named=True):
        name = row["image"]
        reason = _left_out(row, root, index, task)
        if task == "segmentation" and reason is None and (name not in maps if maps else bare is None):
            reason = "no mask that can be used"
        if reason is not None:
            rows.append({"image": name, "used": False, "reason": reason})
            continue
        shown = objects.get(name, Example(name, outlines=bare))
        if task == "detection":
            example = replace(shown, classes=len(class_names))
        elif task == "segmentation":
            painted = ClassMap(outlines=shown.outlines, boxes=shown.boxes, labels=shown.labels)
            example = Example(name, class_map=maps.get(name, painted), classes=len(class_names))
        else:
            example = Example(name, label=index[row["class_name"]], classes=len(class_names))
        examples.append((example, row["split"]))
    if not class_names or not examples:
        reasons = Counter(row["reason"] for row in rows).most_common(1)
        why = f" ({reasons[0][1]} left out: {reasons[0][0]})" if reasons else ""
        raise SamplesError(
            f"{data.root}: nothing to train on: {len(examples)} usable images{why}, {len(class_names)} classes; "
            "`snellen check` says what is wrong with the dataset"
        )
    if task == "segmentation" and len(class_names) >= IGNORED:
        raise SamplesError(
            f"{data.root}: {len(class_names)} classes; segmentation is trained for {IGNORED - 1} at most"
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
            {"image": e.image, "split": part, "used": True, "objects": len(e.labels) if task == "detection" else None}
            for e in chosen
        ]
    rows += [{"image": e.image, "used": False, "reason": "kept for testing"} for e in spare]
    return Split(train, val, class_names, table(LEDGER, rows))


def trained_on(ledger: pl.DataFrame | None) -> frozenset[str] | None:
    """The images that a run with this ledger learned from; None without a ledger."""
    return None if ledger is None else frozenset(ledger.filter(pl.col("used") & (pl.col("split") == "train"))["image"])


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


def _class_names(data: DataFacts, task: str) -> list[str]:
    """The classes declared or in use, in the order of their ids."""
    classes = data.classes.unique("class_name", maintain_order=True).sort("class_id")
    if task == "detection":
        classes = classes.filter(pl.col("thing").fill_null(True))  # nobody counts the sky
    used = set(data.images["class_name"].drop_nulls())
    if task != "classification":
        used |= set(data.boxes.filter("usable")["class_name"].drop_nulls())
    if task == "segmentation":
        used |= set(data.mask_values["class_name"].drop_nulls())
    names = [c["class_name"] for c in classes.iter_rows(named=True) if c["declared"] or c["class_name"] in used]
    painted = task == "segmentation" and not data.masks["kind"].is_in(["index", "colour", "panoptic"]).any()
    return ["background", *names] if painted and names and not names_background(names) else names


def _objects(data: DataFacts, index: dict[str, int], task: str) -> dict[str, Example]:
    """Image -> its usable objects. Of crowds nothing is learned: they are left out, and ignored in segmentation."""
    crowd = pl.col("crowd").fill_null(False)
    usable = data.boxes.filter(pl.col("usable") & pl.col("class_name").is_in(list(index)))
    usable = usable.with_columns(crowd) if task == "segmentation" else usable.filter(~crowd)
    usable = usable.sort("image", maintain_order=True)
    outlines = outlines_of(data, usable)
    found, first = {}, 0
    for (name,), group in usable.group_by(["image"], maintain_order=True):
        boxes = group.select("x1", "y1", "x2", "y2").to_numpy().astype(np.float32)
        labels = np.array([index[c] for c in group["class_name"]], dtype=np.int64)
        labels[group["crowd"].fill_null(False).to_numpy()] = IGNORED
        drawn = ObjectOutlines(outlines, first, len(group)) if outlines is not None else None
        found[str(name)] = Example(str(name), boxes=boxes, labels=labels, outlines=drawn)
        first += len(group)
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
