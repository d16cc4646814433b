"""What the rules share that compare recall on some objects with recall on the others."""

from collections.abc import Iterator
from typing import Any

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Finding, Place, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS

GAP_CAUSES = (
    "missed-small-objects",
    "boxes-in-other-units",
    "swapped-box-format",
    "no-predictions",
    "class-never-predicted",
    "score-threshold-too-high",
    *TRAINING_FAULTS,
)
"""Rules of whose findings a gap in recall is only a consequence."""


class RecallGapOptions(RuleOptions):
    """Limits."""

    max_ratio: float = Field(default=0.6, ge=0, le=1)
    """Recall on these objects / recall on the others (judgement)."""
    min_recall: float = Field(default=0.4, ge=0, le=1)
    """Recall on the others: below it the model has not learned enough to be judged."""
    min_objects: int = Field(default=30, ge=1)
    """Of either kind, at least."""
    min_share: float = Field(default=0.05, ge=0, le=1)
    """Of all objects: below it they hardly matter for the score."""


def recall_gap(
    scores: ScoreFacts, chosen: pl.Expr, others: pl.Expr, words: str, remedy: str, property_bin: tuple[str, str], o: Any
) -> Iterator[Finding]:
    """A finding when recall on the `chosen` objects is far below that on the `others`; `o` are RecallGapOptions.

    `property_bin` is where `costs` says what the misses cost.
    """
    real = scores.objects.filter(~pl.col("crowd"))
    mine, rest = real.filter(chosen.fill_null(False)), real.filter(others.fill_null(False))
    if min(len(mine), len(rest)) < o.min_objects or len(mine) < o.min_share * len(real):
        return
    recall, other = float(mine["found"].sum()) / len(mine), float(rest["found"].sum()) / len(rest)
    if other < o.min_recall or recall >= o.max_ratio * other:
        return
    missed = mine.filter(~pl.col("found"))
    name, label = property_bin
    cost = scores.costs.filter((pl.col("property") == name) & (pl.col("bin") == label) & (pl.col("kind") == "missed"))
    points = float(cost["cost"][0]) if len(cost) else 0.0
    yield Finding(
        message=f"recall is {recall:.2f} on {len(mine)} objects {words} and {other:.2f} on {len(rest)} others (limit "
        f"{o.max_ratio:g} times as high); the misses among them cost {points:.2f} of mAP50: {remedy}",
        place=Place(split=scores.split),
        evidence={
            "recall": recall,
            "recall_others": other,
            "cost": points,
            "images": missed["image"].value_counts(sort=True)["image"].to_list()[:10],
        },
        affected=len(missed),
        of=len(real),
        rank=points,
    )
