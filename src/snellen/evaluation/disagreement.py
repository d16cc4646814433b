"""The objects or images that only one of two runs gets right."""

import polars as pl

from snellen.boxes import CORNERS
from snellen.evaluation.facts import ScoreFacts

KEY = ("image", "class_name", *CORNERS)


def disagreements(first: ScoreFacts, other: ScoreFacts) -> pl.DataFrame:
    """Those that one run alone gets right, the surest first; none for runs without rows of both tasks.

    Columns: image, class_name, x1, y1, x2, y2 (null in classification), `only` (first or other), `score` of the run
    that is right, and `first_row`, `other_row`: the row of `objects`, in classification of `predictions`. Right means
    what the comparison's agreement counts: found at the run's threshold of best F1, or rightly classified. The runs
    must be scored against the same labels; images that only one was scored on are left out.
    """
    mine, theirs = _right(first), _right(other)
    # Equal objects are told apart by their order, as they are in the comparison.
    number = pl.int_range(pl.len()).over(KEY).alias("copy")
    both = mine.with_columns(number).join(
        theirs.with_columns(number), on=[*KEY, "copy"], how="inner", nulls_equal=True, suffix="_other"
    )
    odd = both.filter(pl.col("right") != pl.col("right_other"))
    score = pl.when("right").then("score").otherwise("score_other")
    only = pl.when("right").then(pl.lit("first")).otherwise(pl.lit("other"))
    return odd.select(
        *KEY, only.alias("only"), score.alias("score"), pl.col("row").alias("first_row"),
        pl.col("row_other").alias("other_row"),
    ).sort(["score", *KEY], descending=[True, *[False] * len(KEY)], nulls_last=True)  # fmt: skip


def _right(facts: ScoreFacts) -> pl.DataFrame:
    """KEY, row, right, score of every object or image."""
    if facts.task == "classification":
        rows = facts.predictions.with_row_index("row")
        right = (pl.col("outcome") == "correct").fill_null(False)
        return rows.select(
            "image", pl.col("true_class").alias("class_name"), *CORNERS, "row", right.alias("right"), "score"
        )
    threshold = facts.score("f1_threshold")
    found = pl.col("found") & (pl.col("score") >= (2.0 if threshold is None else threshold))
    rows = facts.objects.with_row_index("row").filter(~pl.col("crowd").fill_null(False))
    return rows.select(*KEY, "row", found.fill_null(False).alias("right"), "score").sort(KEY)
