"""The outlines and keypoints of a dataset's objects, and which of them predictions can be compared with."""

from pathlib import Path

import numpy as np
import polars as pl

from snellen.data.decoding import UNREADABLE, open_image, too_large
from snellen.data.facts import OUTLINES, DataFacts
from snellen.data.masks import drawn_values
from snellen.data.records import leads_out
from snellen.errors import UseError
from snellen.evaluation.facts import PROBLEMS
from snellen.evaluation.geometry import By
from snellen.evaluation.keypoints import COCO_PERSON_SIGMAS
from snellen.evaluation.masks import encode
from snellen.evaluation.pairs import Floats
from snellen.evaluation.records import MAX_VALUE
from snellen.facts import table
from snellen.progress import Progress

RINGS = ("rings", "rle", "rle_height", "rle_width")
OTHER_SIGMA = 0.05
"""Of points for which nobody measured how far annotators disagree; COCO's 17 of a person lie in 0.025..0.107."""
NOUNS: dict[By, str] = {
    "box": "boxes", "mask": "instance masks", "oriented": "rotated boxes", "keypoints": "keypoints"
}  # fmt: skip


def with_shapes(data: DataFacts, truth: pl.DataFrame) -> pl.DataFrame:
    """`truth` with its objects' outlines (`rings`, `rle` ..., `kind`, `mask_file`, `mask_value`) and `xyv`."""
    outlines = data.outlines.unique("object", keep="first", maintain_order=True)
    outlines = outlines.select("object", *RINGS, "kind", "mask_file", "mask_value")
    points = data.keypoints.unique("object", keep="first", maintain_order=True).select("object", "xyv")
    joined = truth.join(outlines, on="object", how="left", maintain_order="left")
    return joined.join(points, on="object", how="left", maintain_order="left")


def choose_kind(asked: By | None, predictions: pl.DataFrame, truth: pl.DataFrame) -> tuple[By, str]:
    """What to compare, and the sentence that says so: what is `asked`, else the finest that both sides mostly hold.

    Raises UseError where one side holds nothing of what is asked.
    """
    told = {
        "keypoints": _share(predictions, pl.col("xyv").is_not_null(), "xyv"),
        "mask": _share(predictions, pl.any_horizontal(pl.col("^(rings|rle)$").is_not_null()), "rings", "rle"),
        "oriented": _share(predictions, _quad(), "rings"),
    }
    turned = pl.col("kind").eq_missing("oriented")
    there = {
        "keypoints": _share(truth, pl.col("xyv").is_not_null(), "xyv"),
        "mask": _share(truth, pl.col("kind").is_not_null() & ~turned, "kind"),
        "oriented": _share(truth, turned, "kind"),
    }
    if asked is not None:
        for side, held in (("the predictions hold", told), ("the dataset has", there)):
            if asked != "box" and not held[asked] and len(predictions) and len(truth):
                raise UseError(f"--kind {asked}: {side} no {NOUNS[asked]}; leave --kind out to score what there is")
        return asked, f"scored as {NOUNS[asked]}, as asked for"
    for kind in ("keypoints", "oriented", "mask"):
        if told[kind] > 0.5 and there[kind] > 0.5:
            return kind, f"scored as {NOUNS[kind]}, which predictions and dataset both hold"
    only = [NOUNS[k] for k in ("keypoints", "oriented", "mask") if max(told[k], there[k]) > 0.5]
    aside = f" ({', '.join(only)} on one side only)" if only else ""
    return "box", f"scored as boxes{aside}"


def _quad() -> pl.Expr:
    return (pl.col("rings").list.len() == 1) & (pl.col("rings").list.first().list.len() == 8)


def _share(records: pl.DataFrame, held: pl.Expr, *columns: str) -> float:
    if not len(records) or not set(columns) & set(records.columns):
        return 0.0
    return float(records.select(held.fill_null(False).mean()).item())


def sigmas_for(data: DataFacts, truth: pl.DataFrame) -> tuple[Floats, str]:
    """The keypoints' sigmas, (P,), and the sentence that says where they come from."""
    lengths = truth["xyv"].list.len().drop_nulls()
    count = len(data.keypoint_names) or (int(lengths.mode()[0]) // 3 if len(lengths) else len(COCO_PERSON_SIGMAS))
    if count == len(COCO_PERSON_SIGMAS):
        return COCO_PERSON_SIGMAS, "sigmas of COCO's 17 points of a person"
    return np.full(count, OTHER_SIGMA), f"sigma {OTHER_SIGMA:g} for each of {count} points, as none are known"


def drawn_masks(data: DataFacts, truth: pl.DataFrame, progress: Progress) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(`truth` with its bitmaps as run lengths, problems of the pictures that cannot be read)."""
    kinds = dict(data.masks.select("file", "kind").iter_rows())
    drawn = truth.with_row_index("at").filter(pl.col("mask_file").is_not_null())
    files = drawn.partition_by("mask_file", maintain_order=True)
    found: list[tuple[int, str, int, int]] = []
    problems = []
    for done, own in enumerate(files, 1):
        file = own["mask_file"][0]
        try:
            values = read_drawn(Path(data.root), file, kinds.get(file, "panoptic"))
        except UNREADABLE as error:
            told = f"{file}: {error}"[:MAX_VALUE]
            problems.append({"kind": "object-unreadable-mask", "image": own["image"][0], "value": told})
            continue
        for at, value in own.select("at", "mask_value").iter_rows():
            mask = values != 0 if value is None else values == value
            runs = encode(np.ascontiguousarray(mask)[None]).compressed(0).decode("ascii")
            found.append((at, runs, *values.shape))
        progress("read masks", done, len(files))
    names = ("rle", "rle_height", "rle_width")
    schema: dict[str, pl.DataType] = {"at": pl.UInt32()} | {name: OUTLINES[name][0] for name in names}
    read = pl.DataFrame(found, schema=schema, orient="row")
    joined = truth.with_row_index("at").join(read, on="at", how="left", suffix="_read", maintain_order="left")
    filled = joined.with_columns(pl.coalesce(f"{name}_read", name).alias(name) for name in names)
    return filled.select(truth.columns), table(PROBLEMS, problems)


def read_drawn(root: Path, file: str, kind: str) -> np.ndarray:
    """(H, W) whole numbers drawn in a mask below `root`, see `drawn_values`. Raises one of UNREADABLE."""
    path = root / file
    if leads_out(root, path):
        raise ValueError("a link that leads out of the folder, not followed")
    if not path.is_file():
        raise ValueError("no such file")
    with open_image(path) as image:
        if why := too_large(*image.size):
            raise ValueError(why)
        return drawn_values(image, kind)
