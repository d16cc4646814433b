"""See OrphanLabel."""

from collections.abc import Iterator, Mapping
from typing import Any

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule
from snellen.rules.data._records import problem_findings


class OrphanLabel(Rule):
    """A label file without an image.

    ## What it does
    Reports label files to which no image belongs.

    ## Why is this bad?
    Its labels were paid for and are never used, and nobody says so; most often the image was renamed, moved or
    lost.

    ## How it is computed
    A label file in a folder of labels that no listed image claims, or an XML whose image is neither named nor there
    under its stem.

    ## Example
        labels/0007.txt  orphan-label  labels/0007.txt has no image ...

    ## Fix
    Restore or rename the image, or remove the label file.

    ## Known false positives
    Other text files kept among labels; classes.txt and lists of images are recognised.

    ## References
    Roboflow's health check tells missing labels from empty ones; this is the other side of it.
    """

    name = "orphan-label"
    code = "LBL006"
    category = Category.SUSPICIOUS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""

        def fix(problem: Mapping[str, Any]) -> Fix:
            return Fix(FixSafety.UNSAFE, "remove the label file", {"op": "drop-file", "file": problem["file"]})

        yield from problem_findings(data, "orphan-label", "its labels are never used", fix)
