"""See DuplicateImageWithDifferentLabels."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions, Tier
from snellen.rules.data._copies import same_labels, same_picture
from snellen.rules.data._records import EXAMPLES


class DuplicateImageWithDifferentLabels(Rule):
    """One picture under contradicting labels.

    ## What it does
    Reports groups of identical images, byte for byte or pixel for pixel, whose labels differ.

    ## Why is this bad?
    One of the labels is wrong, and the network cannot satisfy both: a floor under the loss and noise in every
    score.

    ## How it is computed
    BLAKE2b hashes of the files' bytes are equal, or, where pixels are measured, size, mode and all pixels; and either
    the classes differ, or the boxes do not pair off within a class at `min_iou`. Two annotators' boxes of one object
    differ by less, and do not count.

    ## Example
        duplicate-image-with-different-labels  a.jpg and b.jpg are the same picture, labelled 3 and 8 ...

    ## Fix
    Look at the picture, keep the right labels, remove the other copy.

    ## Known false positives
    Multi-label sets stored as class folders.

    ## References
    B. Barz, J. Denzler, "Do We Train on Test Data?" (2020), arXiv:1902.00423, for how common copies are.
    """

    name = "duplicate-image-with-different-labels"
    code = "SPL002"
    category = Category.CORRECTNESS
    tier = Tier.HEADERS
    causes = ("missing-label-file",)

    class Options(RuleOptions):
        """When two sets of boxes agree."""

        min_iou: float = 0.5
        """IoU from which two boxes are the same object; where VOC and COCO begin to count a box as found."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        for group in same_picture(data):
            if not all(same_labels(group[0], other, self.options.min_iou) for other in group[1:]):
                images = [r["image"] for r in group]
                yield Finding(
                    message=f"{len(images)} files are the same picture and their labels differ: at least one is wrong "
                    f"({', '.join(dict.fromkeys(r['summary'] for r in group))})",
                    place=Place(file=images[1], image=images[1]),
                    evidence={"images": images[:EXAMPLES], "labels": [r["summary"] for r in group][:EXAMPLES]},
                    affected=len(images),
                )
