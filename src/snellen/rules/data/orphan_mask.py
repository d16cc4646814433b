"""See OrphanMask."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule
from snellen.rules.data._records import problem_findings


class OrphanMask(Rule):
    """A mask without an image.

    ## What it does
    Reports files among the masks to which no image belongs, and panoptic PNGs that no annotation names.

    ## Why is this bad?
    The mask was paid for and is never used, and nobody says so; most often the image was renamed, moved or lost.

    ## How it is computed
    Masks pair with images by their path without suffix, with and without the usual endings (`_mask`, `_label`,
    nnU-Net's `_0000`). A second mask of one image is one too.

    ## Example
        masks/0007.png  orphan-mask  masks/0007.png belongs to no image ...

    ## Fix
    Restore or rename the image, or remove the mask.

    ## Known false positives
    Other pictures kept among the masks: previews, overlays.

    ## References
    None known.
    """

    name = "orphan-mask"
    code = "LBL202"
    category = Category.SUSPICIOUS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        yield from problem_findings(data, "orphan-mask", "its labels are never used")
