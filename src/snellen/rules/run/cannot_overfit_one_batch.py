"""See CannotOverfitOneBatch."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS
from snellen.rules.run._trials import last
from snellen.watching.facts import RunFacts


class CannotOverfitOneBatch(Rule):
    """The network cannot learn even 16 samples by heart.

    ## What it does
    Trains a copy on at most 16 samples by Adam, without dropout, and looks how many it gets right.

    ## Why is this bad?
    What cannot be memorised cannot be learned: the network is too small, or a narrow layer loses what the answer needs.

    ## How it is computed
    After at least `steps` steps (the better of two learning rates) less than `score` of the samples' classes are found,
    or less than that share of the targets' variance is explained, the loss no longer falls (the last tenth is at least
    `plateau` of the loss at half-time), and gradients still arrive. Not judged when time was too short, for losses
    other than cross-entropy and squared error, and folded under the wiring fault when there is one.

    ## Example
        cannot-overfit-one-batch  after 200 steps on 16 samples 31 % are right (limit 80 %)

    ## Fix
    Make layers wider, remove bottlenecks, train frozen parts too.

    ## Known false positives
    Equal inputs with different labels among the 16; a frozen backbone with a small head.

    ## References
    Karpathy, A Recipe for Training Neural Networks: overfit one batch. TheDeepChecker: 16 samples, error above 5 %.
    """

    name = "cannot-overfit-one-batch"
    code = "RUN065"
    category = Category.CORRECTNESS
    causes = (
        "linear-network",
        "input-not-used",
        "samples-mixed",
        "momentum-too-high",
        "lr-too-high",
        *TRAINING_FAULTS,
    )

    class Options(RuleOptions):
        """Options of this rule."""

        score: float = 0.8
        """Share of right classes or explained variance; healthy networks of the chart reach 0.98 and more."""
        plateau: float = 0.8
        """Loss at the end over that at half-time; networks that are merely slow halve theirs."""
        steps: int = 100
        """Steps of Adam that memorising 16 samples takes at most in the chart's networks."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        score, late = last(run, "overfit-score"), last(run, "overfit-plateau")
        frozen = run.parameters.height > 0 and not run.parameters["trainable"].all()
        if score is None or late is None or frozen or (score["setting"] or 0) < o.steps:
            return
        if score["value"] >= o.score or late["value"] < o.plateau:
            return
        yield Finding(
            message=(
                f"after {score['setting']:.0f} steps on a few samples alone {max(score['value'], 0):.0%} are "
                f"fitted (limit {o.score:.0%}) and the loss has stopped falling: the network is too small for the task"
            ),
            evidence={"score": score["value"], "loss_late_over_half_time": late["value"], "steps": score["setting"]},
            fix=Fix(
                FixSafety.UNSAFE,
                "widen the narrowest layer, train frozen parts too, and check that targets belong to inputs",
            ),
        )
