"""See SquaredLossOnClasses."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import DISTANCES, form, one_answer_each, rows
from snellen.watching.facts import RunFacts


class SquaredLossOnClasses(Rule):
    """A loss of regression is applied to class ids.

    ## What it does
    Recognises a squared or absolute distance and looks whether its targets are class ids.

    ## Why is this bad?
    Class 3 is not between classes 2 and 4. Even against one-hot vectors a squared loss has hardly any gradient where
    the softmax is confidently wrong, and learns slower than cross-entropy.

    ## How it is computed
    Fires when the targets are class ids and the loss equals the distance of the outputs (raw, or behind a softmax or
    sigmoid) from their one-hot vectors; or the distance of one output from targets of an integer type that start at 0
    and end between 1 and `highest`.

    ## Example
        squared-loss-on-classes the loss is the mse of softmax outputs and one-hot classes

    ## Fix
    CrossEntropyLoss on raw outputs, one per class.

    ## Known false positives
    Brier scores and ordinal ratings regressed on purpose.

    ## References
    DeepCrime and DeepFD list the wrong loss among real faults; Golik et al. 2013, cross-entropy against squared error.
    """

    name = "squared-loss-on-classes"
    code = "RUN044"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Options of this rule."""

        highest: int = 30
        """Largest id that is still taken for a class and not for a count."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known = form(run)
        if known.get("name") not in DISTANCES:
            return
        targets = rows(run, "target").drop_nulls("maximum")
        if known["target"] == "one-hot":
            between = f"{known['before'] or 'raw'} outputs and one-hot vectors of {known['classes']} classes"
        elif (
            targets.height
            and one_answer_each(run)
            and known["target"] == "values"
            and all(d.startswith(("int", "uint")) for d in targets["dtype"])
            and float(targets["minimum"].to_numpy().min()) == 0
            and 1 < float(targets["maximum"].to_numpy().max()) <= self.options.highest
        ):
            top = int(targets["maximum"].to_numpy().max())
            between = f"one output and class ids 0 to {top} of type {targets['dtype'][0]}"
        else:
            return
        yield Finding(
            message=(
                f"the loss is the {known['name']} of {between}: a regression of classes, whose confident mistakes "
                "get next to no gradient"
            ),
            place=Place(layer="loss"),
            evidence={"loss": known["name"], "target": known["target"], "before": known["before"]},
            fix=Fix(FixSafety.UNSAFE, "cross_entropy on raw outputs, one per class"),
        )
