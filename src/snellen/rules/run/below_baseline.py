"""See BelowBaseline."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS
from snellen.watching.facts import RunFacts


class BelowBaseline(Rule):
    """The model is no better than always giving the same answer.

    ## What it does
    Compares the best validation metric with that of the best constant guess.

    ## Why is this bad?
    Whatever it learned does not help on new images.

    ## How it is computed
    Fires when after `min_epochs` epochs and `min_steps` steps the best metric is not above the baseline. Folded
    under the cause when one is found.

    ## Example
        below-baseline accuracy is at most 0.11 where always guessing the largest class gives 0.11

    ## Fix
    With no cause beside it: compare labels and preprocessing of training and validation.

    ## Known false positives
    Strong imbalance early in training: use a metric that counts classes equally.

    ## References
    Karpathy, A Recipe for Training Neural Networks: human and constant baselines.
    """

    name = "below-baseline"
    code = "RUN027"
    category = Category.SUSPICIOUS
    causes = ("loss-flat", *TRAINING_FAULTS)

    class Options(RuleOptions):
        """Options of this rule."""

        min_epochs: int = 4
        """Evaluated epochs before anything is said."""
        min_steps: int = 100
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        metrics = run.epochs["metric"].drop_nulls()
        if (
            run.baseline_metric is None
            or len(metrics) < self.options.min_epochs
            or run.steps.height < self.options.min_steps
        ):
            return
        best = float(metrics.to_numpy().max())
        if not best > run.baseline_metric:
            yield Finding(
                message=(
                    f"{run.metric_name or 'the metric'} is at most {best:.3f} in {len(metrics)} epochs "
                    f"where a constant guess gives {run.baseline_metric:.3f} (limit); the model has "
                    "learned nothing that holds on new images"
                ),
                evidence={"best": best, "baseline": run.baseline_metric},
                fix=Fix(FixSafety.UNSAFE, "give training and validation the same class ids and preprocessing"),
            )
