"""See UnreadableImage."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, Tier


class UnreadableImage(Rule):
    """An image file that no decoder can read.

    ## What it does
    Reports an image file that is empty, is no image, fails to decode, is too large to decode safely, or must not or
    cannot be opened.

    ## Why is this bad?
    Ultralytics drops such an image and trains on; PIL-based loaders (torchvision, timm) raise in a worker, hours
    into a run.

    ## How it is computed
    Pillow opens the file and, when pixels are read, decodes it once. A file of more than 100 million pixels or 512
    MiB counts as unreadable: 100 megapixels are 300 MB as RGB, more than a data loader should hold. A file whose
    end marker is missing is left to truncated-image. Not opened at all: a pipe or device, a link that leads out of
    the dataset's folder, and a name that is not UTF-8, which most loaders and every JSON file stumble over. A file
    that could be read first and not when it was to be trained on counts, too.

    ## Example
        images/0007.jpg  unreadable-image  the image cannot be read: no decoder knows its content; ...

    ## Fix
    Fetch the file again from its source, or remove it together with its labels.

    ## Known false positives
    Formats for which this Pillow was built without a decoder. A dataset of links to a common store: give the folder
    that holds both, or copy the files.

    ## References
    Pillow, "Concepts" and `Image.MAX_IMAGE_PIXELS`.
    """

    name = "unreadable-image"
    code = "IMG001"
    category = Category.CORRECTNESS
    tier = Tier.HEADERS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        bad = pl.col("exists") & pl.col("error").is_not_null() & pl.col("complete").fill_null(True)
        for row in data.images.filter(bad).iter_rows(named=True):
            yield Finding(
                message=f"the image cannot be read: {row['error']}; loaders drop it in silence or stop the run",
                place=Place(file=row["image"], image=row["image"]),
                evidence={"error": row["error"], "bytes": row["bytes"]},
                fix=Fix(
                    FixSafety.UNSAFE, "remove the image and its labels", {"op": "drop-image", "image": row["image"]}
                ),
            )
