"""See SwappedBoxFormat."""

from collections.abc import Callable, Iterator

import numpy as np
from pydantic import Field

from snellen.boxes import Floats
from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules.evaluation._overlap import as_written, share_on_objects


def _from_xywh(b: Floats) -> Floats:
    return np.hstack([b[:, :2], b[:, :2] + b[:, 2:]])


def _from_cxcywh(b: Floats) -> Floats:
    return np.hstack([b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2])


def _from_yxyx(b: Floats) -> Floats:
    return b[:, [1, 0, 3, 2]]


READINGS: dict[str, Callable[[Floats], Floats]] = {
    "x, y, width, height": _from_xywh,
    "centre x, centre y, width, height": _from_cxcywh,
    "y1, x1, y2, x2": _from_yxyx,
}


class SwappedBoxFormat(Rule):
    """Predicted boxes would fit the objects if their four numbers were read in another layout.

    ## What it does
    Reports predictions given as x, y, width, height (or centre and size, or y before x) where x1, y1, x2, y2 are
    expected.

    ## Why is this bad?
    Boxes come out inverted or elsewhere, and the score is near 0 whatever the model has learned.

    ## How it is computed
    Share of predictions, the inverted ones included, that lie on an object (IoU 0.5): as written, and under each
    other layout. Reported when few do as written and many do in another.

    ## Example
        swapped-box-format  2 % of 300 predictions lie on an object as written, 91 % when read as x, y, width, height

    ## Fix
    Convert the boxes to x1, y1, x2, y2 before scoring.

    ## Known false positives
    None known.

    ## References
    huggingface/transformers#32835 and #29964: box layouts confused in documentation.
    """

    name = "swapped-box-format"
    code = "EVL008"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Limits."""

        max_as_written: float = Field(default=0.2, ge=0, le=1)
        """Share of predictions on an object as written, at most (judgement)."""
        min_as_read: float = Field(default=0.35, ge=0, le=1)
        """Share of predictions on an object in the other layout, at least (judgement)."""
        min_predictions: int = Field(default=10, ge=1)
        """Fewer are not judged."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the layout of the boxes."""
        images, boxes = as_written(scores)
        if len(boxes) < self.options.min_predictions or scores.objects.is_empty():
            return
        before = share_on_objects(scores, images, boxes)
        if before > self.options.max_as_written:
            return
        shares = {name: share_on_objects(scores, images, read(boxes)) for name, read in READINGS.items()}
        layout = max(shares, key=lambda name: shares[name])
        if shares[layout] >= max(self.options.min_as_read, 3 * before):
            yield Finding(
                message=f"{before:.0%} of {len(boxes)} predictions lie on an object as written, "
                f"{shares[layout]:.0%} when read as {layout}: the boxes are not x1, y1, x2, y2",
                place=Place(split=scores.split),
                evidence={"as_written": before, **shares},
                affected=len(boxes),
                of=len(boxes),
            )
