"""The graph of a network's pass, as rules walk it."""

from collections.abc import Callable, Iterator
from typing import Any

from snellen.network.facts import NetworkFacts

Node = tuple[str, str, int]
"""Layer, kind and which of its calls, from 1."""

PASSIVE = ("Identity", "DropPath", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "Flatten")
"""Kinds that hand values on as they are, while testing at least."""

ACTIVATIONS = {
    **{
        kind: kind.lower()
        for kind in (
            "ReLU", "ReLU6", "LeakyReLU", "PReLU", "RReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Swish", "Mish",
            "Hardswish", "HardSwish", "HardMish", "Hardsigmoid", "HardSigmoid", "Hardtanh", "Sigmoid", "LogSigmoid",
            "Tanh", "Softmax", "Softmax2d", "LogSoftmax", "Softplus", "Softsign", "QuickGELU", "GELUTanh",
        )
    },
    **{
        f"aten.{name}{inplace}": name.lstrip("_")
        for name in (
            "relu", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish", "hardsigmoid", "hardtanh",
            "sigmoid", "log_sigmoid", "tanh", "_softmax", "_log_softmax", "softplus", "_prelu_kernel",
        )
        for inplace in ("", "_")
    },
}  # fmt: skip
"""Kinds of activation functions, with the function's name."""


class LayerGraph:
    """Readers and sources of every call of the pass, with the row of its layer."""

    def __init__(self, network: NetworkFacts) -> None:
        self.rows: dict[tuple[str, str], dict[str, Any]] = {
            (r["layer"], r["kind"]): r for r in network.layers.iter_rows(named=True)
        }
        self.readers: dict[Node, list[Node]] = {}
        self.sources: dict[Node, list[Node]] = {}
        for edge in network.edges.iter_rows():
            source, target = edge[:3], edge[3:]
            self.readers.setdefault(source, []).append(target)
            self.sources.setdefault(target, []).append(source)
        self._nodes = dict.fromkeys(n for edge in network.edges.iter_rows() for n in (edge[:3], edge[3:]))

    def nodes(self) -> Iterator[tuple[Node, dict[str, Any]]]:
        """Every call that reads or is read, with its layer's row."""
        for node in self._nodes:
            yield node, self.rows[node[:2]]

    def only_reader(self, node: Node) -> Node | None:
        """The one call that reads `node`'s output, seen through layers that hand it on; None when several or none."""
        while len(found := self.readers.get(node, [])) == 1:
            node = found[0]
            if node[1] not in PASSIVE:
                return node
        return None

    def chain(self, start: Node, follows: Callable[[Node], bool]) -> Iterator[Node]:
        """The calls behind `start`, each the only reader of the one before, while `follows` holds."""
        seen = {start}
        node = self.only_reader(start)
        while node is not None and node not in seen and follows(node):
            yield node
            seen.add(node)
            node = self.only_reader(node)
