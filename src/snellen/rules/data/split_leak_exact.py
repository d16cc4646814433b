"""See SplitLeakExact."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, Tier
from snellen.findings.words import plural
from snellen.rules.data._copies import SPLITS, same_picture
from snellen.rules.data._records import EXAMPLES, problem_findings


class SplitLeakExact(Rule):
    """The same picture in training and in validation.

    ## What it does
    Reports pictures that stand, byte for byte or pixel for pixel, in two splits.

    ## Why is this bad?
    The score on them measures memory. On CIFAR-100, where 10 % of the test images have duplicates in training,
    accuracy falls by 9 to 14 % of its value on clean test images.

    ## How it is computed
    BLAKE2b hashes of the files' bytes are equal across splits; or, where pixels are measured, size, mode and all
    pixels; or one file is listed by two splits. One finding for each pair of splits.

    ## Example
        split-leak-exact  12 of 500 val images are in train too ...

    ## Fix
    Remove them from training, or draw the splits anew by picture.

    ## Known false positives
    None known: what is identical is the same picture.

    ## References
    B. Barz, J. Denzler, "Do We Train on Test Data?" (2020), arXiv:1902.00423.
    """

    name = "split-leak-exact"
    code = "SPL003"
    category = Category.CORRECTNESS
    tier = Tier.HEADERS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        leaks: dict[tuple[str, str], list[str]] = {}
        originals: dict[tuple[str, str], list[str]] = {}
        for group in same_picture(data):
            splits = sorted({r["split"] for r in group if r["split"]}, key=SPLITS.__getitem__)
            for index, first in enumerate(splits):
                for second in splits[index + 1 :]:
                    leaks.setdefault((first, second), []).extend(r["image"] for r in group if r["split"] == second)
                    originals.setdefault((first, second), []).extend(r["image"] for r in group if r["split"] == first)
        for (first, second), images in leaks.items():
            total = data.images.filter(pl.col("split") == second).height
            yield Finding(
                message=f"{len(images)} of {plural(total, f'{second} image')} "
                f"{'is' if len(images) == 1 else 'are'} in {first} too, pixel for pixel: "
                f"the score on {'it' if len(images) == 1 else 'them'} measures memory",
                place=Place(split=second, image=images[0] if len(images) == 1 else None),
                evidence={"images": images[:EXAMPLES]},
                affected=len(images),
                of=total,
                fix=Fix(
                    FixSafety.UNSAFE,
                    f"remove them from {first}, with their labels",
                    {"op": "drop-image", "images": originals[first, second]},
                ),
            )
        yield from problem_findings(data, "image-in-two-splits", "the score on it measures memory")
