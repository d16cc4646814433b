"""See ScoreOutOfRange."""

from collections.abc import Iterator

import polars as pl

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule


class ScoreOutOfRange(Rule):
    """Scores are no probabilities.

    ## What it does
    Reports predictions whose score is outside 0..1, or whose class probabilities do not sum to 1.

    ## Why is this bad?
    Logits or percentages were given where probabilities are expected: thresholds, calibration and log loss of them
    mean nothing, so the records were left out.

    ## How it is computed
    Count of records left out as `score-out-of-range` (tolerance 1e-6 for boxes, 1e-3 for class probabilities) or
    `not-a-distribution` (sum further than 0.001 from 1).

    ## Example
        score-out-of-range  500 of 500 predictions have no probability as score ('sum 3.1, -4.2 to 6.0') and were
            left out

    ## Fix
    Apply softmax (one class per image) or sigmoid before handing scores over; divide percentages by 100.

    ## Known false positives
    Multi-label outputs, whose probabilities rightly do not sum to 1: they are another task.

    ## References
    Lightning-AI/torchmetrics#1989: scores outside 0..1 are silently put through a sigmoid there.
    """

    name = "score-out-of-range"
    code = "EVL006"
    category = Category.CORRECTNESS

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the predictions left out."""
        bad = scores.problems.filter(pl.col("kind").is_in(["score-out-of-range", "not-a-distribution"]))
        if bad.is_empty():
            return
        total = len(scores.predictions) + scores.problems.filter(~pl.col("kind").str.starts_with("object-")).height
        yield Finding(
            message=f"{len(bad)} of {total} predictions have no probability as score ({str(bad['value'][0])!r}) and "
            "were left out: apply softmax or sigmoid to logits, divide percentages by 100",
            place=Place(split=scores.split),
            evidence={"values": bad["value"].to_list()[:10], "rows": bad["row"].to_list()[:20]},
            affected=len(bad),
            of=total,
        )
