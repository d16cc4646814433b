"""See SplitLeakNear."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, Tier
from snellen.rules.data._copies import across_splits, leaks, near_pairs


class SplitLeakNear(Rule):
    """Nearly the same picture in training and in validation.

    ## What it does
    Reports the share of a split's images that another split holds too, compressed or scaled anew, retouched, or taken
    a moment later.

    ## Why is this bad?
    The score on them measures memory. Of CIFAR-100's test images 10 % have such copies in training; on the others
    accuracy is 9 to 14 % lower.

    ## How it is computed
    Pairs as in `near-duplicate-image`, neither mirrored, turned nor cropped, that lie in two splits. One finding for
    each pair of splits. Identical copies are `split-leak-exact`; changed ones are `split-leak-by-augmentation`.

    ## Example
        val  split-leak-near  31 of 500 val images are nearly in train too ...

    ## Fix
    Draw the splits anew so that pictures of one scene fall into one split, or remove them from training.

    ## Known false positives
    A fixed camera that looks at parts of one shape; there, memory helps the score as well, but the parts are not the
    same.

    ## References
    B. Barz, J. Denzler, "Do We Train on Test Data?" (2020), arXiv:1902.00423; arXiv:2508.17416 on leaks in public
    benchmarks.
    """

    name = "split-leak-near"
    code = "SPL007"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS
    causes = ("split-leak-by-group", "split-leak-exact")

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        pairs = across_splits(near_pairs(data)).filter(pl.col("kind") == "near")
        yield from leaks(data, pairs, "nearly in {first} too")
