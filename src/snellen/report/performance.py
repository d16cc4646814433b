"""The scores: headline numbers with intervals, where points are lost, curves, classes and their confusion."""

from dataclasses import dataclass

import polars as pl
from markupsafe import Markup

from snellen.evaluation.facts import ScoreFacts
from snellen.findings.engine import Verdict
from snellen.report.confusions import Confusion, confusions
from snellen.report.curves import score_curves, small_multiples
from snellen.report.figures import Figure, small_interval
from snellen.report.lost import dearest_errors, failing_segments, lost_points
from snellen.report.plain import number, plain
from snellen.report.totals import HEADLINE, Score, headline_rows, score_rows

MOST_CLASSES = 100
COLUMNS = {
    "class_name": "class", "objects": "objects", "predictions": "predictions", "ap": "AP", "ap50": "AP50",
    "ap75": "AP75", "ap_small": "AP small", "ap_medium": "AP medium", "ap_large": "AP large", "ar": "AR",
    "olrp": "oLRP", "roc_auc": "ROC AUC", "iou": "IoU", "dice": "Dice", "boundary_iou": "boundary IoU",
    "boundary_f": "boundary F", "pq": "PQ", "sq": "SQ", "rq": "RQ", "precision": "precision", "recall": "recall",
    "f1": "F1", "f05": "F0.5", "f2": "F2", "g_mean": "G-mean",
}  # fmt: skip
"""Columns of PER_CLASS -> their heads; the threshold that a class wants stands beside its curve."""


@dataclass(frozen=True)
class Performance:
    """The scores section, but for its pictures."""

    headline: list[tuple[Score, Markup]]
    """With the interval drawn."""
    rest: list[Score]
    convention: str
    about: str
    lost: list[Figure]
    dear_columns: list[str]
    dear: list[list[str]]
    segments: list[str]
    curves: list[Figure]
    small: list[tuple[str, str, object]]
    columns: list[str]
    per_class: list[list[str]]
    more_classes: int
    confusion: Confusion | None
    undefined: list[tuple[str, str]]
    """What has no value, and why."""
    left_out: str


def performance(scores: ScoreFacts, verdict: Verdict) -> Performance:
    """Tables and drawings of `scores`; what a finding of `verdict` says is not said again."""
    columns, table = _per_class(scores)
    dear_columns, dear = dearest_errors(scores)
    told = [str(f.evidence.get("segment")) for f in verdict.findings if "segment" in f.evidence]
    return Performance(
        headline=[(row, small_interval(row.value, row.low, row.high)) for row in headline_rows(scores)],
        rest=[row for row in score_rows(scores) if row.metric not in HEADLINE],
        convention=plain(scores.convention, 900),
        about=f"{scores.images:,} images of split {plain(scores.split)}"
        + (f", input {scores.input_size} px" if scores.input_size else ""),
        lost=lost_points(scores),
        dear_columns=dear_columns,
        dear=dear,
        segments=failing_segments(scores, told),
        curves=score_curves(scores),
        small=small_multiples(scores),
        columns=columns,
        per_class=table,
        more_classes=max(0, len(scores.per_class) - MOST_CLASSES),
        confusion=confusions(scores),
        undefined=_undefined(scores),
        left_out=_left_out(scores),
    )


def _per_class(scores: ScoreFacts) -> tuple[list[str], list[list[str]]]:
    counted = {"classification": "images", "multi-label": "images", "semantic": "pixels", "panoptic": "segments"}
    heads = COLUMNS | {"objects": counted.get(scores.task, "objects")}
    kept = [c for c in heads if c == "class_name" or scores.per_class[c].null_count() < len(scores.per_class)]
    worst = {"semantic": "iou", "panoptic": "pq"}.get(scores.task, "ap")
    ordered = scores.per_class.sort(worst, nulls_last=True, maintain_order=True).head(MOST_CLASSES)
    rows = [
        [plain(row[c], 60) if c == "class_name" else number(row[c]) for c in kept] for row in ordered.to_dicts()
    ]  # fmt: skip
    return [heads[c] for c in kept], rows


def _undefined(scores: ScoreFacts) -> list[tuple[str, str]]:
    """Metrics and classes without a value, and why; where the evaluation does not say, what follows from the facts."""
    rows = []
    for metric, reason in scores.scores.filter(pl.col("value").is_null()).select("metric", "undefined").iter_rows():
        size = metric.rsplit("_", 1)[-1] if metric.endswith(("_small", "_medium", "_large")) else ""
        rows.append((metric, reason or (f"no {size} objects" if size else "nothing to measure it on")))
    for name, objects, reason in scores.per_class.select("class_name", "objects", "undefined").iter_rows():
        if reason or objects == 0:
            rows.append((name, reason or "no objects of this class: AP, recall and F1 are 0 / 0"))
    return [(plain(name, 60), plain(reason, 200)) for name, reason in rows[:MOST_CLASSES]]


def _left_out(scores: ScoreFacts) -> str:
    if not len(scores.problems):
        return ""
    kinds = scores.problems["kind"].value_counts(sort=True).head(6).rows()
    return f"{len(scores.problems):,} left out: " + ", ".join(f"{count:,} {plain(kind, 60)}" for kind, count in kinds)
