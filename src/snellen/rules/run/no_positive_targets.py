"""See NoPositiveTargets."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Rule, RuleOptions
from snellen.watching.facts import RunFacts


class NoPositiveTargets(Rule):
    """The detector never sees an object to learn from.

    ## What it does
    Adds up the objects in the batches and the anchors matched to them.

    ## Why is this bad?
    Only background is learned and mAP stays 0.

    ## How it is computed
    Fires after `min_steps` steps when all batches together hold 0 objects, or hold objects and 0 anchors were
    matched.

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

    class Options(RuleOptions):
        """Options of this rule."""

        min_steps: int = 10
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = run.steps.drop_nulls("targets")
        if rows.height < self.options.min_steps:
            return
        objects = int(rows["targets"].sum())
        matched = None if rows["positives"].null_count() == rows.height else int(rows["positives"].sum())
        if objects == 0:
            yield Finding(
                message=(
                    f"{rows.height} steps (limit {self.options.min_steps}) held 0 objects; labels are not "
                    "reaching the loss and only background is learned"
                ),
            )
        elif matched == 0:
            yield Finding(
                message=(
                    f"{objects} objects were seen in {rows.height} steps and 0 anchors were matched to "
                    "them (limit 1); boxes and anchors do not fit and only background is learned"
                ),
                evidence={"objects": objects, "steps": rows.height},
            )
