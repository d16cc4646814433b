"""See AttentionNotScaled."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._layers import at_start, inside, modules
from snellen.watching.facts import RunFacts


class AttentionNotScaled(Rule):
    """Attention scores are not divided by the root of the head's width.

    ## What it does
    Reports attention whose scores q k go into the softmax larger than 1 / sqrt(d) makes them, and wide at step 0.

    ## Why is this bad?
    The softmax is saturated from the start: each query looks at one key, and almost no gradient reaches q and k.

    ## How it is computed
    All constants between q, k and the softmax are multiplied; fires when their product times sqrt(d) is above `scale`
    and the standard deviation of a query's scores at step 0 is above `spread`, or above `spread_default` where the
    projections have torch's default start, which assumes the division. Networks that put the division into their
    initialisation (T5) or learn a temperature are not meant.

    ## Example
        attention-not-scaled blocks.0.attn: scores are 5.7 times those of 1/sqrt(d) (limit 1.5), entropy 0.41 at step 0

    ## Fix
    `q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])`, or `F.scaled_dot_product_attention`.

    ## Known false positives
    A fixed temperature that is meant to be sharp.

    ## References
    Vaswani et al. 2017, Attention Is All You Need, arXiv:1706.03762, sec. 3.2.1.
    """

    name = "attention-not-scaled"
    code = "RUN122"
    category = Category.SUSPICIOUS
    causes = ("initial-weights-off-scale",)

    class Options(RuleOptions):
        """Options of this rule."""

        scale: float = 1.5
        """Times 1 / sqrt(d)."""
        spread: float = 1.2
        """Standard deviation of a query's scores at step 0; T5, unscaled by design, has 1.0."""
        spread_default: float = 0.7
        """The same under torch's default start, where scaled heads stay below 0.5."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run, at the first such layer."""
        o = self.options
        scale, spread, entropy = (at_start(run, s) for s in ("score_scale", "score_spread", "attention_entropy"))
        default = [r["name"] for r in modules(run) if r["default_start"]]
        bad = [
            layer
            for layer, value in scale.items()
            if value > o.scale
            and spread.get(layer, 0.0)
            > (o.spread_default if any(inside(n, layer.partition(":")[0]) for n in default) else o.spread)
        ]
        if bad:
            first = bad[0]
            yield Finding(
                message=(
                    f"{first}: attention scores are {scale[first]:.2g} times those of 1/sqrt(d) (limit {o.scale:g}), "
                    f"with std {spread[first]:.2g} and entropy {entropy.get(first, float('nan')):.2f} of the possible "
                    "at step 0: the softmax starts saturated"
                ),
                place=Place(layer=first.partition(":")[0] or None, step=0),
                evidence={"layers": bad[:20], "scale": scale[first], "score_spread": spread[first]},
                affected=len(bad),
                of=len(scale),
                fix=Fix(FixSafety.UNSAFE, "divide the scores by sqrt of the head's width"),
            )
