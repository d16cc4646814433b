"""See BoxOutOfBounds."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions, Tier
from snellen.findings.measured import Measured
from snellen.rules.data._records import box_place, solid_boxes

ROUNDING = 0.001
"""Share of the image's side up to which an excess (or one of a pixel) is rounding, so that clipping is safe."""


class BoxOutOfBounds(Rule):
    """A box that reaches beyond its image.

    ## What it does
    Reports boxes of which a part lies outside the image.

    ## Why is this bad?
    The network is asked for an edge that it cannot see. albumentations raises ValueError; Ultralytics looks at centre
    and size alone, with a tolerance of 1 %, drops the whole image, with its good boxes, when they are beyond it, and
    accepts an edge that is not.

    ## How it is computed
    The largest distance by which a side lies outside, in pixels of the decoded image, exceeds max(`tolerance_px`,
    `tolerance_share` x that side of the image). One pixel covers 1-based VOC files and rounding; a thousandth
    covers six-digit YOLO fractions of large images. Boxes wholly outside are left to box-outside-image.

    ## Example
        train.json:88  box-out-of-bounds  the box reaches 12.0 px beyond the 640 x 480 image: ...

    ## Fix
    Clip the box to the image: safe when the excess is a rounding error, one pixel or a thousandth of the side (which
    `tolerance-px = 0` and `tolerance-share = 0` report), else look at it first.

    ## Known false positives
    Amodal labels, which go on where the object leaves the frame on purpose.

    ## References
    albumentations-team/albumentations#459.
    """

    name = "box-out-of-bounds"
    code = "ANN003"
    category = Category.CORRECTNESS
    tier = Tier.HEADERS
    causes = (
        "image-size-mismatch",
        "swapped-box-layout",
        "unnormalized-coordinates",
        "exif-rotated-image",
    )

    class Options(RuleOptions):
        """What counts as one."""

        tolerance_px: float = 1.0
        """Pixels a side may lie outside; one covers 1-based files and rounding."""
        tolerance_share: float = 0.001
        """The same as a share of the image's side."""

    def _boxes(self, data: DataFacts) -> pl.DataFrame:
        """Boxes that reach into their image, with the `excess` in pixels of the side that lies farthest beyond it."""
        boxes = solid_boxes(data).filter(pl.col("true_width").is_not_null())
        low = pl.max_horizontal(-pl.col("x1"), -pl.col("y1"))
        high = pl.max_horizontal(pl.col("x2") - pl.col("true_width"), pl.col("y2") - pl.col("true_height"))
        inside = (pl.col("x1") < pl.col("true_width")) & (pl.col("y1") < pl.col("true_height"))
        inside &= (pl.col("x2") > 0) & (pl.col("y2") > 0)
        return boxes.filter(inside).with_columns(excess=pl.max_horizontal(low, high))

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts; negative where a box ends before the image's edge."""
        return Measured(self._boxes(data)["excess"], "tolerance_px", "pixels beyond the image", "boxes")

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        for box in self._boxes(data).iter_rows(named=True):
            width, height = box["true_width"], box["true_height"]
            over = [(max(-box["x1"], box["x2"] - width), width), (max(-box["y1"], box["y2"] - height), height)]
            if not any(o > max(self.options.tolerance_px, self.options.tolerance_share * side) for o, side in over):
                continue
            excess = box["excess"]
            yield Finding(
                message=f"the box reaches {excess:.1f} px beyond the {width} x {height} image: the network is asked "
                "for an edge it cannot see, and albumentations raises",
                place=box_place(box),
                evidence={"excess_px": excess, "width": width, "height": height},
                fix=Fix(
                    FixSafety.SAFE if all(o <= max(1.0, ROUNDING * side) for o, side in over) else FixSafety.UNSAFE,
                    "clip the box to the image",
                    {
                        "op": "clip-box",
                        "file": box["file"],
                        "row": box["row"],
                        "width": width,
                        "height": height,
                    },
                ),
                rank=excess,
            )
