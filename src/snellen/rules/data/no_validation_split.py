"""See NoValidationSplit."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule


class NoValidationSplit(Rule):
    """A training split without anything to validate on.

    ## What it does
    Reports datasets that declare train and neither val nor test.

    ## Why is this bad?
    Ultralytics refuses to start. Where a trainer validates on the training images instead, overfitting looks like
    success.

    ## How it is computed
    The split train is declared with images in it, and no image is of another split.

    ## Example
        no-validation-split  train holds all 400 images ...

    ## Fix
    Set a tenth to a fifth of the images apart.

    ## Known false positives
    Cross-validation, and trainers that split by themselves, as Snellen does where no split is declared.

    ## References
    Ultralytics: data.yaml must name train and val.
    """

    name = "no-validation-split"
    code = "SPL022"
    category = Category.STYLE
    causes = ("missing-split-target", "empty-split")

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        splits = set(data.images["split"].drop_nulls())
        if splits == {"train"}:
            yield Finding(
                message=f"train holds all {data.images.height:,} images and nothing is left to validate on: "
                "overfitting cannot "
                "be seen",
                evidence={"splits": data.splits},
            )
