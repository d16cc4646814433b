"""See FutureVisible."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._layers import at_start, modules
from snellen.rules.run._loss import form
from snellen.rules.run._trials import first
from snellen.watching.facts import RunFacts


class FutureVisible(Rule):
    """A network that foretells the next token sees it.

    ## What it does
    Reports attention to later places, and recurrence from the end, where the targets are the next inputs.

    ## Why is this bad?
    The answer stands in the input: the loss falls far below what is possible, and generation, which has no future,
    yields rubbish.

    ## How it is computed
    The targets are the inputs shifted by one in at least `shifted` of the places. Then fires when more than `mass` of
    the attention weights lie on later places at step 0, or a recurrent layer is bidirectional. Also fires when the
    targets are the inputs themselves, not shifted, the loss was recognised as a cross-entropy that does not shift them
    either, and outputs do not change (by `still`) with later inputs: what is asked for is what is seen. (A network
    that reads the whole sequence may be an autoencoder.) And where one of several sequences of ids is the target itself
    and outputs change (by `still`) with the id at their own place: a decoder that is fed with its answer.

    ## Example
        future-visible blocks.0.attn puts 0.48 of its attention on later places (limit 0.01); the targets stand there

    ## Fix
    A causal mask: `is_causal=True`, or -inf above the diagonal before the softmax.

    ## Known false positives
    None known.

    ## References
    Vaswani et al. 2017, Attention Is All You Need, arXiv:1706.03762, sec. 3.2.3.
    """

    name = "future-visible"
    code = "RUN123"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        shifted: float = 0.9
        """Share of the targets that are the next input."""
        mass: float = 0.01
        """Share of the attention on later places; a mask leaves 0."""
        still: float = 1e-3
        """Relative change of outputs with later inputs; a causal network has 0, but for rounding."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        asked, known = first(run, "present-asked"), form(run)
        if asked and asked["value"] <= o.still and known.get("name") in ("cross-entropy", "nll", "focal"):
            if known["before"] != "shift":
                yield Finding(
                    message=(
                        "the targets are the inputs at the same places (limit: the next ones) of a network that cannot "
                        "see the future: it learns to copy and foretells nothing"
                    ),
                    place=Place(layer="target"),
                    evidence={"loss": known["name"], "change": asked["value"]},
                    fix=Fix(FixSafety.UNSAFE, "shift by one: inputs[:, :-1] against inputs[:, 1:]"),
                )
            return
        told = first(run, "answer-seen")
        if told and told["value"] > o.still and known.get("name") in ("cross-entropy", "nll", "focal"):
            yield Finding(
                message=(
                    f"one of the inputs is the target itself, and the last outputs change by {told['value']:.2g} of "
                    f"their spread when it changes there (limit {o.still:g}): the decoder is fed with the "
                    "answer, learns to copy it, and has none when it writes by itself"
                ),
                place=Place(layer="input"),
                evidence={"change": told["value"], "loss": known["name"]},
                fix=Fix(FixSafety.UNSAFE, "feed a start token and the target without its last one"),
            )
            return
        mass = {n: v for n, v in at_start(run, "future_mass").items() if v > o.mass}
        backward = [r["name"] for r in modules(run) if r["calls"] and r["settings"].get("bidirectional")]
        task = at_start(run, "shifted_input").get("target", 0.0) >= o.shifted
        if not task or not (mass or backward):
            return
        if mass:
            layer = next(iter(mass))
            what = f"{layer} puts {mass[layer]:.2f} of its attention on later places (limit {o.mass:g})"
        else:
            layer = backward[0]
            what = f"{layer} reads the sequence from its end too (limit: one direction)"
        yield Finding(
            message=f"{what} and the targets are the next inputs: the answer is seen",
            place=Place(layer=layer.partition(":")[0] or None),
            evidence={"layers": list(mass)[:20] or backward},
            affected=max(len(mass), 1),
            fix=Fix(FixSafety.UNSAFE, "mask later places: is_causal=True"),
        )
