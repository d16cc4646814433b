"""The one pass: a double of the model runs on inputs without values, or with them where the model asks for them."""

import copy
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_iter, tree_map

from snellen.network.backward import counted_backward, custom_functions
from snellen.network.bounds import Bounds, DataDependentError
from snellen.network.fused import FusedAttention
from snellen.network.memory import SavedForBackward
from snellen.network.shadow import ExamineError, double_of
from snellen.network.trace import Tracer


@dataclass(frozen=True)
class Pass:
    """What one forward pass left behind."""

    double: nn.Module
    tracer: Tracer
    images: list[Tensor]
    """The tensors among the inputs, in order."""
    saved_bytes: int
    """Activations that autograd keeps."""
    backward_macs: int
    assumptions: list[str]


def run_forward(model: nn.Module, inputs: Any, *, name: str) -> Pass:
    """Run a double of `model` on `inputs`, a shape or any nest of tensors.

    The pass has no values. Where the model asks for one, the answer is taken as 1, or false; but if example inputs and
    weights are real, a copy of the model runs on them instead. Detectors are never run: their proposals are bounded.
    Raises ExamineError where the model cannot be copied or does not run.
    """
    # Neither the caller's inference mode nor gradients switched off change what is measured.
    with torch.inference_mode(False), torch.enable_grad():
        values = _have_values(inputs) and not any(p.is_meta for p in model.parameters())
        try:
            return _forward(double_of(model, "meta"), inputs, name, "meta", assume_values=not values)
        except DataDependentError:
            done = _forward(double_of(model, "cpu"), inputs, name, "cpu", assume_values=True)
            done.assumptions.append("the forward pass depends on values: it was run on the given inputs")
            return done


def _forward(double: nn.Module, inputs: Any, name: str, device: str, *, assume_values: bool) -> Pass:
    args, kwargs = _arguments(inputs, double, device)
    images = list(_held_tensors((args, kwargs)))
    if not images:
        raise ExamineError("no tensor among the example inputs: give a shape such as (1, 3, 224, 224)")
    bounds = Bounds(assume_values=assume_values)
    saved = SavedForBackward([*double.parameters(), *double.buffers(), *images])
    tracer = Tracer(double, bounds, saved)
    for tensor in images:
        tracer.enter_image(tensor)
    # Random operators on meta tensors advance the generator all the same.
    with torch.random.fork_rng(devices=[]), _eager(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with saved, FusedAttention(), tracer:
                output = double(*args, **kwargs)
        except DataDependentError:
            raise
        except Exception as error:
            # Whatever a user's forward raises is told as what it is: a network that does not run at this size.
            text = (str(error).strip() or type(error).__name__).splitlines()[0]
            shape = list(images[0].shape)
            raise ExamineError(f"{name} does not run on an input of shape {shape}: {text}") from error
        tracer.trace.output, tracer.trace.finished = output, True
        assumptions = bounds.assumptions()
        backward = _backward(double, tracer, assumptions)
    return Pass(double, tracer, images, saved.bytes, backward, assumptions)


def _backward(double: nn.Module, tracer: Tracer, assumptions: list[str]) -> int:
    told = sum(r.backward_macs for r in tracer.trace.records.values())
    outputs = [t for t in _held_tensors(tracer.trace.output) if t.requires_grad]
    unknown = custom_functions(outputs) + ["checkpointed parts"] * tracer.trace.recomputed
    if not unknown or not any(p.requires_grad for p in double.parameters()):
        return told
    named = ", ".join(unknown)
    try:
        with FusedAttention():
            counted = counted_backward(outputs, double)
    except Exception as error:
        # A backward written for real tensors may fail in any way.
        assumptions.append(f"backward of {named} not counted: {type(error).__name__}: {error}".splitlines()[0])
        return told
    assumptions.append(f"backward was run to count {named}")
    return counted


@contextmanager
def _eager() -> Iterator[None]:
    """Runs what is compiled as it was written; asks for the compiler only where it is loaded."""
    with torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext():
        yield


def _have_values(inputs: Any) -> bool:
    tensors = list(_held_tensors(inputs))
    return bool(tensors) and not any(t.is_meta for t in tensors)


def _arguments(inputs: Any, double: nn.Module, device: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, (list, tuple, torch.Size)) and inputs and all(type(n) is int for n in inputs):
        dtype = next((p.dtype for p in double.parameters() if p.is_floating_point()), torch.float32)
        return (torch.empty(tuple(inputs), dtype=dtype, device=device),), {}
    if isinstance(inputs, Mapping):
        return (), {str(k): tree_map(lambda v: _moved(v, device), v) for k, v in inputs.items()}
    if isinstance(inputs, tuple) and not hasattr(inputs, "_fields"):
        return tuple(tree_map(lambda v: _moved(v, device), v) for v in inputs), {}
    return (tree_map(lambda v: _moved(v, device), inputs),), {}


def _moved(value: Any, device: str) -> Any:
    """A leaf of the inputs on `device`; of an object that holds tensors as attributes, a copy that holds moved ones."""
    if isinstance(value, Tensor):
        detached = value.detach()
        return torch.empty_like(detached, device="meta") if device == "meta" else detached.to(device, copy=True)
    if not _holds_tensors(value):
        return value
    twin = copy.copy(value)
    for name, held in vars(value).items():
        object.__setattr__(twin, name, tree_map(lambda v: _moved(v, device), held))
    return twin


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, (type, nn.Module)) or not hasattr(value, "__dict__"):
        return False
    return any(isinstance(leaf, Tensor) for held in vars(value).values() for leaf in tree_iter(held))


def _held_tensors(value: Any) -> Iterator[Tensor]:
    for leaf in tree_iter(value):
        if isinstance(leaf, Tensor):
            yield leaf
        elif isinstance(leaf, Mapping):
            # Not every mapping is a tree to PyTorch: the batches of tokenisers are not.
            yield from _held_tensors(dict(leaf))
        elif _holds_tensors(leaf):
            yield from (t for held in vars(leaf).values() for t in tree_iter(held) if isinstance(t, Tensor))
