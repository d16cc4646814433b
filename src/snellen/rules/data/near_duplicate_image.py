"""See NearDuplicateImage."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, Tier
from snellen.rules.data._copies import CHANGES, components, near_pairs
from snellen.rules.data._records import EXAMPLES


class NearDuplicateImage(Rule):
    """Nearly the same picture more than once in one split.

    ## What it does
    Reports groups of images of one split that show the same: compressed or scaled anew, mirrored, turned, cropped, or
    taken a moment later.

    ## Why is this bad?
    The picture weighs as often as it is there in training, and counts one success or failure as often in validation.
    Random flips, crops and colours make such copies at every step without storing them.

    ## How it is computed
    Candidates differ in at most 8 of 64 bits of a DCT hash, as they are, mirrored, turned, or one's whole against the
    other's centre (0.92 and 0.84 of each side). Pixels confirm them: at 64 x 64, brightness and contrast removed, they
    correlate by 0.9 or more, and their detail (what a Gaussian blur of 1.5 pixels takes away) by 0.7 or more and so
    strongly that pictures of so little detail cannot do it by chance. Crops are aligned first. Copies equal in every
    pixel are `duplicate-image`; near-copies under two classes have a rule of their own.

    ## Example
        near-duplicate-image  b.jpg shows the same as a.jpg, mirrored (correlation 0.99): it counts twice

    ## Fix
    Keep one of them, with its labels.

    ## Known false positives
    Copies augmented on purpose before training. A fixed camera that looks at parts of one shape.

    ## References
    C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010); B. Barz, J. Denzler, "Do We
    Train on Test Data?" (2020), arXiv:1902.00423.
    """

    name = "near-duplicate-image"
    code = "SPL006"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        classes = dict(data.images.select("image", "class_name").iter_rows())
        links: dict[str, list[dict[str, Any]]] = {}
        for row in near_pairs(data).filter(pl.col("split").eq_missing(pl.col("other_split"))).iter_rows(named=True):
            if classes[row["image"]] == classes[row["other"]]:
                links.setdefault(row["image"], []).append(row)
        for images in components([(one, row["other"]) for one, rows in links.items() for row in rows]):
            mine = [row for image in images for row in links.get(image, [])]
            first = mine[0]
            ways = sorted({CHANGES[row["kind"]] for row in mine} - {""})
            how = f", {' or '.join(ways)}" if ways else ""
            if len(images) == 2:
                message = (
                    f"{first['other']} shows the same as {first['image']}{how} (correlation "
                    f"{first['similarity']:.2f}): it counts twice"
                )
            else:
                message = f"{len(images):,} images show the same{how}: it counts {len(images):,} times"
            yield Finding(
                message=message,
                place=Place(file=images[1], image=images[1], split=first["split"]),
                evidence={
                    "images": images[:EXAMPLES],
                    "correlation": [round(row["similarity"], 3) for row in mine[:EXAMPLES]],
                },
                affected=len(images) - 1,
                of=data.images.height,
                fix=Fix(FixSafety.UNSAFE, "keep one of them", {"op": "drop-image", "images": images[1:]}),
            )
