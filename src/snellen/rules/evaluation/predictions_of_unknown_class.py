"""See PredictionsOfUnknownClass."""

from collections.abc import Iterator

import polars as pl

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule


class PredictionsOfUnknownClass(Rule):
    """Predictions name classes that the dataset does not have.

    ## What it does
    Reports predictions whose class is not among the dataset's, with both sets of names.

    ## Why is this bad?
    Such predictions can never match: their mAP is 0 whatever the boxes. COCO tools drop them without a word. The
    usual reason is class ids that start at 1 on one side and at 0 on the other.

    ## How it is computed
    Count of records left out as `unknown-class`; any is reported. When both sides are whole numbers, the shift that
    brings the two sets together is tried; else names are compared without case, spaces, `_` and `-`.

    ## Example
        predictions-of-unknown-class  412 of 412 predictions name classes the data lacks ('80'); ids are shifted by +1

    ## Fix
    Map the ids to the dataset's own when writing predictions.

    ## Known false positives
    A model with more classes than the dataset, evaluated on purpose: pass only the shared classes.

    ## References
    open-mmlab/mmdetection "mAP 0" threads; Lightning-AI/torchmetrics and pycocotools drop unknown categories.
    """

    name = "predictions-of-unknown-class"
    code = "EVL002"
    category = Category.CORRECTNESS

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the predictions left out."""
        unknown = scores.problems.filter(pl.col("kind") == "unknown-class")
        if unknown.is_empty():
            return
        total = len(scores.predictions) + scores.problems.filter(~pl.col("kind").str.starts_with("object-")).height
        names = sorted({str(v) for v in unknown["value"]})
        known = scores.per_class["class_name"].to_list()
        used = {*names, *scores.predictions["class_name"].unique().to_list()}
        yield Finding(
            message=f"{len(unknown)} of {total} predictions name classes the data lacks "
            f"({', '.join(map(repr, names[:5]))}; it has {', '.join(map(repr, known[:5]))}) and cannot match"
            + _reason(names, used, known),
            place=Place(split=scores.split),
            evidence={"unknown": names[:50], "known": known[:50], "images": unknown["image"].unique().to_list()[:10]},
            affected=len(unknown),
            of=total,
        )


def _reason(unknown: list[str], used: set[str], known: list[str]) -> str:
    def plain(name: str) -> str:
        return name.lower().replace("_", "").replace("-", "").replace(" ", "")

    if all(n.lstrip("-").isdigit() for n in {*used, *known}):
        ids = {int(n) for n in used}
        for shift in (1, -1):
            if {i - shift for i in ids} <= {int(n) for n in known}:
                return f": ids are shifted by {shift:+d}, subtract it"
    same = {plain(n) for n in known} & {plain(n) for n in unknown}
    if same:
        return ": the names differ only in case or separators, map them"
    return ": map them to the dataset's names"
