"""See DuplicateImage."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, Tier
from snellen.rules.data._records import EXAMPLES, same_bytes


class DuplicateImage(Rule):
    """The same file more than once in one split.

    ## What it does
    Reports groups of byte-identical images of one split with the same labels.

    ## Why is this bad?
    A copy weighs double in training, and in validation it counts one success or failure twice. No trainer looks.

    ## How it is computed
    BLAKE2b hashes of the files' bytes are compared within a split. Copies with different labels and copies across
    splits have rules of their own.

    ## Example
        duplicate-image  2 files are the same picture: a.jpg, b.jpg ...

    ## Fix
    Remove all but one, with their labels.

    ## Known false positives
    Oversampling by copying files on purpose.

    ## References
    B. Barz, J. Denzler, "Do We Train on Test Data?" (2020), arXiv:1902.00423.
    """

    name = "duplicate-image"
    code = "SPL001"
    category = Category.SUSPICIOUS
    tier = Tier.HEADERS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        for group in same_bytes(data):
            for split in dict.fromkeys(r["split"] for r in group):
                copies = [r["image"] for r in group if r["split"] == split]
                if len(copies) > 1 and len({r["labels"] for r in group if r["split"] == split}) == 1:
                    yield Finding(
                        message=f"{len(copies)} files are the same picture with the same labels: "
                        f"it weighs {len(copies)}-fold",
                        place=Place(file=copies[1], image=copies[1], split=split),
                        evidence={"images": copies[:EXAMPLES]},
                        affected=len(copies) - 1,
                        fix=Fix(FixSafety.UNSAFE, "keep one of them", {"op": "drop-image", "image": copies[1]}),
                    )
