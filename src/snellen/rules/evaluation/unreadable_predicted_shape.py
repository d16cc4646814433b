"""See UnreadablePredictedShape."""

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Rule
from snellen.rules.evaluation._left_out import LeftOut


class UnreadablePredictedShape(LeftOut, Rule):
    """Predicted masks, outlines or keypoints cannot be read.

    ## What it does
    Reports predictions whose polygon, run lengths, rotated box, keypoints or mask file cannot be taken for a shape.

    ## Why is this bad?
    They are left out: what only they find counts as missed. Other tools stop there, or score an empty mask.

    ## How it is computed
    Count of predictions left out as `no-segmentation`, `malformed-polygon` (fewer than three points, or not finite),
    `malformed-rle`, `rle-size` (the counts do not add up to the size), `image-size` (no pixels, or more than 2^31),
    `not-a-rotated-box` (no convex four-sided figure), `malformed-keypoints` (another number of points than the
    dataset's, or not finite), `not-a-label-map` (no two-dimensional map of whole numbers) or `unreadable-mask` (no
    decoder reads the file); any is reported.

    ## Example
        unreadable-predicted-shape  9 of 900 predictions hold a shape that cannot be read and were left out
            (malformed-polygon: 9, the first '[[10.0, 12.0]]')

    ## Fix
    Look at the values in the evidence: run lengths are COCO's (column by column), polygons x0, y0, x1, y1 ...,
    keypoints x, y, score for every point of the dataset.

    ## Known false positives
    None known.

    ## References
    cocodataset.org/#format-results; pycocotools reads malformed run lengths without a check.
    """

    name = "unreadable-predicted-shape"
    code = "EVL041"
    category = Category.CORRECTNESS
    kinds = (
        "no-segmentation", "malformed-polygon", "malformed-rle", "rle-size", "image-size", "not-a-rotated-box",
        "malformed-keypoints", "not-a-label-map", "unreadable-mask",
    )  # fmt: skip

    def told(self, scores: ScoreFacts) -> str:
        """What the records are."""
        return "hold a shape that cannot be read and were left out"
