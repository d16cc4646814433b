"""See WorstCheckpointKept."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class WorstCheckpointKept(Rule):
    """The checkpoint that was kept as the best is the worst.

    ## What it does
    Looks whether the run ends with the weights of an earlier epoch, as it does after the kept checkpoint was loaded, or
    the last epoch reported repeats its scores, and which one that is.

    ## Why is this bad?
    All of the training after that epoch is thrown away.

    ## How it is computed
    The epoch that was kept is the one whose weights, bit for bit, are those at the end; or, where the last row of
    epochs came after the last optimizer step, the one whose validation loss equals it within `same`. Fires when it had
    the highest validation loss of at least `epochs` and the best of them is lower by at least `gain` of it, or, where
    no loss is given, the lowest score and the best is higher by `gain`. An epoch with the best score is a good choice
    whatever its loss.

    ## Example
        worst-checkpoint-kept the model kept is that of epoch 0, whose validation loss of 1.9 is the highest of 8

    ## Fix
    Keep the checkpoint with the smallest loss, or the largest accuracy: mode="min" for a loss, "max" for a score.

    ## Known false positives
    None known.

    ## References
    Lightning and Keras, ModelCheckpoint: `mode`.
    """

    name = "worst-checkpoint-kept"
    code = "RUN059"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        same: float = 1e-5
        """Relative difference of two evaluations of the same weights."""
        epochs: int = 3
        """Epochs that there have to be to choose from."""
        gain: float = 0.1
        """Share by which the best validation loss has to be below the kept one; or difference of two scores."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        kept, rows = self._kept(run)
        if kept is None or rows.height < o.epochs:
            return
        losses, scores = (np.array(rows[n].to_list(), float) for n in ("val_loss", "metric"))
        scored = bool(np.isfinite(scores).all())
        if scored and scores[kept] >= scores.max():
            return
        if np.isfinite(losses).all():
            name, worst, best = "validation loss", float(losses.max()), float(losses.min())
            bad = losses[kept] == worst and worst > 0 and best <= (1 - o.gain) * worst
        elif scored:
            name, worst, best = "validation score", float(scores.min()), float(scores.max())
            bad = scores[kept] == worst and best - worst >= o.gain
        else:
            return
        if not bad:
            return
        epoch = int(rows["epoch"][kept])
        yield Finding(
            message=(
                f"the model kept at the end is that of epoch {epoch}: its {name} of {worst:.3g} is the worst of "
                f"{rows.height} epochs (limit {o.epochs}), the best is {best:.3g}; the criterion is inverted"
            ),
            place=Place(layer="checkpoint"),
            evidence={"kept": worst, "best": best, "epoch": epoch},
            fix=Fix(FixSafety.UNSAFE, 'keep the smallest loss (mode="min") or the largest score (mode="max")'),
        )

    def _kept(self, run: RunFacts) -> tuple[int | None, pl.DataFrame]:
        """Row of the epoch that was kept, and the rows of the epochs it was chosen from."""
        restored, rows = event(run, "weights-restored"), run.epochs
        if restored:
            # A row that came after the training repeats one of the others.
            number = int(restored["value"])
            return (number if number < rows.height else None), rows
        rows = rows.drop_nulls("val_loss").filter(pl.col("val_loss").is_finite())
        if rows.height < 2 or not run.steps.height:
            return None, rows
        last, earlier = rows[-1], rows[:-1]
        if int(last["epoch"][0]) <= int(run.steps["epoch"].to_numpy().max()):
            return None, earlier
        found, others = float(last["val_loss"][0]), earlier["val_loss"].to_numpy()
        near = np.flatnonzero(np.abs(others - found) <= self.options.same * np.abs(others))
        return (int(near[0]) if len(near) else None), earlier
