"""See BatchRarelyHoldsClass."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.findings.words import listed, plural
from snellen.rules.data._records import class_usage
from snellen.training.recipe import Recipe


class BatchRarelyHoldsClass(Rule):
    """A batch in which a class is hardly ever met.

    ## What it does
    Reports recipes whose batch is so small, for a class so rare, that most of a hundred steps see none of it.

    ## Why is this bad?
    The gradient of such a class comes in rare bursts: BatchNorm's statistics and the optimizer's moments belong to the
    others, and the class is forgotten between two meetings.

    ## How it is computed
    With p the share of training images that hold the class and B the batch size, a batch holds it with probability 1 -
    (1 - p)^B. Reported below `min_probability`.

    ## Example
        batch-rarely-holds-class  'ambulance' is in 1 of 140 batches ...

    ## Fix
    Sample classes more evenly, or use a larger batch.

    ## Known false positives
    Classes that do not matter.

    ## References
    Gupta et al. 2019, LVIS, arXiv:1908.03195, sec. 4 (repeat factor sampling).
    """

    name = "batch-rarely-holds-class"
    code = "CFG003"
    category = Category.STYLE
    causes = ("rare-class", "class-imbalance")

    class Options(RuleOptions):
        """Thresholds."""

        min_probability: float = 0.02
        """Chance that a batch holds the class, 0..1: one batch of fifty."""

    def check(self, data: DataFacts, recipe: Recipe) -> Iterator[Finding]:
        """Yield the findings."""
        usage = class_usage(data)
        splits = {split for split, _ in usage}
        wanted = "train" if "train" in splits else None
        images = data.images.filter(pl.col("split").eq_missing(wanted)).height
        rare = []
        for (split, name), count in usage.items():
            if split == wanted and images:
                probability = 1 - (1 - min(count / images, 1.0)) ** recipe.batch_size
                if probability < self.options.min_probability:
                    rare.append((probability, name))
        rare.sort()
        if rare:
            shown = listed([f"{name} (1 of {1 / p:,.0f})" for p, name in rare])
            yield Finding(
                message=f"{plural(len(rare), 'class is', 'classes are')} in fewer than 1 of "
                f"{1 / self.options.min_probability:.0f} batches of {recipe.batch_size}: {shown}; what is so rarely "
                "met is "
                "forgotten in between",
                place=Place(class_name=rare[0][1] if len(rare) == 1 else None),
                evidence={"probabilities": {name: p for p, name in rare}},
                affected=len(rare),
                of=data.classes.height,
            )
