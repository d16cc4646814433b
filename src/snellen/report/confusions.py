"""Which classes are taken for which: the matrix, and in words the worst pairs of many classes."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from markupsafe import Markup

from snellen.evaluation.facts import BACKGROUND_CLASS, ScoreFacts
from snellen.report.charts import Floats
from snellen.report.marks import READ_IN_CELLS, confusion
from snellen.report.plain import plain, share

MOST_CONFUSED = 25
MOST_PAIRS = 20


@dataclass(frozen=True)
class Confusion:
    """The matrix, how it reads, and its numbers."""

    drawing: Markup
    hint: str
    columns: list[str]
    rows: list[list[str]]
    """The matrix as a table."""
    pairs: list[list[str]]
    """True class, taken for, count, share of the true class; empty where the matrix shows the numbers."""
    more_pairs: int


def confusions(scores: ScoreFacts) -> Confusion | None:
    """The matrix of up to 25 classes, of more those with most errors; None where nothing was counted."""
    table = scores.confusion
    if not len(table):
        return None
    names, cut = _names(scores)
    counts = _counts(table, names)
    off = table.filter(
        (pl.col("true_class") != pl.col("predicted_class"))
        & (pl.col("true_class") != BACKGROUND_CLASS)
        & (pl.col("predicted_class") != BACKGROUND_CLASS)
    ).sort(["count", "true_class", "predicted_class"], descending=[True, False, False])
    totals = dict(table.group_by("true_class").agg(pl.col("count").sum()).iter_rows())
    pairs = [
        [plain(true, 60), plain(predicted, 60), f"{count:,}", share(count / totals[true])]
        for true, predicted, count in off.head(MOST_PAIRS).select("true_class", "predicted_class", "count").iter_rows()
    ]
    hint = "Rows are the truth, shades the share of the row."
    if BACKGROUND_CLASS in names:
        hint += (
            f" The column {BACKGROUND_CLASS}: missed; the row: predictions that meet no object, as shares of their "
            "column."
        )
    if cut:
        hint += f" The {MOST_CONFUSED} classes with most errors; {cut:,} more not drawn."
    shown = [plain(name, 60) for name in names]
    many = len(names) > READ_IN_CELLS
    return Confusion(
        confusion("confusion matrix", shown, counts, plain(BACKGROUND_CLASS)), hint, ["truth ↓ predicted →", *shown],
        [[name, *(f"{int(v):,}" for v in row)] for name, row in zip(shown, counts, strict=True)],
        pairs if many else [], max(0, len(off) - MOST_PAIRS) if many else 0,
    )  # fmt: skip


def _names(scores: ScoreFacts) -> tuple[list[str], int]:
    """The classes to draw, background last, and how many are left out."""
    table = scores.confusion
    used = set(table["true_class"].unique()) | set(table["predicted_class"].unique())
    names = scores.per_class["class_name"].to_list()
    if len(names) > MOST_CONFUSED:
        # The classes most often confused tell more than the most frequent ones.
        off = table.filter(pl.col("true_class") != pl.col("predicted_class"))
        wrong = dict(off.group_by("true_class").agg(pl.col("count").sum()).iter_rows())
        names.sort(key=lambda name: -wrong.get(name, 0))
    cut = max(0, len(names) - MOST_CONFUSED)
    return names[:MOST_CONFUSED] + ([BACKGROUND_CLASS] if BACKGROUND_CLASS in used else []), cut


def _counts(table: pl.DataFrame, names: list[str]) -> Floats:
    place = {name: i for i, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)))
    for true, predicted, count in table.select("true_class", "predicted_class", "count").iter_rows():
        if true in place and predicted in place:
            counts[place[true], place[predicted]] += count
    return counts
