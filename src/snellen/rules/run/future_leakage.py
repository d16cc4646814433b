"""See FutureLeakage."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._trials import first, last
from snellen.watching.facts import RunFacts


class FutureLeakage(Rule):
    """A model that foretells the next token can see it.

    ## What it does
    Changes the later tokens of a sequence and compares the outputs at earlier places.

    ## Why is this bad?
    The answer stands in the input: the training loss becomes far too good, and generation, where there is no future,
    fails.

    ## How it is computed
    Only where at least 95 % of the targets are the inputs one place on. In eval mode, the largest change at earlier
    places over the outputs' deviation is at least `limit`.

    ## Example
        future-leakage  outputs before place 12 change by 0.8 of their spread when later tokens change (limit 1e-03)

    ## Fix
    Give attention its causal mask (`is_causal=True`), make convolutions causal, and do not use a bidirectional
    recurrent layer.

    ## Known false positives
    None known: the targets are the future.

    ## References
    Vaswani et al. 2017, Attention Is All You Need (arXiv:1706.03762), section 3.2.3.
    """

    name = "future-leakage"
    code = "RUN071"
    category = Category.CORRECTNESS
    causes = ("future-visible", "norm-over-wrong-axis")

    class Options(RuleOptions):
        """Options of this rule."""

        limit: float = 1e-3
        """Relative change at earlier places; with a causal mask it is 0."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = [r for r in (first(run, "future-leakage"), last(run, "future-leakage")) if r is not None]
        worst = max(rows, key=lambda r: r["value"], default=None)
        if worst is None or worst["value"] < self.options.limit:
            return
        yield Finding(
            message=(
                f"{worst['detail']} change by {worst['value']:.2g} of their spread when later tokens change (limit "
                f"{self.options.limit:.0e}), and the targets are the next tokens: the model sees what it is to foretell"
            ),
            evidence={"change": worst["value"]},
            fix=Fix(FixSafety.UNSAFE, "give attention its causal mask: is_causal=True"),
        )
