"""See UnusedLayer."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.findings.words import plural
from snellen.network.facts import NetworkFacts


class UnusedLayer(Rule):
    """A layer with weights never runs.

    ## What it does
    Reports layers that are registered and have weights, but took no part in the forward pass.

    ## Why is this bad?
    The weights get no gradient: they cost memory, `DistributedDataParallel` stops with an error, and usually the author
    meant to call them.

    ## How it is computed
    A layer is unused when it was not called and none of its parameters reached an operator in one forward pass in
    evaluation mode. A branch that is unused as a whole is one finding, at its root.

    ## Example
        unused-layer  head.extra: 36 928 weights that no forward pass touches

    ## Fix
    Call the layer in `forward`, or remove it.

    ## Known false positives
    Layers that run only while training. Auxiliary classifiers do; names holding an `exempt` word are passed over.

    ## References
    Szegedy et al. 2015, Going Deeper with Convolutions, sec. 5 (auxiliary classifiers run in training only).
    """

    name = "unused-layer"
    code = "NET002"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Thresholds."""

        exempt: tuple[str, ...] = ("aux",)
        """Words in a layer's name that mark it as used only in training; Inception and DeepLab call theirs aux."""

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        rows = network.layers.filter(pl.col("params") > 0).select("layer", "calls", "params").rows()
        busy = {name for name, calls, _ in rows if calls}
        unused = {name: params for name, calls, params in rows if not calls}
        branches: dict[str, list[str]] = {}
        for name in unused:
            if any(word in name for word in self.options.exempt):
                continue
            parts = name.split(".")
            roots = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
            idle = (r for r in roots if r not in busy and not any(b.startswith(f"{r}.") for b in busy))
            branches.setdefault(next(idle, name), []).append(name)
        for root, names in branches.items():
            weights = sum(unused[n] for n in names)
            yield Finding(
                message=f"{root} never runs in a forward pass: its {weights:,} weights ({plural(len(names), 'layer')})"
                f" get no gradient",
                place=Place(layer=root),
                evidence={"weights": weights, "layers": names[:20]},
                affected=len(names),
                of=len(rows),
                rank=weights,
            )
