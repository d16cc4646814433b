"""See EmptySplit."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule


class EmptySplit(Rule):
    """A split that is declared and holds no image.

    ## What it does
    Reports splits that the dataset names and that no image belongs to.

    ## Why is this bad?
    Training stops at the first validation, or reports a score of nothing: nan, 0 or 1 by the library's taste.

    ## How it is computed
    A split folder, list or entry yields no image, while others do.

    ## Example
        val  empty-split  no image belongs to it ...

    ## Fix
    Fill the split, or do not declare it.

    ## Known false positives
    None known.

    ## References
    None known.
    """

    name = "empty-split"
    code = "SPL020"
    category = Category.CORRECTNESS
    causes = ("missing-split-target", "corrupt-annotation-file")

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        there = set(data.images["split"].drop_nulls())
        for split in data.splits:
            if there and split not in there:
                yield Finding(
                    message=f"{split} is declared and holds no image: scores on it are nan, 0 or 1 by the library's "
                    "taste",
                    place=Place(split=split),
                    evidence={"declared": data.splits},
                )
