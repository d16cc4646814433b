"""See UnusedSuppression."""

from snellen.findings import Category, Rule


class UnusedSuppression(Rule):
    """A line of the sidecar silences something that is no longer found.

    ## What it does
    Reports lines of `.snellen-ignore` whose path and rule matched no finding, when that rule ran.

    ## Why is this bad?
    A stale line will silence the next, real defect at that path without anyone noticing.

    ## How it is computed
    After all rules ran, each line that covered no finding and names at least one rule that was chosen.

    ## Example
        .snellen-ignore:3  silences 'labels/7.txt', where nothing is found any more: remove the line

    ## Fix
    Remove the line.

    ## Known false positives
    None: a line whose rules were not chosen in this run is not reported.

    ## References
    Ruff's RUF100 (unused-noqa) has the same purpose.
    """

    name = "unused-suppression"
    code = "EXM002"
    category = Category.STYLE
