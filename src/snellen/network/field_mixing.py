"""How a receptive field passes through operators of several operands: sums, products, attention and joins."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from torch import Tensor

from snellen.network.field_rules import RULES, linear_field, split_field
from snellen.network.flops import is_pointwise
from snellen.network.receptive_field import GLOBAL, LOST, SUMMARY, Atom, Field, merge

PRODUCTS: Mapping[str, int] = {
    "aten.mm": 0, "aten.bmm": 0, "aten.mv": 0, "aten.addmm": 1, "aten.baddbmm": 1, "aten._addmm_activation": 1,
}  # fmt: skip
"""Matrix products and the index of their first operand."""

ATTENTION = (
    "aten._scaled_dot_product",
    "aten._native_multi_head_attention",
    "aten._transformer_encoder_layer_fwd",
)
"""Beginnings of the names of fused attention."""

SPLITS = frozenset(f"aten.{n}" for n in ("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes"))

EXTRA_OUTPUTS = frozenset(
    f"aten.{name}"
    for name in [
        "max_pool2d_with_indices",
        "native_batch_norm",
        "_native_batch_norm_legit",
        "_native_batch_norm_legit_no_training",
        "native_layer_norm",
        "native_group_norm",
        "cudnn_batch_norm",
        "_fused_rms_norm",
        "native_dropout",
        "_batch_norm_no_update",
        "_batch_norm_with_update",
    ]
)
"""Operators whose outputs after the first are indices or statistics."""


def next_field(
    func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any],
    known: Sequence[tuple[Tensor, Field]], out: Tensor, index: int, field_of: Callable[[Tensor], Field | None],
) -> Field | None:  # fmt: skip
    """The field of output `index` of an operator, or None where it does not depend on the image.

    `known` are the inputs that do, with their fields before the call; `field_of` looks one up.
    """
    field = _carried(func, name, args, kwargs, known, out, index, field_of)
    if field is LOST and all(f.reach == "global" for _, f in known):
        return GLOBAL  # Wherever its parts went, each of them has seen all of the image.
    return field


def _carried(
    func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any],
    known: Sequence[tuple[Tensor, Field]], out: Tensor, index: int, field_of: Callable[[Tensor], Field | None],
) -> Field | None:  # fmt: skip
    if name.startswith("aten.new_") or name.endswith("_like"):
        return None  # Only the geometry of the argument is taken.
    if name == "aten.copy_":
        source = field_of(args[1])
        return merge([source], [int(n) for n in out.shape]) if source else None
    fields = [f for _, f in known]
    if any(f.reach == "lost" for f in fields):
        return LOST
    if not any(f.dims for f in fields):
        return SUMMARY if all(f.gated for f in fields) else GLOBAL
    if name.startswith(ATTENTION):
        operands = [field_of(t) for t in args[:3]]
        return attended_field(operands, out) if "_scaled" in name else operands[0] and operands[0].mixed()
    if name in PRODUCTS:
        first = PRODUCTS[name]
        return product_field(field_of(args[first]), field_of(args[first + 1]), out)
    if name in ("aten.cat", "aten.stack"):
        dim = int(args[1] if len(args) > 1 else kwargs.get("dim", 0)) % out.dim()
        placed = [field_of(t) for t in args[0]]
        sizes = [1 if name == "aten.stack" else int(t.shape[dim]) for t in args[0]]
        if name == "aten.stack":
            placed = [
                f and replace(f, dims=(*f.dims[:dim], (("o", 1),), *f.dims[dim:]) if f.dims else ()) for f in placed
            ]
        return joined_field(placed, sizes, [int(n) for n in out.shape], dim)
    pointwise = is_pointwise(func)
    rule = RULES.get(name) or (RULES.get(name[:-1]) if name.endswith("_") else None)
    if name in SPLITS or (rule is not None and not (pointwise and name not in RULES)):
        own = field_of(args[0]) if isinstance(args[0], Tensor) else None
        if own is None:
            return None if name == "aten.index" else LOST
        if not own.dims:
            return own
        if index > 0 and name in EXTRA_OUTPUTS:
            return None
        return rule(args, kwargs, out, own) if rule else split_field(args, kwargs, out, own, index)
    return merge(fields, [int(n) for n in out.shape]) if pointwise else LOST


def product_field(a: Field | None, b: Field | None, out: Tensor) -> Field | None:
    """The field of a matrix product; an operand without a field is a weight.

    A sum over the places leaves one summary where no other place is left (the channels' covariance in linear and in
    cross-covariance attention), and mixes the whole image where one is.
    """
    if a is None or b is None:
        field = a or b
        if field is None or not field.dims:
            return field
        if a is not None:
            return (
                linear_field(field, len(field.dims) - 1, int(out.shape[-1])) if len(field.dims) == out.dim() else LOST
            )
        return linear_field(field, len(field.dims) - 2, int(out.shape[-2])) if len(field.dims) == out.dim() else LOST
    if any(f.reach == "lost" for f in (a, b)):
        return LOST
    contracted = (a.dims and a.spatial(len(a.dims) - 1)) or (b.dims and b.spatial(len(b.dims) - 2))
    if not a.dims or not b.dims:
        placed, other = (a, b) if a.dims else (b, a)
        if contracted:
            return SUMMARY if placed.gated and other.gated else GLOBAL
        field = merge([placed, other], [prod(n for _, n in label) for label in placed.dims])
        side = -1 if a.dims else -2
        dims = list(field.dims)
        dims[side] = (("o", int(out.shape[side])),)
        return replace(field, dims=tuple(dims))
    if len(a.dims) != out.dim() or len(b.dims) != out.dim():
        return LOST
    rows, columns = a.spatial(out.dim() - 2), b.spatial(out.dim() - 1)
    batch = [d for d in range(out.dim() - 2) if a.spatial(d) or b.spatial(d)]
    if contracted and not (rows or columns or batch):
        return SUMMARY
    first, second = (b, a) if columns and not rows else (a, b)
    # Rows and columns that are both places are pairs of them: the row's own place is what is local.
    field = first if rows and columns else merge(
        [first, replace(second, dims=first.dims)], [prod(n for _, n in label) for label in first.dims]
    )  # fmt: skip
    field = replace(field, dims=(*_wider(a, b, out.dim() - 2), a.dims[-2], b.dims[-1]))
    mixing = contracted or any(f.reach == "global" for f in (a, b))
    return field.mixed() if mixing else replace(field, gated=a.gated or b.gated)


def _wider(a: Field, b: Field, count: int) -> tuple[tuple[Atom, ...], ...]:
    """Batch dimensions of a product: those of the operand that has places there."""
    return tuple(b.dims[d] if b.spatial(d) and not a.spatial(d) else a.dims[d] for d in range(count))


def attended_field(operands: Sequence[Field | None], out: Tensor) -> Field | None:
    """The field of fused attention over a query, keys and values.

    Over keys of several places of the image, every query sees all of it. With the places in the batch dimensions alone
    the mixing stays within a window, and the window's field is what all its positions see.
    """
    fields = [f for f in operands if f is not None]
    query = operands[0]
    if any(f.reach == "lost" for f in fields):
        return LOST
    mixing = any(f.reach == "global" or f.spatial(len(f.dims) - 2) for f in fields[1:] if f.dims)
    if query is None or not query.dims or len(query.dims) != out.dim():
        # A learned query (attention pooling) has no place: its answer is one summary.
        return SUMMARY if query is None or query.gated else GLOBAL
    placed = [query] if mixing else [query, *(replace(f, dims=query.dims) for f in fields[1:] if f.dims)]
    merged = merge(placed, [prod(n for _, n in label) for label in query.dims])
    merged = replace(merged, dims=(*query.dims[:-1], (("o", int(out.shape[-1])),)))
    if not any(merged.spatial(d) for d in range(out.dim())):
        return SUMMARY if mixing else merged
    return merged.mixed() if mixing or any(not f.dims for f in fields) else merged


def joined_field(operands: Sequence[Field | None], sizes: Sequence[int], shape: Sequence[int], dim: int) -> Field:
    """The field of a concatenation along `dim` of operands of these sizes there; None for one without the image."""
    fields = [f for f in operands if f is not None]
    placed = [f for f in fields if f.dims]
    tokens = any(f.spatial(dim) for f in placed)
    if tokens and len(operands) == 1:
        return placed[0]
    merged = merge(
        [
            replace(f, dims=(*f.dims[:dim], (("o", 1),), *f.dims[dim + 1 :]), joined=None) if f.dims else f
            for f in fields
        ],
        [1 if d == dim else n for d, n in enumerate(shape)],
    )
    if not merged.dims or merged.reach == "lost":
        return merged
    label: Atom = ("p" if tokens else "o", shape[dim])
    last = operands[-1]
    joined = None
    if (
        tokens
        and last is not None
        and last.dims
        and not any(f is not None and f.dims and f.spatial(dim) for f in operands[:-1])
    ):
        joined = (
            (sum(sizes[:-1]), last.dims[dim]) if not last.joined else (sum(sizes[:-1]) + last.joined[0], last.joined[1])
        )
    if joined and last:
        # What has no place (a class token) does not belong to the map.
        merged = replace(last, gated=last.gated or merged.gated)
    return replace(merged, dims=(*merged.dims[:dim], (label,), *merged.dims[dim + 1 :]), joined=joined)
