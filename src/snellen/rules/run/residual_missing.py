"""See ResidualMissing."""

from collections.abc import Iterator
from statistics import fmean

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._layers import at_start
from snellen.watching.facts import RunFacts


class ResidualMissing(Rule):
    """Transformer blocks do not pass their input on.

    ## What it does
    Reports blocks with attention and a feed-forward part whose output at step 0 has nothing to do with their input.

    ## Why is this bad?
    Attention without a shortcut loses the tokens: their rank falls doubly exponentially with depth, and gradients with
    them.

    ## How it is computed
    Cosine between a token before and behind the block at step 0, averaged over tokens and blocks. A shortcut keeps it
    high in pre- and post-norm blocks alike; without one it is that of two random vectors. Fires below `cosine` with at
    least `blocks` blocks. Convolutional networks, which may lack shortcuts, are not judged.

    ## Example
        residual-missing 4 blocks (blocks.0 ...) give tokens with cosine 0.02 to what they got (limit 0.2)

    ## Fix
    `x = x + attention(norm(x)); x = x + mlp(norm(x))`.

    ## Known false positives
    Blocks that are meant to answer with something else, as decoders of latent queries.

    ## References
    Dong, Cordonnier & Loukas 2021, Attention is not all you need, arXiv:2103.03404.
    """

    name = "residual-missing"
    code = "RUN121"
    category = Category.SUSPICIOUS
    causes = ("norm-over-wrong-axis", "symmetric-units", "initial-weights-off-scale")

    class Options(RuleOptions):
        """Options of this rule."""

        cosine: float = 0.2
        """Mean cosine; pre-norm blocks begin near 0.95, post-norm ones above 0.6."""
        blocks: int = 2
        """Blocks before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        through = at_start(run, "through_cosine")
        if len(through) >= self.options.blocks and abs(fmean(through.values())) < self.options.cosine:
            first = next(iter(through))
            yield Finding(
                message=(
                    f"{len(through)} blocks ({first} ...) give tokens with cosine {fmean(through.values()):.2f} to "
                    f"what they got (limit {self.options.cosine:g}): there is no shortcut around them"
                ),
                place=Place(layer=first),
                evidence={"cosines": {k: round(v, 4) for k, v in list(through.items())[:12]}},
                affected=len(through),
                fix=Fix(FixSafety.UNSAFE, "add the input of each half of the block to its output"),
            )
