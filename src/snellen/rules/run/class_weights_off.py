"""See ClassWeightsOff."""

from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import class_counts, form, one_answer_each
from snellen.rules.run._series import losses
from snellen.watching.facts import RunFacts


class ClassWeightsOff(Rule):
    """Class weights switch classes off, or favour those that are frequent already.

    ## What it does
    Solves for the class weights that explain the losses (or takes them from the loss function, where the value
    confirms them) and compares them with how often each class occurs.

    ## Why is this bad?
    A class of weight 0 is never learned. Weights that grow with frequency make an imbalance worse, where they are
    meant to even it out.

    ## How it is computed
    Weights w with sum_c w_c (S_c - L n_c) = 0 in every batch, S_c the class's sum of negative log-likelihoods and n_c
    its count. Fires when all weights are 0 (the loss is exactly 0 or NaN while the cross-entropy of the outputs is
    not); when a class seen at least `seen` times has a weight below `off` of the median, of one answer per sample;
    when the weights of a set whose counts differ by `imbalance` or more differ by 2 or more and log weight rises with
    log count (correlation at least `together`).

    ## Example
        class-weights-off class weights grow with the classes' counts (correlation 1.00): 900 to 100 at weights 9 to 1

    ## Fix
    weight = 1 / count, scaled to mean 1.

    ## Known false positives
    A class that is left out of the loss on purpose.

    ## References
    PyTorch documentation of CrossEntropyLoss, `weight`; King and Zeng 2001 on weights by inverse frequency.
    """

    name = "class-weights-off"
    code = "RUN048"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        seen: int = 20
        """Targets of a class before its weight is judged."""
        off: float = 0.01
        """Weight over the median weight below which a class is switched off."""
        imbalance: float = 2.0
        """Largest over smallest count from which weights are there to even it out."""
        together: float = 0.9
        """Correlation of log weight and log count; inverse weights have -1."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        what = self._nothing(run) or self._unequal(run)
        if what:
            yield Finding(
                message=what,
                place=Place(layer="loss"),
                evidence={"weights": (run.loss_form.get("weights") or [])[:64], "counts": class_counts(run)[0][:64]},
                fix=Fix(FixSafety.UNSAFE, "class weights 1 / count, or none"),
            )

    def _nothing(self, run: RunFacts) -> str:
        about = run.loss_form
        given = about.get("weights") or []
        if about.get("name") == "nan" and given and not any(w for w in given):
            return f"all {len(given)} class weights are 0 (limit: 1 above 0): their weighted mean is 0 / 0, NaN"
        plain = about.get("cross_entropy")
        if about.get("name") != "zero" or not plain or about.get("ignored_share", 0) >= 1 or losses(run).any():
            return ""
        if (run.steps["grad_norm"].fill_nan(0.0).fill_null(0.0) > 0).any():
            return ""  # A difference that is 0 where it is taken and pulls all the same, as in policy gradients.
        return (
            f"the loss is exactly 0 in every step while the cross-entropy of the outputs is {plain:.3g}: it is "
            "multiplied by weights that are 0, and nothing is learned"
        )

    def _unequal(self, run: RunFacts) -> str:
        o, known = self.options, form(run)
        if known.get("positive_weight") == 0:
            return "positive samples have weight 0 in the binary cross-entropy (limit: above 0): they are never learned"
        counts, _ = class_counts(run)
        pairs = [
            (w, n)
            for w, n in zip(known.get("weights") or [], counts, strict=False)
            if w is not None and n >= o.seen
        ]  # fmt: skip
        if len(pairs) < 2 or not one_answer_each(run):
            return ""
        weights, seen = np.array([w for w, _ in pairs]), np.array([n for _, n in pairs], dtype=float)
        limit = o.off * float(np.median(weights[weights > 0])) if (weights > 0).any() else 0.0
        off = weights <= limit
        if off.any() and not off.all():
            return (
                f"{int(off.sum())} of {len(pairs)} classes, {int(seen[off].sum())} targets, have a weight below "
                f"{o.off:g} of the median in the loss: they are never learned"
            )
        if (weights > 0).all() and seen.max() >= o.imbalance * seen.min() and weights.max() >= 2 * weights.min():
            together = float(np.corrcoef(np.log(weights), np.log(seen))[0, 1])
            if together >= o.together:
                return (
                    f"class weights grow with the classes' counts (correlation {together:.2f}, limit {o.together:g}): "
                    f"{seen.max():.0f} against {seen.min():.0f} targets at weights {weights[seen.argmax()]:.3g} and "
                    f"{weights[seen.argmin()]:.3g}; the imbalance is made worse"
                )
        return ""
