"""See ResidualMissing."""

from collections.abc import Iterator, Mapping
from statistics import fmean

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._layers import at_start, modules
from snellen.rules.run._series import fall
from snellen.watching.facts import RunFacts


class ResidualMissing(Rule):
    """Blocks of a deep network do not pass their input on.

    ## What it does
    Reports blocks with attention and a feed-forward part whose output at step 0 has nothing to do with their input, and
    long rows of such convolutional blocks in a network that learns little.

    ## Why is this bad?
    Attention without a shortcut loses the tokens: their rank falls doubly exponentially with depth, and gradients with
    them. Plain convolutions of some twenty layers and more learn worse than shallower ones.

    ## How it is computed
    Cosine between a token before and behind the block at step 0, averaged over tokens and blocks. A shortcut keeps it
    high in pre- and post-norm blocks alike; without one it is that of two random vectors. Fires below `cosine` with at
    least `blocks` blocks. Convolutional networks may lack shortcuts: the same, of maps less the mean of each channel,
    counts there with `row` blocks of one class and shape, when `steps` steps brought the loss down by less than
    `learned`.

    ## Example
        residual-missing 4 blocks (blocks.0 ...) give tokens with cosine 0.02 to what they got (limit 0.2)

    ## Fix
    `x = x + attention(norm(x)); x = x + mlp(norm(x))`.

    ## Known false positives
    Blocks that are meant to answer with something else, as decoders of latent queries.

    ## References
    Dong, Cordonnier & Loukas 2021, Attention is not all you need, arXiv:2103.03404. He et al. 2016, Deep residual
    learning, arXiv:1512.03385: a plain network of 34 layers learns worse than one of 18.
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
        row: int = 8
        """Convolutional blocks of one class and shape; VGG has up to 4 layers in a row."""
        steps: int = 60
        """Steps after which learning is looked at."""
        learned: float = 0.5
        """Share by which the loss fell that a plain network may be content with."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, through = self.options, at_start(run, "through_cosine")
        if len(through) >= o.blocks and abs(fmean(through.values())) < o.cosine:
            yield self._finding(through, "tokens", "add the input of each half of the block to its output")
            return
        if run.steps.height < o.steps or fall(run) >= o.learned:
            return
        kinds = {r["name"]: (r["kind"], *(r["output_shape"] or ())) for r in modules(run)}
        maps = at_start(run, "through_maps")
        for kind in dict.fromkeys(kinds.get(name) for name in maps):
            row = {name: value for name, value in maps.items() if kinds.get(name) == kind}
            if len(row) >= o.row and abs(fmean(row.values())) < o.cosine:
                yield self._finding(row, "maps", "add the input of each block to its output")
                return

    def _finding(self, through: Mapping[str, float], what: str, remedy: str) -> Finding:
        first, mean = next(iter(through)), fmean(through.values())
        return Finding(
            message=(
                f"{len(through)} blocks ({first} ...) give {what} with cosine {mean:.2f} to what they got (limit "
                f"{self.options.cosine:g}): there is no shortcut around them"
            ),
            place=Place(layer=first),
            evidence={"cosines": {k: round(v, 4) for k, v in list(through.items())[:12]}},
            affected=len(through),
            fix=Fix(FixSafety.UNSAFE, remedy),
        )
