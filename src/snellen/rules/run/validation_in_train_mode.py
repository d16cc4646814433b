"""See ValidationInTrainMode."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class ValidationInTrainMode(Rule):
    """The model is validated in train() mode.

    ## What it does
    Looks at the mode of the forward passes without gradients in a run that reports validation scores.

    ## Why is this bad?
    Dropout drops and batch norm uses the statistics of the validation batch, and takes them into its running ones: the
    score is not that of the model that will be used, and it depends on the batch.

    ## How it is computed
    Fires when the loop reported a validation loss or metric, every forward pass with gradients off, up to the last
    step, was made in train() mode, and the model has layers that act differently in the two modes.

    ## Example
        validation-in-train-mode 24 of 24 validation passes ran in train() mode with 6 layers that act otherwise

    ## Fix
    `model.eval()` before validation and `model.train()` behind it.

    ## Known false positives
    Monte Carlo dropout on purpose.

    ## References
    PyTorch documentation, Module.eval; PYSIASSIST pattern `eval/no_grad pairing`.
    """

    name = "validation-in-train-mode"
    code = "RUN190"
    category = Category.CORRECTNESS

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        sensitive = event(run, "mode-sensitive-layers")
        scored = run.epochs["val_loss"].drop_nulls().len() + run.epochs["metric"].drop_nulls().len()
        rows = run.forwards.filter(pl.col("phase") == "validation")
        if not scored or not rows.height or sensitive is None or not sensitive["value"]:
            return
        wrong = rows.filter(pl.col("training_mode"))
        # A test after training, in eval mode, is another matter.
        right = rows.filter(~pl.col("training_mode") & (pl.col("first_step") < run.steps.height))
        if wrong.height and not right.height:
            passes = int(wrong["calls"].sum())
            yield Finding(
                message=(
                    f"{passes} of {passes} validation passes ran in train() mode (limit 0) with "
                    f"{sensitive['value']:.0f} layers that act otherwise in eval(): the score is not that of the model "
                    "that will be used"
                ),
                place=Place(step=int(wrong["first_step"][0])),
                affected=passes,
                of=passes,
                fix=Fix(FixSafety.SAFE, "call model.eval() before validation and model.train() behind it"),
            )
