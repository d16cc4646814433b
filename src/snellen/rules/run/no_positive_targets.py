"""See NoPositiveTargets."""

import math
from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._layers import always_zero, gradients
from snellen.rules.run._loss import rows
from snellen.rules.run._measures import measure
from snellen.watching.facts import RunFacts


class NoPositiveTargets(Rule):
    """The detector never sees an object to learn from.

    ## What it does
    Adds up the objects in the batches and the anchors, or predictions, matched to them.

    ## Why is this bad?
    Only background is learned and mAP stays 0.

    ## How it is computed
    Fires after `min_steps` steps when all batches together hold 0 objects, or hold objects and 0 anchors were
    matched. Where nobody counted matches they are seen from behind: a prediction that is matched to an object is the
    one that the box loss pulls at, so that in at least `without` of the steps with objects no predicted box got a
    gradient, or the model's own box loss was exactly 0. Where no boxes are told: the marks of all anchors were 0 at
    every look, and a layer of the model, that of the boxes, never got a gradient or there are several maps of marks
    for each image.

    ## Example
        no-positive-targets 12480 objects were seen in 100 steps and 0 anchors were matched

    ## Fix
    No objects: labels were not read, look at paths and class ids. No matches: boxes have another unit than anchors,
    or anchors do not fit their sizes.

    ## Known false positives
    None known.

    ## References
    yolov5 issue 3795, ultralytics issue 7277.
    """

    name = "no-positive-targets"
    code = "RUN022"
    category = Category.CORRECTNESS
    causes = ("target-boxes-as-sides", "target-boxes-in-other-units", "target-boxes-not-resized")

    class Options(RuleOptions):
        """Options of this rule."""

        min_steps: int = 10
        """Steps before anything is said."""
        without: float = 0.95
        """Share of the steps with objects that have no match; warm starts have a few in the first batches."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = run.steps.drop_nulls("targets")
        if rows.height < self.options.min_steps:
            yield from self._seen_from_behind(run)
            return
        objects = int(rows["targets"].sum())
        matched = None if rows["positives"].null_count() == rows.height else int(rows["positives"].sum())
        if objects == 0:
            yield Finding(
                message=(
                    f"{rows.height} steps (limit {self.options.min_steps}) held 0 objects; labels are not "
                    "reaching the loss and only background is learned"
                ),
                fix=Fix(
                    FixSafety.UNSAFE,
                    "check label paths and class ids, and that boxes are in the anchors' unit and size",
                ),
            )
        elif matched == 0:
            yield Finding(
                message=(
                    f"{objects} objects were seen in {rows.height} steps and 0 anchors were matched to "
                    "them (limit 1); boxes and anchors do not fit and only background is learned"
                ),
                evidence={"objects": objects, "steps": rows.height},
                fix=Fix(
                    FixSafety.UNSAFE,
                    "check label paths and class ids, and that boxes are in the anchors' unit and size",
                ),
            )

    def _seen_from_behind(self, run: RunFacts) -> Iterator[Finding]:
        """From the boxes that a watch saw, where the loop did not count."""
        o = self.options
        boxes, images = measure(run, "target-boxes", "training"), run.steps.height
        if images < o.min_steps:
            return
        if boxes is None:
            yield from self._without_boxes(run)
            return
        if boxes["value"] == 0:
            yield Finding(
                message=(
                    f"{boxes['of']:.0f} images in {images} steps (limit {o.min_steps}) held 0 objects; labels are not "
                    "reaching the loss and only background is learned"
                ),
                place=Place(layer="target"),
                evidence={"chain": [f"0 boxes in {boxes['of']:.0f} images"]},
                fix=Fix(
                    FixSafety.UNSAFE,
                    "check label paths and class ids, and that boxes are in the anchors' unit and size",
                ),
            )
            return
        idle, zero = measure(run, "steps-without-positives"), measure(run, "box-loss-zero")
        if idle and idle["of"] >= o.min_steps and idle["value"] >= o.without:
            what = f"in {idle['value']:.0%} of {idle['of']:.0f} steps (limit {o.without:.0%}) no box was pulled"
        elif zero and zero["of"] >= o.min_steps and zero["value"] >= o.without:
            what = f"in {zero['value']:.0%} of {zero['of']:.0f} steps (limit {o.without:.0%}) {zero['detail']} was 0"
        else:
            return
        fit = measure(run, "anchor-iou")
        chain = [f"{boxes['value']:.0f} objects in {boxes['of']:.0f} images", what]
        if fit:
            chain.append(f"half of the objects overlap no anchor by more than {fit['value']:.2f}")
        yield Finding(
            message=(
                f"{boxes['value']:.0f} objects were seen and {what}: none is matched to an anchor or "
                "prediction, and only background is learned"
            ),
            place=Place(layer="target"),
            evidence={"objects": boxes["value"], "anchor_iou": fit["value"] if fit else None, "chain": chain},
            fix=Fix(
                FixSafety.UNSAFE, "check label paths and class ids, and that boxes are in the anchors' unit and size"
            ),
        )

    def _without_boxes(self, run: RunFacts) -> Iterator[Finding]:
        """From the marks of the anchors, where the loop tells nothing else."""
        marks, idle = rows(run, "target").drop_nulls("minimum"), sorted(always_zero(gradients(run)))
        shapes = marks["shape"].to_list()
        if not marks.height or any(marks["minimum"]) or any(marks["maximum"]) or math.prod(shapes[0][1:]) < 2:
            return
        maps = all(len(s) == 4 and min(s[1:]) > 1 for s in shapes)
        if not idle and not maps:
            return
        total = sum(math.prod(s) for s in shapes)
        why = f"{idle[0]} never gets a gradient" if idle else f"there are {shapes[0][1]} maps of them for each image"
        yield Finding(
            message=(
                f"all {total} marks of the {marks.height} batches looked at are 0 (limit {self.options.min_steps} "
                f"steps) and {why}: no place or anchor is positive, and only background is learned"
            ),
            place=Place(layer="target"),
            evidence={"marks": total, "without_gradient": idle[:10]},
            fix=Fix(
                FixSafety.UNSAFE, "compare the sizes of anchors and boxes in pixels, and the IoU that is asked for"
            ),
        )
