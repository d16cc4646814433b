"""See ShiftedClassIds."""

from collections import Counter
from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions


class ShiftedClassIds(Rule):
    """Predictions are on the right objects under consistently wrong class names.

    ## What it does
    Reports predictions whose classes are a renaming of the true ones: shifted by one, or in another order.

    ## Why is this bad?
    The model has learned, and its score is near 0. Heads that count a background class, and lists sorted on one side
    only, shift every id.

    ## How it is computed
    Over predictions that overlap an object by IoU 0.5 (classification: over all images), each predicted class is
    mapped to the true class it most often meets. Reported when few agree as named, most agree under the mapping, and
    the mapping sends at least two classes to different ones.

    ## Example
        shifted-class-ids  3 % of 240 predictions have the right class as named, 96 % when every id is shifted by +1

    ## Fix
    Use the mapping in the evidence: correct the order of the class list, or the offset of the ids.

    ## Known false positives
    A two-class model that has learned the opposite, for example after a sign error in the loss.

    ## References
    open-mmlab/mmdetection and roboflow/rf-detr threads on ids that are off by one.
    """

    name = "shifted-class-ids"
    code = "EVL003"
    category = Category.CORRECTNESS
    causes = ("predictions-of-unknown-class",)

    class Options(RuleOptions):
        """Limits."""

        max_as_named: float = Field(default=0.2, ge=0, le=1)
        """Share of agreement as named, at most; a healthy model of any quality is above it (judgement)."""
        min_as_mapped: float = Field(default=0.7, ge=0, le=1)
        """Share of agreement under the mapping, at least; confusion without a system does not reach it (judgement)."""
        min_predictions: int = Field(default=20, ge=1)
        """Fewer predictions on objects are not judged."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge predicted against true classes."""
        usable = scores.predictions.filter(
            pl.col("outcome").is_in(["correct", "classification"]) & pl.col("true_class").is_not_null()
        )
        total = len(usable)
        if total < self.options.min_predictions:
            return
        pairs = Counter(zip(usable["class_name"].to_list(), usable["true_class"].to_list(), strict=True))
        mapping: dict[str, str] = {}
        for (predicted, true), _ in pairs.most_common():
            if predicted not in mapping and true not in mapping.values():
                mapping[predicted] = true
        named = sum(n for (p, t), n in pairs.items() if p == t) / total
        mapped = sum(n for (p, t), n in pairs.items() if mapping.get(p) == t) / total
        moved = {p: t for p, t in mapping.items() if p != t}
        if named > self.options.max_as_named or mapped < self.options.min_as_mapped or len(moved) < 2:
            return
        place = {name: k for k, name in enumerate(scores.per_class["class_name"].to_list())}
        shifts = Counter(place[p] - place[t] for p, t in moved.items())
        shift, times = shifts.most_common(1)[0]
        how = f"when {shift} is subtracted from every id" if times >= 0.6 * len(moved) else "when renamed"
        yield Finding(
            message=f"{named:.0%} of {total} predictions on objects have the right class as named, {mapped:.0%} {how}: "
            "the model has learned and its class list is in the wrong order",
            place=Place(split=scores.split),
            evidence={"mapping": moved, "as_named": named, "as_mapped": mapped},
            affected=round((1 - named) * total),
            of=total,
        )
