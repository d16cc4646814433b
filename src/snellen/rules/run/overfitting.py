"""See Overfitting."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.watching.facts import RunFacts


class Overfitting(Rule):
    """Validation loss rises while training loss falls.

    ## What it does
    Compares the last validation loss with the best one.

    ## Why is this bad?
    Epochs after the best one made the model worse on new images.

    ## How it is computed
    Fires when the best validation loss is at least `patience` epochs old, the last is at least `rise` above it and
    training loss fell meanwhile.

    ## Example
        overfitting validation loss rose 41 % since epoch 6 while training loss fell; the best model is that of epoch 6

    ## Fix
    Stop earlier, add augmentation or data, use a smaller network or weight decay.

    ## Known false positives
    Cross-entropy may rise by overconfidence while accuracy holds.

    ## References
    SageMaker Debugger Overtraining (patience 5).
    """

    name = "overfitting"
    code = "RUN026"
    category = Category.SUSPICIOUS
    causes = (
        "target-boxes-as-sides",
        "target-boxes-in-other-units",
        "target-boxes-not-resized",
        "boxes-off-objects",
        "boxes-not-augmented",
        "target-classes-shifted",
        "too-few-samples",
        "noisy-labels",
        "labels-carry-no-information",
        "train-val-inputs-differ",
        "augmentation-repeats",
        "batchnorm-few-samples",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        patience: int = 5
        """Epochs since the best (SageMaker Debugger)."""
        rise: float = 0.25
        """Rise of the validation loss above its best, as a share."""

        metric_fall: float = 0.02
        """Fall of the validation metric below its best; a network that only grows surer keeps it."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = run.epochs.drop_nulls("val_loss").filter(pl.col("val_loss").is_finite())
        if rows.height <= self.options.patience:
            return
        best = int(rows["val_loss"].arg_min() or 0)
        lowest, last = float(rows["val_loss"][best]), float(rows["val_loss"][-1])
        since = rows.height - 1 - best
        if self._keeps_its_metric(rows["metric"]):
            return  # Surer of its few mistakes, and no more of them.
        if (
            since >= self.options.patience
            and lowest > 0
            and last > (1 + self.options.rise) * lowest
            and rows["train_loss"][-1] < rows["train_loss"][best]
        ):
            yield Finding(
                message=(
                    f"validation loss rose by {last / lowest - 1:.0%} (limit {self.options.rise:.0%}) in "
                    f"the {since} epochs since epoch {rows['epoch'][best]} while training loss fell; "
                    "later epochs made it worse"
                ),
                evidence={"best_epoch": int(rows["epoch"][best]), "best": lowest, "last": last},
                affected=since,
                of=rows.height,
                fix=Fix(FixSafety.UNSAFE, "stop at the best epoch; augment, add data or use a smaller network"),
            )

    def _keeps_its_metric(self, column: pl.Series) -> bool:
        """Whether the last value is as near to the best as the values of two epochs are to each other."""
        metric = column.drop_nulls().drop_nans().to_numpy()
        if len(metric) < len(column):
            return False
        noise = 2 * float(np.median(np.abs(np.diff(metric))))
        return bool(metric[-1] > metric.max() - max(self.options.metric_fall, noise))
