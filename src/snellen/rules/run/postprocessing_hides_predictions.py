"""See PostprocessingHidesPredictions."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure, number
from snellen.watching.facts import RunFacts


class PostprocessingHidesPredictions(Rule):
    """The detector scores objects, and nothing of it is left after the threshold.

    ## What it does
    Compares the highest score of the head with the boxes that validation gets.

    ## Why is this bad?
    mAP is 0 though the network has learned; it is trained longer, or given up.

    ## How it is computed
    Fires when the last validation got no box of `images` images or more while the head's highest score is at least
    `sure`; the finding names the threshold found in the model.

    ## Example
        postprocessing-hides-predictions 0 boxes in 96 images; scores reach 0.91, score_thresh is 0.99

    ## Fix
    Lower the score threshold for evaluation (COCO uses 0.05 or less) and look at the NMS threshold.

    ## Known false positives
    None known.

    ## References
    detectron2 and mmdetection threads on empty predictions; COCO evaluation scores all boxes above 0.05.
    """

    name = "postprocessing-hides-predictions"
    code = "RUN139"
    category = Category.CORRECTNESS
    causes = (
        "no-positive-targets",
        "mostly-empty-targets",
        "target-boxes-in-other-units",
        "target-boxes-as-sides",
        "target-boxes-not-resized",
        "target-classes-shifted",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        images: int = 8
        """Validation images."""
        sure: float = 0.3
        """Score of the head that shows an object."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, boxes, top = self.options, measure(run, "predictions"), number(run, "raw-score-top")
        if boxes is None or boxes["of"] < o.images or boxes["value"] > 0 or not top >= o.sure:
            return
        limit = measure(run, "score-threshold")
        why = f"{limit['detail']} is {limit['value']:g}" if limit else "threshold or suppression drop them"
        yield Finding(
            message=(
                f"validation got 0 boxes in {boxes['of']:.0f} images while scores of the head "
                f"reach {top:.2g} (limit {o.sure:g}): "
                f"{why}, and what was learned is hidden"
            ),
            place=Place(layer=limit["detail"] if limit else "output", split="validation", step=boxes["step"]),
            evidence={"top": top, "chain": [f"head: scores up to {top:.2g}", f"after post-processing: 0 boxes; {why}"]},
            fix=Fix(FixSafety.UNSAFE, "lower the score threshold"),
        )
