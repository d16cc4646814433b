"""See LabelDrift."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules.data._drift import two_proportions
from snellen.rules.data._records import class_usage


class LabelDrift(Rule):
    """Classes that are far more frequent in one split than in another.

    ## What it does
    Reports splits in which a class takes another share of the images than in training, beyond chance.

    ## Why is this bad?
    The score is then that of another mixture than was learnt: thresholds and priors are off, and two models are ranked
    by the wrong one's strength.

    ## How it is computed
    For each class, the shares of images that hold it in train and in the other split are compared by the two-
    proportion z test, Holm-corrected over classes; reported when p is below `max_p` and the shares differ by
    `min_difference` or more. Images, not boxes, are counted, as boxes of one image belong together.

    ## Example
        val  label-drift  'car' is in 62 % of val's images and in 31 % of train's (p 3e-9) ...

    ## Fix
    Split anew at random, stratified by class.

    ## Known false positives
    Splits by time, place or patient, which are meant to differ.

    ## References
    Holm 1979; deepchecks measures Cramer's V over the label counts.
    """

    name = "label-drift"
    code = "DST012"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Thresholds."""

        max_p: float = 1e-3
        """Holm-corrected p value below which a difference is no chance."""
        min_difference: float = 0.1
        """Difference of the shares, 0..1, that matters."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        totals = dict(data.images.drop_nulls("split").group_by("split").len().iter_rows())
        usage = class_usage(data)
        for split in ("val", "test"):
            sizes = totals.get("train", 0), totals.get(split, 0)
            if min(sizes) == 0:
                continue
            tests = []
            for name in sorted({c for s, c in usage if s in ("train", split)}):
                counts = usage.get(("train", name), 0), usage.get((split, name), 0)
                if counts[0] == 0 or counts[1] == 0:
                    continue  # class-missing-in-split and rare-class speak of these
                tests.append((two_proportions(counts, sizes), name, counts))
            tests.sort()
            for rank, (p, name, counts) in enumerate(tests):
                here, there = counts[1] / sizes[1], counts[0] / sizes[0]
                corrected = p * (len(tests) - rank)
                if corrected >= self.options.max_p:
                    break
                if abs(here - there) >= self.options.min_difference:
                    yield Finding(
                        message=f"{name!r} is in {here:.0%} of {split}'s images and in {there:.0%} of train's (p "
                        f"{corrected:.0e}): "
                        "the score is that of another mixture than was learnt",
                        place=Place(split=split, class_name=name),
                        evidence={"share": here, "train_share": there, "p": corrected},
                        rank=abs(here - there),
                    )
