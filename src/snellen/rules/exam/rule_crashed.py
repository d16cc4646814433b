"""See RuleCrashed."""

from snellen.findings import Category, Rule


class RuleCrashed(Rule):
    """A rule stopped with an exception of its own.

    ## What it does
    Reports a rule that could not finish. The findings it had made stand, and every other rule went on.

    ## Why is this bad?
    What that rule looks for may be in the data and was not seen.

    ## How it is computed
    The engine catches the exception of one rule's check and keeps its last frames as evidence.

    ## Example
        rule-crashed  box-out-of-bounds stopped with ZeroDivisionError: ... ; the other rules went on

    ## Fix
    It is a bug of the rule: report it with the evidence. `ignore = ["the-rule"]` silences it until then.

    ## Known false positives
    None.

    ## References
    The design's first law: a bad record is a finding, never an exception.
    """

    name = "rule-crashed"
    code = "EXM001"
    category = Category.CORRECTNESS
