"""See TargetBoxesAsSides."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure, number
from snellen.watching.facts import RunFacts


class TargetBoxesAsSides(Rule):
    """Boxes given as x, y, width, height are read as corners.

    ## What it does
    Looks whether the numbers make sense as corners, and whether they make more sense as a corner or a centre with
    width and height.

    ## Why is this bad?
    The detector is taught other places and sizes than the objects have; boxes right of the middle are turned inside
    out.

    ## How it is computed
    Fires when at least `reversed_share` of the training boxes have x2 < x1 or y2 < y1 and `fits` of them lie inside
    their image when read as x, y, width, height; or when one of these readings lies on the objects: the difference
    between mean grey inside a box and around it is, over at least 50 boxes, `gain` times that of the given reading
    and `t` standard errors above it.

    ## Example
        target-boxes-as-sides 73 % of 3462 boxes have x2 < x1 or y2 < y1; read as x, y, w, h all lie in the image

    ## Fix
    Convert once, where annotations are read: `torchvision.ops.box_convert(boxes, 'xywh', 'xyxy')`.

    ## Known false positives
    None known.

    ## References
    COCO's format (x, y, width, height) against that of torchvision (corners).
    """

    name = "target-boxes-as-sides"
    code = "RUN142"
    category = Category.CORRECTNESS
    causes = ("target-boxes-in-other-units",)

    class Options(RuleOptions):
        """Options of this rule."""

        reversed_share: float = 0.05
        """Share of the boxes that are turned inside out."""
        fits: float = 0.98
        """Share that lies inside the image when read as x, y, width, height."""
        gain: float = 1.5
        """Contrast of the better reading over that of the given one."""
        t: float = 8.0
        """The same in standard errors of the paired difference; nine readings are tried, healthy runs stay below 0."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, turned, better = self.options, measure(run, "reversed-boxes"), measure(run, "box-contrast-better")
        given = number(run, "box-contrast")
        reading = better["detail"] if better and better["of"] > o.t and better["value"] > o.gain * given else ""
        on_objects = reading.startswith("read as") and "width" in reading
        inside_out = (
            turned is not None and turned["value"] >= o.reversed_share and number(run, "fit-as-sides") >= o.fits
        )
        if turned is None or not (on_objects or inside_out):
            return
        # In shares of the image, and a detector that does not work in pixels: DETR's targets are centre and sides.
        if number(run, "boxes-in-unit-square") >= o.fits and not number(run, "model-reach") > 4:
            return
        share, wrong = turned["value"], measure(run, "degenerate-boxes")
        chain = [f"{share:.0%} of {turned['of']:.0f} boxes have x2 < x1 or y2 < y1"]
        if inside_out:
            chain.append(f"read as x, y, width, height {number(run, 'fit-as-sides'):.0%} lie in their image")
        if on_objects and better:
            chain.append(f"contrast with the surroundings {given:.2f} as given, {better['value']:.2f} when {reading}")
        yield Finding(
            message=(
                f"{share:.0%} of {turned['of']:.0f} target boxes (limit {o.reversed_share:.0%}) "
                "have x2 < x1 or y2 < y1 and they "
                f"fit when {reading if on_objects else 'read as x, y, width, height'}: they are no corners"
            ),
            place=Place(layer="target", step=wrong["step"] if wrong else None),
            evidence={"first": wrong["detail"] if wrong else None, "chain": chain},
            affected=round(share * turned["of"]),
            of=int(turned["of"]),
            fix=Fix(FixSafety.UNSAFE, "convert the boxes to corners (x1, y1, x2, y2)"),
        )
