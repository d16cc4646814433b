"""See RepeatedActivation."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Place, Rule
from snellen.network.facts import NetworkFacts
from snellen.rules.network._graph import ACTIVATIONS, LayerGraph


class RepeatedActivation(Rule):
    """An activation function directly behind another.

    ## What it does
    Reports an activation whose output is read by another activation and by nothing else.

    ## Why is this bad?
    At best the second does nothing (ReLU of ReLU). Else it spoils the first: the sigmoid of a ReLU is never below one
    half, the softmax of a softmax is nearly uniform, and each squashing divides the gradient.

    ## How it is computed
    The only reader of an activation's output, seen through identities and dropout, is an activation too. Softplus in
    front of tanh, the inside of Mish, is passed over.

    ## Example
        repeated-activation  head.relu -> head.sigmoid: nothing lies between

    ## Fix
    Remove one of them, usually the first in front of sigmoid or softmax, and the second elsewhere.

    ## Known false positives
    A clamp written as an activation, behind one.

    ## References
    Nikanjam et al. 2021, Automatic Fault Detection for Deep Learning Programs Using Graph Transformations,
    arXiv:2105.08095, rules on redundant activations.
    """

    name = "repeated-activation"
    code = "NET019"
    category = Category.SUSPICIOUS

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        graph = LayerGraph(network)
        done: set[tuple[str, str]] = set()
        for node, row in graph.nodes():
            if row["kind"] not in ACTIVATIONS:
                continue
            after = graph.only_reader(node)
            if after is None or after[1] not in ACTIVATIONS or (node[0], after[0]) in done:
                continue
            first, second = ACTIVATIONS[row["kind"]], ACTIVATIONS[after[1]]
            if (first, second) == ("softplus", "tanh"):
                continue
            done.add((node[0], after[0]))
            yield Finding(
                message=f"{after[0]} applies {second} to what {node[0]} made with {first}, and nothing lies between:"
                + (" it does nothing" if first == second == "relu" else " the signal is squashed twice"),
                place=Place(layer=after[0]),
                evidence={"first": node[0], "first_kind": node[1], "second_kind": after[1]},
            )
