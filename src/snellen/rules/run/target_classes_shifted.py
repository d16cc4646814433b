"""See TargetClassesShifted."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure, number
from snellen.watching.facts import RunFacts


class TargetClassesShifted(Rule):
    """Class ids of the targets are off by one from the head's classes.

    ## What it does
    Compares the ids of the targets with the number of classes of the head, and the ids of training with those of
    validation.

    ## Why is this bad?
    Objects of the first class are taught as background, or every prediction bears the id of its neighbour class: mAP
    is 0 although boxes are right.

    ## How it is computed
    Fires when an id is not below the head's number of classes, when the ids are 1 to C of C maps of class scores and
    map 0 stays below the others by `silent`, when id 0 is used and the head keeps class 0 for background (torchvision's
    Faster R-CNN and SSD), when validation ids are all training ids plus or minus one, or when ids run from 1 to the
    last of the head, 0 is no background, and the validation metric ends near 0 (`metric`) though scores reach `sure`.

    ## Example
        target-classes-shifted ids run from 0 to 2 and class 0 of roi_heads.box_predictor is the background

    ## Fix
    Map annotation ids to head ids in one table, and use the same one for validation.

    ## Known false positives
    None known.

    ## References
    mmdetection issue 1924, yolor issue 243 (class ids and num_classes); torchvision documentation: class 0 is
    background.
    """

    name = "target-classes-shifted"
    code = "RUN148"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        metric: float = 0.1
        """Validation metric at the end that is as good as 0; a few objects are met by their neighbour class."""
        silent: float = 0.5
        """Share of the range of the maps' peaks by which map 0 stays below all others; a loss that subtracts 1 from the
        ids teaches it like them."""
        sure: float = 0.3
        """Highest raw score that shows a detector that has learned something."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, head = self.options, measure(run, "head-classes")
        low, high = (number(run, f"label-{end}", "training") for end in ("min", "max"))
        val_low, val_high = (number(run, f"label-{end}", "validation") for end in ("min", "max"))
        maps, kinds = measure(run, "class-maps"), number(run, "label-kinds", "training")
        scores = run.epochs["metric"].drop_nulls()
        if not low <= high:
            return
        ids = f"target ids run from {low:.0f} to {high:.0f}"
        if head and high >= head["value"]:
            what = f"{ids} and the head ({head['detail']}) has {head['value']:.0f} classes"
        elif maps and low == 1 and high == maps["value"] == kinds and maps["of"] >= o.silent:
            what = f"{ids} and the outputs have {maps['value']:.0f} maps, the first of which (0) has learned nothing"
        elif head and head["of"] and low == 0:
            what = f"{ids} and class 0 of the head ({head['detail']}) is the background"
        elif abs(val_low - low) == 1 and val_high - val_low == high - low:
            what = f"{ids} in training and from {val_low:.0f} to {val_high:.0f} in validation"
        elif (
            head
            and not head["of"]
            and low == 1
            and high == head["value"] - 1
            and scores.len() >= 2
            and float(scores[-1]) <= o.metric
            and number(run, "raw-score-top") >= o.sure
        ):
            what = f"{ids}, class 0 of {head['value']:.0f} is never taught, and the metric is 0 at scores that are sure"
        else:
            return
        yield Finding(
            message=f"{what}: predictions and annotations have different ids (limit: the same)",
            place=Place(layer="target"),
            evidence={"ids": [low, high], "head": head["value"] if head else None, "chain": [what]},
            fix=Fix(FixSafety.UNSAFE, "map annotation ids to the head's ids, in training and validation alike"),
        )
