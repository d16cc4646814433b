"""LVIS's federation: which classes were looked for in which image, read from the annotation file itself."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
import polars as pl

from snellen.data.facts import DataFacts
from snellen.data.records import RecordError, read_bytes
from snellen.errors import UseError
from snellen.evaluation.lvis import FREQUENCIES, Federation


class _Image(msgspec.Struct):
    id: int | str
    neg_category_ids: list[int] = []
    not_exhaustive_category_ids: list[int] = []


class _Category(msgspec.Struct):
    id: int
    frequency: str | None = None


class _Document(msgspec.Struct):
    images: list[_Image]
    categories: list[_Category]


def federation_of(data: DataFacts, images: Sequence[str], class_names: Sequence[str]) -> Federation:
    """What LVIS's JSON says beyond COCO's: 0-based positions in `images` and `class_names`.

    Raises UseError when the dataset's annotation files are not LVIS's, or cannot be read.
    """
    own = {image: at for at, image in enumerate(images)}
    rows = data.images.filter(pl.col("image").is_in(list(images))).select("label_file", "image_id", "image")
    files = list(rows["label_file"].drop_nulls().unique(maintain_order=True))
    names = dict(data.classes.select("class_id", "class_name").drop_nulls().iter_rows())
    position = {number: class_names.index(name) for number, name in names.items() if name in class_names}
    frequency: dict[int, str] = {}
    pairs: dict[str, list[tuple[int, int]]] = {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    for file in files:
        document = _read(Path(data.root), file)
        by_id = {i: own[image] for f, i, image in rows.iter_rows() if f == file}
        frequency |= {position[c.id]: c.frequency for c in document.categories if c.id in position and c.frequency}
        for entry in document.images:
            at = by_id.get(str(entry.id))
            if at is None:
                continue
            for name, found in pairs.items():
                found += [(at, position[c]) for c in getattr(entry, name) if c in position]
    if len(frequency) < len(class_names) or not set(frequency.values()) <= FREQUENCIES.keys():
        raise UseError(
            f"--convention lvis: {', '.join(files) or data.root} gives no frequency (r, c or f) for each class, as "
            "LVIS does; leave --convention out to score as COCO"
        )
    arrays = {name: np.array(found, dtype=np.int64).reshape(-1, 2) for name, found in pairs.items()}
    return Federation(
        np.array([frequency[k] for k in range(len(class_names))]),
        arrays["neg_category_ids"],
        arrays["not_exhaustive_category_ids"],
    )


def _read(root: Path, file: str) -> _Document:
    if PurePosixPath(file).suffix.lower() != ".json":
        raise UseError(f"--convention lvis: {file} is no LVIS JSON; leave --convention out to score as COCO")
    try:
        found: Any = msgspec.json.decode(read_bytes(root / file, root), type=_Document)
    except RecordError as error:
        raise UseError(f"{file} {error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise UseError(f"{file}: no LVIS JSON ({error})") from error
    document: _Document = found
    return document
