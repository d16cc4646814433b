"""See LabelsCarryNoInformation."""

from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import form
from snellen.rules.run._measures import measure, number
from snellen.rules.run._series import first_loss, late_loss
from snellen.watching.facts import RunFacts


class LabelsCarryNoInformation(Rule):
    """The labels have nothing to do with the inputs.

    ## What it does
    Asks of each training row whether the row most like it bears the same label, and how well the model does on data it
    did not train on.

    ## Why is this bad?
    A shuffled list of labels, or a list that is not in the order of the images, can only be memorised: training
    loss may fall, validation stays at the share of the most frequent class.

    ## How it is computed
    The share of rows whose nearest neighbour has the same label is compared with chance (the sum of squared class
    shares). Fires when it is within `z` standard errors of chance and below `lift` of the way from chance to 1,
    after `min_steps` steps, and the model did not do better: the validation accuracy of the later half of the
    epochs is within `margin` of the share of the most frequent class or, where there is none, the loss of the last
    fifth of the steps is not below `learned` times the entropy of the labels. With fewer than `few` rows chance reaches
    further: then the validation accuracy has to be given, and not to be above that share. Silent where the most
    frequent class has more than 1 - `margin`: neither neighbours nor accuracy tell then. Targets that are shares of
    classes count for the class of the largest.

    Where the labels are numbers, the mean of the five nearest neighbours' takes the place of the class, and the same
    is asked of its correlation with the row's own; the mean squared error of the last fifth must not be below
    `learned` times the variance of the labels. Of up to 16 numbers for a row the one that correlates best counts.

    ## Example
        labels-carry-no-information neighbours agree in 10.2 % of 960 rows, by chance 10.1 %; validation accuracy 0.11

    ## Fix
    Print twenty inputs with their labels. Sort files and labels by one key, and shuffle them together.

    ## Known false positives
    Tasks in which alike inputs have unlike labels (parity, counting), while the network has not yet learned anything.

    ## References
    DeepCrime and TheDeepChecker (shuffled labels); Zhang et al. 2017, Understanding deep learning requires rethinking
    generalization, on memorising random labels.
    """

    name = "labels-carry-no-information"
    code = "RUN133"
    category = Category.CORRECTNESS
    causes = (
        "rows-under-two-labels",
        "constant-input",
        "repeated-rows",
        "input-scale-off",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        z: float = 3.0
        """Standard errors above chance below which neighbours agree by chance; digits and shapes have 17 to 90."""
        lift: float = 0.15
        """Share of the way from chance to full agreement that is still chance, for small data."""
        margin: float = 0.08
        """Accuracy above the share of the most frequent class that is no learning: 3 standard errors of 300 images."""
        few: int = 200
        """Rows below which validation has to bear it out."""
        learned: float = 0.9
        """Loss as a share of the entropy of the labels that shows learning."""
        min_steps: int = 60
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        yield from self._of_numbers(run)
        o, row = self.options, measure(run, "neighbour-lift")
        z, entropy, majority = (number(run, n) for n in ("neighbour-z", "label-entropy", "label-majority"))
        if row is None or run.steps.height < o.min_steps or not (z < o.z and row["value"] < o.lift):
            return
        if majority > 1 - o.margin:
            return
        scores = run.epochs["metric"].drop_nulls().to_numpy()
        late = late_loss(run)
        few = row["of"] < o.few
        if len(scores) >= 2:
            reached = float(np.mean(scores[len(scores) // 2 :]))
            if not reached <= majority + (0 if few else o.margin):
                return
            what = f"validation accuracy is {reached:.3g} (most frequent class {majority:.3g})"
        elif not few and late >= o.learned * entropy:
            what = f"the loss is {late:.3g} after {run.steps.height} steps (entropy of the labels {entropy:.3g})"
        else:
            return
        chain = [
            f"neighbours agree {row['value']:+.1%} beyond chance in {row['of']:.0f} rows ({z:.1f} standard errors)",
            f"the loss went from {first_loss(run):.3g} to {late:.3g}; the labels' entropy is {entropy:.3g}",
            what,
        ]
        yield Finding(
            message=(
                f"rows that are alike agree in their label {row['value']:+.1%} beyond chance ({z:.1f} standard errors, "
                f"limit {o.z:g}) and {what}: labels and inputs do not belong together"
            ),
            place=Place(layer="target"),
            evidence={"lift": row["value"], "rows": row["of"], "z": z, "late_loss": late, "chain": chain},
            fix=Fix(FixSafety.UNSAFE, "pair inputs and labels by one key, and shuffle them together"),
        )

    def _of_numbers(self, run: RunFacts) -> Iterator[Finding]:
        o, row, variance = self.options, measure(run, "neighbour-correlation"), number(run, "label-variance")
        known = form(run)
        squared = known.get("name") == "mse" and known["reduction"] == "mean" and known["scale"] == 1.0
        if row is None or run.steps.height < o.min_steps or row["of"] < o.few or not squared or known["sign"] < 0:
            return
        z = row["value"] * row["of"] ** 0.5
        late = late_loss(run)
        if z < o.z and row["value"] < o.lift and late >= o.learned * variance:
            what = f"the squared error is {late:.3g} (variance of the labels {variance:.3g})"
            yield Finding(
                message=(
                    f"numbers of rows that are alike correlate by {row['value']:+.2f} ({z:.1f} standard errors, limit "
                    f"{o.z:g}) and {what}: labels and inputs do not belong together"
                ),
                place=Place(layer="target"),
                evidence={"correlation": row["value"], "rows": row["of"], "z": z, "late_loss": late},
                fix=Fix(FixSafety.UNSAFE, "pair inputs and labels by one key, and shuffle them together"),
            )
