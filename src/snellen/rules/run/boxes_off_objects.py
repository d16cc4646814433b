"""See BoxesOffObjects."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure
from snellen.watching.facts import RunFacts


class BoxesOffObjects(Rule):
    """Target boxes have nothing to do with their images.

    ## What it does
    Holds the boxes of each image against it, and against the next image of the batch.

    ## Why is this bad?
    Images and annotations come from lists in different order: the detector can only learn where objects are on
    average.

    ## How it is computed
    Contrast is the difference between mean grey inside and around a box. Fires when, over at least `boxes` boxes, the
    given ones have no more contrast than those of another image: less than `t` standard errors and `gain` times.

    ## Example
        boxes-off-objects boxes have contrast 0.39 with their image, those of other images 0.40

    ## Fix
    Pair images and annotations by name, not by position.

    ## Known false positives
    Objects that differ from their surroundings in texture or colour alone, by equal brightness.

    ## References
    PyTorch forum: images and labels shuffled apart.
    """

    name = "boxes-off-objects"
    code = "RUN146"
    category = Category.SUSPICIOUS
    causes = (
        "target-boxes-as-sides",
        "target-boxes-in-other-units",
        "target-boxes-not-resized",
        "boxes-not-augmented",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        boxes: int = 150
        """Boxes compared."""
        t: float = 2.5
        """Standard errors; shapes have 15 and more."""
        gain: float = 1.25
        """Contrast of the given boxes over that of strange ones; shapes have 5 and more."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, given, strange = self.options, measure(run, "box-contrast"), measure(run, "box-contrast-strange")
        if given is None or strange is None or given["of"] < o.boxes:
            return
        if strange["of"] >= o.t or given["value"] >= o.gain * strange["value"]:
            return
        yield Finding(
            message=(
                f"{given['of']:.0f} target boxes have contrast {given['value']:.2f} with their "
                "surroundings and boxes of other "
                f"images {strange['value']:.2f} ({strange['of']:.1f} standard errors, limit "
                f"{o.t:g}): boxes and images do not "
                "belong together"
            ),
            place=Place(layer="target"),
            evidence={
                "contrast": given["value"],
                "strange": strange["value"],
                "chain": [f"contrast {given['value']:.2f} in their image, {strange['value']:.2f} in another"],
            },
            fix=Fix(FixSafety.UNSAFE, "pair images and annotations by name"),
        )
