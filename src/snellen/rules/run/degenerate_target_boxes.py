"""See DegenerateTargetBoxes."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure, number
from snellen.watching.facts import RunFacts


class DegenerateTargetBoxes(Rule):
    """Boxes without area are among the targets.

    ## What it does
    Looks for target boxes whose right edge is not right of the left one, or whose lower edge is not below the upper
    one.

    ## Why is this bad?
    Their IoU and the logarithm of their side are not defined: the box loss becomes NaN or infinite in the batch that
    holds one, often only with augmentation that crops.

    ## How it is computed
    Counts training boxes with x2 <= x1 or y2 <= y1; fires from `least` on, unless more than `reversed_share` of the
    boxes are turned inside out: then the numbers are no corners, which is another rule's matter.

    ## Example
        degenerate-target-boxes 78 of 3462 boxes have no area; the first at step 0, image 11 box 0: [9, 9, 9, 17]

    ## Fix
    Drop such boxes when the dataset is read, and after every crop: `keep = (wh > 1).all(1)`.

    ## Known false positives
    None known.

    ## References
    mmdetection issue 6520; torchvision's detectors refuse such boxes in training.
    """

    name = "degenerate-target-boxes"
    code = "RUN141"
    category = Category.SUSPICIOUS
    causes = (
        "target-boxes-as-sides",
        "target-boxes-in-other-units",
        "target-boxes-not-resized",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        least: int = 1
        """Boxes without area."""
        reversed_share: float = 0.05
        """Share of boxes with x2 < x1 or y2 < y1 above which the numbers are no corners at all."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        row = measure(run, "degenerate-boxes")
        if row is None or row["value"] < self.options.least:
            return
        if number(run, "reversed-boxes", "training") > self.options.reversed_share:
            return
        yield Finding(
            message=(
                f"{row['value']:.0f} of {row['of']:.0f} target boxes (limit "
                f"{self.options.least}) have no area; the first at step "
                f"{row['step']}, {row['detail']}: a box loss divides by it or takes its logarithm"
            ),
            place=Place(layer="target", image=(row["detail"] or "").partition(":")[0] or None, step=row["step"]),
            evidence={"first": row["detail"], "chain": [f"step {row['step']}: {row['detail']}"]},
            affected=int(row["value"]),
            of=int(row["of"]),
            fix=Fix(FixSafety.UNSAFE, "drop boxes without area"),
        )
