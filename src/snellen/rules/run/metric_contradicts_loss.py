"""See MetricContradictsLoss."""

import math
from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import form, masks, one_answer_each
from snellen.rules.run._series import accuracies
from snellen.watching.facts import RunFacts


class MetricContradictsLoss(Rule):
    """The reported accuracy cannot be true beside the reported loss.

    ## What it does
    Compares the accuracy that the loop reports with the least one that its loss allows, and with the accuracy of the
    training batches counted anew from outputs and targets.

    ## Why is this bad?
    The model may be well; what is looked at and decided by is not.

    ## How it is computed
    A sample that is classified wrongly has a probability of at most 1/2 for its class, so a loss of at least ln 2.
    A mean cross-entropy of L therefore allows an error of at most L / ln 2. Fires when in the last `epochs` epochs the
    accuracy (of training or validation, whichever is reported with its loss; percentages are divided by 100) is below
    1 - L / ln 2 by more than `margin`; when it is above 1 and no percentage; when it is the same to six digits in at
    least `epochs` epochs while the accuracy counted anew rose by `rise` to twice chance or more and no longer is near
    the reported one; or when the training accuracy stays `rise` below the one counted anew in more than `epochs`
    epochs. Targets that the loss leaves out may count as wrong; the accuracy of masks, which may be that of the object
    alone, has to have fallen while the loss halved.

    ## Example
        metric-contradicts-loss the accuracy is 0.11 where a validation loss of 0.12 allows 0.83 at the least

    ## Fix
    argmax over the classes (dim 1); divide by the number of samples; the same order of outputs and targets.

    ## Known false positives
    A loss and a metric of different data reported side by side.

    ## References
    PyTorch forum, 83 of 365 silent bugs are of abnormal metrics (PYSIASSIST).
    """

    name = "metric-contradicts-loss"
    code = "RUN058"
    category = Category.CORRECTNESS
    causes = ("validates-another-model",)

    class Options(RuleOptions):
        """Options of this rule."""

        margin: float = 0.05
        """How far below the bound; losses are means over batches and metrics of one moment."""
        epochs: int = 2
        """Epochs in a row that have to contradict."""
        rise: float = 0.2
        """Rise of the recounted accuracy beside a reported one that never moves; what it may be above the reported."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known = form(run)
        if (
            known.get("name") != "cross-entropy"
            or known["target"] != "class-ids"
            or not (one_answer_each(run) or masks(run))
        ):
            return
        if known["reduction"] != "mean" or known["scale"] != 1.0 or known["weights"] or known["sign"] < 0:
            return
        if known["ignored"] is not None or known["before"]:
            return
        if not run.metric_name.lower().replace("_", "-").startswith(("acc", "top1", "top-1", "val-acc", "train-acc")):
            return
        smoothing = min(known["smoothing"], 0.99)
        for phase, metric, loss in (("validation", "metric", "val_loss"), ("training", "train_metric", "train_loss")):
            rows = run.epochs.drop_nulls([metric, loss]).filter(pl.col(loss).is_finite())
            if rows.height < self.options.epochs:
                continue
            shown, cost = rows[metric].to_numpy(), rows[loss].to_numpy() / (1 - smoothing)
            # What the loss leaves out the metric may count as wrong.
            least = (1 - cost / math.log(2)) * (1 - known["ignored_share"])
            found = list(self._judge(run, phase, shown, least, rows[loss].to_numpy(), known["classes"]))
            yield from found
            if found:
                return
        yield from self._recounted(run)

    def _recounted(self, run: RunFacts) -> Iterator[Finding]:
        if not one_answer_each(run):
            return
        told = run.epochs["train_metric"].drop_nulls().to_numpy()
        counted = accuracies(run)
        late = float(counted[-max(len(counted) // 5, 1) :].mean()) if len(counted) else 0.0
        if len(told) <= self.options.epochs or not 0 <= told.max() <= 1 or not told.max() < late - self.options.rise:
            return
        yield Finding(
            message=(
                f"the training accuracy is at most {told.max():.3f} in {len(told)} epochs while that of the same "
                f"batches, counted anew, is {late:.2f} at the end (limit {self.options.rise:g} above): the metric is "
                "computed wrongly"
            ),
            place=Place(layer="metric", split="train"),
            evidence={"accuracy": told[-5:].tolist(), "counted": counted[-5:].tolist()},
            fix=Fix(FixSafety.UNSAFE, "(outputs.argmax(1) == targets).float().mean() over all samples"),
        )

    def _judge(
        self, run: RunFacts, phase: str, shown: np.ndarray, least: np.ndarray, loss: np.ndarray, classes: int
    ) -> Iterator[Finding]:
        o, n = self.options, self.options.epochs
        share = shown / 100 if shown.max() > 1.5 and shown.max() <= 100 else shown
        message = ""
        # What is called accuracy of masks may be that of the object alone; that one rises when the loss falls.
        fell = share[-n:].max() < share[0] and loss[-1] < loss[0] / 2
        if (share[-n:] > 1.001).all():
            message = f"the {phase} accuracy is {shown[-1]:.4g} (limit 1): it is divided by the wrong count"
        elif (share[-n:] < least[-n:] - o.margin).all() and (one_answer_each(run) or fell):
            message = (
                f"the {phase} accuracy is {share[-1]:.3f} where a mean cross-entropy of {loss[-1]:.3g} allows "
                f"{least[-1]:.3f} at the least (limit {o.margin:g} below): the metric is computed wrongly"
            )
        else:
            counted = accuracies(run)
            k = max(len(counted) // 5, 1)
            start, end = (float(counted[:k].mean()), float(counted[-k:].mean())) if len(counted) else (0.0, 0.0)
            if (
                len(share) > n
                and float(np.ptp(share)) < 1e-6
                and end - start >= o.rise
                and end >= 2 / max(classes, 2)
                and abs(float(share[-1]) - end) > o.rise
            ):
                message = (
                    f"the {phase} accuracy is {share[-1]:.4g} in all of {len(share)} epochs while that of the training "
                    f"batches, counted anew, rose from {start:.2f} to {end:.2f} (limit {o.rise:g}): it is not computed "
                    "from this model's outputs"
                )
        if message:
            yield Finding(
                message=message,
                place=Place(layer="metric", split="val" if phase == "validation" else "train"),
                evidence={"accuracy": shown[-5:].tolist(), "loss": loss[-5:].tolist(), "least": least[-5:].tolist()},
                fix=Fix(FixSafety.UNSAFE, "(outputs.argmax(1) == targets).float().mean() over all samples"),
            )
