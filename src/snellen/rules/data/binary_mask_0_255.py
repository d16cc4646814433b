"""See BinaryMask0255."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, Tier
from snellen.rules.data._masks import drawn


class BinaryMask0255(Rule):
    """Masks of two classes that are drawn as 0 and 255.

    ## What it does
    Reports index masks that hold 0 and 255 and nothing else.

    ## Why is this bad?
    255 is the value that trainers ignore: torchvision's references and MMSegmentation then learn from the background
    alone, with a loss that falls to 0. Without an ignored value, 255 is an index far beyond a head of two classes.

    ## How it is computed
    The values in use over all index masks are 0 and 255, and the class list does not name 255. Snellen takes 255 for
    class 1.

    ## Example
        masks/0007.png  binary-mask-0-255  all 30 masks are drawn as 0 and 255, the value that trainers ignore ...

    ## Fix
    Divide by 255 when loading, or write the masks as 0 and 1.

    ## Known false positives
    Loaders that divide or threshold, as many for binary masks do.

    ## References
    open-mmlab/mmsegmentation#2598, huggingface/transformers#27224.
    """

    name = "binary-mask-0-255"
    code = "ANN207"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        rows = drawn(data, "index")
        named = data.classes.filter(pl.col("class_id") == 255).height
        if named or set(rows["value"]) != {0, 255}:
            return
        shown = rows.filter((pl.col("value") == 255) & pl.col("class_name").is_not_null())
        if shown.height:
            masks = rows["file"].n_unique()
            yield Finding(
                message=f"{'the mask is' if masks == 1 else f'all {masks:,} masks are'} drawn as 0 and 255, the value "
                "that trainers ignore: what is meant to be found is never learnt, or 255 is an index error",
                place=Place(file=shown["file"][0], class_name=shown["class_name"][0]),
                affected=shown["file"].n_unique(),
                of=masks,
            )
