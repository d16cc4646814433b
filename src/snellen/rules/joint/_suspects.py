"""What the rules about labels that a model contradicts share: suspects, their records in the dataset, and evidence."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from snellen.boxes import CORNERS
from snellen.data.facts import DataFacts
from snellen.evaluation.facts import ScoreFacts
from snellen.rules._causes import TRAINING_FAULTS

SCORE_FAULTS = (
    "boxes-in-other-units",
    "swapped-box-format",
    "shifted-class-ids",
    "class-order-differs",
    "overconfident-scores",
    *TRAINING_FAULTS,
)
"""What makes a model contradict labels that are right."""
SEEN = {True: "trained on", False: "held out", None: "not known"}
"""`learned` in words."""


def accused(data: DataFacts, scores: ScoreFacts, kind: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each suspect of `kind` with the row of `data.boxes` that it speaks of; with that of `data.images` where none."""
    suspects = scores.suspects.filter(kind=kind)
    objects = scores.objects.with_row_index("object").filter(pl.col("object").is_in(suspects["object"].implode()))
    # Scores know an object by what it is, not by where it stands; records that agree in all of it are one as good as
    # the other.
    keys = ["image", "class_name", *CORNERS]
    records = data.boxes.unique(keys, keep="first", maintain_order=True).drop("object")
    known = objects.select(pl.col("object").cast(pl.Int64), *keys).join(records, on=keys)
    boxes = {row["object"]: row for row in known.iter_rows(named=True)}
    mine = data.images.filter(pl.col("image").is_in(suspects["image"].implode()))
    images = {row["image"]: row for row in mine.iter_rows(named=True)}
    for suspect in suspects.iter_rows(named=True):
        record = images.get(suspect["image"]) if suspect["object"] is None else boxes.get(suspect["object"])
        if record is not None:
            yield suspect, record


def evidence(suspect: Mapping[str, Any]) -> dict[str, Any]:
    """What the model says, and how far it is to be believed."""
    said: dict[str, Any] = {name: suspect[name] for name in ("suggested", "score", "usual", "share_right")}
    said["image_was"] = SEEN[suspect["learned"]]
    if suspect["x1"] is not None:
        said["box_xyxy"] = box_of(suspect)
    return said | {name: suspect[name] for name in ("iou", "label_score") if suspect[name] is not None}


def box_of(suspect: Mapping[str, Any]) -> list[float]:
    """The box predicted, to a tenth of a pixel."""
    return [round(suspect[c], 1) for c in CORNERS]


def believed(suspect: Mapping[str, Any]) -> str:
    """The middle of a message: how sure, against what is usual, and what the model had seen of the image."""
    seen = {True: ", in an image it was trained on", False: ", in an image it never saw", None: ""}[suspect["learned"]]
    return f"with {suspect['score']:.2f} (its right ones: {suspect['usual']:.2f} on the mean){seen}"


def able_detector(scores: ScoreFacts, min_map50: float) -> bool:
    """Whether these are scores of a detector that is good enough to doubt labels."""
    return scores.task == "detection" and (scores.score("mAP50") or 0.0) >= min_map50
