"""See BoxesInOtherUnits."""

from collections.abc import Iterator

import numpy as np
from pydantic import Field

from snellen.boxes import CORNERS
from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules.evaluation._overlap import as_written, share_on_objects


class BoxesInOtherUnits(Rule):
    """Predicted boxes would fit the objects at another scale.

    ## What it does
    Reports predictions written as shares 0..1 of the image, or in pixels of the network's input, where pixels of the
    image are expected.

    ## Why is this bad?
    Hardly a box overlaps its object, and the score is near 0 whatever the model has learned.

    ## How it is computed
    All coordinates at most 1.5 while objects are larger than 4 px: shares. Else the most frequent ratio of object to
    prediction centre, in bins of 5 %, over pairs of equal image and class, is the scale of each axis; it is reported
    when few predictions lie on an object (IoU 0.5) as written and many do after scaling.

    ## Example
        boxes-in-other-units  1 % of 300 predictions lie on an object as written, 88 % when x is multiplied by 2.0
            and y by 1.5

    ## Fix
    Scale the boxes back to the decoded image before scoring.

    ## Known false positives
    None known. Sets whose images differ much in size have no common scale; there only shares 0..1 are recognised.

    ## References
    Common to "mAP is 0" threads: boxes not resized with the image.
    """

    name = "boxes-in-other-units"
    code = "EVL007"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Limits."""

        max_as_written: float = Field(default=0.1, ge=0, le=1)
        """Share of predictions on an object as written, at most (judgement)."""
        min_scaled: float = Field(default=0.35, ge=0, le=1)
        """Share of predictions on an object after scaling, at least; chance overlap stays below 0.1 (measured)."""
        min_predictions: int = Field(default=10, ge=1)
        """Fewer are not judged."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the scale of the boxes."""
        images, boxes = as_written(scores)
        if len(boxes) < self.options.min_predictions or scores.objects.is_empty():
            return
        extent = float((scores.objects["x2"] - scores.objects["x1"]).median() or 0)  # type: ignore[arg-type]
        if boxes.max() <= 1.5 and extent > 4:
            yield Finding(
                message=f"the {len(boxes)} predicted boxes reach at most {boxes.max():.3g} while half the "
                f"objects are wider than {extent:.0f} px: they are shares of the image; multiply x by its width and y "
                f"by its height",
                place=Place(split=scores.split),
                evidence={"largest_coordinate": float(boxes.max()), "median_object_width": extent},
                affected=len(boxes),
                of=len(boxes),
            )
            return
        before = share_on_objects(scores, images, boxes)
        if before > self.options.max_as_written:
            return
        sx, sy = _mode_of_ratios(scores, 0), _mode_of_ratios(scores, 1)
        after = share_on_objects(scores, images, boxes * np.array([sx, sy, sx, sy]))
        if after >= self.options.min_scaled and max(abs(np.log(sx)), abs(np.log(sy))) > 0.1:
            yield Finding(
                message=f"{before:.0%} of {len(boxes)} predictions lie on an object as written, {after:.0%} when x is "
                f"multiplied by {sx:.2f} and y by {sy:.2f}: the boxes are in pixels of another size",
                place=Place(split=scores.split),
                evidence={"scale_x": sx, "scale_y": sy, "as_written": before, "scaled": after},
                affected=len(boxes),
                of=len(boxes),
            )


def _mode_of_ratios(scores: ScoreFacts, axis: int) -> float:
    """Most frequent ratio of object to prediction centre along x (0) or y (1); 1.0 when nothing pairs up."""
    low, high = CORNERS[axis], CORNERS[axis + 2]
    best = scores.predictions.sort("score", descending=True).group_by("image").head(10).head(5000)
    pairs = best.select("image", "class_name", low, high).join(
        scores.objects.select("image", "class_name", low, high), on=["image", "class_name"]
    )
    mine = (pairs[low] + pairs[high]).to_numpy()
    true = (pairs[f"{low}_right"] + pairs[f"{high}_right"]).to_numpy()
    usable = (mine > 0) & (true > 0)
    if not usable.any():
        return 1.0
    logs = np.log(true[usable] / mine[usable])
    bins = np.round(logs / 0.05).astype(np.int64)
    values, counts = np.unique(bins, return_counts=True)
    peak = values[np.argmax(counts)]
    return float(np.exp(np.median(logs[np.abs(bins - peak) <= 1])))
