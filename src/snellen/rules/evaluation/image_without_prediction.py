"""See ImageWithoutPrediction."""

import polars as pl

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Rule
from snellen.rules.evaluation._left_out import LeftOut


class ImageWithoutPrediction(LeftOut, Rule):
    """Images of the split have no prediction, and are not in the score.

    ## What it does
    Reports labelled images for which the predictions hold no mask, no annotation or no row.

    ## Why is this bad?
    A label or a mask is due for every image. The score is that of the others: if the images that are left out are the
    hard ones, it is too good. (Of detections, an image without any is a statement, and its objects count as missed.)

    ## How it is computed
    Count of images left out as `missing-prediction`; any is reported.

    ## Example
        image-without-prediction  12 of 500 images have no prediction: the score is that of the others
            (missing-prediction: 12, the first 'no PNG of its name alone in masks')

    ## Fix
    Predict every image of the split, name masks as their images, or score the split that was predicted (`--split`).

    ## Known false positives
    Predictions of another split, or of a part of it, on purpose.

    ## References
    MMSegmentation and panopticapi stop at the first such image.
    """

    name = "image-without-prediction"
    code = "EVL043"
    category = Category.CORRECTNESS
    causes = ("predictions-of-unknown-image",)
    kinds = ("missing-prediction",)

    def told(self, scores: ScoreFacts) -> str:
        """What the images are."""
        return "have no prediction: the score is that of the others"

    def total(self, scores: ScoreFacts, bad: pl.DataFrame) -> tuple[int, str]:
        """Of all images of the split: those scored or left out for another reason, and these."""
        if scores.task in ("semantic", "panoptic"):
            return max(scores.images, len(bad)), "images"
        return scores.images + len(bad), "images"
