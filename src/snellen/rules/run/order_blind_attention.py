"""See OrderBlindAttention."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.watching.facts import RunFacts


class OrderBlindAttention(Rule):
    """A transformer does not know the order of its tokens.

    ## What it does
    Reports networks with attention whose answer stays the same when tokens or patches change places.

    ## Why is this bad?
    Without positions attention sees a bag: "dog bites man" is "man bites dog", and an image is a heap of patches.

    ## How it is computed
    A trial on a copy runs the batch with its tokens (or patches that do not overlap) in another order, in eval() mode;
    fires when the outputs, put back into the old order, change by less than `change` of their spread, and those of
    other samples do differ. Networks without attention and causal ones, whose mask tells the order, are not meant.

    ## Example
        order-blind-attention the outputs change by 3e-7 when tokens change places (limit 1e-4)

    ## Fix
    Add positions, learned, sinusoidal or rotary, before or in the attention.

    ## Known false positives
    Sets and point clouds, where order shall not count.

    ## References
    Vaswani et al. 2017, Attention Is All You Need, arXiv:1706.03762, sec. 3.5.
    """

    name = "order-blind-attention"
    code = "RUN125"
    category = Category.SUSPICIOUS
    causes = (
        "constant-input",
        "symmetric-units",
        "signal-lost-in-depth",
        "initial-weights-off-scale",
        "norm-over-wrong-axis",
        "layer-without-gradient",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        change: float = 1e-4
        """Of the spread of the outputs; float32 leaves 1e-6, position embeddings of std 0.02 give above 1e-3."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = run.trials.filter((pl.col("trial") == "position-blindness") & pl.col("value").is_not_null())
        if not rows.height or not float(rows["value"][-1]) < self.options.change:
            return
        other = run.trials.filter((pl.col("trial") == "sample-spread") & pl.col("value").is_not_null())
        if other.height and not float(other["value"][-1]) > self.options.change:
            return  # Nothing at all changes these outputs: that is another fault, or a head that begins at zero.
        value = float(rows["value"][-1])
        yield Finding(
            message=(
                f"the outputs change by {value:.1e} of their spread when tokens change places (limit "
                f"{self.options.change:g}): attention has no positions"
            ),
            evidence={"change": value, "trial": rows["detail"][-1]},
            fix=Fix(FixSafety.UNSAFE, "add position embeddings to the tokens"),
        )
