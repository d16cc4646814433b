"""A model and its optimizer as they were: whatever an experiment does to them is undone bit for bit."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer


@contextmanager
def generators_kept() -> Iterator[None]:
    """Give python's, numpy's and torch's global generators (every device) back the state they had on entry."""
    python, numbers, processor = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)
        torch.set_rng_state(processor)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def restored(model: nn.Module, optimizer: Optimizer | None = None) -> Iterator[None]:
    """On leaving, by whatever way, put back all that a forward pass, a backward pass or a step may have changed.

    Of the model: the tensors of parameters and buffers (the same objects, with the values they had), `requires_grad`,
    `.grad`, train or eval mode of every module, and the attributes that modules keep on themselves (counters, caches,
    hidden states; containers are kept by one level). Of the optimizer: state, options of the groups, and counters. Of
    the process: the generators of random numbers. Tensors shared by several names are saved once.

    Raises:
        ValueError: The model holds a lazy parameter, which the first forward pass turns into another object for ever.
    """
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters()):
        raise ValueError("the model has lazy layers that no forward pass has shaped yet")
    undo_model = _of_model(model)
    undo_optimizer = _of_optimizer(optimizer) if optimizer is not None else None
    with generators_kept():
        try:
            yield
        finally:
            undo_model()
            if undo_optimizer is not None:
                undo_optimizer()


def _of_model(model: nn.Module) -> Any:
    tensors: dict[int, tuple[Tensor, Tensor]] = {}
    for t in (*model.parameters(), *model.buffers()):
        tensors.setdefault(id(t), (t, t.detach().clone()))
    parameters = [(p, p.requires_grad, p.grad, _copied(p.grad)) for p in model.parameters()]
    modules = [(m, {k: (v, _kept(v)) for k, v in vars(m).items()}) for m in model.modules()]

    def undo() -> None:
        for module, attributes in modules:
            for name in [name for name in vars(module) if name not in attributes]:
                del vars(module)[name]
            for name, (value, kept) in attributes.items():
                _put_back(value, kept)
                vars(module)[name] = value
        with torch.no_grad():
            for tensor, value in tensors.values():
                if not _same(tensor, value):
                    tensor.detach().copy_(value)
        for parameter, asked, grad, value in parameters:
            parameter.requires_grad_(asked)
            if grad is not None and value is not None and not _same(grad, value):
                grad.detach().copy_(value)
            parameter.grad = grad

    return undo


def _of_optimizer(optimizer: Optimizer) -> Any:
    state = [(p, [(k, v, _kept(v)) for k, v in entries.items()]) for p, entries in optimizer.state.items()]
    groups = [(group, dict(group), list(group["params"])) for group in optimizer.param_groups]
    listed = list(optimizer.param_groups)
    plain = {k: v for k, v in vars(optimizer).items() if isinstance(v, bool | int | float | str | None)}

    def undo() -> None:
        optimizer.state.clear()
        for parameter, entries in state:
            for _, value, kept in entries:
                _put_back(value, kept)
            optimizer.state[parameter] = {name: value for name, value, _ in entries}
        optimizer.param_groups[:] = listed
        for group, options, params in groups:
            group.clear()
            group.update(options)
            group["params"] = params
        for name in [k for k, v in vars(optimizer).items() if k not in plain and isinstance(v, bool | int | float)]:
            delattr(optimizer, name)
        vars(optimizer).update(plain)

    return undo


def _copied(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().clone()


def _kept(value: Any) -> Any:
    """What is needed to make `value` again what it is now: a tensor's numbers, a container's members."""
    if isinstance(value, Tensor):
        return None if isinstance(value, nn.Parameter) else value.detach().clone()
    return copy(value) if type(value) in (dict, list, set) or isinstance(value, dict) else None


def _put_back(value: Any, kept: Any) -> None:
    if isinstance(value, Tensor):
        if kept is not None and not _same(value, kept):
            with torch.no_grad():
                value.detach().copy_(kept)
    elif isinstance(value, list) and kept is not None:
        value[:] = kept
    elif isinstance(value, dict | set) and kept is not None:
        value.clear()
        value.update(kept)


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal to the bit; NaN is equal to NaN, and -0.0 is not 0.0."""
    if a.layout != torch.strided or a.is_complex() or a.element_size() not in _BITS:
        return False
    bits = _BITS[a.element_size()]
    return bool(torch.equal(a.detach().contiguous().view(bits), b.contiguous().view(bits)))


_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def copy_without_hooks(model: nn.Module, owner: str) -> nn.Module:
    """A deep copy of `model` that lacks the hooks whose code lies in the package `owner`; the model keeps its own.

    Tensors with a graph that modules keep on themselves are copied without it.

    Raises:
        Exception: Whatever `deepcopy` raises on a member that cannot be copied.
    """
    taken: list[tuple[Any, Any, Any]] = []
    memo: dict[int, Any] = {}
    try:
        for module in model.modules():
            for name, value in vars(module).items():
                if isinstance(value, dict) and name.endswith("_hooks"):
                    mine = [k for k, hook in value.items() if (getattr(hook, "__module__", "") or "").startswith(owner)]
                    if mine:
                        taken.append((value, dict(value), None))
                        for key in mine:
                            del value[key]
                elif isinstance(value, Tensor) and value.grad_fn is not None:
                    memo[id(value)] = value.detach().clone()
        return deepcopy(model, memo)
    finally:
        for hooks, members, _ in taken:
            hooks.clear()
            hooks.update(members)
