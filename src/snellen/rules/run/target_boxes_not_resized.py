"""See TargetBoxesNotResized."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure, number
from snellen.watching.facts import RunFacts


class TargetBoxesNotResized(Rule):
    """The image was resized and its boxes were not.

    ## What it does
    Looks whether target boxes leave their image, and whether they lie on objects when scaled.

    ## Why is this bad?
    The detector is taught boxes beside the objects; validation with the right boxes shows no hit.

    ## How it is computed
    Fires when at least `outside` of the training boxes leave their image by more than a twentieth of its side, or
    when scaled boxes (halved, doubled, or so that they just fill the image) lie on the objects: the difference
    between mean grey inside and around is, over at least 50 boxes, `gain` times that of the given boxes and `t`
    standard errors above it.

    ## Example
        target-boxes-not-resized 89 % of 3462 boxes leave their image; halved they lie on the objects

    ## Fix
    Scale boxes by the same factors as the image: new width / old width, new height / old height.

    ## Known false positives
    Crops that keep the whole box of a cut object: clip boxes to the crop.

    ## References
    torchvision.transforms.v2 resizes images and boxes together.
    """

    name = "target-boxes-not-resized"
    code = "RUN144"
    category = Category.CORRECTNESS
    causes = (
        "target-boxes-as-sides",
        "target-boxes-in-other-units",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        outside: float = 0.1
        """Share of the boxes that leave their image."""
        gain: float = 1.5
        """Contrast of the scaled boxes over that of the given ones."""
        t: float = 8.0
        """The same in standard errors of the paired difference."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, out, better = self.options, measure(run, "boxes-outside"), measure(run, "box-contrast-better")
        given, pixels = number(run, "box-contrast"), not number(run, "boxes-in-unit-square") > 0.98
        reading = better["detail"] if better and better["of"] > o.t and better["value"] > o.gain * given else ""
        scaled = pixels and reading.startswith(("halved", "doubled", "scaled"))
        # Turned inside out, or on the objects when read in another way, they are no corners of any scale.
        if out is None or number(run, "reversed-boxes") > 0.05 or (reading and not scaled):
            return
        if out["value"] < o.outside and not scaled:
            return
        extent = [number(run, "extent-x"), number(run, "extent-y")]
        chain = [f"{out['value']:.0%} of {out['of']:.0f} boxes leave their image"]
        chain.append(f"99 % of the boxes end before {extent[0]:.2f} of the width and {extent[1]:.2f} of the height")
        if scaled and better:
            chain.append(f"contrast with the surroundings {given:.2f} as given, {better['value']:.2f} when {reading}")
        yield Finding(
            message=(
                f"{out['value']:.0%} of {out['of']:.0f} target boxes leave their image (limit {o.outside:.0%})"
                + (
                    f"; {reading} they lie on the objects"
                    if scaled
                    else f", as far as {max(extent):.2g} times its side"
                )
                + ": they have another scale than the image"
            ),
            place=Place(layer="target", step=out["step"]),
            evidence={"first": out["detail"], "extent": extent, "chain": chain},
            affected=round(out["value"] * out["of"]),
            of=int(out["of"]),
            fix=Fix(FixSafety.UNSAFE, "scale the boxes with the image"),
        )
