"""See SmallValidationSplit."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.findings.words import plural


class SmallValidationSplit(Rule):
    """A validation split too small to tell models apart.

    ## What it does
    Reports validation splits of few images beside a training split of many.

    ## Why is this bad?
    With 20 images a difference of ten points of accuracy is chance: the best epoch is the luckiest one.

    ## How it is computed
    Fewer than `min_images` images, or less than `min_share` of all with fewer than `enough`. In a dataset of less than
    `min_total` images, which has few to give, the share alone counts.

    ## Example
        val  small-validation-split  12 images of 4,000 (limit 20) ...

    ## Fix
    Move images from train to val, at least a tenth, or cross-validate.

    ## Known false positives
    Held-out sets kept elsewhere.

    ## References
    Wilson interval of a proportion: +-0.10 at 0.9 for 35 images.
    """

    name = "small-validation-split"
    code = "SPL021"
    category = Category.STYLE

    class Options(RuleOptions):
        """Thresholds."""

        min_images: int = 20
        """Images below which any split is small; a point of accuracy is then 5 % of it."""
        min_share: float = 0.05
        """Share of all images, 0..1, below which a split is small unless it holds `enough`."""
        min_total: int = 200
        """Images of the dataset below which there are no `min_images` to give."""
        enough: int = 100
        """Images that are enough whatever the share."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        counts = dict(data.images.drop_nulls("split").group_by("split").len().iter_rows())
        total = sum(counts.values())
        few = self.options.min_images if total >= self.options.min_total else 0
        for split in ("val", "test"):
            held = counts.get(split)
            least = max(few, min(self.options.enough, round(self.options.min_share * total)))
            if held and held < least and held < counts.get("train", 0):
                yield Finding(
                    message=f"{plural(held, 'image')} of {total:,} (limit {least}): which of two models is better is "
                    "decided by "
                    "chance",
                    place=Place(split=split),
                    evidence={"images": held, "limit": least},
                )
