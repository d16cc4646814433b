"""See PredictedSegmentsDisagree."""

import polars as pl

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Rule
from snellen.rules.evaluation._left_out import LeftOut


class PredictedSegmentsDisagree(LeftOut, Rule):
    """Panoptic predictions list other segments than their pictures hold.

    ## What it does
    Reports predicted segments without a pixel, pixels of a value that no segment has, and segments called 0.

    ## Why is this bad?
    The pixels without a segment count as void, so that what they show is missed; a segment without pixels was meant to
    be somewhere. Ids and colours are mixed up: written as another value than r + 256 g + 65536 b, or resized by
    interpolation.

    ## How it is computed
    Count of `segment-without-pixels`, `pixels-without-segment` and `void-segment` (0 is what has no segment) among the
    predictions; any is reported.

    ## Example
        predicted-segments-disagree  7 of 900 segments are not in both the list and the picture
            (pixels-without-segment: 5, segment-without-pixels: 2, the first '812 pixels of 77')

    ## Fix
    Write the id of segments_info as the colour r + 256 g + 65536 b into a PNG, and resize by nearest neighbour.

    ## Known false positives
    None: panopticapi stops at each of them.

    ## References
    cocodataset.org/#format-results, panoptic; panopticapi raises KeyError.
    """

    name = "predicted-segments-disagree"
    code = "EVL047"
    category = Category.CORRECTNESS
    kinds = ("segment-without-pixels", "pixels-without-segment", "void-segment")

    def told(self, scores: ScoreFacts) -> str:
        """What the records are."""
        return "are not in both the list and the picture"

    def total(self, scores: ScoreFacts, bad: pl.DataFrame) -> tuple[int, str]:
        """Of all predicted segments."""
        return len(scores.predictions) + len(bad), "segments"
