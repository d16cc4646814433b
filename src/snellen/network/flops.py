"""What one aten operator costs: multiply-adds (MACs), and element-wise operations counted apart.

1 MAC = 2 FLOPs. MACs are charged for convolutions, matrix products and attention alone; everything that touches each
element once or a few times (norm, activation, pooling, interpolation, sum) is an element-wise operation: one per
output element, or one per input element where the operator reduces. Moving data costs neither.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

Count = Callable[[Sequence[Any], Mapping[str, Any], Any], int]
"""(args, kwargs, output) -> multiply-adds."""


def _conv(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    # Each weight meets every output position, or in a transposed convolution every input position.
    x, weight, transposed = args[0], args[1], args[6]
    positions = (x if transposed else out).shape[2:]
    return int(x.shape[0] * prod(positions) * weight.numel())


def _product(first: int) -> Count:
    """A (batched) matrix product whose operands are arguments `first` and `first + 1`."""

    def count(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
        a, b = args[first], args[first + 1]
        return int(a.numel() * (b.shape[-1] if b.dim() > 1 else 1))

    return count


def _attention(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    query, key, value = args[0], args[1], args[2]
    queries = query.numel() // query.shape[-1]
    return int(queries * key.shape[-2] * (query.shape[-1] + value.shape[-1]))


def _self_attention(query: Tensor, key: Tensor, width: int) -> int:
    """Projections in and out plus both products of multi-head attention over batch-first `query` and `key`."""
    batch, queries, keys = query.shape[0], query.shape[1], key.shape[1]
    return int(batch * (2 * queries * width * width + 2 * keys * width * width + 2 * queries * keys * width))


def _fused_attention(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    return _self_attention(args[0], args[1], int(args[3]))


def _fused_encoder_layer(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    x, width = args[0], int(args[1])
    weights = [a for a in args if isinstance(a, Tensor) and a.dim() == 2]
    # The feed-forward pair are the last two matrices; the projections in and out come before.
    feed_forward = sum(w.numel() for w in weights[-2:])
    return _self_attention(x, x, width) + x.numel() // x.shape[-1] * feed_forward


def _recurrent(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """One fused recurrent layer: every weight matrix meets every element of the sequence."""
    x = args[0]
    matrices = [
        w
        for a in args[1:]
        for w in (a if isinstance(a, (list, tuple)) else [a])
        if isinstance(w, Tensor) and w.dim() == 2
    ]
    states = {a.shape for a in args[5:7] if isinstance(a, Tensor)}
    return int(x.shape[0] * x.shape[1] * sum(w.numel() for w in matrices if w.shape not in states))


def _deformable(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    return int(out.shape[0] * prod(out.shape[2:]) * args[1].numel())


def _trilinear(args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> int:
    """One multiply-add per element of the joint space of the three operands, as `nn.Bilinear` spans it."""
    shapes = []
    for tensor, places in zip(args[:3], args[3:6], strict=True):
        shape = list(tensor.shape)
        for place in sorted(places):
            shape.insert(place, 1)
        shapes.append(shape)
    return prod(max(sizes) for sizes in zip(*shapes, strict=True))


MACS: Mapping[str, Count] = {
    "aten.convolution": _conv,
    "aten._convolution": _conv,
    "aten.mm": _product(0),
    "aten.mv": _product(0),
    "aten.dot": _product(0),
    "aten.vdot": _product(0),
    "aten._trilinear": _trilinear,
    "aten.bmm": _product(0),
    "aten.addmm": _product(1),
    "aten.addmv": _product(1),
    "aten.addbmm": _product(1),
    "aten.baddbmm": _product(1),
    "aten._addmm_activation": _product(1),
    "aten._scaled_dot_product_flash_attention": _attention,
    "aten._scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten._scaled_dot_product_efficient_attention": _attention,
    "aten._scaled_dot_product_cudnn_attention": _attention,
    "aten._scaled_dot_product_fused_attention_overrideable": _attention,
    "aten._native_multi_head_attention": _fused_attention,
    "aten._transformer_encoder_layer_fwd": _fused_encoder_layer,
    "aten.mkldnn_rnn_layer": _recurrent,
    "torchvision.deform_conv2d": _deformable,
}

PER_INPUT = frozenset(
    f"aten.{name}"
    for name in [
        "mean",
        "sum",
        "prod",
        "amax",
        "amin",
        "max",
        "min",
        "argmax",
        "argmin",
        "var",
        "std",
        "var_mean",
        "std_mean",
        "norm",
        "linalg_vector_norm",
        "all",
        "any",
        "aminmax",
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "_adaptive_avg_pool2d",
        "_adaptive_avg_pool3d",
        "adaptive_max_pool2d",
        "adaptive_max_pool3d",
        "topk",
        "sort",
        "cumsum",
        "cumprod",
        "logsumexp",
        "bincount",
        "count_nonzero",
        "median",
        "kthvalue",
        "mode",
        "unique_consecutive",
        "_unique2",
        "nonzero",
        "max_pool2d_with_indices",
        "max_pool3d_with_indices",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
    ]
)
"""One operation per input element."""

PER_OUTPUT = frozenset(
    f"aten.{name}"
    for name in [
        "_softmax",
        "_log_softmax",
        "_safe_softmax",
        "native_batch_norm",
        "_native_batch_norm_legit",
        "_native_batch_norm_legit_no_training",
        "cudnn_batch_norm",
        "native_layer_norm",
        "native_group_norm",
        "_batch_norm_no_update",
        "_batch_norm_with_update",
        "_fused_rms_norm",
        "native_dropout",
        "upsample_nearest1d",
        "upsample_nearest2d",
        "upsample_nearest3d",
        "_upsample_nearest_exact1d",
        "_upsample_nearest_exact2d",
        "_upsample_nearest_exact3d",
        "upsample_linear1d",
        "upsample_bilinear2d",
        "_upsample_bilinear2d_aa",
        "upsample_bicubic2d",
        "_upsample_bicubic2d_aa",
        "upsample_trilinear3d",
        "grid_sampler_2d",
        "grid_sampler_3d",
        "col2im",
        "_prelu_kernel",
        "bernoulli",
        "rand",
        "rand_like",
        "randn",
        "randn_like",
        "uniform",
        "normal",
        "bernoulli_",
        "uniform_",
        "normal_",
        "exponential_",
        "glu",
        "_cdist_forward",
        "embedding_bag",
        "_embedding_bag",
        "searchsorted",
        "bucketize",
        "renorm",
        "triu",
        "tril",
        "affine_grid_generator",
        "_weight_norm_interface",
        "polar",
        "fill_",
        "zero_",
        "masked_fill",
        "cross",
        "linalg_cross",
    ]
) | {"torchvision.roi_align", "torchvision.roi_pool", "torchvision.nms", "torchvision.ps_roi_align"}
"""One operation per output element."""

MOVES = frozenset(
    f"aten.{name}"
    for name in [
        "cat",
        "stack",
        "clone",
        "copy_",
        "copy",
        "_to_copy",
        "contiguous",
        "constant_pad_nd",
        "reflection_pad1d",
        "reflection_pad2d",
        "reflection_pad3d",
        "replication_pad1d",
        "replication_pad2d",
        "replication_pad3d",
        "pixel_shuffle",
        "pixel_unshuffle",
        "channel_shuffle",
        "native_channel_shuffle",
        "roll",
        "flip",
        "index",
        "select_scatter",
        "slice_scatter",
        "index_put",
        "index_put_",
        "index_select",
        "gather",
        "scatter",
        "scatter_",
        "scatter_add",
        "scatter_add_",
        "scatter_reduce",
        "embedding",
        "im2col",
        "empty",
        "empty_like",
        "empty_strided",
        "new_empty",
        "new_empty_strided",
        "new_full",
        "new_zeros",
        "new_ones",
        "zeros",
        "zeros_like",
        "ones",
        "ones_like",
        "full",
        "full_like",
        "arange",
        "linspace",
        "eye",
        "repeat",
        "repeat_interleave",
        "_local_scalar_dense",
        "lift_fresh",
        "lift_fresh_copy",
        "scalar_tensor",
        "_reshape_copy",
        "unfold_copy",
        "masked_select",
        "take_along_dim",
        "take",
        "resize_",
        "set_",
        "detach",
        "_unsafe_view",
        "one_hot",
        "meshgrid",
        "block_diag",
        "_shape_as_tensor",
        "is_same_size",
        "equal",
        "_assert_async",
        "_assert_scalar",
        "tril_indices",
        "triu_indices",
        "logspace",
        "lift",
        "rot90",
        "new_empty",
        "_pad_enum",
        "randperm",
        "randint",
        "unsafe_split",
        "_efficientzerotensor",
        "_conj",
        "complex",
        "view_as_real",
        "diagonal_copy",
        "expand_copy",
        "permute_copy",
        "slice_copy",
        "t_copy",
        "transpose_copy",
        "view_copy",
        "is_nonzero",
        "sym_size",
        "masked_scatter",
        "masked_scatter_",
        "index_copy",
        "index_add",
        "_cudnn_init_dropout_state",
        "hash_tensor",
        "_is_all_true",
        "as_strided",
        "as_strided_",
        "transpose_",
        "t_",
        "squeeze_",
        "unsqueeze_",
    ]
)
"""Data movement and allocation: no arithmetic."""


def operator_name(op: torch._ops.OpOverload) -> str:
    """`aten.convolution`: namespace and operator, without the overload."""
    return op._schema.name.replace("::", ".")


UNTAGGED = frozenset(
    {
        "floor_divide",
        "hardswish",
        "hardsigmoid",
        "leaky_relu",
        "mish",
        "silu",
        "gelu",
        "elu",
        "fill",
        "zero",
        "masked_fill",
        "index_fill",
    }
)
"""Element-wise operators that some releases of PyTorch do not tag as such."""


def backward_macs(name: str, macs: int, args: Sequence[Any]) -> int:
    """Multiply-adds that the gradients of one call cost, of which the forward cost `macs`.

    A product of two operands has one product of the same size per operand that wants a gradient. Attention kernels
    compute the scores anew: five products for the two of the forward pass.
    """
    if name in _ATTENTION:
        query, key, value = args[0], args[1], args[2]
        if not any(t.requires_grad for t in (query, key, value)):
            return 0
        pairs = query.numel() // query.shape[-1] * key.shape[-2]
        return int(pairs * (3 * query.shape[-1] + 2 * value.shape[-1]))
    operands = _OPERANDS.get(name, (0, 1))
    if name == "torchvision.deform_conv2d":
        # Gradients of input, offset and mask all come from one product of weight and output gradient.
        return macs * (any(args[i].requires_grad for i in (0, 2, 3)) + args[1].requires_grad)
    return macs * sum(isinstance(args[i], Tensor) and args[i].requires_grad for i in operands)


_ATTENTION = frozenset(n for n, count in MACS.items() if count is _attention)
_OPERANDS: Mapping[str, tuple[int, ...]] = {
    "aten._trilinear": (0, 1, 2),
    **dict.fromkeys(("aten.addmm", "aten.addmv", "aten.addbmm", "aten.baddbmm", "aten._addmm_activation"), (1, 2)),
}
"""Arguments that are multiplied, where they are not the first two."""


def is_pointwise(op: torch._ops.OpOverload) -> bool:
    """Whether an operator treats each element alone; an in-place one is asked for its functional twin."""
    if torch.Tag.pointwise in op.tags:
        return True
    namespace, _, name = operator_name(op).partition(".")
    if name.removesuffix("_") in UNTAGGED:
        return True
    if not name.endswith("_"):
        return False
    twin = getattr(getattr(torch.ops, namespace), name[:-1], None)
    return twin is not None and any(torch.Tag.pointwise in getattr(twin, o).tags for o in twin.overloads())


def cost(op: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> tuple[int, int] | None:
    """MACs and element-wise operations of one call; None for an operator this module does not know."""
    name = operator_name(op)
    count = MACS.get(name)
    if count is not None:
        return count(args, kwargs, out), 0
    if name in MOVES or op.is_view:
        return 0, 0
    if name in PER_INPUT:
        return 0, _numel(args)
    if name in PER_OUTPUT or is_pointwise(op):
        return 0, _numel(out)
    # `add_` and `add.out` are `add` written elsewhere.
    if name.endswith("_") and name[:-1] in PER_OUTPUT | MOVES:
        return 0, _numel(out) if name[:-1] in PER_OUTPUT else 0
    return None


def _numel(value: Any) -> int:
    if isinstance(value, Tensor):
        return int(value.numel())
    if isinstance(value, (list, tuple)):
        return next((_numel(v) for v in value if isinstance(v, (Tensor, list, tuple))), 0)
    return 0
