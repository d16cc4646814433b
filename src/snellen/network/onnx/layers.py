"""ONNX operators with weights or windows: convolution, products, norms, pooling, resizing, recurrence, attention."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor
from torch.nn import functional

from snellen.network.onnx.node import Function, OnnxNode, Value, integers, tensor

CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}
MAX_POOL: Mapping[int, Any] = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
AVERAGE_POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _pads(node: OnnxNode, x: Tensor, kernel: list[int], step: list[int], dilation: list[int]) -> list[tuple[int, int]]:
    """Padding before and after each spatial axis."""
    mode = node.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        pads = []
        for size, k, s, d in zip(x.shape[2:], kernel, step, dilation, strict=True):
            missing = max((-(-int(size) // s) - 1) * s + d * (k - 1) + 1 - int(size), 0)
            few, many = missing // 2, missing - missing // 2
            pads.append((few, many) if mode == "SAME_UPPER" else (many, few))
        return pads
    told = integers(node.get("pads")) or [0] * 2 * len(kernel)
    return list(zip(told[: len(kernel)], told[len(kernel) :], strict=True))


def _padded(x: Tensor, pads: list[tuple[int, int]], value: float = 0.0) -> Tensor:
    return functional.pad(x, [n for pair in reversed(pads) for n in pair], value=value)


def _even(pads: list[tuple[int, int]]) -> bool:
    return all(a == b >= 0 for a, b in pads)


def _window(node: OnnxNode, count: int) -> tuple[list[int], list[int]]:
    return integers(node.get("strides")) or [1] * count, integers(node.get("dilations")) or [1] * count


def _convolve(node: OnnxNode, x: Tensor, weight: Value, bias: Value = None) -> Tensor:
    kernel = tensor(weight, x)
    shape = [int(n) for n in kernel.shape[2:]]
    step, dilation = _window(node, len(shape))
    pads = _pads(node, x, shape, step, dilation)
    if not _even(pads):
        x, pads = _padded(x, pads), [(0, 0)] * len(shape)
    shift = None if bias is None else tensor(bias, x)
    first = [a for a, _ in pads]
    return CONVOLVE[len(shape)](x, kernel, shift, step, first, dilation, int(node.get("group", 1)))


def _convolve_transposed(node: OnnxNode, x: Tensor, weight: Value, bias: Value = None) -> Tensor:
    kernel = tensor(weight, x)
    shape = [int(n) for n in kernel.shape[2:]]
    step, dilation = _window(node, len(shape))
    extra = integers(node.get("output_padding")) or [0] * len(shape)
    full = [
        (int(n) - 1) * s + d * (k - 1) + 1 + e
        for n, s, d, k, e in zip(x.shape[2:], step, dilation, shape, extra, strict=True)
    ]
    wanted = integers(node.get("output_shape"))[-len(shape) :]
    if node.get("auto_pad", "NOTSET").startswith("SAME") and not wanted:
        wanted = [int(n) * s for n, s in zip(x.shape[2:], step, strict=True)]
    if wanted:
        cut = [f - w for f, w in zip(full, wanted, strict=True)]
        upper = node.get("auto_pad") == "SAME_UPPER"
        pads = [(c // 2, c - c // 2) if upper else (c - c // 2, c // 2) for c in cut]
    else:
        pads = _pads(node, x, shape, step, dilation)
    shift, groups = None if bias is None else tensor(bias, x), int(node.get("group", 1))
    call = TRANSPOSED[len(shape)]
    if _even(pads):
        return call(x, kernel, shift, step, [a for a, _ in pads], extra, groups, dilation)
    out = call(x, kernel, shift, step, 0, extra, groups, dilation)
    for axis, (before, after) in enumerate(pads, 2):
        out = out.narrow(axis, before, int(out.shape[axis]) - before - after)
    return out


def _gemm(node: OnnxNode, a: Value, b: Value, c: Value = None) -> Tensor:
    like = next(v for v in (a, b) if isinstance(v, Tensor))
    x, weight = tensor(a, like), tensor(b, like)
    x = x.t() if node.get("transA") else x
    alpha, beta = float(node.get("alpha", 1.0)), float(node.get("beta", 1.0))
    weight = weight if node.get("transB") else weight.t()
    if c is None:
        return functional.linear(x, weight) * alpha if alpha != 1 else functional.linear(x, weight)
    shift = tensor(c, like)
    if alpha == beta == 1 and shift.dim() == 1:
        return functional.linear(x, weight, shift)
    return torch.addmm(shift, x, weight.t(), beta=beta, alpha=alpha)


def _product(node: OnnxNode, a: Value, b: Value) -> Tensor:
    like = next(v for v in (a, b) if isinstance(v, Tensor))
    return torch.matmul(tensor(a, like), tensor(b, like))


def _whole_product(node: OnnxNode, a: Tensor, b: Value, *_: Value) -> Tensor:
    return torch.matmul(a.float(), tensor(b, a).float())


def _einsum(node: OnnxNode, *values: Value) -> Tensor:
    like = next(v for v in values if isinstance(v, Tensor))
    return torch.einsum(str(node.get("equation")), *(tensor(v, like) for v in values))


def _batch_norm(node: OnnxNode, x: Tensor, weight: Value, bias: Value, mean: Value, variance: Value) -> Tensor:
    scale, shift, middle, spread = (tensor(v, x) for v in (weight, bias, mean, variance))
    return functional.batch_norm(x, middle, spread, scale, shift, False, 0.1, float(node.get("epsilon", 1e-5)))


def _instance_norm(node: OnnxNode, x: Tensor, weight: Value, bias: Value) -> Tensor:
    scale, shift = tensor(weight, x), tensor(bias, x)
    return functional.instance_norm(x, weight=scale, bias=shift, eps=float(node.get("epsilon", 1e-5)))


def _layer_norm(node: OnnxNode, x: Tensor, weight: Value, bias: Value = None) -> Tensor:
    shape = x.shape[int(node.get("axis", -1)) % x.dim() :]
    shift = None if bias is None else tensor(bias, x).expand(shape)
    return functional.layer_norm(x, shape, tensor(weight, x).expand(shape), shift, float(node.get("epsilon", 1e-5)))


def _group_norm(node: OnnxNode, x: Tensor, weight: Value, bias: Value) -> Tensor:
    groups, eps = int(node.get("num_groups")), float(node.get("epsilon", 1e-5))
    return functional.group_norm(x, groups, tensor(weight, x), tensor(bias, x), eps)


def _rms_norm(node: OnnxNode, x: Tensor, weight: Value) -> Tensor:
    shape = x.shape[int(node.get("axis", -1)) % x.dim() :]
    return functional.rms_norm(x, shape, tensor(weight, x).expand(shape), float(node.get("epsilon", 1e-5)))


def _lp_norm(node: OnnxNode, x: Tensor) -> Tensor:
    return functional.normalize(x, float(node.get("p", 2)), int(node.get("axis", -1)))


def _local_norm(node: OnnxNode, x: Tensor) -> Tensor:
    names = (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    alpha, beta, k = (float(node.get(name, default)) for name, default in names)
    return functional.local_response_norm(x, int(node.get("size")), alpha, beta, k)


def _prelu(node: OnnxNode, x: Tensor, slope: Value) -> Tensor:
    return functional.prelu(x, tensor(slope, x).reshape(-1))


def _max_pool(node: OnnxNode, x: Tensor) -> Any:
    kernel = integers(node.get("kernel_shape"))
    step, dilation = _window(node, len(kernel))
    pads = _pads(node, x, kernel, step, dilation)
    if not _even(pads):
        x, pads = _padded(x, pads, -torch.inf), [(0, 0)] * len(kernel)
    first, ceil = [a for a, _ in pads], bool(node.get("ceil_mode"))
    return MAX_POOL[len(kernel)](x, kernel, step, first, dilation, ceil, node.outputs > 1)


def _average_pool(node: OnnxNode, x: Tensor) -> Tensor:
    kernel = integers(node.get("kernel_shape"))
    step, dilation = _window(node, len(kernel))
    pads, counted = _pads(node, x, kernel, step, dilation), bool(node.get("count_include_pad"))
    call, ceil = AVERAGE_POOL[len(kernel)], bool(node.get("ceil_mode"))
    if _even(pads):
        return call(x, kernel, step, [a for a, _ in pads], ceil, counted)
    out = call(_padded(x, pads), kernel, step, 0, ceil)
    if counted:
        return out
    ones = x.new_ones((1, 1, *x.shape[2:]))
    return out / call(_padded(ones, pads), kernel, step, 0, ceil)


def _global_average(node: OnnxNode, x: Tensor) -> Tensor:
    return x.mean(list(range(2, x.dim())), keepdim=True)


def _global_max(node: OnnxNode, x: Tensor) -> Tensor:
    return x.amax(list(range(2, x.dim())), keepdim=True)


def _resize(node: OnnxNode, x: Tensor, *given: Value) -> Tensor:
    # Opset 10 has (scales); 11 and later (roi, scales, sizes).
    scales = given[0] if len(given) == 1 else given[1] if len(given) > 1 else None
    sizes = given[2] if len(given) > 2 else None
    axes = [a % x.dim() for a in integers(node.get("axes"))] or list(range(x.dim()))
    wanted = [int(n) for n in x.shape]
    if sizes is not None and len(integers(sizes)):
        for axis, n in zip(axes, integers(sizes), strict=True):
            wanted[axis] = n
    else:
        factors = node.get("scales") if scales is None else np.asarray(scales).tolist()
        if not factors:
            return x
        for axis, factor in zip(axes, factors, strict=True):
            wanted[axis] = int(wanted[axis] * float(factor) + 1e-6)
    mode = str(node.get("mode", "nearest"))
    where = str(node.get("coordinate_transformation_mode", "half_pixel"))
    spatial = x.dim() - 2
    names = {"nearest": "nearest", "cubic": "bicubic"}
    kind = names.get(mode, {1: "linear", 2: "bilinear", 3: "trilinear"}.get(spatial, "bilinear"))
    if kind == "nearest" and where in ("half_pixel", "pytorch_half_pixel") and node.get("nearest_mode") != "floor":
        kind = "nearest-exact"
    corners = None if kind.startswith("nearest") else where == "align_corners"
    smooth = bool(node.get("antialias")) and kind in ("bilinear", "bicubic")
    return functional.interpolate(x, wanted[2:], mode=kind, align_corners=corners, antialias=smooth)


def _recurrent(node: OnnxNode, x: Tensor, weight: Value, hidden: Value, bias: Value = None, *more: Value) -> Any:
    """Gates are in PyTorch's order already: see `gates_reordered`."""
    matrices, loops = tensor(weight, x), tensor(hidden, x)
    directions, gates, units = (int(n) for n in loops.shape)
    flat = []
    for d in range(directions):
        flat += [matrices[d], loops[d]]
        if bias is not None:
            both = tensor(bias, x)[d]
            flat += [both[:gates], both[gates:]]
    batch_first = bool(node.get("layout"))
    empty = x.new_zeros((directions, int(x.shape[0 if batch_first else 1]), units))
    # After the bias: lengths of the sequences, first state, first cell.
    states = [empty if v is None else tensor(v, x) for v in (*more[1:3], None, None)[:2]]
    options = (bias is not None, 1, 0.0, False, directions == 2, batch_first)
    backwards, axis = node.get("direction", "forward") == "reverse", 1 if batch_first else 0
    x = x.flip(axis) if backwards else x
    last: list[Tensor]
    if node.op == "LSTM":
        out, *last = torch.lstm(x, states, flat, *options)
    elif node.op == "GRU":
        out, *last = torch.gru(x, states[0], flat, *options)
    else:
        call = torch.rnn_relu if "relu" in str(node.get("activations", "")).lower() else torch.rnn_tanh
        out, *last = call(x, states[0], flat, *options)
    out = out.flip(axis) if backwards else out
    split = out.unflatten(2, (directions, units))
    return (split if batch_first else split.permute(0, 2, 1, 3), *last)


def gates_reordered(op: str, weight: Tensor) -> Tensor:
    """Weights [direction, gates x units (twice in a bias), ...] with the gates of an LSTM as i, f, g, o (ONNX: i, o, f,
    c), of a GRU as r, z, n (ONNX: z, r, h)."""
    order = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}.get(op)
    if order is None:
        return weight
    halves = weight.chunk(2, 1) if weight.dim() == 2 else (weight,)
    return torch.cat([half.chunk(len(order), 1)[i] for half in halves for i in order], 1)


def _grid_sample(node: OnnxNode, x: Tensor, grid: Value) -> Tensor:
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(node.get("mode", "linear"), node.get("mode", "linear"))
    places, border = tensor(grid, x), str(node.get("padding_mode", "zeros"))
    return functional.grid_sample(x, places, mode, border, bool(node.get("align_corners")))


def _roi_align(node: OnnxNode, x: Tensor, boxes: Value, index: Value) -> Tensor:
    rois = torch.cat([tensor(index, x).to(x.dtype)[:, None], tensor(boxes, x)], 1)
    size = (int(node.get("output_height", 1)), int(node.get("output_width", 1)))
    aligned = node.get("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    scale, ratio = float(node.get("spatial_scale", 1.0)), int(node.get("sampling_ratio", 0))
    return torchvision.ops.roi_align(x, rois, size, scale, ratio or -1, aligned)


def _suppress(node: OnnxNode, boxes: Tensor, scores: Tensor, *given: Value) -> Tensor:
    """Bounded: at most `max_output_boxes_per_class`, and no more than there are, for each image and class."""
    most = int(np.asarray(given[0]).reshape(-1)[0]) if given and isinstance(given[0], np.ndarray) else 0
    kept = min(most, int(boxes.shape[1])) if most > 0 else int(boxes.shape[1])
    first = torchvision.ops.nms(boxes[0], scores[0, 0], 0.5)[:kept]
    return first.repeat(int(scores.shape[0] * scores.shape[1]))[:, None].repeat(1, 3)


def _attention(node: OnnxNode, query: Tensor, key: Tensor, value: Tensor, mask: Value = None, *_: Value) -> Tensor:
    heads, key_heads = node.get("q_num_heads"), node.get("kv_num_heads")
    flat = query.dim() == 3
    if flat:
        query = query.unflatten(-1, (int(heads), -1)).transpose(1, 2)
        key, value = (t.unflatten(-1, (int(key_heads), -1)).transpose(1, 2) for t in (key, value))
    times = int(query.shape[1]) // int(key.shape[1])
    key, value = (t.repeat_interleave(times, 1) if times > 1 else t for t in (key, value))
    bias = None if mask is None else tensor(mask, query)
    causal, scale = bool(node.get("is_causal")), node.get("scale")
    # Called through the module, so that the pass sees the kernel that training would use.
    out = functional.scaled_dot_product_attention(query, key, value, bias, is_causal=causal, scale=scale)
    return out.transpose(1, 2).flatten(2) if flat else out


LAYERS: Mapping[str, Function] = {
    "Conv": _convolve,
    "ConvTranspose": _convolve_transposed,
    "Gemm": _gemm,
    "MatMul": _product,
    "MatMulInteger": _whole_product,
    "Einsum": _einsum,
    "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "RMSNormalization": _rms_norm,
    "LpNormalization": _lp_norm,
    "LRN": _local_norm,
    "PRelu": _prelu,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
    "Resize": _resize,
    "Upsample": _resize,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "GridSample": _grid_sample,
    "RoiAlign": _roi_align,
    "NonMaxSuppression": _suppress,
    "Attention": _attention,
}
"""Operator -> the function that runs it."""

WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "Conv": ("", "weight", "bias"),
    "ConvTranspose": ("", "weight", "bias"),
    "Gemm": ("", "weight", "bias"),
    "MatMul": ("weight_left", "weight"),
    "BatchNormalization": ("", "weight", "bias", "running_mean", "running_var"),
    "InstanceNormalization": ("", "weight", "bias"),
    "LayerNormalization": ("", "weight", "bias"),
    "GroupNormalization": ("", "weight", "bias"),
    "RMSNormalization": ("", "weight"),
    "PRelu": ("", "weight"),
    "LSTM": ("", "weight_ih", "weight_hh", "bias"),
    "GRU": ("", "weight_ih", "weight_hh", "bias"),
    "RNN": ("", "weight_ih", "weight_hh", "bias"),
}
"""What the initializers of an operator are called as parameters, by input; "" is never a weight."""

BUFFERS = frozenset({"running_mean", "running_var"})

KINDS: Mapping[str, str] = {
    "Gemm": "Linear", "LayerNormalization": "LayerNorm", "GroupNormalization": "GroupNorm", "Relu": "ReLU",
    "RMSNormalization": "RMSNorm", "PRelu": "PReLU", "LeakyRelu": "LeakyReLU", "Elu": "ELU", "Gelu": "GELU",
    "HardSwish": "Hardswish", "HardSigmoid": "Hardsigmoid", "Swish": "SiLU", "Softmax": "Softmax",
}  # fmt: skip
"""Operators that PyTorch has a layer for of another name; those with a number of axes are told by `ranked_kind`."""

RANKED: Mapping[str, str] = {
    "Conv": "Conv", "ConvTranspose": "ConvTranspose", "BatchNormalization": "BatchNorm",
    "InstanceNormalization": "InstanceNorm", "MaxPool": "MaxPool", "AveragePool": "AvgPool",
}  # fmt: skip
"""Operators whose layer in PyTorch tells its number of spatial axes: Conv2d."""
