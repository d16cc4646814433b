"""A weightless double of a model, and the walk over everything a model holds."""

import copy
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule

from snellen.errors import UseError

MAX_OBJECTS = 200_000
"""The walk stops after this many objects, so that a model which holds a data set does not stall it."""


PLAIN = frozenset({int, float, bool, str, bytes, type(None), torch.dtype, torch.device})
"""Types whose values are shared by a copy."""


HOOKS = (
    "_forward_pre_hooks", "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip


class ExamineError(UseError):
    """A model that cannot be examined as asked; the message says why and what to do."""


def held_objects(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Every module and tensor reachable from `model` through attributes, lists, tuples, sets and dicts, with its path.

    Each object comes once, by the first path found, breadth first; cycles are met once.
    """
    queue: list[tuple[str, Any]] = [("", model)]
    seen = {id(model)}
    for path, value in queue:
        if isinstance(value, (nn.Module, Tensor)):
            yield path, value
        for name, child in _children(value):
            if id(child) not in seen and len(seen) < MAX_OBJECTS:
                seen.add(id(child))
                queue.append((f"{path}{name}" if path else name.lstrip("."), child))


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    wanted = (nn.Module, Tensor, list, tuple, set, frozenset, dict)
    items: list[tuple[str, Any]] = []
    if isinstance(value, nn.Module):
        own = vars(value)
        items += [(f".{n}", m) for n, m in own.get("_modules", {}).items()]
        items += [(f".{n}", p) for n, p in own.get("_parameters", {}).items()]
        items += [(f".{n}", b) for n, b in own.get("_buffers", {}).items()]
        items += [(f".{n}", v) for n, v in own.items() if not n.startswith("_")]
    elif isinstance(value, dict):
        items += [(f"[{k!r}]", v) for k, v in value.items()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        items += [(f"[{i}]", v) for i, v in enumerate(value)]
    yield from ((name, v) for name, v in items if isinstance(v, wanted))


def double_of(model: nn.Module, device: Literal["meta", "cpu"]) -> nn.Module:
    """A deep copy of `model`, in eval mode and without the user's hooks; on the meta device no weight is copied.

    Compiled modules are replaced by what they were compiled from. Hooks of `torch.nn.utils` (weight and spectral norm)
    stay, because they compute the weights.
    Raises ExamineError when a part cannot be copied.
    """
    memo: dict[int, Any] = {}
    keep: list[Any] = []
    for _, value in held_objects(model):
        if isinstance(value, Tensor):
            detached = value.detach()
            double = _weightless(detached) if device == "meta" else detached.to("cpu", copy=True)
            if isinstance(value, nn.Parameter):
                double = nn.Parameter(double, requires_grad=value.requires_grad)
            memo[id(value)] = double
            keep.append(value)
    try:
        shadow: nn.Module = _twin(model, memo)
    except Exception as error:
        # Any object may sit in a model, so any exception may come out of copying it.
        raise ExamineError(
            f"{type(model).__name__} cannot be copied for examination: {type(error).__name__}: {error}"
        ) from error
    for module in shadow.modules():
        for child, part in module._modules.items():
            module._modules[child] = _written(part)
    shadow = _written(shadow)
    for module in shadow.modules():
        if device == "meta":
            _made_on_meta(module)
        held = vars(module)
        for hooks in HOOKS:
            own = held[hooks].items() if hooks in ("_forward_pre_hooks", "_forward_hooks") else ()
            held[hooks] = OrderedDict((k, h) for k, h in own if type(h).__module__.startswith("torch.nn.utils"))
        held["training"] = False
    return shadow


def _made_on_meta(module: nn.Module) -> None:
    """Let a graph (an exported or traced program) make its tensors on the meta device, where it names another."""
    graph = getattr(module, "graph", None)
    if not isinstance(graph, Graph):
        return
    makers = [n for n in graph.nodes if n.op == "call_function" and n.kwargs.get("device") is not None]
    for node in makers:
        node.kwargs = {**node.kwargs, "device": torch.device("meta")}
    if makers and isinstance(module, GraphModule):
        module.recompile()


def _weightless(tensor: Tensor) -> Tensor:
    if tensor.layout == torch.strided and type(tensor) is Tensor:  # The quicker of the two.
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    return torch.empty_like(tensor, device="meta")


def _twin(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """`copy.deepcopy`, which spends most of its time on the dozen empty tables that every module holds."""
    known: nn.Module | None = memo.get(id(module))
    if known is not None:
        return known
    kind = type(module)
    if not _plainly_copied(kind):
        copied: nn.Module = copy.deepcopy(module, memo)
        return copied
    twin = kind.__new__(kind)
    memo[id(module)] = twin
    for name, value in vars(module).items():
        if name == "_compiled_call_impl":
            continue  # Left out of every copy, by PyTorch too.
        if type(value) in PLAIN:
            copied_value = value
        elif not value and type(value) in (dict, OrderedDict):
            copied_value = type(value)()
        elif name == "_modules":
            copied_value = type(value)((n, None if m is None else _twin(m, memo)) for n, m in value.items())
        else:
            copied_value = copy.deepcopy(value, memo)
        vars(twin)[name] = copied_value
    return twin


def _plainly_copied(kind: type[nn.Module]) -> bool:
    """Whether instances are what stands in their `__dict__`, and say nothing else of how to copy them.

    What torch's own layers do in `__setstate__` is to fill in what checkpoints of older versions lack.
    """
    return (
        not hasattr(kind, "__deepcopy__")
        and not hasattr(kind, "__slots__")
        and kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
        and getattr(kind, "__getstate__", None) is getattr(nn.Module, "__getstate__", None)
        and kind.__setstate__.__module__.startswith("torch.nn.modules.")
    )


def _written(module: Any) -> Any:
    """What a compiled module was compiled from; any other as it is."""
    return getattr(module, "_orig_mod", module)


def unregistered_parts(model: nn.Module) -> list[str]:
    """Paths of modules and parameters that `.parameters()` and `.to()` do not reach, the outermost only."""
    registered = {id(m) for m in model.modules()} | {id(p) for p in model.parameters()}
    registered |= {id(b) for b in model.buffers()}
    # Parametrised and weight-normed modules keep computed tensors as attributes; only real parameters count.
    found: list[str] = []
    for path, value in held_objects(model):
        if isinstance(value, nn.Module):
            lost = id(value) not in registered and any(True for _ in value.parameters())
        else:
            lost = isinstance(value, nn.Parameter) and id(value) not in registered
        if lost and not any(path.startswith((f"{outer}.", f"{outer}[")) for outer in found):
            found.append(path)
    return found
