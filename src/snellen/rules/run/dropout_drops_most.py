"""See DropoutDropsMost."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._edits import rounded, set_recipe
from snellen.rules.run._layers import modules
from snellen.watching.facts import RunFacts


class DropoutDropsMost(Rule):
    """Dropout leaves nearly nothing.

    ## What it does
    Reports dropout that ran with a drop probability above the limit, as a layer or as a function.

    ## Why is this bad?
    At 0.95 one value in twenty gets through: the gradient is mostly noise and the network underfits. Often `p` was
    meant as the probability to keep.

    ## How it is computed
    `p` of the layers that the first forward pass called in train() mode, and of calls of dropout as a function.
    Stochastic depth, which drops whole samples of a branch, is not meant.

    ## Example
        dropout-drops-most drop: p = 0.95 (limit 0.8), 5 % of the values pass

    ## Fix
    0.1 to 0.5.

    ## Known false positives
    Masked autoencoders drop patches at 0.75; they are below the limit.

    ## References
    Srivastava et al. 2014, Dropout, sec. 7.3: keeping 0.4 to 0.8 is flat, below 0.2 the error rises.
    """

    name = "dropout-drops-most"
    code = "RUN117"
    category = Category.SUSPICIOUS
    causes = ("dropout-too-high",)

    class Options(RuleOptions):
        """Options of this rule."""

        limit: float = 0.8
        """Drop probability, 0..1 (Srivastava et al. 2014, fig. 9)."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run, at the first such layer."""
        bad: list[tuple[str, float]] = []
        for row in modules(run):
            dropout = "Dropout" in row["kind"] and row["calls"] and row["training"]
            function = row["kind"] in ("aten.bernoulli_", "aten.native_dropout")
            p = row["settings"].get("p", 0.0)
            if (dropout or function) and p > self.options.limit:
                bad.append((row["name"].partition(":")[0], p))
        if bad:
            layer, p = bad[0]
            more = f", and so do {len(bad) - 1} more" if len(bad) > 1 else ""
            meant = rounded(min(max(1 - p, 0.05), 0.5))
            yield Finding(
                message=(
                    f"{layer or 'the model'} drops {p:.0%} of its values (limit {self.options.limit:.0%}){more}: "
                    "almost nothing is left to learn from"
                ),
                place=Place(layer=layer or None),
                evidence={"p": p, "layers": [name for name, _ in bad][:20]},
                affected=len(bad),
                fix=Fix(
                    FixSafety.UNSAFE,
                    f"set p to {meant:g}; p is the share to drop, not to keep",
                    set_recipe(dropout=meant),
                ),
            )
