"""See MajorityPredicted."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS
from snellen.watching.facts import RunFacts


class MajorityPredicted(Rule):
    """One class makes up nearly all targets, and the model answers nothing else.

    ## What it does
    Compares what was asked for with what was answered in the last quarter of the run.

    ## Why is this bad?
    Accuracy looks high and equals the share of the large class; the others are never found.

    ## How it is computed
    Fires when in the last quarter of the steps seen, with at least `targets` targets, the largest class has at least
    `majority` of them, others at least `others`, and these others make up less than `found` of their share among the
    answers. Only after `steps` steps.

    ## Example
        majority-predicted class 0 is 98.6 % of the targets and 100 % of the answers

    ## Fix
    Weights by inverse frequency, a balanced sampler, a focal loss; a metric that counts classes equally.

    ## Known false positives
    The first steps of a hard problem.

    ## References
    SageMaker Debugger ClassImbalance (count ratio 10, wrong answers 0.7); TheDeepChecker.
    """

    name = "majority-predicted"
    code = "RUN054"
    category = Category.SUSPICIOUS
    causes = TRAINING_FAULTS

    class Options(RuleOptions):
        """Options of this rule."""

        majority: float = 0.9
        """Share of the largest class (SageMaker: ratio 10)."""
        found: float = 0.1
        """Share of the other classes among answers, over their share among targets."""
        targets: int = 200
        """Targets in the last quarter."""
        others: int = 5
        """Targets of the other classes among them."""
        steps: int = 50
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        rows = run.classes.filter((pl.col("phase") == "training") & (pl.col("class_id") >= 0))
        if not rows.height or run.steps.height < o.steps:
            return
        targets, answers = rows["recent_targets"].to_numpy(), rows["predicted"].to_numpy()
        total, said = int(targets.sum()), int(answers.sum())
        if total < o.targets or not said:
            return
        top = int(targets.argmax())
        share, answered = targets[top] / total, answers[top] / said
        if share < o.majority or total - targets[top] < o.others or 1 - answered >= o.found * (1 - share):
            return
        class_id = int(rows["class_id"][top])
        yield Finding(
            message=(
                f"class {class_id} is {share:.1%} of the last {total} targets (limit {o.majority:.0%}) and "
                f"{answered:.1%} of the answers: the model gives the majority class and nothing else"
            ),
            place=Place(layer="target"),
            evidence={"class": class_id, "share": float(share), "answered": float(answered)},
            fix=Fix(FixSafety.UNSAFE, "class weights 1 / count, or a balanced sampler"),
        )
