"""See PredictionOfOtherSize."""

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Rule
from snellen.rules.evaluation._left_out import LeftOut


class PredictionOfOtherSize(LeftOut, Rule):
    """Predicted masks are of another size than their image.

    ## What it does
    Reports masks whose height and width are not those of the image.

    ## Why is this bad?
    Two masks of different sizes have no pixel in common that could be compared, so these were left out. Most often the
    network's input size was written instead of the image's; then it is all of them.

    ## How it is computed
    Count of predictions left out as `mask-size` (run lengths) or `shape-mismatch` (mask files); any is reported.

    ## Example
        prediction-of-other-size  40 of 40 images have a mask of another size than the image: scale masks back before
            they are written (shape-mismatch: 40, the first 'true (480, 640), predicted (512, 512)')

    ## Fix
    Scale the network's output back to the image: take the letterbox's border off, then resize with nearest neighbour.

    ## Known false positives
    None.

    ## References
    pycocotools gives IoU 0 to masks of different sizes, or reads beyond their end, without a word.
    """

    name = "prediction-of-other-size"
    code = "EVL042"
    category = Category.CORRECTNESS
    kinds = ("mask-size", "shape-mismatch")

    def told(self, scores: ScoreFacts) -> str:
        """What the records are."""
        return "have a mask of another size than the image: scale masks back before they are written"
