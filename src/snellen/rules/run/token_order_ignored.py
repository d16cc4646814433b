"""See TokenOrderIgnored."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._series import fall
from snellen.rules.run._trials import learned
from snellen.watching.facts import RunFacts


class TokenOrderIgnored(Rule):
    """An attention network does not know where its tokens or patches stand.

    ## What it does
    Puts tokens, or the patches of an image, in another order and compares the outputs.

    ## Why is this bad?
    Attention treats its input as a set. Without positions "dog bites man" is "man bites dog", and an image is a bag of
    patches.

    ## How it is computed
    On the trained weights in eval mode: the outputs change by less than `limit` of their deviation (outputs of one row
    a token are put back into the old order first). Only for networks that attend, on token ids or on images that a
    convolution without overlap cuts into patches; after at least `steps` steps, because learned positions may begin at
    zero; and only where the loss did not fall by `learned` (of token ids by `counted`), as it does on sets.

    ## Example
        token-order-ignored  with its 24 tokens in another order the network gives the same outputs to 2e-07

    ## Fix
    Add a positional encoding to the embeddings: learned, sinusoidal or rotary.

    ## Known false positives
    Networks over sets of token ids.

    ## References
    Vaswani et al. 2017, Attention Is All You Need (arXiv:1706.03762), section 3.5.
    """

    name = "token-order-ignored"
    code = "RUN070"
    category = Category.SUSPICIOUS
    causes = (
        "input-not-used",
        "dead-relu",
        "constant-input",
        "lr-too-high",
        "signal-lost-in-depth",
        "symmetric-units",
        "initial-weights-off-scale",
        "norm-over-wrong-axis",
        "layer-without-gradient",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        limit: float = 1e-4
        """Relative change of the outputs; rounding gives 1e-6, healthy trained networks of the chart 1 and more."""
        steps: int = 10
        """Updates after which learned positions have left zero."""
        learned: float = 0.8
        """Share by which the loss fell, at which nothing can have been missed."""
        counted: float = 0.4
        """The same for token ids: what stands in a bag of words can be told without their order, half of an image not.
        """

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        row, apart = learned(run, "position-blindness", self.options.steps), learned(run, "sample-spread", 1)
        if row is None or row["value"] >= self.options.limit or (apart is not None and apart["value"] < 1e-5):
            return
        if fall(run) >= (self.options.counted if "tokens" in row["detail"] else self.options.learned):
            return  # A set has no order to miss.
        yield Finding(
            message=(
                f"with {row['detail']} the network gives the same outputs to {row['value']:.0e} of their spread (limit "
                f"{self.options.limit:.0e}): it attends and has no positions"
            ),
            evidence={"change": row["value"]},
            fix=Fix(FixSafety.UNSAFE, "add a positional encoding to the embeddings"),
        )
