"""See DuplicateImage."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions, Tier
from snellen.rules.data._copies import same_labels, same_picture
from snellen.rules.data._records import EXAMPLES


class DuplicateImage(Rule):
    """The same picture more than once in one split.

    ## What it does
    Reports groups of identical images of one split, byte for byte or pixel for pixel, with labels that agree.

    ## Why is this bad?
    A copy weighs double in training, and in validation it counts one success or failure twice.

    ## How it is computed
    BLAKE2b hashes of the files' bytes are compared within a split; where pixels are measured, files of equal size,
    mode and pixels count as well. Copies with different labels, near-copies and copies across splits have rules of
    their own.

    ## Example
        duplicate-image  2 files are the same picture: it counts twice

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

    class Options(RuleOptions):
        """When two sets of boxes agree."""

        min_iou: float = 0.5
        """IoU from which two boxes are the same object; where VOC and COCO begin to count a box as found."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        for group in same_picture(data):
            for split in dict.fromkeys(entry["split"] for entry in group):
                mine = [entry for entry in group if entry["split"] == split]
                if len(mine) < 2 or not all(same_labels(mine[0], m, self.options.min_iou) for m in mine[1:]):
                    continue
                copies = [entry["image"] for entry in mine]
                times = "twice" if len(copies) == 2 else f"{len(copies)} times"
                yield Finding(
                    message=f"{len(copies)} files are the same picture: it counts {times}",
                    place=Place(file=copies[1], image=copies[1], split=split),
                    evidence={"images": copies[:EXAMPLES]},
                    affected=len(copies) - 1,
                    of=data.images.height,
                    fix=Fix(FixSafety.UNSAFE, "keep one of them", {"op": "drop-image", "images": copies[1:]}),
                )
