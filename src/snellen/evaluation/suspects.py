"""Labels that good predictions speak against: what a person should look at first, and the data rules may join.

In the manner of cleanlab's ObjectLab (Tkachenko et al., 2023): overlooked, badly named and badly placed objects; for
images, a confident other class (Northcutt et al., Confident Learning, JAIR 2021).
"""

from typing import Any

import polars as pl

from snellen.boxes import CORNERS
from snellen.evaluation.facts import SUSPECTS

MIN_SCORE = 0.5
"""A prediction below it accuses nobody."""
NAMED_IOU = 0.7
"""Overlap from which a prediction of another class speaks of the labelled object (judgement)."""
LOOSE_IOU = 0.3
"""A box that overlaps the label by this to 0.5, and that nothing better fits, may be the better box (judgement)."""
MAX_LABEL_PROBABILITY = 0.05
MOST = 1000


def detection_suspects(predictions: pl.DataFrame, objects: pl.DataFrame) -> pl.DataFrame:
    """Suspects of a detector's facts tables, the surest first, at most `MOST`.

    unlabelled-object: a score of at least 0.5 where nothing is labelled. wrong-class: the same box as an object's under
    another name, which no prediction of its own class finds. loose-box: the best box of an object nobody finds
    overlaps it by 0.3 to 0.5.
    """
    sure = predictions.filter(pl.col("score") >= MIN_SCORE)
    claimed = objects.with_row_index("object").select(
        pl.col("object").cast(pl.Int64), pl.col("found"), pl.col("class_name").alias("label")
    )
    sure = sure.join(claimed, on="object", how="left", maintain_order="left")
    lost = ~pl.col("found").fill_null(True)
    kinds = {
        "unlabelled-object": pl.col("outcome") == "background",
        "wrong-class": (pl.col("outcome") == "classification") & lost & (pl.col("iou") >= NAMED_IOU),
        "loose-box": (pl.col("outcome") == "localisation") & lost & (pl.col("iou") >= LOOSE_IOU),
    }
    kind: Any = pl.lit(None, dtype=pl.String)
    for name, condition in kinds.items():
        kind = pl.when(condition).then(pl.lit(name)).otherwise(kind)
    accused = sure.with_columns(kind.alias("kind")).filter(pl.col("kind").is_not_null())
    unlabelled = pl.col("kind") == "unlabelled-object"
    return _suspects(
        accused.sort("score", descending=True, maintain_order=True)
        .with_columns(pl.when(unlabelled).then(None).otherwise("label").alias("label"))
        .with_columns(pl.when(unlabelled).then(None).otherwise("object").alias("object"))
    )


def classification_suspects(predictions: pl.DataFrame) -> pl.DataFrame:
    """wrong-label: images with at least 0.5 on another class and at most 0.05 on their label, by falling loss."""
    accused = predictions.filter(
        (pl.col("outcome") != "correct")
        & (pl.col("score") >= MIN_SCORE)
        & ((-pl.col("loss")).exp() <= MAX_LABEL_PROBABILITY)
    ).sort("loss", descending=True, maintain_order=True)
    return _suspects(accused.with_columns(pl.lit("wrong-label").alias("kind"), pl.col("true_class").alias("label")))


def _suspects(accused: pl.DataFrame) -> pl.DataFrame:
    return accused.head(MOST).select(
        "kind", "image", "label", pl.col("class_name").alias("suggested"), "score", "object", *CORNERS
    ).cast({name: dtype for name, (dtype, _) in SUSPECTS.items()})  # fmt: skip
