"""Tensors in a nest of tensors, with their names."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

DEEPEST = 4
"""Levels that are entered; a nest deeper than that is no batch."""


def named_tensors(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of `value` (a tensor, sequence, mapping or dataclass) with its dotted key or position.

    A single tensor has the name "". What is no tensor and holds none is passed over.
    """
    if isinstance(value, Tensor):
        yield name, value
        return
    if depth >= DEEPEST:
        return
    if isinstance(value, Mapping):
        items: Any = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    elif is_dataclass(value) and not isinstance(value, type):
        items = ((f.name, getattr(value, f.name)) for f in fields(value))
    else:
        return
    for key, part in items:
        yield from named_tensors(part, f"{name}.{key}" if name else str(key), depth + 1)
