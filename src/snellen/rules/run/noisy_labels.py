"""See NoisyLabels."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules._causes import DEPTH_FAULTS, NETWORK_FAULTS, TRIAL_FAULTS
from snellen.rules.run._measures import indexed, number
from snellen.watching.facts import RunFacts


class NoisyLabels(Rule):
    """A good part of the labels is wrong.

    ## What it does
    Counts the rows that the model confidently gives another class than their label, and looks how these are spread.

    ## Why is this bad?
    The model is pulled to wrong answers; trained long enough it memorises them, and scores cannot be trusted.

    ## How it is computed
    A row counts when the probability of the predicted class is above the mean that rows labelled so have
    (confident learning) and the label is another. Fires when these are `share` of the rows, the model is right on
    at least `least` of them, and they are spread evenly over pairs of classes (squared coefficient of variation
    below `unevenness`): mistakes of a model that has not learned enough gather in classes that look alike. Rows are
    taken from the last 200 steps or, where at least `by_heart` of these are right, from the first 200.

    ## Example
        noisy-labels 20 % of 960 rows are confidently called another class, evenly over all pairs of classes

    ## Fix
    Look at these rows (`snellen exam` lists likely label errors); correct or drop them, use label smoothing.

    ## Known false positives
    None known; two classes have no pairs to be spread over and are not judged.

    ## References
    Northcutt et al. 2021, Confident Learning (arXiv:1911.00068), section 3.1.
    """

    name = "noisy-labels"
    code = "RUN135"
    category = Category.SUSPICIOUS
    causes = (
        "labels-carry-no-information",
        "rows-under-two-labels",
        "class-pure-batches",
        *TRIAL_FAULTS,
        *DEPTH_FAULTS,
        *NETWORK_FAULTS,
    )

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.1
        """Share of confident disagreement; 30 % random labels give 0.17 to 0.21, healthy runs at most 0.03."""
        least: float = 0.5
        """Accuracy on the rows below which the model cannot be asked."""
        unevenness: float = 0.25
        """Squared coefficient of variation over pairs of classes; random labels give at most 0.1, mistakes of a
        half-trained model among three classes 0.4 to 0.7, classes that look alike 2 or more."""
        by_heart: float = 0.95
        """Accuracy in the last steps from which wrong labels, too, are learned by heart."""
        min_steps: int = 60
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        looks = {r["index"]: r for r in indexed(run, "confident-disagreement")}
        # What was learned by heart is disagreed with no longer: then the first steps tell.
        at = 0 if 0 in looks and self._of(run, "late-accuracy", None) >= o.by_heart else None
        row = looks.get(at)
        right, uneven = self._of(run, "late-accuracy", at), self._of(run, "disagreement-unevenness", at)
        if row is None or run.steps.height < o.min_steps or row["value"] < o.share:
            return
        if not (right >= o.least and uneven < o.unevenness):
            return
        lift = number(run, "neighbour-lift")
        when = "" if at is None else " in the first steps, before it learned all of them by heart"
        chain = [
            f"the model is right on {right:.0%} of {row['of']:.0f} rows{when}",
            f"and confident of another class on {row['value']:.0%}",
            f"these are spread evenly over pairs of classes (unevenness {uneven:.2g}, mistakes give 0.4 or more)",
            f"nearest neighbours agree {lift:.0%} of the way from chance to all",
        ]
        yield Finding(
            message=(
                f"the model confidently gives another class to {row['value']:.0%} of {row['of']:.0f} rows (limit "
                f"{o.share:.0%}), evenly over pairs of classes: about so many labels are wrong"
            ),
            place=Place(layer="target"),
            evidence={"share": row["value"], "accuracy": right, "unevenness": uneven, "chain": chain},
            affected=round(row["value"] * row["of"]),
            of=int(row["of"]),
            fix=Fix(FixSafety.UNSAFE, "look at the rows of highest loss and correct their labels"),
        )

    @staticmethod
    def _of(run: RunFacts, name: str, index: int | None) -> float:
        """Value of the measure over the last steps (None) or the first ones (0); NaN where it was not taken."""
        return next((float(r["value"]) for r in indexed(run, name) if r["index"] == index), float("nan"))
