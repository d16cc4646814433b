"""See DetectorScoresNearZero."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure, number
from snellen.watching.facts import RunFacts


class DetectorScoresNearZero(Rule):
    """After training the detector's scores are all near 0.

    ## What it does
    Takes the highest class score of the head in the last validation.

    ## Why is this bad?
    Every prediction is background: boxes may be right and none is shown.

    ## How it is computed
    Fires when after `min_steps` steps with objects the highest raw score in the last validation is below `top`. The
    usual prior of 0.01 is where training starts; one object learned lifts the highest score far above it.

    ## Example
        detector-scores-near-zero the highest of all scores is 0.012 after 400 steps

    ## Fix
    Look for positives per object first, then at the weight of the classification loss.

    ## Known false positives
    Long trainings with warm-up, looked at early.

    ## References
    Lin et al. 2017, Focal Loss, section 4.1 (prior of 0.01).
    """

    name = "detector-scores-near-zero"
    code = "RUN170"
    category = Category.SUSPICIOUS
    causes = (
        "no-positive-targets",
        "mostly-empty-targets",
        "target-boxes-as-sides",
        "target-boxes-in-other-units",
        "target-boxes-not-resized",
        "target-classes-shifted",
        "lr-zero",
        "lr-too-low",
        "lr-too-high",
        "loss-not-finite",
        "optimizer-never-steps",
        "parameters-missing-from-optimizer",
        "layer-without-gradient",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        min_steps: int = 100
        """Steps before anything is said."""
        top: float = 0.03
        """Highest score; three times the usual prior."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, top = self.options, measure(run, "raw-score-top")
        if top is None or run.steps.height < o.min_steps or top["value"] >= o.top:
            return
        objects = number(run, "target-boxes", "training")
        yield Finding(
            message=(
                f"after {run.steps.height} steps with {objects:.0f} objects the highest score of "
                "the head in validation is "
                f"{top['value']:.2g} (limit {o.top:g}): everything is called background"
            ),
            place=Place(layer="output", split="validation", step=top["step"]),
            evidence={
                "top": top["value"],
                "chain": [f"{objects:.0f} objects seen", f"highest score {top['value']:.2g}"],
            },
            fix=Fix(
                FixSafety.UNSAFE,
                "set the bias of the class logits to -log(99) and check the weight of the classification loss",
            ),
        )
