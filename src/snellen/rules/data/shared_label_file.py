"""See SharedLabelFile."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule


class SharedLabelFile(Rule):
    """Two images that share one label file.

    ## What it does
    Reports images of one folder whose names differ in the suffix only.

    ## Why is this bad?
    Labels are found by the name without its suffix: a.jpg and a.png both get a.txt, and one of the two is trained with
    boxes of the other.

    ## How it is computed
    Two images of one label file, in a format that has one for each image.

    ## Example
        images/a.png  shared-label-file  shares labels/a.txt with images/a.jpg ...

    ## Fix
    Rename one of the two, and give it labels of its own.

    ## Known false positives
    The same picture in two encodings: then it is a duplicate instead.

    ## References
    None known.
    """

    name = "shared-label-file"
    code = "LBL023"
    category = Category.SUSPICIOUS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        if data.format not in ("yolo", "voc"):
            return
        shared = data.images.drop_nulls("label_file").filter(pl.col("label_file").is_duplicated())
        for (file,), group in shared.group_by("label_file", maintain_order=True):
            first, *others = group["image"].to_list()
            for image in others:
                yield Finding(
                    message=f"shares {file} with {first}: its boxes can be right for one of the two only",
                    place=Place(file=str(file), image=image),
                    evidence={"label_file": file, "other": first},
                )
