"""See NoPredictions."""

from collections.abc import Iterator

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule
from snellen.rules._causes import TRAINING_FAULTS


class NoPredictions(Rule):
    """There are objects to find and not one prediction that can be scored.

    ## What it does
    Reports an evaluation without a single usable prediction.

    ## Why is this bad?
    Every score is 0, or cannot be computed, and says nothing of what the model has learned.

    ## How it is computed
    Objects (detection) or images (classification) > 0 and usable predictions = 0.

    ## Example
        no-predictions  0 usable predictions for 120 objects: every score is 0

    ## Fix
    Score the raw output before thresholds: a score threshold above what the model reaches, or NMS with a wrong
    threshold, hides every box. If predictions were left out, the finding that says why comes first.

    ## Known false positives
    None.

    ## References
    pycocotools stops with IndexError on an empty result file.
    """

    name = "no-predictions"
    code = "EVL001"
    category = Category.CORRECTNESS
    causes = (
        "predictions-of-unknown-class",
        "predictions-of-unknown-image",
        "non-finite-prediction",
        "score-out-of-range",
        "swapped-box-format",
        "unusable-predicted-box",
        "unreadable-prediction",
        "unreadable-predicted-shape",
        "prediction-of-other-size",
        "image-without-prediction",
        *TRAINING_FAULTS,
    )

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the predictions."""
        wanted = len(scores.objects) if scores.task == "detection" else scores.images
        if wanted and scores.predictions.is_empty():
            noun = "objects" if scores.task == "detection" else "images"
            left_out = f" ({len(scores.problems)} were left out)" if len(scores.problems) else ""
            yield Finding(
                message=f"0 usable predictions for {wanted} {noun}{left_out}: no score says anything of the model; "
                "look at its raw output before score threshold and NMS",
                place=Place(split=scores.split),
                evidence={"objects": wanted, "left_out": len(scores.problems)},
                affected=wanted,
                of=wanted,
            )
