"""See MixedLabelRows."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule
from snellen.rules.data._records import problem_findings


class MixedLabelRows(Rule):
    """A YOLO label file that holds rows of two kinds.

    ## What it does
    Reports label files with boxes beside polygons or poses.

    ## Why is this bad?
    Trainers expect one kind in a whole dataset. Ultralytics counts segments and boxes, and where they differ it warned
    and trained without any segment; since 2026 it stops, when asked for segmentation.

    ## How it is computed
    The columns of a row tell its kind: five a box, more and odd a polygon, as many as `kpt_shape` says a pose.

    ## Example
        labels/0007.txt:4  mixed-label-rows  labels/0007.txt holds 3 boxes and 1 polygon ...

    ## Fix
    Write every object of the set in one kind: boxes as polygons of four corners, or polygons as their boxes.

    ## Known false positives
    Sets that are used for detection alone by a reader that looks at every row by itself.

    ## References
    ultralytics/ultralytics#598, #1008, #24992.
    """

    name = "mixed-label-rows"
    code = "LBL024"
    category = Category.SUSPICIOUS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        yield from problem_findings(data, "mixed-label-rows", "Ultralytics drops every segment of such a set, or stops")
