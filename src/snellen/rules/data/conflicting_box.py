"""See ConflictingBox."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions
from snellen.rules.data._overlapping import overlapping_pairs
from snellen.rules.data._records import box_place


class ConflictingBox(Rule):
    """Two boxes of different classes on one object.

    ## What it does
    Reports pairs of boxes of the same image that coincide and name different classes.

    ## Why is this bad?
    The same pixels are taught to be two things: the losses pull against each other, and one of the two is a miss or
    a false alarm in every evaluation.

    ## How it is computed
    IoU >= `min_iou` between two boxes of different class, neither a crowd, of at least `min_side_px`.

    ## Example
        train.json:88  conflicting-box  rows 87 (dog) and 88 (cat) box the same spot with IoU 0.981 ...

    ## Fix
    Look at the picture and keep the right one.

    ## Known false positives
    Multi-label sets, in which a box is a dog and an animal: ignore the rule there. A rider drawn as tall as the
    horse.

    ## References
    U. Tkachenko et al., "ObjectLab" (2023), arXiv:2309.00832.
    """

    name = "conflicting-box"
    code = "ANN006"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """What counts as one."""

        min_iou: float = 0.95
        """Intersection over union from which two boxes are of one object; ObjectLab's label-overlap threshold."""
        min_side_px: float = 8.0
        """Boxes with a shorter side, in pixels, are not compared: there one pixel's shift is the object's own size."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        for one, other, iou in overlapping_pairs(data, self.options.min_iou):
            names = one["class_name"], other["class_name"]
            least = min(one["x2"] - one["x1"], one["y2"] - one["y1"])
            if None in names or names[0] == names[1] or least < self.options.min_side_px:
                continue
            yield Finding(
                message=f"rows {one['row']} ({names[0]}) and {other['row']} ({names[1]}) box the same spot "
                f"with IoU {iou:.3f}: the same pixels are taught to be two things",
                place=box_place(other),
                evidence={"iou": iou, "classes": list(names), "other_row": one["row"]},
                rank=iou,
            )
