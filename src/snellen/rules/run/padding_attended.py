"""See PaddingAttended."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._trials import last
from snellen.watching.facts import RunFacts


class PaddingAttended(Rule):
    """Padding changes the answer of an attention network.

    ## What it does
    Cuts the padding off a row and compares the outputs.

    ## Why is this bad?
    A text's answer depends on the longest text of its batch, and part of the attention is spent on nothing.

    ## How it is computed
    Padding is one id that ends at least a third of the rows in runs of unequal length. Outputs change by at least
    `limit` of their deviation, in eval mode, at the last look. Only for networks that attend.

    ## Example
        padding-attended  without the 9 padded of 20 places the outputs change by 0.31 of their spread (limit 0.01)

    ## Fix
    Pass `src_key_padding_mask`, True at padding, and average over real tokens only.

    ## Known false positives
    A last token that is no padding and ends rows in long runs.

    ## References
    PyTorch, nn.TransformerEncoder: `src_key_padding_mask`.
    """

    name = "padding-attended"
    code = "RUN072"
    category = Category.SUSPICIOUS
    causes = ("future-leakage", "attention-on-padding")

    class Options(RuleOptions):
        """Options of this rule."""

        limit: float = 0.01
        """Relative change of the outputs; masked padding gives rounding, about 1e-6."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        row = last(run, "padding-attended")
        if row is None or row["value"] < self.options.limit:
            return
        yield Finding(
            message=(
                f"{row['detail']}; without them the outputs change by {row['value']:.2g} of their spread (limit "
                f"{self.options.limit:g}): padding is attended to"
            ),
            evidence={"change": row["value"]},
            fix=Fix(FixSafety.UNSAFE, "pass a padding mask to attention and pooling"),
        )
