"""One node of an ONNX graph as a module with a row of its own."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Constant = NDArray[Any]
"""A value known before the network runs: an initializer that steers shapes, or what was computed from shapes."""

Value = Tensor | Constant | None
"""What flows along an edge; None where an optional input or output is left out."""

Function = Callable[..., Any]
"""(node, *values) -> a tensor or a tuple of them."""


class OnnxNode(nn.Module):
    """Runs one operator; subclasses made by `node_class` bear the name that the layer has in PyTorch.

    Geometry is told by attributes of the names that PyTorch's layers use (`kernel_size`, `stride`, `dilation`,
    `groups`), weights are parameters, so that the examiner and its rules see an ordinary layer.
    """

    def __init__(
        self, op: str, function: Function, attributes: dict[str, Any], opset: int, outputs: int,
        slots: Sequence[str | Constant | None],
    ) -> None:  # fmt: skip
        """`slots`: per input the name of a parameter or buffer of the module, a constant, or None: given later."""
        super().__init__()
        self.op = op
        self.attributes = attributes
        self.opset = opset
        self.outputs = outputs
        self._function = function
        self._slots = list(slots)

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute of the node."""
        return self.attributes.get(name, default)

    def forward(self, *given: Value) -> Any:
        """Run on the inputs that are not the node's own, in order; returns a tensor, or a tuple of several."""
        waiting = iter(given)
        values = [
            next(waiting) if slot is None else getattr(self, slot) if isinstance(slot, str) else slot
            for slot in self._slots
        ]
        return self._function(self, *values)


def node_class(kind: str) -> type[OnnxNode]:
    """The class whose layers are listed as `kind`."""
    return type(kind, (OnnxNode,), {"__doc__": f"{kind}, from an ONNX file."})


def tensor(value: Value, like: Tensor) -> Tensor:
    """`value` as a tensor on the device of `like`."""
    if isinstance(value, Tensor):
        return value
    return torch.from_numpy(np.ascontiguousarray(value)).to(like.device)


def operand(value: Value, like: Tensor) -> Any:
    """`value` as an operand of arithmetic: a number where it is a constant scalar."""
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else tensor(value, like)


def integers(value: Any) -> list[int]:
    """The integers of a constant, of an attribute, or of a tensor whose values are there."""
    if value is None:
        return []
    return [int(v) for v in (value.tolist() if isinstance(value, (Tensor, np.ndarray)) else value)]
