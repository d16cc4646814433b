"""Operators of a graph that are not known: they are run as what they are, and their cost stays uncounted."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snellen.network.onnx.node import Function, OnnxNode, Value
from snellen.network.shadow import ExamineError

_LIBRARY: list[torch.library.Library] = []
_DEFINED: set[str] = set()


def unknown_operator(domain: str, op: str, shapes: Sequence[Sequence[int | None] | None]) -> Function:
    """A function that gives empty tensors of the outputs' `shapes`, by an operator `onnx.<op>` that nothing knows.

    So the pass names it among those whose cost is not counted, and does not follow a receptive field through it.
    """
    name = re.sub(r"\W", "_", f"{domain}_{op}" if domain else op)

    def run(node: OnnxNode, *values: Value) -> Any:
        tensors = [v for v in values if isinstance(v, Tensor)]
        if not shapes or any(s is None or any(n is None for n in s) for s in shapes):
            raise ExamineError(f"operator {op} is not known, and the file does not tell the shape of its output")
        sizes = [int(n) for shape in shapes if shape is not None for n in shape if n is not None]
        ranks = [len(shape) for shape in shapes if shape is not None]
        found: list[Tensor] = getattr(torch.ops.onnx, _defined(name))(tensors, sizes, ranks)
        return tuple(found)

    return run


def _defined(name: str) -> str:
    if name not in _DEFINED:
        library = torch.library.Library("onnx", "FRAGMENT")
        library.define(f"{name}(Tensor[] inputs, int[] sizes, int[] ranks) -> Tensor[]")
        library.impl(name, _empty, "CompositeExplicitAutograd")
        _LIBRARY.append(library)
        _DEFINED.add(name)
    return name


def _empty(inputs: list[Tensor], sizes: list[int], ranks: list[int]) -> list[Tensor]:
    device = inputs[0].device if inputs else torch.device("cpu")
    found, start = [], 0
    for rank in ranks:
        found.append(torch.empty(sizes[start : start + rank], device=device))
        start += rank
    return found
