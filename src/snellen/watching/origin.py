"""Where the first NaN or infinity of a pass comes from: found by running the pass again, operator by operator."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from snellen.watching.nests import named_tensors

MOST_OPERATORS = 200_000
"""Operators followed in one pass; what comes later is not looked at."""

WRITE_ONLY = {"fill_", "copy_", "zero_", "uniform_", "normal_", "bernoulli_", "random_", "exponential_"}
"""Operators that do not read what they write to."""


@dataclass(frozen=True)
class Origin:
    """One operator whose inputs were finite and whose output was not."""

    module: str
    """Dotted name of the innermost module it ran in, or whose backward it was; empty: none of the model's."""
    operator: str
    """As torch names it, such as aten.log."""
    backward: bool
    made: str
    """NaN or infinity."""
    least: float
    """Smallest and largest number among its inputs."""
    most: float

    def sentence(self) -> str:
        """What happened, for people."""
        way = "backward through" if self.backward else "forward pass of"
        values = f"of finite values ({self.least:.4g} to {self.most:.4g})"
        return f"{self.operator} in the {way} {self.module or 'the loss'} made {self.made} {values}"


def bad(value: Tensor) -> bool:
    """Whether a floating tensor holds a NaN or an infinity."""
    if not (value.is_floating_point() or value.is_complex()) or value.device.type == "meta":
        return False
    return bool(value.numel()) and not bool(torch.isfinite(value).all())


def any_bad(nest: Any) -> bool:
    """Whether any tensor of the nest is `bad`."""
    return any(bad(t.detach()) for _, t in named_tensors(nest))


class Follower(TorchDispatchMode):
    """Runs what it encloses as it is, and keeps each operator that made something non-finite of finite values.

    Infinity that the program writes on purpose, such as the -inf of an attention mask, does not count, nor what stays
    infinite of it; a NaN made of it does. `reaching` says from which of these operators a result is not finite.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ranges: list[tuple[int, int, str]] = []
        self.births: list[Origin] = []
        self._taints: dict[int, frozenset[int]] = {}
        self._count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func` and look at what went in and came out."""
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        self._count += 1
        if self._count > MOST_OPERATORS:
            return func(*args, **kwargs)
        name = func._schema.name.split("::")[-1]
        given = [t for t in leaves if isinstance(t, Tensor)]
        if name in WRITE_ONLY and given:
            given = given[1:]
        meant = name.startswith("empty") or name == "new_empty" or not given
        meant = meant or any(isinstance(v, float) and not abs(v) < float("inf") for v in leaves)
        before = [t for t in given if bad(t)]
        limits = _limits(given)
        nan_before = any(bool(torch.isnan(t).any()) for t in before)
        result = func(*args, **kwargs)
        taints = frozenset[int]().union(*(self._taints.get(_key(t), frozenset()) for t in before))
        for t in tree_leaves(result):
            if not isinstance(t, Tensor):
                continue
            if not bad(t):
                self._taints.pop(_key(t), None)
                continue
            is_nan = bool(torch.isnan(t).any())
            stays = bool(before) and (nan_before or not is_nan)
            if taints or meant or stays:
                self._taints[_key(t)] = taints
            else:
                self._taints[_key(t)] = frozenset({len(self.births)})
                self.births.append(self._origin(func, is_nan, limits))
        return result

    def _origin(self, func: Any, is_nan: bool, limits: tuple[float, float]) -> Origin:
        node = torch._C._current_autograd_node()
        module = self.stack[-1] if self.stack else ""
        if node is not None:
            number = node._sequence_nr()
            inside = [r for r in self.ranges if r[0] <= number < r[1]]
            module = min(inside, key=lambda r: r[1] - r[0])[2] if inside else ""
        name = func._schema.name.replace("::", ".")
        made = "NaN" if is_nan else "infinity"
        return Origin(module, name, node is not None, made, limits[0], limits[1])

    def reaching(self, nest: Any) -> Origin | None:
        """The first operator whose NaN or infinity is still in a tensor of `nest`."""
        found: set[int] = set()
        for _, t in named_tensors(nest):
            if bad(t.detach()):
                found |= self._taints.get(_key(t), frozenset())
        return self.births[min(found)] if found else None

    @contextmanager
    def inside(self, model: nn.Module, name: str = "") -> Iterator[None]:
        """Know in which module of `model` an operator runs."""
        handles = []
        begun: list[int] = []

        def enter(name: str) -> Any:
            def hook(module: nn.Module, inputs: Any) -> None:
                self.stack.append(name)
                begun.append(torch._C._autograd._get_sequence_nr())

            return hook

        def leave(name: str) -> Any:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                if self.stack:
                    self.stack.pop()
                    self.ranges.append((begun.pop(), torch._C._autograd._get_sequence_nr(), name))

            return hook

        for path, module in model.named_modules(prefix=name):
            label = path or type(model).__name__
            handles.append(module.register_forward_pre_hook(enter(label)))
            handles.append(module.register_forward_hook(leave(label)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _key(t: Tensor) -> int:
    return t.untyped_storage()._cdata


def _limits(tensors: list[Tensor]) -> tuple[float, float]:
    """Smallest and largest finite number of what an operator was given."""
    ends = [t.detach().float() for t in tensors if t.is_floating_point() and t.numel()]
    finite = [v[torch.isfinite(v)] for v in ends]
    finite = [v for v in finite if v.numel()]
    if not finite:
        return 0.0, 0.0
    return min(float(v.min()) for v in finite), max(float(v.max()) for v in finite)
