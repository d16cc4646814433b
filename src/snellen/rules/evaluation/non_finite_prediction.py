"""See NonFinitePrediction."""

from collections.abc import Iterator

import polars as pl

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule


class NonFinitePrediction(Rule):
    """Predictions hold NaN or infinity.

    ## What it does
    Reports predictions with a box coordinate or score that is NaN, infinite or absent.

    ## Why is this bad?
    The network computed nonsense for these images. COCO tools count a NaN box as a true positive and sort a NaN
    score anywhere, so the number they print is wrong without a word; here they are left out.

    ## How it is computed
    Count of records left out as `nan-box`, `infinite-box`, `nan-score` or `infinite-score`; any is reported.

    ## Example
        non-finite-prediction  12 of 900 predictions are NaN or infinite (nan-box: 12) and were left out

    ## Fix
    Find the first layer whose output is not finite on one of the images named; float16 overflow and a diverged run
    are the usual reasons.

    ## Known false positives
    None.

    ## References
    Measured: pycocotools and torchmetrics score a NaN box as found (AP 0.917 where 0.833 is honest).
    """

    name = "non-finite-prediction"
    code = "EVL005"
    category = Category.CORRECTNESS

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the predictions left out."""
        bad = scores.problems.filter(pl.col("kind").is_in(["nan-box", "infinite-box", "nan-score", "infinite-score"]))
        if bad.is_empty():
            return
        total = len(scores.predictions) + scores.problems.filter(~pl.col("kind").str.starts_with("object-")).height
        kinds = dict(bad["kind"].value_counts(sort=True).rows())
        yield Finding(
            message=f"{len(bad)} of {total} predictions are NaN or infinite "
            f"({', '.join(f'{k}: {n}' for k, n in kinds.items())}) and were left out: the network's output is "
            "broken there",
            place=Place(split=scores.split),
            evidence={
                "kinds": kinds,
                "rows": bad["row"].to_list()[:20],
                "images": bad["image"].unique().to_list()[:10],
            },
            affected=len(bad),
            of=total,
        )
