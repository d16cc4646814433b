"""See ValidationUnlikeTraining."""

import math
from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._measures import measure, number
from snellen.watching.facts import RunFacts


class ValidationUnlikeTraining(Rule):
    """What the model does right on new training rows it does wrong on validation rows.

    ## What it does
    Holds the validation accuracy against that on training rows that the model had not been trained on yet.

    ## Why is this bad?
    Both are rows that it has never seen, so both should come out alike. Where they do not, validation rows are
    prepared, coded or labelled in another way (channels swapped, an encoder fitted anew on the validation part, class
    ids that moved), an input knows the label in training only (its mean by group), or the split separates what belongs
    together. Longer training will not help.

    ## How it is computed
    Accuracy is brought to a scale on which always naming the most frequent label is 0 and no error is 1. Taken are the
    last quarter of the training rows that were seen for the first time before the first validation, the accuracy of
    that validation, and the best one of the run. Fires when the first reaches `skill`, that of the first validation is
    below `first` of it, the best one of all below `best` of it, and the distance is `z` standard errors.

    ## Example
        validation-unlike-training 97 % of new training rows were right and 41 % of the validation rows

    ## Fix
    Fit encoders, scalers and label maps once, on the training part, and use the same objects for both; look at a
    validation batch as the network gets it, with its labels.

    ## Known false positives
    A validation set of other classes, of another domain or of a later time, on purpose. Overlapping windows or copies
    among the training rows, which are new in name only.

    ## References
    Kaufman et al. 2012, Leakage in Data Mining; Google, Rules of Machine Learning, rule 37 (measure training-serving
    skew: next-day data against held-out data).
    """

    name = "validation-unlike-training"
    code = "RUN194"
    category = Category.SUSPICIOUS
    causes = (
        "train-val-inputs-differ",
        "train-eval-mismatch",
        "running-statistics-unusable",
        "validates-another-model",
        "validation-in-train-mode",
        "dropout-drops-most",
        "class-pure-batches",
        "samples-mixed",
        "batchnorm-few-samples",
        "rows-under-two-labels",
        "metric-contradicts-loss",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        skill: float = 0.3
        """Skill on new training rows, 0..1."""
        first: float = 0.5
        """Share of it that the first validation reaches."""
        best: float = 0.75
        """Share of it that the best validation of the run reaches; training goes on, so that it should exceed 1."""
        z: float = 5.0
        """Distance in standard errors of the difference."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, new, held = self.options, measure(run, "first-sight-accuracy"), measure(run, "rows-distinct", "validation")
        values = run.epochs["metric"].drop_nulls().to_list()
        if new is None or held is None or not values or not run.metric_name.lower().startswith(("acc", "top1")):
            return
        scale = 100.0 if max(values) > 1 else 1.0
        first, best = values[0] / scale, max(values) / scale
        base = number(run, "first-sight-majority")
        skill = (new["value"] - base) / max(1 - base, 1e-9)
        spread = math.sqrt(
            sum(max(v * (1 - v), 0.01) / n for v, n in ((new["value"], new["of"]), (first, held["value"])))
        )
        known = (first - base) / max(1 - base, 1e-9), (best - base) / max(1 - base, 1e-9)
        if not skill >= o.skill or known[0] >= o.first * skill or known[1] >= o.best * skill:
            return
        if new["value"] - first < o.z * spread:
            return
        yield Finding(
            message=(
                f"{new['value']:.0%} of {new['of']:.0f} training rows were right before the model was trained on them, "
                f"but {first:.0%} in the first validation (limit {base + o.first * skill * (1 - base):.0%}) and at "
                f"best {best:.0%}: validation rows are prepared, coded or labelled in another way, or come "
                "from elsewhere"
            ),
            evidence={
                "first_sight": new["value"],
                "first_validation": first,
                "best_validation": best,
                "majority": base,
                "chain": [
                    f"rows new to the model: {new['value']:.0%} right",
                    f"validation rows, new to it as well: {first:.0%}, at best {best:.0%}",
                ],
            },
            fix=Fix(FixSafety.UNSAFE, "use the encoders, label maps and transforms of training for validation"),
        )
