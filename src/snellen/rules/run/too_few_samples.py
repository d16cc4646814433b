"""See TooFewSamples."""

from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure, number
from snellen.watching.facts import RunFacts


class TooFewSamples(Rule):
    """There is too little training data: the few samples are learned by heart.

    ## What it does
    Counts the different training rows and compares training with validation loss.

    ## Why is this bad?
    The network remembers each sample; what it learned holds for nothing else.

    ## How it is computed
    Fires when training went over at most `per_class` different rows per class (or `rows` rows where there are no
    classes) at least `passes` times, the training loss of the last epoch is below `gap` of the validation loss, and the
    validation loss is above its best by `rise` or, with classes, above `bad` of the entropy of the labels, or training
    loss is below `by_heart` of it (with classes, of half as many rows at most); never where it is below `good` of that
    entropy. Runs without validation are left alone: there a few samples are fitted on purpose.

    ## Example
        too-few-samples 40 different rows were seen 120 times; training loss 0.002, validation loss 1.9

    ## Fix
    Check the list of files first: was most of it lost? Else augment, use a pretrained network, or collect more.

    ## Known false positives
    None known.

    ## References
    DeepCrime (removed portion of the training data).
    """

    name = "too-few-samples"
    code = "RUN140"
    category = Category.SUSPICIOUS
    causes = ("validation-rows-in-training",)

    class Options(RuleOptions):
        """Options of this rule."""

        per_class: float = 20.0
        """Different rows per class."""
        rows: int = 100
        """Different rows where there are no classes."""
        passes: float = 4.0
        """How often each row was seen."""
        gap: float = 0.3
        """Training loss as a share of validation loss."""
        by_heart: float = 0.1
        """Training loss as a share of validation loss that alone is enough."""
        rise: float = 0.1
        """Rise of the validation loss above its best, as a share."""
        bad: float = 0.25
        """Validation loss as a share of the entropy of the labels."""
        good: float = 0.1
        """The same: what was learned holds on other rows, however few there were."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, row = self.options, measure(run, "rows-distinct", "training")
        epochs = run.epochs.drop_nulls(["val_loss", "train_loss"])
        if row is None or epochs.height < 2:
            return
        majority, entropy = measure(run, "label-majority"), number(run, "label-entropy")
        limit = o.rows if majority is None else min(o.per_class * majority["of"], 10 * o.rows)
        passes = row["of"] / max(row["value"], 1)
        train, last = float(epochs["train_loss"][-1]), float(epochs["val_loss"][-1])
        best = float(np.nanmin(epochs["val_loss"].to_numpy()))
        if last < o.good * entropy:
            return
        if row["value"] > limit or passes < o.passes or not 0 <= train < o.gap * last:
            return
        by_heart = train < o.by_heart * last and (majority is None or row["value"] <= limit / 2)
        if not (last > (1 + o.rise) * best > 0 or last > o.bad * entropy or by_heart):
            return
        yield Finding(
            message=(
                f"{row['value']:.0f} different rows (limit {limit:.0f}) were seen {passes:.0f} times each; training "
                f"loss is {train:.3g} and validation loss {last:.3g}: they are learned by heart"
            ),
            place=Place(layer="input"),
            evidence={
                "rows": row["value"],
                "passes": passes,
                "chain": [
                    f"{row['value']:.0f} different rows, each seen {passes:.0f} times",
                    f"validation loss was {best:.3g} at best and is {last:.3g}, training loss {train:.3g}",
                ],
            },
            fix=Fix(FixSafety.UNSAFE, "look whether data was lost; augment or collect more"),
        )
