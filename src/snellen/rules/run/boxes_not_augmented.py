"""See BoxesNotAugmented."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure, number
from snellen.watching.facts import RunFacts


class BoxesNotAugmented(Rule):
    """Images are flipped or turned and their boxes are not.

    ## What it does
    Holds the boxes against small copies of the images as the network gets them.

    ## Why is this bad?
    In half of the images the detector is taught background as object.

    ## How it is computed
    Contrast is the difference between mean grey inside and around a box. In an image whose mirrored boxes have 1.5
    times the contrast of the given ones these fit better mirrored. Fires when the share of such images along one axis
    is at least `share` above that along the other and `z` standard errors, or when all boxes mirrored, or with x and
    y swapped, have `gain` times the contrast of the given ones at `t` standard errors. Where a target is one box, an
    image that comes mirrored is known again by sums over mirrored pixels, and `stayed` of at least `images` of these
    had the same box in every orientation.

    ## Example
        boxes-not-augmented in 32 % of the images the boxes fit better when mirrored left to right

    ## Fix
    Give image and boxes to the same transform: torchvision.transforms.v2 with `tv_tensors.BoundingBoxes`.

    ## Known false positives
    Images that are mirror images of themselves.

    ## References
    TheDeepChecker (augmentation that changes the target); mmdetection issue 6520.
    """

    name = "boxes-not-augmented"
    code = "RUN145"
    category = Category.CORRECTNESS
    causes = (
        "target-boxes-as-sides",
        "target-boxes-in-other-units",
        "target-boxes-not-resized",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.2
        """Share of images beyond that of the other axis; flipping half of them gives 0.3 and more, sound boxes 0."""
        z: float = 5.0
        """The same in standard errors."""
        gain: float = 1.5
        """Contrast of the other reading over that of the given one."""
        t: float = 8.0
        """The same in standard errors of the paired difference."""
        images: int = 8
        """Images with one box that came in more than one orientation."""
        stayed: float = 0.9
        """Share of them whose box never changed; sound programs have 0."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, some, better = self.options, measure(run, "mirrored-images"), measure(run, "box-contrast-better")
        given = number(run, "box-contrast")
        reading = better["detail"] if better and better["of"] > o.t and better["value"] > o.gain * given else ""
        all_turned = reading.startswith(("mirrored", "x and y"))
        part = some is not None and some["value"] >= o.share and some["of"] >= o.z
        known = measure(run, "unturned-targets")
        again = known is not None and known["detail"] == "boxes" and known["of"] >= o.images
        stayed = again and known is not None and known["value"] >= o.stayed
        if not all_turned and not (part and not reading) and not stayed:
            return
        if all_turned and better:
            what = (
                f"target boxes have contrast {given:.2f} with their surroundings and "
                f"{better['value']:.2f} when {reading}"
            )
        elif stayed and known is not None:
            what = (
                f"{known['value']:.0%} of {known['of']:.0f} images that came mirrored (limit {o.stayed:.0%}) had "
                "the box of the image as it was"
            )
        else:
            assert some is not None
            what = (
                f"in {some['value']:.0%} of the images (limit {o.share:.0%}) the target boxes fit "
                f"better when {some['detail']}"
            )
        yield Finding(
            message=f"{what}: the image was changed and its boxes were not",
            place=Place(layer="target"),
            evidence={"contrast": given, "chain": [what]},
            fix=Fix(FixSafety.UNSAFE, "transform image and boxes together"),
        )
