"""See TrainEvalMismatch."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._series import losses
from snellen.rules.run._trials import trials
from snellen.watching.facts import RunFacts


class TrainEvalMismatch(Rule):
    """The same samples cost far more in eval mode than in train mode.

    ## What it does
    Computes the loss of a training batch in both modes at the end of the run, and compares the running statistics of
    norm layers with the batch's own.

    ## Why is this bad?
    What was learned is there in train mode and lost in eval mode: the network is validated and deployed at a fraction
    of what it can do.

    ## How it is computed
    After at least `steps` steps: (eval loss - train loss) is at least `share` of what training gained (the first loss,
    median of three, minus the train loss), and the eval loss is at least `ratio` times the train loss. The layer named
    is the one whose running statistics are farthest from the batch's, when it is by more than `drift` (in running
    standard deviations, or the log of the ratio of deviations). Healthy runs of the chart stay below 0.05 and 0.3.

    ## Example
        train-eval-mismatch  the same samples have loss 0.05 in train mode and 2.41 in eval mode

    ## Fix
    Batch norm: momentum 0.1, the default eps, batches of more than a few samples, forward passes in train mode before
    evaluation; or group norm. Otherwise look for what else hangs on `self.training`.

    ## Known false positives
    Very short runs with a tiny batch-norm momentum.

    ## References
    TheDeepChecker: train and eval loss on one batch differ by more than 50 %. PyTorch issue 5406.
    """

    name = "train-eval-mismatch"
    code = "RUN064"
    category = Category.CORRECTNESS
    causes = (
        "no-positive-targets",
        "evaluation-not-deterministic",
        "batchnorm-tiny-batch",
        "input-scale-off",
        "input-normalized-twice",
        "model-in-eval-mode",
        "lr-too-high",
        "running-statistics-unusable",
        "batchnorm-few-samples",
        "dropout-drops-most",
        "momentum-too-high",
        "future-visible",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.3
        """Part of what training gained that eval mode loses, 0..1."""
        ratio: float = 1.5
        """Eval loss over train loss; TheDeepChecker's limit."""
        drift: float = 0.7
        """Distance of running statistics from the batch's from which a layer is named; 0.7 is a factor of 2."""
        steps: int = 50
        """Steps before running statistics count: with momentum 0.1 they have forgotten their start after 50."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, values = self.options, losses(run)
        modes = trials(run, "mode-loss")
        if modes.height < 2 or len(values) < o.steps or modes["step"][-1] + 1 < o.steps:
            return
        at = modes.filter(pl.col("step") == modes["step"][-1])
        train, evaluated = (at.filter(pl.col("setting") == mode)["value"].to_list() for mode in (1.0, 0.0))
        if not train or not evaluated or not np.isfinite(values[:3]).all():
            return
        gained, lost = float(np.median(values[:3])) - train[0], evaluated[0] - train[0]
        if gained <= 0 or lost < o.share * gained or evaluated[0] < o.ratio * train[0]:
            return
        rows = trials(run, "running-statistics").filter(pl.col("step") == modes["step"][-1]).sort("value")
        worst = rows.tail(1).to_dicts()[0] if rows.height and rows["value"][-1] > o.drift else None
        why = (
            f"; running statistics of {worst['layer']} are {worst['value']:.2g} off the batch's (limit {o.drift:g}, "
            f"{worst['detail']})"
            if worst
            else ""
        )
        yield Finding(
            message=(
                f"the same samples have loss {train[0]:.3g} in train mode and {evaluated[0]:.3g} in eval mode: "
                f"{lost / gained:.0%} of what training gained is lost (limit {o.share:.0%}){why}"
            ),
            place=Place(layer=worst["layer"] if worst else None),
            evidence={"train_mode_loss": train[0], "eval_mode_loss": evaluated[0], "lost_share": lost / gained},
            fix=Fix(FixSafety.UNSAFE, "set batch norm's momentum to 0.1 and eps to 1e-5, or use GroupNorm")
            if worst
            else Fix(FixSafety.UNSAFE, "look for layers that do something else in eval mode: dropout, noise, norms"),
        )
