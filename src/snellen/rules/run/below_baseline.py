"""See BelowBaseline."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS
from snellen.watching.facts import RunFacts

CHANCE = {
    **dict.fromkeys(("r2", "r2_score", "r_squared", "explained_variance", "mcc", "matthews_corrcoef"), 0.0),
    **dict.fromkeys(("kappa", "cohen_kappa", "cohen_kappa_score"), 0.0),
    **dict.fromkeys(("auroc", "roc_auc", "roc_auc_score"), 0.5),
}
"""Metric -> what the best constant guess gets by the metric's definition."""


class BelowBaseline(Rule):
    """The model is no better than always giving the same answer.

    ## What it does
    Compares the best validation metric with that of the best constant guess, where it is known: from the data of our
    own trainings, and by definition for R squared, explained variance, Matthews' coefficient, kappa and ROC AUC.

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
        name = run.metric_name.lower().replace("-", "_").removeprefix("val_")
        baseline = CHANCE.get(name) if run.baseline_metric is None else run.baseline_metric
        if baseline is None or len(metrics) < self.options.min_epochs or run.steps.height < self.options.min_steps:
            return
        best = float(metrics.to_numpy().max())
        if not best > baseline:
            yield Finding(
                message=(
                    f"{run.metric_name or 'the metric'} is at most {best:.3f} in {len(metrics)} epochs "
                    f"where a constant guess gives {baseline:.3f} (limit); the model has "
                    "learned nothing that holds on new images"
                ),
                evidence={"best": best, "baseline": baseline},
                fix=Fix(FixSafety.UNSAFE, "give training and validation the same class ids and preprocessing"),
            )
