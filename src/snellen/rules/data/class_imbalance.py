"""See ClassImbalance."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules.data._records import examples


class ClassImbalance(Rule):
    """One class many times as frequent as another.

    ## What it does
    Reports a dataset whose most frequent class has `max_ratio` times the examples of its least frequent, or more.

    ## Why is this bad?
    Cross-entropy without weights is content to ignore the rare class; a mean over classes then falls far behind the
    mean over examples.

    ## How it is computed
    Largest over smallest number of examples (boxes, images in classification, masks that show it in segmentation) of
    the classes that have `min_examples` at least; the scarcer ones are left to rare-class.

    ## Example
        class-imbalance  person has 62.5 times the examples of toaster ...

    ## Fix
    Weigh the loss or the sampling by class, and look at scores by class.

    ## Known false positives
    Sets whose imbalance is that of the world, judged by per-class scores.

    ## References
    datumaro reports from 50, cvflow from 100.
    """

    name = "class-imbalance"
    code = "DST002"
    category = Category.STYLE

    class Options(RuleOptions):
        """What counts as one."""

        max_ratio: float = 50.0
        """Largest over smallest class; datumaro's limit."""
        min_examples: int = 5
        """Classes with fewer examples are not compared: they are rare-class's."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        counts = examples(data)["class_name"].value_counts().filter(pl.col("count") >= self.options.min_examples)
        counts = counts.sort(["count", "class_name"])
        if counts.height < 2:
            return
        (rare, few), (frequent, many) = counts.row(0), counts.row(-1)
        if many >= self.options.max_ratio * few:
            yield Finding(
                message=f"{frequent} has {many / few:.1f} times the examples of {rare} ({many} : {few}, limit "
                f"{self.options.max_ratio:g}): an unweighted loss is content to ignore {rare}",
                place=Place(class_name=rare),
                evidence={"ratio": many / few, "limit": self.options.max_ratio, "most": many, "least": few},
            )
