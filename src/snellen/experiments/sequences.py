"""Sequences of token ids: does order count, is the future hidden, is padding left out?"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from snellen.experiments.modes import in_mode
from snellen.experiments.nest import mapped, tensors
from snellen.experiments.subject import CannotRunError, Row, Subject

ATTENTION = (
    "softmax",
    "scaled_dot_product_attention",
    "multi_head_attention_forward",
    "_transformer_encoder_layer_fwd",
)
PADDING_AT_ENDS = 0.98
"""Share of an id's places that lie at the ends of rows from which it is taken for padding."""
ALIKE = 0.8
"""Mean difference of neighbours in time over that of places far apart, below which a series is one."""
SHIFTED = 0.95
"""Share of targets that are the next input from which the task is to foretell the next token."""


class Attends(TorchFunctionMode):
    """Notes whether attention, or a softmax that may be one, is called, and the sizes of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False
        self.sizes: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ATTENTION:
            self.seen = True
            self.sizes |= set(args[0].shape) if args else set()
        return func(*args, **(kwargs or {}))


def tokens_of(subject: Subject) -> Tensor | None:
    """The token ids (N, T), T > 2, among the inputs; None when the inputs are anything else."""
    for name, t in _named(subject.inputs):
        if t.dim() == 2 and t.dtype in (torch.int64, torch.int32) and t.shape[1] > 2 and "mask" not in name:
            return t
    return None


def _named(nest: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(nest, Mapping):
        yield from ((str(k), v) for k, v in nest.items() if isinstance(v, Tensor))
    else:
        yield from (("", t) for t in tensors(nest))


def token_order(subject: Subject) -> Iterator[Row]:
    """`position-blindness`: relative change of the outputs when tokens change places; 0: order does not count.

    Outputs of one row a token are put back into the old order first. Only for networks that attend: a bag of words is
    blind by design. Images go through the same when their first convolution cuts them into patches that do not overlap,
    or as many patches as they have are attended to; so do series (N, T, F) whose neighbours in time are alike: points
    of a set are not.
    """
    with in_mode(subject.model, False):
        if (tokens := tokens_of(subject)) is not None or (tokens := _series_of(subject)) is not None:
            yield from _token_order(subject, tokens)
        elif (patch := _patch_side(subject)) is not None:
            yield from _patch_order(subject, patch)


def _series_of(subject: Subject) -> Tensor | None:
    """The one series (N, T, F), T > 4, that is the input and whose neighbours in time are alike; else None."""
    x = next(iter(tensors(subject.inputs)), None)
    if x is None or x.dim() != 3 or not x.is_floating_point() or x.shape[1] <= 4:
        return None
    near, far = ((x[:, lag:] - x[:, :-lag]).abs().mean() for lag in (1, x.shape[1] // 2))
    return x if near < ALIKE * far else None


def _token_order(subject: Subject, tokens: Tensor) -> Iterator[Row]:
    attends = Attends()
    with torch.no_grad(), attends:
        plain = _main(subject.outputs())
    if plain is None or not attends.seen:
        return
    count, length = tokens.shape[:2]
    order = torch.randperm(length, generator=torch.Generator().manual_seed(0)).to(tokens.device)
    moved = mapped(subject.inputs, lambda t: t[:, order] if t.shape[:2] == tokens.shape[:2] else t)
    with torch.no_grad():
        other = _main(subject.outputs(moved))
    if other is None or other.shape != plain.shape:
        return
    by_token = plain.dim() >= 2 and plain.shape[:2] == (count, length)
    expected = plain[:, order] if by_token else plain
    what = "places of the series" if tokens.is_floating_point() else "tokens"
    yield subject.row("position-blindness", _apart(other, expected), detail=f"{length} {what} in another order")


def _patch_side(subject: Subject) -> int | None:
    """Side of the patches that the image is cut into and that attend to each other; None when it is not.

    Told by a first convolution without overlap or, where there is none, by the number of what attends.
    """
    x = next(iter(tensors(subject.inputs)), None)
    if x is None or x.dim() != 4 or not x.is_floating_point():
        return None
    sides: list[int] = []

    def before(module: Any, inputs: tuple[Any, ...]) -> None:
        size, stride = tuple(module.kernel_size), tuple(module.stride)
        if not sides:
            square = size == stride and size[0] == size[-1] > 1 and inputs[0].shape[-2:] == x.shape[-2:]
            sides.append(size[0] if square else 0)

    handles = [m.register_forward_pre_hook(before) for m in subject.model.modules() if isinstance(m, torch.nn.Conv2d)]
    attends = Attends()
    try:
        with torch.no_grad(), attends:
            subject.outputs()
    finally:
        for handle in handles:
            handle.remove()
    height, width = x.shape[-2:]
    places = [s for s in range(2, min(height, width)) if height % s == width % s == 0]
    cut = [s for s in places if {n := height // s * (width // s), n + 1} & attends.sizes]
    side = sides[0] if sides else max(cut, default=0)
    return side if side and attends.seen and x.shape[-1] % side == x.shape[-2] % side == 0 else None


def _patch_order(subject: Subject, side: int) -> Iterator[Row]:
    def swapped(t: Tensor) -> Tensor:
        if t.dim() != 4:
            return t
        n, c, h, w = t.shape
        grid = t.reshape(n, c, h // side, side, w // side, side).permute(0, 2, 4, 1, 3, 5).reshape(n, -1, c, side, side)
        order = torch.randperm(grid.shape[1], generator=torch.Generator().manual_seed(0)).to(t.device)
        grid = grid[:, order].reshape(n, h // side, w // side, c, side, side)
        return grid.permute(0, 3, 1, 4, 2, 5).reshape(n, c, h, w)

    plain, other = subject.table(), subject.table(mapped(subject.inputs, swapped))
    yield subject.row("position-blindness", _apart(other, plain), detail=f"patches of {side} pixels in another order")


def future(subject: Subject) -> Iterator[Row]:
    """`future-leakage`: relative change of the outputs at earlier places when the last tokens change; a sound one is 0.

    Only where the targets are the next tokens of the inputs, so that the future is what is asked for. Where they are
    the inputs themselves it is `present-asked` instead, with the same value: 0 says that a network that cannot see the
    future is asked for what it sees.
    """
    tokens = tokens_of(subject)
    target = next((t for t in tensors(subject.targets) if tokens is not None and t.shape == tokens.shape), None)
    if tokens is None or target is None:
        return
    itself = tokens.shape[1] >= 3 and torch.equal(tokens, target) and len(torch.unique(tokens)) > 2
    time = 1 if itself else next((axis for axis in (1, 0) if _next_along(tokens, target, axis) >= SHIFTED), None)
    if time is None:
        return
    length = tokens.shape[time]
    cut = length // 2

    def changed(t: Tensor) -> Tensor:
        if t is not tokens:
            return t
        other = t.clone()
        # Tokens that do occur, so that no id is beyond the vocabulary.
        late = other.narrow(time, cut, length - cut)
        late.copy_(late.flip(time).roll(1, 1 - time))
        return other

    with in_mode(subject.model, False), torch.no_grad():
        plain = _main(subject.outputs())
        other = _main(subject.outputs(mapped(subject.inputs, changed)))
    if plain is None or other is None or plain.dim() < 3 or plain.shape[:2] != tokens.shape:
        return
    early, late = plain.narrow(time, 0, cut), plain.narrow(time, cut, length - cut)
    if _apart(other.narrow(time, cut, length - cut), late) == 0:
        return  # The change did not reach the network at all.
    value = _apart(other.narrow(time, 0, cut), early)
    if itself:
        yield subject.row("present-asked", value, detail=f"outputs before place {cut}")
    else:
        yield subject.row("future-leakage", value, expected=0.0, detail=f"outputs before place {cut}")


def answer_seen(subject: Subject) -> Iterator[Row]:
    """`answer-seen`: relative change of the last outputs when the ids change there in that input which is the target.

    Only where one of several sequences of ids is the target itself, as where a decoder is given what it is to write: a
    sound one moves it on by a place, before the network or in it, and the value is 0.
    """
    lines = [t for _, t in _named(subject.inputs) if t.dim() == 2 and t.dtype in (torch.int64, torch.int32)]
    targets = [t for t in tensors(subject.targets) if t.dim() == 2 and t.shape[1] > 2]
    fed = next((t for t in lines if any(t.shape == y.shape and torch.equal(t, y) for y in targets)), None)
    # A mask of 0 and 1 is no sequence.
    others = [t for t in lines if t is not fed and len(torch.unique(t)) > 2 and not (fed is not None and _same(t, fed))]
    if fed is None or not others or len(torch.unique(fed)) < 3:
        return

    def changed(t: Tensor) -> Tensor:
        return torch.cat([t[:, :-1], t[:, -1:].roll(1, 0)], 1) if t is fed else t

    with in_mode(subject.model, False), torch.no_grad():
        plain, other = _main(subject.outputs()), _main(subject.outputs(mapped(subject.inputs, changed)))
    if plain is None or other is None or plain.dim() < 3 or plain.shape[:2] != fed.shape:
        return
    moved = (fed[:, -1] != fed[:, -1].roll(1, 0)).nonzero()[:, 0]
    if len(moved):
        value = _apart(other[moved, -1], plain[moved, -1])
        yield subject.row("answer-seen", value, expected=0.0, detail="outputs at the last place")


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)


def _next_along(tokens: Tensor, target: Tensor, axis: int) -> float:
    length = tokens.shape[axis]
    if length < 3:
        return 0.0
    same = target.narrow(axis, 0, length - 1) == tokens.narrow(axis, 1, length - 1)
    own = target.narrow(axis, 0, length - 1) == tokens.narrow(axis, 0, length - 1)
    return float(same.float().mean()) if not bool(own.all()) else 0.0


def padding(subject: Subject) -> Iterator[Row]:
    """`padding-attended`: relative change of a row's outputs when the padding at its end is cut off; a sound one is 0.

    Padding is an id that ends at least a third of the rows in runs of unequal length. Only for networks that attend.
    """
    tokens = tokens_of(subject)
    found = _padding_of(tokens) if tokens is not None else None
    if tokens is None or found is None:
        return
    row, kept, pad = found
    attends = Attends()
    with in_mode(subject.model, False), torch.no_grad():
        one = subject.of([row])
        with attends:
            whole = _main(one.outputs())
        if not attends.seen or whole is None:
            return
        length = tokens.shape[1]
        short = mapped(one.inputs, lambda t: t[:, :kept] if t.dim() > 1 and t.shape[1] == length else t)
        try:
            part = _main(one.outputs(short))
        except CannotRunError as error:
            yield subject.row("padding-attended", None, detail=str(error))
            return
    if part is None:
        return
    if whole.dim() >= 2 and whole.shape[1] == length and part.shape[1] == kept:
        whole = whole[:, :kept]
    if part.shape != whole.shape:
        return
    yield subject.row(
        "padding-attended", _apart(part, whole), expected=0.0,
        detail=f"{length - kept} of {length} places of a row are padding (id {pad})",
    )  # fmt: skip


def _padding_of(tokens: Tensor) -> tuple[int, int, int] | None:
    """The row with most padding, how many tokens it has before that, and the id; None when nothing looks like it."""
    count, length = tokens.shape
    pad = int(tokens[:, -1].mode().values)
    runs = ((tokens == pad).flip(1).cumprod(1)).sum(1)
    padded = (runs >= 2) & (runs < length)
    if int(padded.sum()) * 3 < count or len(runs[padded].unique()) < 2:
        return None
    if int(runs.sum()) < PADDING_AT_ENDS * int((tokens == pad).sum()):
        return None  # An id that comes within rows too is a token of its own, such as a black pixel.
    row = int((runs * padded).argmax())
    return row, length - int(runs[row]), pad


def _main(outputs: Any) -> Tensor | None:
    """The first floating-point tensor of the outputs."""
    return next((t.detach().float() for t in tensors(outputs) if t.is_floating_point() and t.dim()), None)


def _apart(a: Tensor, b: Tensor) -> float:
    scale = float((b - b.mean()).square().mean().sqrt())
    return float((a - b).abs().max()) / max(scale, 1e-12)
