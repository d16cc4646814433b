"""How long a network and each of its layers take on this machine: the one examination that runs it for real."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from snellen.facts import table
from snellen.network.effective_field import evaluating
from snellen.network.facts import TIMES, NetworkFacts
from snellen.network.shadow import ExamineError
from snellen.network.trace import is_unit

LEAST_RUNS = 3
BUDGET = 2.0
"""Seconds spent on the passes of each kind, unless `LEAST_RUNS` take longer."""


def with_times(facts: NetworkFacts, model: nn.Module, inputs: Any, *, budget: float = BUDGET) -> NetworkFacts:
    """`facts` with the wall seconds of a forward pass, and of every layer in it, measured on the device of `model`.

    In evaluation mode, without gradients: passes without hooks for the whole, then passes with a clock around every
    layer, which cost some microseconds each. Told are medians after one pass that is not counted. The model's mode,
    buffers and hooks are left as they were.

    Raises ExamineError when the model is on the meta device or does not run.
    """
    weight = next(model.parameters(), torch.zeros(()))
    if weight.is_meta:
        raise ExamineError("time needs weights: this model is on the meta device")
    args = tree_map(lambda v: _real(v, weight), inputs if isinstance(inputs, tuple) else (inputs,))
    clocks: dict[str, list[float]] = {}
    with torch.random.fork_rng(devices=[]), evaluating(model), torch.inference_mode():
        try:
            _clocked(model, args, weight)
            whole = _repeated(lambda: _clocked(model, args, weight), budget)
            handles = _hooked(model, clocks, weight)
            try:
                passes = len(_repeated(lambda: _clocked(model, args, weight), budget))
            finally:
                for handle in handles:
                    handle.remove()
        except Exception as error:
            # Whatever a user's forward raises is told as what it is: a network that does not run.
            text = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ExamineError(f"{facts.name} does not run for real: {text}") from error
    kinds = dict(facts.layers.select("layer", "kind").reverse().iter_rows())
    rows = [
        {"layer": name, "kind": kinds.get(name, ""), "calls": len(told) // passes, "seconds": _per_pass(told, passes)}
        for name, told in clocks.items()
    ]
    return replace(
        facts, times=table(TIMES, rows), seconds_per_pass=median(whole), timed_on=_machine(weight, len(whole))
    )


def _real(value: Any, weight: Tensor) -> Any:
    if not isinstance(value, Tensor):
        return value
    if value.is_meta:
        made = torch.zeros(value.shape, dtype=value.dtype)
        value = made.normal_() if value.is_floating_point() else made
    return value.to(weight.device)


def _clocked(model: nn.Module, args: Sequence[Any], weight: Tensor) -> float:
    _finished(weight)
    started = time.perf_counter()
    model(*args)
    _finished(weight)
    return time.perf_counter() - started


def _finished(weight: Tensor) -> None:
    if weight.is_cuda:
        torch.cuda.synchronize(weight.device)


def _repeated(run: Callable[[], float], budget: float) -> list[float]:
    told: list[float] = []
    while len(told) < LEAST_RUNS or (sum(told) < budget and len(told) < 100):
        told.append(run())
    return told


def _hooked(model: nn.Module, clocks: dict[str, list[float]], weight: Tensor) -> list[Any]:
    """A clock around every layer; what runs within another layer is charged to the inner one alone."""
    running: list[list[float]] = []

    def enter(module: nn.Module, args: Any) -> None:
        _finished(weight)
        running.append([time.perf_counter(), 0.0])

    def leaving(name: str) -> Callable[..., None]:
        def leave(module: nn.Module, args: Any, output: Any) -> None:
            _finished(weight)
            started, within = running.pop()
            spent = time.perf_counter() - started
            clocks.setdefault(name, []).append(spent - within)
            if running:
                running[-1][1] += spent

        return leave

    handles = []
    for name, module in model.named_modules():
        if is_unit(module):
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leaving(name))]
    return handles


def _per_pass(told: list[float], passes: int) -> float:
    calls = max(len(told) // passes, 1)
    return median(sum(told[i : i + calls]) for i in range(0, len(told) - calls + 1, calls))


def _machine(weight: Tensor, passes: int) -> str:
    if weight.is_cuda:
        return f"{torch.cuda.get_device_name(weight.device)}, median of {passes} passes"
    kind = platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    return f"{kind}, {threads} of {os.cpu_count()} processors, {weight.dtype}".replace("torch.", "") + (
        f", median of {passes} passes"
    )
