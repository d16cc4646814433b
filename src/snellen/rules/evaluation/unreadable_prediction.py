"""See UnreadablePrediction."""

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Rule
from snellen.rules.evaluation._left_out import LeftOut


class UnreadablePrediction(LeftOut, Rule):
    """Records of a file of predictions cannot be read.

    ## What it does
    Reports records without image, class, score or box, and records whose score or box is no number.

    ## Why is this bad?
    They are left out, so the score speaks of fewer predictions than were made: objects that only they find count as
    missed, and errors among them cost nothing.

    ## How it is computed
    Count of records left out as `missing-field`, `not-a-number`, `not-an-object`, `malformed-record` (nested without
    end, or no UTF-8) or `no-image-size` (YOLO's shares of an image whose size is not known); any is reported.

    ## Example
        unreadable-prediction  12 of 900 predictions cannot be read and were left out: write image, class, score and
            box of each (missing-field: 12, the first "{'image_id': 7, 'bbox': [3, 4, 20, 30]}")

    ## Fix
    Write every record with image, class, score and box, the last two as numbers. YOLO rows need the confidence as
    their last number.

    ## Known false positives
    None.

    ## References
    pycocotools stops with KeyError at the first such record.
    """

    name = "unreadable-prediction"
    code = "EVL040"
    category = Category.CORRECTNESS
    kinds = ("missing-field", "not-a-number", "not-an-object", "malformed-record", "no-image-size")

    def told(self, scores: ScoreFacts) -> str:
        """What the records are."""
        return "cannot be read and were left out: write image, class, score and box of each"
