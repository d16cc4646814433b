"""See UnusableSuppression."""

from snellen.findings import Category, Rule


class UnusableSuppression(Rule):
    """A line of the sidecar gives no reason, or names no known rule, and so silences nothing.

    ## What it does
    Reports lines of `.snellen-ignore` that have no reason after `#`, name no rule, or name an unknown one.

    ## Why is this bad?
    The author believes a finding is silenced; it is not. A suppression without a reason cannot be judged later.

    ## How it is computed
    A usable line is `path-pattern rule [rule ...]  # reason`.

    ## Example
        .snellen-ignore:2  line silences nothing: it gives no reason after '#'

    ## Fix
    Write the reason, or correct the rule's name; the message names the nearest match.

    ## Known false positives
    None.

    ## References
    Reasons are mandatory in Snellen so that a baseline does not become a graveyard.
    """

    name = "unusable-suppression"
    code = "EXM003"
    category = Category.SUSPICIOUS
