"""See EpochsWithoutSteps."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.findings.words import plural
from snellen.watching.facts import RunFacts


class EpochsWithoutSteps(Rule):
    """Epochs go by in which no batch is trained on.

    ## What it does
    Counts the epochs, reported between others, to which no step belongs.

    ## Why is this bad?
    The run looks long and was short: a generator, `iter(loader)`, `zip` or `map` that was made once is used up after
    the first epoch, and the loop over it does nothing.

    ## How it is computed
    The loop reported at least `epochs` epochs after the last step while an earlier one had steps. One epoch without
    steps is usual: a test after the training.

    ## Example
        epochs-without-steps 4 of 5 epochs have no step: the batches were used up in epoch 0

    ## Fix
    Make the iterator anew in each epoch: loop over the DataLoader, not over `iter(loader)` or a generator made before.

    ## Known false positives
    Several tests after the training that are each reported as an epoch.

    ## References
    Python documentation, glossary: an iterator that is used up stays so.
    """

    name = "epochs-without-steps"
    code = "RUN193"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        epochs: int = 3
        """Epochs without a step, at the end of the run."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        trained = set(run.steps["epoch"].drop_nulls().to_list())
        reported = run.epochs["epoch"].drop_nulls().to_list()
        empty = [e for e in reported if trained and e > max(trained)]
        if len(empty) < self.options.epochs or not set(reported) & trained:
            return
        yield Finding(
            message=(
                f"{len(empty)} of {plural(len(reported), 'epoch')} (limit {self.options.epochs}), from epoch "
                f"{empty[0]} on, have no step: the batches were used up in epoch {max(trained)}"
            ),
            place=Place(layer="loader"),
            evidence={"epochs": empty[:20], "steps": run.steps.height},
            affected=len(empty),
            of=len(reported),
            fix=Fix(FixSafety.UNSAFE, "loop over the DataLoader itself, which begins anew in each epoch"),
        )
