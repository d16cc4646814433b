"""See MissingImage."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, Tier


class MissingImage(Rule):
    """An image that the annotations name and the disk lacks.

    ## What it does
    Reports images that are listed and have no file.

    ## Why is this bad?
    A loader that opens the file when its turn comes stops in the middle of an epoch; one that looks first leaves the
    image and its labels out.

    ## How it is computed
    The listed path, below the dataset's folder, is not a file.

    ## Example
        train.json  missing-image  the image is listed and not there: ...

    ## Fix
    Restore the file, or remove it from the annotations.

    ## Known false positives
    A dataset whose images are fetched on demand.

    ## References
    Gradiant/pyodi#190.
    """

    name = "missing-image"
    code = "LBL004"
    category = Category.CORRECTNESS
    tier = Tier.HEADERS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        for row in data.images.filter(pl.col("listed") & ~pl.col("exists")).iter_rows(named=True):
            yield Finding(
                message="the image is listed and not there: loaders stop in mid-epoch or leave its labels out",
                place=Place(file=row["label_file"] or row["image"], image=row["image"]),
                fix=Fix(
                    FixSafety.UNSAFE, "remove it from the annotations", {"op": "drop-image", "image": row["image"]}
                ),
            )
