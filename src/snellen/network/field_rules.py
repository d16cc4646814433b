"""How each aten operator carries a receptive field from its inputs to its outputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from torch import Tensor

from snellen.network.receptive_field import GLOBAL, LOST, SUMMARY, Atom, Axis, Dims, Field, merge, moved, regroup

Rule = Callable[[Sequence[Any], Mapping[str, Any], Tensor, Field], Field]
"""(args, kwargs, output, field of the first argument, which is local) -> field of the output."""


def _per_axis(values: Any, count: int) -> list[int]:
    values = list(values) if isinstance(values, (list, tuple)) else [values]
    return [int(v) for v in (values * count if len(values) == 1 else values)]


def _windowed(field: Field, out: Tensor, first: int, change: Callable[[Axis, int, int], Axis]) -> Field:
    """Apply `change(axis, position of the spatial dim, its input size)` to every image axis from dim `first` on."""
    dims: list[tuple[Atom, ...]] = [(("o", int(n)),) for n in out.shape]
    if any(field.spatial(d) for d in range(1, first)):
        return LOST
    for place, label in enumerate(field.dims[first:]):
        letters = [kind for kind, n in label if kind in "hwp"]
        if letters and letters not in (["h"], ["w"]):
            return LOST
        if letters:
            letter = letters[0]
            before = prod(n for _, n in label)
            field = moved(field, letter, change(field.of(letter), place, before))
            dims[first + place] = ((letter, int(out.shape[first + place])),)
    return replace(field, dims=tuple(dims))


def _convolution(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    weight, stride, padding, dilation, transposed = args[1], args[3], args[4], args[5], args[6]
    kernel = weight.shape[2:]
    n = len(kernel)
    stride, padding, dilation = (_per_axis(v, n) for v in (stride, padding, dilation))
    if len(field.dims) != n + 2:
        return LOST

    def change(axis: Axis, i: int, _: int) -> Axis:
        step = axis.convolve_transposed if transposed else axis.convolve
        return step(int(kernel[i]), stride[i], padding[i], dilation[i])

    if all(k == 1 for k in kernel) and all(s == 1 for s in stride):
        if field.spatial(1):
            return GLOBAL
        return replace(field, dims=(field.dims[0], (("o", int(out.shape[1])),), *field.dims[2:]))
    return _windowed(field, out, 2, change)


def _pool(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    n = 3 if args[0].dim() == 5 or (len(args) > 1 and len(_per_axis(args[1], 1)) == 3) else 2
    n = min(n, len(_per_axis(args[1], n)))
    kernel = _per_axis(args[1], n)
    stride = _per_axis(args[2], n) if len(args) > 2 and args[2] not in ([], None) else kernel
    padding = _per_axis(args[3], n) if len(args) > 3 else [0] * n
    # Average pooling's fourth argument is ceil_mode, max pooling's is the dilation.
    dilation = _per_axis(args[4], n) if len(args) > 4 and not isinstance(args[4], bool) else [1] * n
    return _windowed(
        field, out, args[0].dim() - n, lambda axis, i, _: axis.convolve(kernel[i], stride[i], padding[i], dilation[i])
    )


def _adaptive_pool(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    sizes = [int(s) for s in args[1]]
    first = args[0].dim() - len(sizes)
    if any(size == 1 and field.spatial(first + i) for i, size in enumerate(sizes)):
        return SUMMARY
    return _windowed(field, out, first, lambda axis, i, before: axis.pool_adaptively(before, sizes[i]))


def _resize(reach: int) -> Rule:
    def rule(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
        return _windowed(field, out, 2, lambda axis, i, before: axis.resize(before, int(out.shape[2 + i]), reach))

    return rule


def _pad(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    pads = [int(p) for p in args[1]]
    rank = out.dim()
    for back in range(len(pads) // 2):
        dim, left = rank - 1 - back, pads[2 * back]
        if pads[2 * back] == pads[2 * back + 1] == 0:
            continue
        letters = [kind for kind, n in field.dims[dim] if n > 1 and kind in "hwp"]
        if letters in (["h"], ["w"]):
            letter = letters[0]
            axis = field.of(letter).gather(1, 1, lambda o, left=left: (o - left,))  # type: ignore[misc]
            field = moved(field, letter, axis)
            label: tuple[Atom, ...] = ((letter, int(out.shape[dim])),)
        elif letters:
            return LOST
        else:
            label = (("o", int(out.shape[dim])),)
        field = replace(field, dims=(*field.dims[:dim], label, *field.dims[dim + 1 :]))
    return field


def _slice(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    dim = int(args[1] if len(args) > 1 else 0) % out.dim()
    start = int(args[2]) if len(args) > 2 and args[2] is not None else 0
    step = int(args[4]) if len(args) > 4 else 1
    size, new = int(args[0].shape[dim]), int(out.shape[dim])
    if size == new:
        return field
    start = start + size if start < 0 else start
    letters = [kind for kind, n in field.dims[dim] if n > 1 and kind in "hwp"]
    label: tuple[Atom, ...] = (("o", new),)
    if letters in (["h"], ["w"]):
        field = moved(field, letters[0], field.of(letters[0]).gather(1, step, lambda o: (o * step + start,)))
        label = ((letters[0], new),)
    elif letters:
        label = (("p", new),)
    return replace(field, dims=(*field.dims[:dim], label, *field.dims[dim + 1 :]))


def _without(field: Field, dims: Sequence[int]) -> Dims:
    return tuple(label for d, label in enumerate(field.dims) if d not in dims)


def _select(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    return replace(field, dims=_without(field, [int(args[1]) % args[0].dim()]))


def _unbind(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    dim = int(args[1] if len(args) > 1 else kwargs.get("dim", 0)) % args[0].dim()
    return replace(field, dims=_without(field, [dim]))


def _split(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    dim = int(args[2] if len(args) > 2 else kwargs.get("dim", 0)) % out.dim()
    if field.spatial(dim):
        return LOST
    return replace(field, dims=(*field.dims[:dim], (("o", int(out.shape[dim])),), *field.dims[dim + 1 :]))


def _permute(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    return replace(field, dims=tuple(field.dims[int(d) % len(field.dims)] for d in args[1]))


def _transpose(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    dims = list(field.dims)
    a, b = (int(args[1]), int(args[2])) if len(args) > 2 else (0, -1)
    if len(dims) > 1:
        dims[a], dims[b] = dims[b], dims[a]
    return replace(field, dims=tuple(dims))


def _view(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    return regroup(field, [int(n) for n in out.shape]) or LOST


def _roll(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    # What wraps around the border is on the far side; in the interior it is a shift.
    for shift, dim in zip(args[1], args[2] if len(args) > 2 else (), strict=False):
        for kind, n in field.dims[int(dim)]:
            if n > 1 and kind in "hw":
                field = moved(field, kind, field.of(kind).gather(1, 1, lambda o, shift=shift: (o - shift,)))  # type: ignore[misc]
    return field


def _expand(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    extra = out.dim() - len(field.dims)
    dims: list[tuple[Atom, ...]] = [(("o", int(n)),) for n in out.shape[:extra]]
    for n, label in zip(out.shape[extra:], field.dims, strict=True):
        dims.append(label if prod(size for _, size in label) == n else (("o", int(n)),))
    return replace(field, dims=tuple(dims))


def _reduce(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    rank = args[0].dim()
    given = args[1] if len(args) > 1 else kwargs.get("dim")
    wanted = (
        list(range(rank)) if given is None or given == [] else given if isinstance(given, (list, tuple)) else [given]
    )
    dims = [int(d) % rank for d in wanted]
    if any(field.spatial(d) for d in dims):
        return SUMMARY
    if out.dim() == rank:
        return replace(field, dims=tuple((("o", 1),) if d in dims else label for d, label in enumerate(field.dims)))
    return replace(field, dims=_without(field, dims))


def _along(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    """Softmax and running sums: each output sees the whole of one dimension."""
    return GLOBAL if field.spatial(int(args[1])) else field


def _shuffle(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    r = int(args[1])
    return _windowed(field, out, out.dim() - 2, lambda axis, i, _: axis.gather(r, 1, lambda o: (o // r,)))


def _unshuffle(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    r = int(args[1])
    return _windowed(field, out, out.dim() - 2, lambda axis, i, _: axis.gather(1, r, lambda o: range(o * r, o * r + r)))


def _same(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    return field if len(field.dims) == out.dim() else LOST


def _unsqueeze(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    dim = int(args[1]) % out.dim()
    return replace(field, dims=(*field.dims[:dim], (("o", 1),), *field.dims[dim:]))


def _index(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    # Picking along batch or channels keeps the map; picking places does not keep their order.
    indexed = [d for d, index in enumerate(args[1]) if index is not None]
    if out.dim() != len(field.dims) or any(field.spatial(d) for d in indexed):
        return LOST
    dims = [(("o", int(out.shape[d])),) if d in indexed else label for d, label in enumerate(field.dims)]
    return replace(field, dims=tuple(dims))


def _index_select(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    dim = int(args[1]) % out.dim()
    if field.spatial(dim):
        return LOST
    return replace(field, dims=(*field.dims[:dim], (("o", int(out.shape[dim])),), *field.dims[dim + 1 :]))


def _named(rule: Rule, names: str) -> dict[str, Rule]:
    return {f"aten.{name}": rule for name in names.split()}


RULES: Mapping[str, Rule] = {
    **_named(_convolution, "convolution _convolution"),
    **_named(_pool, "max_pool2d_with_indices avg_pool2d max_pool3d_with_indices avg_pool3d avg_pool1d"),
    **_named(_adaptive_pool, "_adaptive_avg_pool2d adaptive_max_pool2d _adaptive_avg_pool3d adaptive_max_pool3d"),
    **_named(_resize(0), "upsample_nearest1d upsample_nearest2d _upsample_nearest_exact1d _upsample_nearest_exact2d"),
    **_named(_resize(1), "upsample_linear1d upsample_bilinear2d _upsample_bilinear2d_aa"),
    **_named(_resize(2), "upsample_bicubic2d _upsample_bicubic2d_aa"),
    **_named(_pad, "constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d"),
    **_named(_slice, "slice"),
    **_named(_select, "select"),
    **_named(_unbind, "unbind"),
    **_named(_split, "split split_with_sizes unsafe_split unsafe_split_with_sizes"),
    **_named(_permute, "permute"),
    **_named(_transpose, "transpose t"),
    **_named(_view, "view _unsafe_view reshape _reshape_alias squeeze flatten"),
    **_named(_unsqueeze, "unsqueeze"),
    **_named(_expand, "expand"),
    **_named(_roll, "roll"),
    **_named(_reduce, "mean sum amax amin max min var std var_mean std_mean linalg_vector_norm logsumexp norm"),
    **_named(_along, "_softmax _log_softmax _safe_softmax cumsum topk sort"),
    **_named(_shuffle, "pixel_shuffle"),
    **_named(_unshuffle, "pixel_unshuffle"),
    **_named(
        _same,
        "clone contiguous detach alias _to_copy native_batch_norm _native_batch_norm_legit cudnn_batch_norm"
        " _native_batch_norm_legit_no_training _batch_norm_no_update _batch_norm_with_update native_layer_norm"
        " native_group_norm _fused_rms_norm native_dropout _prelu_kernel"
        " channel_shuffle native_channel_shuffle lift_fresh masked_fill",
    ),
    **_named(_index, "index"),
    **_named(_index_select, "index_select"),
}
"""Operators that look at their first argument alone. Norm statistics are scalars, so norms keep the local field."""

PRODUCTS: Mapping[str, int] = {
    "aten.mm": 0, "aten.bmm": 0, "aten.mv": 0, "aten.addmm": 1, "aten.baddbmm": 1, "aten._addmm_activation": 1,
}  # fmt: skip
"""Matrix products and the index of their first operand."""


def product_field(a: Field | None, b: Field | None, out: Tensor) -> Field | None:
    """The field of a matrix product; an operand without a field is a weight.

    Two operands that both depend on the image are attention; see `attended_field`.
    """
    if a is not None and b is not None:
        return attended_field([a, b], out)
    field = a if a is not None else b
    if field is None or field.reach != "local":
        return field
    contracted = len(field.dims) - (1 if a is not None else 2)
    if field.spatial(contracted):
        return GLOBAL
    dims = list(field.dims)
    if a is not None:
        dims[-1] = (("o", int(out.shape[-1])),)
    else:
        dims[-2] = (("o", int(out.shape[-2])),)
    return replace(field, dims=tuple(dims[: out.dim()])) if len(dims) == out.dim() else LOST


def attended_field(fields: Sequence[Field], out: Tensor) -> Field:
    """The field where operands that all depend on the image are multiplied, as in attention.

    Mixing along an image axis, every place sees every other. With the axes in the batch dimensions alone the mixing
    stays within a window, and the window's field is what all its positions see.
    """
    if any(f.reach == "lost" for f in fields):
        return LOST
    if any(f.reach == "global" or f.spatial(len(f.dims) - 1) or f.spatial(len(f.dims) - 2) for f in fields):
        return GLOBAL
    first = fields[0]
    if len(first.dims) != out.dim():
        return LOST
    merged = merge([replace(f, dims=first.dims) for f in fields], [prod(n for _, n in label) for label in first.dims])
    return replace(merged, dims=(*first.dims[:-1], (("o", int(out.shape[-1])),)))


def joined_field(fields: Sequence[Field], operands: Sequence[Tensor], out: Tensor, dim: int) -> Field:
    """The field of a concatenation of `operands`, of which `fields` are those of the ones that have any."""
    dim %= out.dim()
    local = [f for f in fields if f.reach == "local"]
    if any(f.reach == "lost" for f in fields):
        return LOST
    if any(f.reach == "global" and not f.gated for f in fields):
        return GLOBAL
    if not local:
        return SUMMARY
    tokens = any(f.spatial(dim) for f in local)
    if tokens and len(operands) == 1:
        return local[0]
    placed = [replace(f, dims=(*f.dims[:dim], (("o", 1),), *f.dims[dim + 1 :])) for f in local]
    shape = [1 if d == dim else int(n) for d, n in enumerate(out.shape)]
    merged = merge(placed, shape)
    label: Atom = ("p" if tokens else "o", int(out.shape[dim]))
    gated = merged.gated or len(local) < len(fields)
    return replace(merged, dims=(*merged.dims[:dim], (label,), *merged.dims[dim + 1 :]), gated=gated)
