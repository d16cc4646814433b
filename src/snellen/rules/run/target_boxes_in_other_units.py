"""See TargetBoxesInOtherUnits."""

from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure, number
from snellen.watching.facts import RunFacts

MOST_NUMBERS = 36
"""Outputs of a box head at one place: 4 for each of up to nine anchors."""


class TargetBoxesInOtherUnits(Rule):
    """Target boxes are shares of the image and the detector works in pixels, or the other way round.

    ## What it does
    Compares the largest number of the target boxes with that of the predicted boxes or the anchors.

    ## Why is this bad?
    No prediction can meet a target: all objects lie in the first pixel, or far outside the image.

    ## How it is computed
    Fires when `share` of the target boxes have all numbers in 0..1 while predicted boxes or anchors reach beyond
    `pixels`, or when target boxes reach beyond `pixels` while predictions stay within 1.5. Without predictions or
    anchors to compare with a detector may work in shares; then boxes in 0..1 are in other units when a layer with
    4 outputs, or several times 4 up to 36, never got a gradient while other layers did: no cell met any of the boxes.

    ## Example
        target-boxes-in-other-units all 3462 boxes lie in 0..1, predictions reach 32

    ## Fix
    Multiply by (width, height, width, height) of the image as the network gets it, or divide.

    ## Known false positives
    None known.

    ## References
    YOLO's label files (shares) against torchvision's targets (pixels).
    """

    name = "target-boxes-in-other-units"
    code = "RUN143"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.98
        """Share of the boxes with all numbers in 0..1."""
        pixels: float = 4.0
        """Number from which it is no share of an image; the least image has more pixels."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, unit = self.options, measure(run, "boxes-in-unit-square")
        reach, model = number(run, "boxes-reach"), number(run, "model-reach")
        if unit is None:
            return
        if unit["value"] >= o.share and model > o.pixels:
            what = (
                f"{unit['value']:.0%} of {unit['of']:.0f} target boxes lie in 0..1 and the "
                f"detector's boxes reach {model:.3g}"
            )
        elif model <= 1.5 and reach > o.pixels:
            what = f"target boxes reach {reach:.3g} and the detector's boxes stay within {model:.3g}"
        elif unit["value"] >= o.share and np.isnan(model) and (head := _untaught_boxes(run)):
            what = (
                f"{unit['value']:.0%} of {unit['of']:.0f} target boxes lie in 0..1 and {head}, which gives boxes, "
                "never got a gradient, as no cell meets any of them"
            )
        else:
            return
        yield Finding(
            message=(
                f"{what} (limit {o.pixels:g}): one is in shares of the image, the other in pixels, and they never meet"
            ),
            place=Place(layer="target"),
            evidence={"chain": [f"targets reach {reach:.3g}", f"predictions or anchors reach {model:.3g}"]},
            affected=int(unit["of"]),
            of=int(unit["of"]),
            fix=Fix(FixSafety.UNSAFE, "bring the boxes to the units of the detector"),
        )


def _untaught_boxes(run: RunFacts) -> str:
    """Name of the layer that gives 4 numbers for each place and got no gradient while others did; "" for none."""
    without = set(run.without_gradient)
    rows = [r for r in run.parameters.iter_rows(named=True) if r["trainable"] and r["called"] and r["optimizers"]]
    if not without or len(without) >= len(rows) / 2:
        return ""
    names = [
        r["name"]
        for r in rows
        if r["name"] in without and len(r["shape"]) > 1 and r["shape"][0] in range(4, MOST_NUMBERS + 1, 4)
    ]
    return names[0].rpartition(".")[0] if len(names) == 1 else ""
