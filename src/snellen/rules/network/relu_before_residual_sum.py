"""See ReluBeforeResidualSum."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.network.facts import NetworkFacts
from snellen.rules.network._graph import ACTIVATIONS, PASSIVE, LayerGraph, Node


class ReluBeforeResidualSum(Rule):
    """A residual branch ends in ReLU before it is added.

    ## What it does
    Reports residual sums whose branch has passed ReLU while the shortcut is the branch's own input.

    ## Why is this bad?
    The branch can only add, never take away: values grow from block to block and the block cannot express a residual,
    which should take both signs. On CIFAR-10 a ResNet-110 falls from 6.61 % error to 7.84 %.

    ## How it is computed
    One addend of a sum is made by ReLU or ReLU6; the other, of the same shape, lies upstream of it with at most
    `depth` weight layers between them.

    ## Example
        relu-before-residual-sum  block3: the branch can only add

    ## Fix
    Move the ReLU behind the sum, or in front of the branch's first layer.

    ## Known false positives
    Sums of features that are not meant as residuals.

    ## References
    He et al. 2016, Identity Mappings in Deep Residual Networks, arXiv:1603.05027, sec. 4.1 and table 2.
    """

    name = "relu-before-residual-sum"
    code = "NET021"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Thresholds."""

        depth: int = 4
        """Weight layers of a residual branch at most; longer ways around are the skips of encoders and decoders."""

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        graph = LayerGraph(network)
        found: dict[str, str] = {}
        sums = 0
        for node, row in graph.nodes():
            addends = [_unwrapped(graph, n) for n in graph.sources.get(node, [])]
            if row["kind"] not in ("aten.add", "aten.add_") or len(addends) != 2:
                continue
            sums += 1
            for branch, shortcut in (addends, addends[::-1]):
                # Calls of one shared ReLU have no shape of their own: Res2Net adds slices of its output.
                same = branch[0] != shortcut[0]
                same &= graph.rows[branch[:2]]["output_shape"] == graph.rows[shortcut[:2]]["output_shape"]
                positive = ACTIVATIONS.get(branch[1]) in ("relu", "relu6")
                if positive and same and _upstream(graph, branch, shortcut, self.options.depth):
                    found.setdefault(row["layer"], branch[0])
        if found:
            layer, branch_end = next(iter(found.items()))
            yield Finding(
                message=f"{len(found)} of {sums} sums add a branch that has passed ReLU to the branch's own input"
                f" (first: {branch_end} in {layer or 'the model'}): the branch can only add, never take away",
                place=Place(layer=branch_end),
                evidence={"branches": list(found.values())[:20]},
                affected=len(found),
                of=sums,
            )


def _unwrapped(graph: LayerGraph, node: Node) -> Node:
    while node[1] in PASSIVE and len(sources := graph.sources.get(node, [])) == 1:
        node = sources[0]
    return node


def _upstream(graph: LayerGraph, start: Node, wanted: Node, depth: int) -> bool:
    """Whether `wanted` feeds `start` over one to `depth` weight layers."""
    best: dict[Node, int] = {}
    queue = [(start, 0)]
    for node, weights in queue:
        if weights > depth or best.get(node, depth + 1) <= weights:
            continue
        best[node] = weights
        if node == wanted and weights > 0:
            return True
        weights += bool(graph.rows[node[:2]]["macs"])
        queue += [(n, weights) for n in graph.sources.get(node, [])]
    return False
