"""ONNX operators by those of PyTorch: arithmetic, shapes, reductions. `layers` holds what has weights or windows.

Definitions: https://onnx.ai/onnx/operators/. Several moved attributes to inputs with a later opset: both are read.
"""

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snellen.network.onnx.layers import LAYERS
from snellen.network.onnx.node import Function, OnnxNode, Value, integers, operand, tensor


def _unary(call: Callable[..., Any]) -> Function:
    return lambda node, x, *_: call(x)


def _first_tensor(values: tuple[Value, ...]) -> Tensor:
    return next(v for v in values if isinstance(v, Tensor))


def _binary(call: Callable[..., Any]) -> Function:
    def run(node: OnnxNode, a: Value, b: Value) -> Any:
        like = _first_tensor((a, b))
        first, second = operand(a, like), operand(b, like)
        return call(first if isinstance(first, Tensor) or isinstance(second, Tensor) else tensor(a, like), second)

    return run


def _many(call: Callable[[Any, Any], Tensor]) -> Function:
    def run(node: OnnxNode, *values: Value) -> Tensor:
        like = _first_tensor(values)
        return reduce(call, (tensor(v, like) for v in values))

    return run


def _divide(a: Any, b: Any) -> Tensor:
    whole = not any(isinstance(v, float) or (isinstance(v, Tensor) and v.is_floating_point()) for v in (a, b))
    return torch.div(a, b, rounding_mode="trunc") if whole else torch.div(a, b)


def _axes(node: OnnxNode, given: Value) -> list[int]:
    return integers(given) if given is not None else integers(node.get("axes"))


def _reduction(call: Callable[[Tensor, list[int], bool], Tensor]) -> Function:
    def run(node: OnnxNode, x: Tensor, axes: Value = None) -> Tensor:
        wanted = _axes(node, axes)
        if not wanted:
            if node.get("noop_with_empty_axes"):
                return x
            wanted = list(range(x.dim()))
        return call(x, wanted, bool(node.get("keepdims", 1)))

    return run


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((a % x.dim() for a in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _best(call: Callable[[Tensor, int, bool], Tensor]) -> Function:
    return lambda node, x: call(x, int(node.get("axis", 0)), bool(node.get("keepdims", 1)))


def _softmax(call: Callable[[Tensor, int], Tensor]) -> Function:
    def run(node: OnnxNode, x: Tensor) -> Tensor:
        axis = int(node.get("axis", -1 if node.opset >= 13 else 1))
        if node.opset >= 13 or axis in (-1, x.dim() - 1):
            return call(x, axis)
        return call(x.flatten(axis % x.dim()), -1).reshape(x.shape)  # Older opsets flattened what follows the axis.

    return run


def _clip(node: OnnxNode, x: Tensor, low: Value = None, high: Value = None) -> Tensor:
    bounds = [
        node.get("min") if low is None else operand(low, x),
        node.get("max") if high is None else operand(high, x),
    ]
    bounds = [b.item() if isinstance(b, Tensor) and b.numel() == 1 and not b.is_meta else b for b in bounds]
    if any(isinstance(b, Tensor) for b in bounds):
        bounds = [b if b is None or isinstance(b, Tensor) else torch.full((), b, device=x.device) for b in bounds]
    return x if bounds == [None, None] else torch.clamp(x, *bounds)


def _reshape(node: OnnxNode, x: Tensor, shape: Value = None) -> Tensor:
    wanted = integers(node.get("shape") if shape is None else shape)
    if not node.get("allowzero"):
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return x.reshape(wanted)


def _flatten(node: OnnxNode, x: Tensor) -> Tensor:
    axis = int(node.get("axis", 1))
    axis += x.dim() if axis < 0 else 0
    return x.flatten(1) if axis == 1 and x.dim() > 1 else x.reshape(int(np.prod(x.shape[:axis], dtype=int)), -1)


def _transpose(node: OnnxNode, x: Tensor) -> Tensor:
    return x.permute(integers(node.get("perm")) or list(range(x.dim()))[::-1])


def _squeeze(node: OnnxNode, x: Tensor, axes: Value = None) -> Tensor:
    wanted = _axes(node, axes)
    return x.squeeze(tuple(wanted)) if wanted else x.squeeze()


def _unsqueeze(node: OnnxNode, x: Tensor, axes: Value = None) -> Tensor:
    wanted = _axes(node, axes)
    rank = x.dim() + len(wanted)
    for axis in sorted(a % rank for a in wanted):
        x = x.unsqueeze(axis)
    return x


def _concat(node: OnnxNode, *values: Value) -> Tensor:
    like = _first_tensor(values)
    return torch.cat([tensor(v, like) for v in values], int(node.get("axis", 0)))


def _split(node: OnnxNode, x: Tensor, sizes: Value = None) -> tuple[Tensor, ...]:
    axis = int(node.get("axis", 0))
    told = integers(node.get("split") if sizes is None else sizes)
    return x.split(told or -(-int(x.shape[axis]) // node.outputs), axis)


def _slice(node: OnnxNode, x: Tensor, *given: Value) -> Tensor:
    starts, ends, axes, steps = (
        integers(given[i] if len(given) > i else node.get(name))
        for i, name in enumerate(("starts", "ends", "axes", "steps"))
    )
    axes = axes or list(range(len(starts)))
    for i, (axis, start, end) in enumerate(zip(axes, starts, ends, strict=True)):
        step = steps[i] if steps else 1
        size = int(x.shape[axis])
        if step < 0:
            # From the far end: the same places, turned round.
            kept = range(size)[start : end if end >= -size else None : step]
            x = x.flip(axis)
            start, end, step = size - 1 - (kept[0] if kept else 0), size, -step
            end = start + (len(kept) - 1) * step + 1
        low, high, _ = slice(start, end).indices(size)
        x = x[(slice(None),) * (axis % x.dim()) + (slice(low, max(high, low), step),)]
    return x


def _gather(node: OnnxNode, x: Value, index: Value) -> Tensor:
    axis = int(node.get("axis", 0))
    like = _first_tensor((x, index))
    data = tensor(x, like)
    if isinstance(index, np.ndarray) and index.ndim == 0:
        return data.select(axis, int(index))
    places = tensor(index, like)
    axis %= data.dim()
    if data.dim() == 2 and axis == 0:
        return functional.embedding(places, data)
    picked = data.index_select(axis, places.reshape(-1))
    return picked.reshape(*data.shape[:axis], *places.shape, *data.shape[axis + 1 :])


def _gather_nd(node: OnnxNode, x: Tensor, index: Value) -> Tensor:
    places, batch = tensor(index, x), int(node.get("batch_dims", 0))
    if batch:
        shape = [*places.shape[:-1], *x.shape[batch + int(places.shape[-1]) :]]
        return x.reshape(-1)[: int(np.prod(shape, dtype=int))].reshape(shape) if not x.is_meta else x.new_empty(shape)
    return x[tuple(places.unbind(-1))]


def _scatter_nd(node: OnnxNode, x: Value, index: Value, updates: Value) -> Tensor:
    like = _first_tensor((x, index, updates))
    data, places, new = (tensor(v, like) for v in (x, index, updates))
    return data.index_put(tuple(places.unbind(-1)), new)


def _scatter(node: OnnxNode, x: Value, index: Value, updates: Value) -> Tensor:
    like = _first_tensor((x, index, updates))
    return tensor(x, like).scatter(int(node.get("axis", 0)), tensor(index, like), tensor(updates, like))


def _expand(node: OnnxNode, x: Tensor, shape: Value) -> Tensor:
    return x.expand(torch.broadcast_shapes(tuple(x.shape), tuple(integers(shape))))


def _pad(node: OnnxNode, x: Tensor, pads: Value = None, value: Value = None, axes: Value = None) -> Tensor:
    told = integers(node.get("pads") if pads is None else pads)
    wanted = [a % x.dim() for a in integers(axes)] or list(range(x.dim()))
    both = {a: (told[i], told[i + len(wanted)]) for i, a in enumerate(wanted)}
    sides = [n for axis in reversed(range(x.dim())) for n in both.get(axis, (0, 0))]
    while len(sides) > 2 and sides[-2:] == [0, 0]:
        sides = sides[:-2]
    mode = {"edge": "replicate", "reflect": "reflect", "wrap": "circular"}.get(node.get("mode", "constant"), "constant")
    fill = node.get("value", 0.0) if value is None else operand(value, x)
    if mode == "constant":
        return functional.pad(x, sides, value=fill if isinstance(fill, (int, float)) else 0.0)
    return functional.pad(x, sides, mode=mode)


def _tile(node: OnnxNode, x: Tensor, times: Value) -> Tensor:
    return x.repeat(integers(times))


def _where(node: OnnxNode, condition: Value, a: Value, b: Value) -> Tensor:
    like = _first_tensor((condition, a, b))
    return torch.where(tensor(condition, like), operand(a, like), operand(b, like))


def _top(node: OnnxNode, x: Tensor, k: Value = None) -> tuple[Tensor, Tensor]:
    count = integers(k.reshape(-1))[0] if k is not None else int(node.get("k", 1))
    found = x.topk(min(count, int(x.shape[int(node.get("axis", -1))])), int(node.get("axis", -1)))
    return found.values, found.indices


def _cast(node: OnnxNode, x: Tensor, like: Value = None) -> Tensor:
    if isinstance(like, Tensor):
        return x.to(like.dtype)
    wanted = TYPES.get(int(node.get("to", 1)))
    return x if wanted is None else x.to(wanted)


def _one_hot(node: OnnxNode, index: Tensor, depth: Value, values: Value) -> Tensor:
    count, axis = integers(np.asarray(depth).reshape(-1))[0], int(node.get("axis", -1))
    places = torch.arange(count, device=index.device)
    axis += index.dim() + 1 if axis < 0 else 0
    return (index.unsqueeze(axis) == places.reshape([-1] + [1] * (index.dim() - axis))).float()


def _depth_to_space(node: OnnxNode, x: Tensor) -> Tensor:
    if node.get("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x, int(node.get("blocksize")))
    block = int(node.get("blocksize"))
    n, c, h, w = x.shape
    out = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return out.reshape(n, c // block**2, h * block, w * block)


def _space_to_depth(node: OnnxNode, x: Tensor) -> Tensor:
    block = int(node.get("blocksize"))
    n, c, h, w = x.shape
    out = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return out.reshape(n, c * block**2, h // block, w // block)


def _trilu(node: OnnxNode, x: Tensor, k: Value = None) -> Tensor:
    shift = int(np.asarray(k).reshape(-1)[0]) if isinstance(k, np.ndarray) else 0
    return x.triu(shift) if node.get("upper", 1) else x.tril(shift)


def _hard_sigmoid(node: OnnxNode, x: Tensor) -> Tensor:
    if abs(float(node.get("alpha", 0.2)) - 1 / 6) < 1e-3:
        return functional.hardsigmoid(x)
    return torch.clamp(x * float(node.get("alpha", 0.2)) + float(node.get("beta", 0.5)), 0, 1)


def _gelu(node: OnnxNode, x: Tensor, *_: Value) -> Tensor:
    return functional.gelu(x, approximate=str(node.get("approximate", "none")))


TYPES: Mapping[int, torch.dtype] = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float16, 11: torch.float64, 16: torch.bfloat16,
}  # fmt: skip
"""Element types by the number that ONNX gives them."""

UNARY: Mapping[str, Any] = {
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "Exp": torch.exp,
    "Log": torch.log,
    "Sqrt": torch.sqrt,
    "Abs": torch.abs,
    "Neg": torch.neg,
    "Erf": torch.erf,
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Round": torch.round,
    "Reciprocal": torch.reciprocal,
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Tan": torch.tan,
    "Sign": torch.sign,
    "Not": torch.logical_not,
    "IsNaN": torch.isnan,
    "IsInf": torch.isinf,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "HardSwish": functional.hardswish,
    "Mish": functional.mish,
    "Swish": functional.silu,
    "Identity": lambda x: x,
    "Dropout": lambda x: x,
    "NonZero": lambda x: x.nonzero().t(),
}  # fmt: skip
BINARY: Mapping[str, Any] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": _divide,
    "Pow": torch.pow,
    "Mod": torch.fmod,
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "Less": torch.lt,
    "GreaterOrEqual": torch.ge,
    "LessOrEqual": torch.le,
}  # fmt: skip

OPERATORS: Mapping[str, Function] = {
    **LAYERS,
    **{name: _unary(call) for name, call in UNARY.items()},
    **{name: _binary(call) for name, call in BINARY.items()},
    "Sum": _many(torch.add),
    "Min": _many(torch.minimum),
    "Max": _many(torch.maximum),
    "Mean": lambda node, *values: _many(torch.add)(node, *values) / len(values),
    "LeakyRelu": lambda node, x: functional.leaky_relu(x, float(node.get("alpha", 0.01))),
    "Elu": lambda node, x: functional.elu(x, float(node.get("alpha", 1.0))),
    "Celu": lambda node, x: functional.celu(x, float(node.get("alpha", 1.0))),
    "Selu": lambda node, x: functional.selu(x),
    "ThresholdedRelu": lambda node, x: functional.threshold(x, float(node.get("alpha", 1.0)), 0.0),
    "HardSigmoid": _hard_sigmoid,
    "Gelu": _gelu,
    "Clip": _clip,
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "Where": _where,
    "ReduceMean": _reduction(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceSum": _reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceMax": _reduction(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMin": _reduction(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceProd": _reduction(_product),
    "ReduceL1": _reduction(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep)),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: (x * x).sum(axes, keepdim=keep)),
    "ReduceLogSumExp": _reduction(lambda x, axes, keep: torch.logsumexp(x, axes, keep)),
    "ArgMax": _best(lambda x, axis, keep: x.argmax(axis, keepdim=keep)),
    "ArgMin": _best(lambda x, axis, keep: x.argmin(axis, keepdim=keep)),
    "CumSum": lambda node, x, axis: x.cumsum(int(np.asarray(axis).reshape(-1)[0])),
    "TopK": _top,
    "Cast": _cast,
    "CastLike": _cast,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": lambda node, x, index: x.gather(int(node.get("axis", 0)), tensor(index, x)),
    "GatherND": _gather_nd,
    "ScatterND": _scatter_nd,
    "ScatterElements": _scatter,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "OneHot": _one_hot,
    "Trilu": _trilu,
}
"""Operator -> the function that runs it."""
