"""See ValidatesAnotherModel."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._copies import idle_copies
from snellen.rules.run._series import fall, first_loss
from snellen.watching.facts import RunFacts


class ValidatesAnotherModel(Rule):
    """Validation runs on a model that does not change.

    ## What it does
    Compares the validation loss of the epochs, and looks whether the watched model takes part in validation.

    ## Why is this bad?
    The scores are those of an untrained copy: training looks useless, and the best checkpoint is any.

    ## How it is computed
    Fires when the validation loss (or, without one, the metric of `epochs` + 1 epochs) is exactly the same in at
    least `epochs` epochs while the training loss fell by `least_fall`, and the watched model, if its passes were
    counted, made none in validation. An average of the weights (EMA) changes from epoch to epoch; one that was
    handed to the watch beside its model and never moved is no watched model in this sense. Fires too when the watched
    model made no pass in validation and all validation losses are about the first training loss (`untrained`) or
    higher, as those of an average are whose decay is made for a longer run.

    ## Example
        validates-another-model val loss is 2.3071 in all 5 epochs while the training loss fell by 92 %

    ## Fix
    Evaluate the model that the optimizer updates; update the copy, or copy after training.

    ## Known false positives
    None known.

    ## References
    PyTorch forum: validation on a deepcopy made before training.
    """

    name = "validates-another-model"
    code = "RUN101"
    category = Category.CORRECTNESS
    causes = (
        "epochs-without-steps",
        "weights-unchanged",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        epochs: int = 3
        """Epochs with one value."""
        least_fall: float = 0.1
        """Share by which the training loss fell, so that the weights did change."""
        untrained: float = 0.9
        """Validation losses over the first training loss from which the model evaluated is as good as untrained."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        values = run.epochs["val_loss"].drop_nulls().to_list()
        what = "loss"
        if not values:
            values, what = run.epochs["metric"].drop_nulls().to_list(), "metric"
        if len(values) < o.epochs + (what == "metric") or not fall(run) >= o.least_fall:
            return
        still = len(set(values)) == 1
        if not still and (what == "metric" or not min(values) >= o.untrained * first_loss(run) > 0):
            return
        # A pass after the last step is that of a final test.
        passes = run.forwards.filter((pl.col("phase") == "validation") & (pl.col("first_step") < run.steps.height))
        counted = passes["calls"].sum() if run.forwards.height else None
        copies = idle_copies(run)
        if (counted and not copies) or not (still or counted == 0):
            return
        none = "" if counted is None else " and the watched model made no forward pass in validation"
        if copies:
            none = (
                f" and the {len(copies)} parameters of model {next(iter(copies.values()))}, a copy of it, never moved"
            )
        learns = "does not learn" if still else "hardly learns"
        yield Finding(
            message=(
                f"the validation {what} is {'exactly' if still else 'about'} {values[0]:.6g} in all {len(values)} "
                f"epochs (limit {o.epochs}) while the "
                f"training loss fell by {fall(run):.0%}{none}; another model, which {learns}, is evaluated"
            ),
            evidence={
                "value": values[0],
                "epochs": len(values),
                "chain": [
                    f"{len(values)} {'equal' if still else 'like'} values",
                    f"training loss fell by {fall(run):.0%}",
                    f"{counted or 0} validation passes",
                ],
            },
            affected=len(values),
            of=run.epochs.height,
            fix=Fix(FixSafety.UNSAFE, "evaluate the model that is trained"),
        )
