"""See AttentionOnPadding."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._layers import at_start
from snellen.watching.facts import RunFacts


class AttentionOnPadding(Rule):
    """Attention looks at padding: its mask is missing or inverted.

    ## What it does
    Adds up the attention weights of real tokens on padded places, and tells a missing mask from an inverted one.

    ## Why is this bad?
    Answers depend on how long the longest row of the batch is; with an inverted mask the network sees padding only.

    ## How it is computed
    Padding is the id that the embedding names, or one that many rows end with in a run and no row has elsewhere. Fires
    when the share of the weights on it at step 0 is at least `share` of what even weights would put there.

    ## Example
        attention-on-padding encoder.layers.0.self_attn puts 0.41 of its attention on padding, where a mask leaves 0

    ## Fix
    `key_padding_mask = ids == pad` for nn.MultiheadAttention, where True means to leave out; an attention_mask of 1 for
    real tokens in Hugging Face models.

    ## Known false positives
    An id that fills rows and means something.

    ## References
    PyTorch documentation, nn.MultiheadAttention: key_padding_mask.
    """

    name = "attention-on-padding"
    code = "RUN124"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.3
        """Of the weights that even attention would give to padding; a mask leaves 0, an inverted one gives all."""
        least: float = 0.02
        """Padded share of the places before anything is said."""
        inverted: float = 0.95
        """Share of all weights on padding from which the mask is inverted."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run, at the first such layer."""
        o = self.options
        mass, even = at_start(run, "padding_mass"), at_start(run, "padding_share")
        bad = [n for n, v in mass.items() if even.get(n, 0.0) >= o.least and v >= o.share * even[n]]
        if not bad:
            return
        first = bad[0]
        inverted = mass[first] >= o.inverted
        yield Finding(
            message=(
                f"{first} puts {mass[first]:.2f} of its attention on padding, {even[first]:.2f} of the places (limit "
                f"{o.share * even[first]:.2g}): {'the mask is inverted' if inverted else 'there is no mask'}, and "
                "answers depend on the length of the batch"
            ),
            place=Place(layer=first.partition(":")[0] or None),
            evidence={"layers": bad[:20], "mass": mass[first], "even": even[first], "inverted": inverted},
            affected=len(bad),
            of=len(mass),
            fix=Fix(FixSafety.UNSAFE, "give key_padding_mask, True where padded"),
        )
