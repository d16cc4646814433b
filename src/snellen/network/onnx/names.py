"""Names of layers from the names of ONNX nodes."""

import ast
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any


def node_names(nodes: Iterable[Any]) -> list[str]:
    """A dotted path for each node, unique, none within another.

    Exporters of PyTorch tell the module that a node came from, as metadata (`pkg.torch.onnx.name_scopes`) or in the
    node's name (`/layer1/layer1.0/conv1/Conv`). A module of a single node gives the layer its name; of several, the
    operator's name follows it.
    """
    scoped = [(_scope(node), str(node.op_type)) for node in nodes]
    count = Counter(scope for scope, _ in scoped)
    outer = {scope[:n] for scope, _ in scoped for n in range(len(scope))}
    seen: Counter[tuple[str, ...]] = Counter()
    names = []
    for scope, op in scoped:
        path = scope if scope and count[scope] == 1 and scope not in outer else (*scope, op)
        seen[path] += 1
        names.append(".".join(path) + (f"_{seen[path]}" if seen[path] > 1 else ""))
    return names


def _scope(node: Any) -> tuple[str, ...]:
    told = {p.key: p.value for p in node.metadata_props}.get("pkg.torch.onnx.name_scopes")
    if told is not None:
        try:
            scopes = ast.literal_eval(told)
        except (ValueError, SyntaxError):
            scopes = []
        # The last entry is the operator; the one before it the innermost module.
        modules = [s for s in scopes[:-1] if isinstance(s, str)] if isinstance(scopes, list) else []
        return _parts(modules[-1].split(".")) if modules and modules[-1] else ()
    parts = [p for p in str(node.name).split("/") if p]
    return _relative(parts[:-1])


def _relative(parts: Sequence[str]) -> tuple[str, ...]:
    """`layer1`, `layer1.0`, `conv1` -> `layer1`, `0`, `conv1`: a part repeats the names of the containers it is in."""
    told: list[str] = []
    before = ""
    for part in parts:
        told.append(part[len(before) + 1 :] if before and part.startswith(before + ".") else part)
        before = part
    return _parts([p for part in told for p in part.split(".")])


def _parts(parts: Iterable[str]) -> tuple[str, ...]:
    return tuple(p for p in parts if p)
