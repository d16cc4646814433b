"""How each aten operator carries a receptive field from its inputs to its outputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import Any

from torch import Tensor

from snellen.network.receptive_field import (
    GLOBAL,
    LOST,
    SUMMARY,
    Atom,
    Axis,
    Dims,
    Field,
    Kind,
    in_line,
    moved,
    regroup,
)

Rule = Callable[[Sequence[Any], Mapping[str, Any], Tensor, Field], Field]
"""(args, kwargs, output, field of the first argument, which is local) -> field of the output."""


def _per_axis(values: Any, count: int) -> list[int]:
    values = list(values) if isinstance(values, (list, tuple)) else [values]
    return [int(v) for v in (values * count if len(values) == 1 else values)]


def _windowed(field: Field, out: Tensor, first: int, change: Callable[[Axis, int, int, int], Axis]) -> Field:
    """Apply `change(axis, which spatial dim, its input size, its output size)` to image axes from dim `first` on."""
    dims: list[tuple[Atom, ...]] = [(("o", int(n)),) for n in out.shape]
    if any(field.spatial(d) for d in range(1, first)):
        return LOST
    for place in range(len(field.dims) - first):
        placed = in_line(field, first + place)
        after = int(out.shape[first + place])
        if placed is None:
            # A run of tokens in no plain order, or of a map row by row, may cross all of the image.
            field, dims[first + place] = field.mixed(), (("p", after),)
            continue
        field, letter, before = placed
        if letter:
            field = moved(field, letter, change(field.of(letter), place, before, after))
            dims[first + place] = ((letter, after),)
    batch = field.dims[0] if first > 1 or len(field.dims) == out.dim() > len(field.dims) - first else None
    if batch is not None and prod(n for _, n in batch) == int(out.shape[0]):
        dims[0] = batch
    return replace(field, dims=tuple(dims))


def _convolution(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    weight, stride, padding, dilation, transposed = args[1], args[3], args[4], args[5], args[6]
    kernel = weight.shape[2:]
    n = len(kernel)
    stride, padding, dilation = (_per_axis(v, n) for v in (stride, padding, dilation))
    if len(field.dims) != n + 2:
        return LOST

    def change(axis: Axis, i: int, _: int, after: int) -> Axis:
        step = axis.convolve_transposed if transposed else axis.convolve
        return step(int(kernel[i]), stride[i], padding[i], dilation[i], after)

    if all(k == 1 for k in kernel) and all(s == 1 for s in stride) and not any(padding):
        return linear_field(field, 1, int(out.shape[1]))
    return _windowed(field, out, 2, change)


def linear_field(field: Field, dim: int, outputs: int) -> Field:
    """The field behind a layer of weights that mixes dimension `dim` into `outputs` values."""
    if not field.spatial(dim):
        return replace(field, dims=(*field.dims[:dim], (("o", outputs),), *field.dims[dim + 1 :]))
    label = [atom for atom in field.dims[dim] if atom[1] > 1]
    # As many places as before, and nothing but places: a mixer, which keeps their order.
    if all(kind in "hw" for kind, _ in label) and prod(n for _, n in label) == outputs:
        return field.mixed()
    return GLOBAL


def _pool(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    n = 3 if args[0].dim() == 5 or (len(args) > 1 and len(_per_axis(args[1], 1)) == 3) else 2
    n = min(n, len(_per_axis(args[1], n)))
    kernel = _per_axis(args[1], n)
    stride = _per_axis(args[2], n) if len(args) > 2 and args[2] not in ([], None) else kernel
    padding = _per_axis(args[3], n) if len(args) > 3 else [0] * n
    # Average pooling's fourth argument is ceil_mode, max pooling's is the dilation.
    dilation = _per_axis(args[4], n) if len(args) > 4 and not isinstance(args[4], bool) else [1] * n
    first = args[0].dim() - n
    whole = [k >= int(args[0].shape[first + i]) and int(out.shape[first + i]) == 1 for i, k in enumerate(kernel)]
    if all(whole) and any(field.spatial(first + i) for i in range(n)):
        return SUMMARY

    def change(axis: Axis, i: int, _: int, after: int) -> Axis:
        return axis.convolve(kernel[i], stride[i], padding[i], dilation[i], after)

    return _windowed(field, out, first, change)


def _adaptive_pool(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    sizes = [int(s) for s in args[1]]
    first = args[0].dim() - len(sizes)
    if any(size == 1 and field.spatial(first + i) for i, size in enumerate(sizes)):
        return SUMMARY
    return _windowed(field, out, first, lambda axis, i, before, after: axis.pool_adaptively(before, after))


def _resize(reach: int, *, exact: bool = False, antialias: bool = False) -> Rule:
    """Interpolation: `reach` of the kernel in input positions; nearest (0) in its older or its `exact` form."""

    def rule(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
        flag = bool(reach) and bool(args[2] if len(args) > 2 else kwargs.get("align_corners"))
        scales = list(args[3 if reach else 2 :])

        def change(axis: Axis, i: int, before: int, after: int) -> Axis:
            if before == after:
                return axis
            scale = scales[i] if i < len(scales) else None
            ratio = Fraction(before, after) if scale is None else 1 / Fraction(scale).limit_denominator(1000)
            if flag:
                ratio = Fraction(before - 1, max(after - 1, 1))
            ins, outs = ratio.numerator, ratio.denominator
            centred = ratio / 2 - Fraction(1, 2)
            offset = Fraction(0) if flag else centred if reach else ratio / 2 if exact else Fraction(0)
            return axis.resize(
                ins, outs, offset, reach * (max(ratio, Fraction(1)) if antialias else Fraction(1)), after
            )

        return _windowed(field, out, 2, change)

    return rule


def _pad(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    pads = [int(p) for p in args[1]]
    for back in range(len(pads) // 2):
        dim, left, right = out.dim() - 1 - back, pads[2 * back], pads[2 * back + 1]
        if left == right == 0:
            continue
        after = int(out.shape[dim])
        placed = in_line(field, dim)
        if placed is None:
            field = _relabelled(field, dim, "p", after)  # Places in no plain order stay so.
            continue
        field, letter, _ = placed
        if letter:
            field = moved(field, letter, field.of(letter).shifted(left))
        field = _relabelled(field, dim, letter or "o", after)
    return field


def _relabelled(field: Field, dim: int, kind: Kind, size: int) -> Field:
    return replace(field, dims=(*field.dims[:dim], ((kind, size),), *field.dims[dim + 1 :]))


def _slice(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    dim = int(args[1] if len(args) > 1 else 0) % out.dim()
    start = int(args[2]) if len(args) > 2 and args[2] is not None else 0
    step = int(args[4]) if len(args) > 4 else 1
    size, new = int(args[0].shape[dim]), int(out.shape[dim])
    return cut_field(field, dim, start + size if start < 0 else start, step, size, new)


def cut_field(field: Field, dim: int, start: int, step: int, size: int, new: int) -> Field:
    """The field of every `step`-th of `size` positions of a dimension, `new` of them, from `start`."""
    if size == new:
        return field
    if field.joined and field.dims[dim] == (("p", size),):
        before, label = field.joined
        if start == before and new == prod(n for _, n in label):
            return replace(field, dims=(*field.dims[:dim], label, *field.dims[dim + 1 :]), joined=None)
        return _relabelled(field, dim, "o" if start + (new - 1) * step < before else "p", new)
    placed = in_line(field, dim)
    if placed is None:
        return _relabelled(field, dim, "p", new)
    field, letter, _ = placed
    if letter:
        axis = field.of(letter).gather(1, step, lambda o: (o * step + start,), new)
        field = moved(field, letter, axis)
    return _relabelled(field, dim, letter or "o", new)


def _without(field: Field, dims: Sequence[int]) -> Dims:
    return tuple(label for d, label in enumerate(field.dims) if d not in dims)


def _select(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    return replace(field, dims=_without(field, [int(args[1]) % args[0].dim()]))


def _unbind(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    dim = int(args[1] if len(args) > 1 else kwargs.get("dim", 0)) % args[0].dim()
    return replace(field, dims=_without(field, [dim]))


def split_field(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field, index: int) -> Field:
    """The field of part `index` of a split; a split into sizes tells where each part starts."""
    dim = int(args[2] if len(args) > 2 else kwargs.get("dim", 0)) % out.dim()
    sizes = args[1]
    start = sum(int(n) for n in sizes[:index]) if isinstance(sizes, (list, tuple)) else index * int(sizes)
    return cut_field(field, dim, start, 1, int(args[0].shape[dim]), int(out.shape[dim]))


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
        placed = in_line(field, int(dim))
        if placed is not None and placed[1]:
            field = moved(placed[0], placed[1], placed[0].of(placed[1]).shifted(int(shift)))
    return field


def _flip(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    for dim in (int(d) % out.dim() for d in args[1]):
        if not field.spatial(dim):
            continue
        placed = in_line(field, dim)
        if placed is None or not placed[1]:
            return LOST
        field = moved(placed[0], placed[1], placed[0].of(placed[1]).mirrored(int(out.shape[dim])))
        field = _relabelled(field, dim, placed[1], int(out.shape[dim]))
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
    return field.mixed() if field.spatial(int(args[1] if len(args) > 1 else kwargs.get("dim", -1))) else field


def _best(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    """The largest of one dimension, which stands behind their number."""
    return _along((args[0], *args[2:]), kwargs, out, field)


def _shuffle(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    r = int(args[1])
    return _windowed(field, out, out.dim() - 2, lambda axis, i, _, after: axis.repeated(r, after))


def _unshuffle(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    r = int(args[1])
    return _windowed(field, out, out.dim() - 2, lambda axis, i, *_: axis.blocks(r))


def _unfold(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    """Windows of one dimension, their insides in a new last dimension; each is taken to see its whole window."""
    dim, size, step = int(args[1]) % len(field.dims), int(args[2]), int(args[3])
    placed = in_line(field, dim)
    if placed is None:
        return LOST
    field, letter, _ = placed
    count = int(out.shape[dim])
    if letter:
        field = moved(field, letter, field.of(letter).convolve(size, step, 0, 1, count))
    field = _relabelled(field, dim, letter or "o", count)
    inside: Kind = "i" if letter == "h" else "j" if letter == "w" else "o"
    return replace(field, dims=(*field.dims, ((inside, size),)))


def _columns(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    """im2col: the windows of NCHW as NKL, with the channels and places of a window in K."""
    kernel, dilation, padding, step = args[1:5]
    x, field = args[0], replace(field, dims=field.dims if len(field.dims) == 4 else ((("o", 1),), *field.dims))
    labels: list[Atom] = []
    for i, letter in enumerate("hw"):
        placed = in_line(field, 2 + i)
        if placed is None or placed[1] not in ("", letter):
            return LOST
        count = (int(x.shape[-2 + i]) + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // step[i] + 1
        if placed[1]:
            axis = placed[0].of(letter).convolve(kernel[i], step[i], padding[i], dilation[i], count)
            field = moved(placed[0], letter, axis)
        labels.append(("h" if i == 0 else "w", count))
    dims: Dims = (field.dims[0], (("o", int(out.shape[-2])),), tuple(labels))
    return replace(field, dims=dims[-out.dim() :])


def _fold(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    """col2im: windows added up where they overlap, as a transposed convolution."""
    _, _, kernel, dilation, padding, step = args[:6]
    label = [atom for atom in field.dims[-1] if atom[1] > 1]
    if [kind for kind, _ in label] != ["h", "w"]:
        return LOST
    for i, letter in enumerate("hw"):
        axis = field.of(letter).convolve_transposed(kernel[i], step[i], padding[i], dilation[i], int(out.shape[-2 + i]))
        field = moved(field, letter, axis)
    rows, columns = int(out.shape[-2]), int(out.shape[-1])
    dims: Dims = (field.dims[0], (("o", int(out.shape[-3])),), (("h", rows),), (("w", columns),))
    return replace(field, dims=dims[-out.dim() :])


def _repeat(args: Sequence[Any], kwargs: Mapping[str, Any], out: Tensor, field: Field) -> Field:
    extra = out.dim() - len(field.dims)
    times = [int(n) for n in args[1]]
    dims: list[tuple[Atom, ...]] = [(("o", n),) for n in times[:extra]]
    for n, label in zip(times[extra:], field.dims, strict=True):
        dims.append((("o", n), *label) if n > 1 else label)
    return replace(field, dims=tuple(dims))


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
    **_named(_resize(0), "upsample_nearest1d upsample_nearest2d upsample_nearest3d"),
    **_named(_resize(0, exact=True), "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d"),
    **_named(_resize(1), "upsample_linear1d upsample_bilinear2d upsample_trilinear3d"),
    **_named(_resize(1, antialias=True), "_upsample_bilinear2d_aa"),
    **_named(_resize(2), "upsample_bicubic2d"),
    **_named(_resize(2, antialias=True), "_upsample_bicubic2d_aa"),
    **_named(_unfold, "unfold"),
    **_named(_columns, "im2col"),
    **_named(_fold, "col2im"),
    **_named(_repeat, "repeat"),
    **_named(
        _pad,
        "constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d"
        " replication_pad3d",
    ),
    **_named(_slice, "slice"),
    **_named(_select, "select"),
    **_named(_unbind, "unbind"),
    **_named(_permute, "permute"),
    **_named(_transpose, "transpose t"),
    **_named(_view, "view _unsafe_view reshape _reshape_alias squeeze flatten"),
    **_named(_unsqueeze, "unsqueeze"),
    **_named(_expand, "expand"),
    **_named(_roll, "roll"),
    **_named(_flip, "flip"),
    **_named(_reduce, "mean sum amax amin max min var std var_mean std_mean linalg_vector_norm logsumexp norm"),
    **_named(_along, "_softmax _log_softmax _safe_softmax cumsum sort"),
    **_named(_best, "topk"),
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
