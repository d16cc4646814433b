"""See MostlyEmptyTargets."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure, number
from snellen.watching.facts import RunFacts


class MostlyEmptyTargets(Rule):
    """Most images come without any object.

    ## What it does
    Counts the training images that have no target box.

    ## Why is this bad?
    Label files that are missing or empty read as background: the detector is taught that there is nothing.

    ## How it is computed
    Fires when at least `share` of `images` training images or more have no box, and some have.

    ## Example
        mostly-empty-targets 91 % of 2304 images have no box

    ## Fix
    Count the label files and look for their path; keep as many empty images as objects need, about a tenth.

    ## Known false positives
    Rare objects by nature, as in camera traps and inspection; sampling more of the images with objects helps there,
    too.

    ## References
    yolov5 issue 3795, ultralytics issue 7277.
    """

    name = "mostly-empty-targets"
    code = "RUN147"
    category = Category.SUSPICIOUS
    causes = ("no-positive-targets",)

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.8
        """Share of images without a box; datasets with background on purpose have 1 % (COCO) to a half."""
        images: int = 64
        """Images seen."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, row = self.options, measure(run, "empty-images", "training")
        if row is None or row["of"] < o.images or not o.share <= row["value"] < 1:
            return
        boxes = number(run, "target-boxes", "training")
        yield Finding(
            message=(
                f"{row['value']:.0%} of {row['of']:.0f} training images (limit {o.share:.0%}) "
                "have no target box: labels are "
                "missing or empty, and background is learned"
            ),
            place=Place(layer="target"),
            evidence={"boxes": boxes, "chain": [f"{boxes:.0f} boxes in {row['of']:.0f} images"]},
            affected=round(row["value"] * row["of"]),
            of=int(row["of"]),
            fix=Fix(FixSafety.UNSAFE, "find the missing label files"),
        )
