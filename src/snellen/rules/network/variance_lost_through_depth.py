"""See VarianceLostThroughDepth."""

import math
from collections.abc import Iterator
from statistics import median
from typing import Any

from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.network.facts import NetworkFacts
from snellen.rules.network._graph import ACTIVATIONS, LayerGraph, Node


class VarianceLostThroughDepth(Rule):
    """A deep stack without norms is initialised with the wrong gain.

    ## What it does
    Reports stacks of convolution and linear layers, without norms and shortcuts, whose initial weights multiply the
    signal's power to nothing, or to infinity.

    ## Why is this bad?
    Each layer is off by a small factor, the stack by its power. PyTorch's default weights keep a sixth of the power
    through a layer with ReLU: behind 15 layers a part in 10^12 is left, all images give the same output, and no
    gradient comes back. The loss stays at ln C.

    ## How it is computed
    A layer multiplies the mean square by fan_in * E[w^2], ReLU halves it; the product runs over a stack in which each
    layer is the only reader of the one before. The stack must be freshly initialised: the gains of its layers agree
    within `spread`, as those of trained weights do not.

    ## Example
        variance-lost-through-depth  features.0 to features.28: the signal's power is multiplied by 2e-12

    ## Fix
    `nn.init.kaiming_normal_(weight, nonlinearity="relu")`, or BatchNorm behind each layer.

    ## Known false positives
    Weights that are about to be overwritten by a checkpoint.

    ## References
    He et al. 2015, Delving Deep into Rectifiers, arXiv:1502.01852, sec. 2.2, eq. 8 to 10 and fig. 3.
    """

    name = "variance-lost-through-depth"
    code = "NET026"
    category = Category.SUSPICIOUS
    causes = ("initial-scale-off", "symmetric-initialisation", "non-finite-weights")

    class Options(RuleOptions):
        """Thresholds."""

        limit: float = 1e-8
        """Factor on the power, or its inverse; AlexNet's 8 layers with PyTorch's defaults reach 1e-6 and train."""
        spread: float = 0.1
        """Relative difference of a layer's gain from the stack's median that fresh weights stay below."""

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        graph = LayerGraph(network)
        weights = {r["layer"]: r for r in network.parameters.iter_rows(named=True) if r["parameter"].endswith("weight")}
        done: set[Node] = set()
        for node, row in graph.nodes():
            if node in done or not _weighted(row, weights):
                continue
            run = [node, *graph.chain(node, lambda n: _passes(graph.rows[n[:2]], weights))]
            done.update(run)
            layers = [n[0] for n in run if _weighted(graph.rows[n[:2]], weights)]
            gains = [weights[n]["fan_in"] * (weights[n]["std"] ** 2 + weights[n]["mean"] ** 2) for n in layers]
            middle = median(gains)
            fresh = all(abs(math.sqrt(g / middle) - 1) <= self.options.spread for g in gains[:-1]) if middle else False
            halved = sum(ACTIVATIONS.get(n[1]) in RECTIFIERS for n in run)
            power = sum(math.log10(g) for g in gains) - halved * math.log10(2) if fresh and all(gains) else 0.0
            if abs(power) > -math.log10(self.options.limit):
                yield Finding(
                    message=f"the {len(layers)} layers from {layers[0]} to {layers[-1]} multiply the signal's power by"
                    f" 1e{power:+.0f} (limit 1e{math.log10(self.options.limit):+.0f} or its inverse), at {middle:.2f} a"
                    f" layer where ReLU needs 2: the output no longer depends on the image",
                    place=Place(layer=layers[0]),
                    evidence={"layers": layers[:20], "gain": middle, "log10_power": power},
                    affected=len(layers),
                    rank=abs(power),
                )


RECTIFIERS = ("relu", "relu6", "leakyrelu", "leaky_relu", "prelu")
"""Activations that keep about half of the power."""
CARRIERS = (*RECTIFIERS, "tanh")


def _weighted(row: dict[str, Any], weights: dict[str, dict[str, Any]]) -> bool:
    kind, weight = row["kind"], weights.get(row["layer"], {})
    return (
        kind.startswith(("Conv", "Linear"))
        and "Transpose" not in kind
        and bool(weight.get("finite"))
        and bool(weight.get("fan_in"))
    )


def _passes(row: dict[str, Any], weights: dict[str, dict[str, Any]]) -> bool:
    kind = row["kind"]
    return _weighted(row, weights) or ACTIVATIONS.get(kind) in CARRIERS or "Pool" in kind or "pool" in kind
