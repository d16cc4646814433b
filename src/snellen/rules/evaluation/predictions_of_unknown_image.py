"""See PredictionsOfUnknownImage."""

from collections.abc import Iterator
from pathlib import PurePosixPath

import polars as pl

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule


class PredictionsOfUnknownImage(Rule):
    """Predictions name images that were not evaluated.

    ## What it does
    Reports predictions for images outside the evaluated set.

    ## Why is this bad?
    They are left out. If all are, the score is 0; if some are, predictions of another split are mixed in.

    ## How it is computed
    Count of records left out as `unknown-image`; any is reported. Names are also compared by file stem alone.

    ## Example
        predictions-of-unknown-image  300 of 300 predictions name images that are not evaluated ('000001'); the stems
            agree

    ## Fix
    Write the image names as the dataset does: relative to its root, with suffix.

    ## Known false positives
    A result file for several splits, evaluated on one of them.

    ## References
    pycocotools stops with an assertion here; other COCO tools drop the records without a word.
    """

    name = "predictions-of-unknown-image"
    code = "EVL004"
    category = Category.CORRECTNESS

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the predictions left out."""
        unknown = scores.problems.filter(pl.col("kind") == "unknown-image")
        if unknown.is_empty():
            return
        total = len(scores.predictions) + scores.problems.filter(~pl.col("kind").str.starts_with("object-")).height
        names = sorted({str(v) for v in unknown["image"]})
        known = sorted({*scores.objects["image"], *scores.predictions["image"]})
        stems = {PurePosixPath(n).stem for n in known}
        agree = sum(PurePosixPath(n.replace("\\", "/")).stem in stems for n in names)
        hint = f"; {agree} of {len(names)} agree by file name without folder and suffix" if agree else ""
        yield Finding(
            message=f"{len(unknown)} of {total} predictions name images that are not evaluated "
            f"({', '.join(map(repr, names[:3]))}; evaluated is {', '.join(map(repr, known[:3])) or 'none'}){hint}",
            place=Place(split=scores.split),
            evidence={"unknown": names[:20], "known": known[:20], "agree_by_stem": agree},
            affected=len(unknown),
            of=total,
        )
