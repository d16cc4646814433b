"""See WorstCheckpointKept."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.watching.facts import RunFacts


class WorstCheckpointKept(Rule):
    """The checkpoint that was kept as the best is the worst.

    ## What it does
    Looks whether the last epoch reported repeats the scores of an earlier one, as it does after the kept checkpoint was
    loaded, and which one that is.

    ## Why is this bad?
    All of the training after that epoch is thrown away.

    ## How it is computed
    Fires when the last row of epochs came after the last optimizer step, its validation loss equals that of an earlier
    epoch within `same`, that epoch was the worst of at least `epochs`, and the best of them is better by at least
    `gain` of the worst's loss.

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
        """Share by which the best validation loss has to be below the kept one."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        rows = run.epochs.drop_nulls("val_loss").filter(pl.col("val_loss").is_finite())
        if rows.height < o.epochs + 1 or not run.steps.height:
            return
        last_trained = int(run.steps["epoch"].to_numpy().max())
        kept, earlier = rows[-1], rows[:-1]
        loss, others = float(kept["val_loss"][0]), earlier["val_loss"].to_numpy()
        if int(kept["epoch"][0]) <= last_trained or others.min() > (1 - o.gain) * others.max() or others.max() <= 0:
            return
        worst = int(others.argmax())
        if abs(loss - others[worst]) > o.same * abs(others[worst]):
            return
        yield Finding(
            message=(
                f"the model kept at the end is that of epoch {int(earlier['epoch'][worst])}: its validation loss of "
                f"{loss:.3g} is the highest of {len(others)} epochs, the lowest is {np.min(others):.3g}; the criterion "
                "is inverted"
            ),
            place=Place(layer="checkpoint"),
            evidence={"kept_loss": loss, "best_loss": float(others.min()), "epoch": int(earlier["epoch"][worst])},
            fix=Fix(FixSafety.UNSAFE, 'keep the smallest loss: mode="min"'),
        )
