"""What one tensor of a batch holds: the numbers of a row of BATCHES."""

import math
from typing import Any

import torch
from torch import Tensor

MOST_VALUES = 250_000
"""Numbers of a tensor that are looked at, the first samples of it; non-finite ones are counted in all of it."""
LARGE = 1e15
"""Numbers beyond it are measured in float64."""
CODES = 256
"""Number of values of an unsigned byte."""
SHIFTS = 32
"""Places at which the circle of byte values is tried to be cut."""
PIXELS = 20_000
"""Pixels looked at for that."""
FEWEST_CODES = 100
"""Byte images hold more values than that; masks, drawings and 4-bit images hold fewer, and of them nothing is said."""
STRUCTURAL = frozenset(
    ("view", "unsafeview", "reshape", "squeeze", "unsqueeze", "transpose", "t", "permute", "alias", "slice", "select",
     "clone", "tocopy", "expand", "copyslices", "split", "mean")
)  # fmt: skip
"""Operators that only arrange values; they are looked through. (A mean keeps a range of values.)"""


REDUCING = STRUCTURAL | {"sum", "div", "mul", "neg"}
"""Operators between the loss of each sample and the number that is differentiated."""


def made_by(x: Tensor) -> str | None:
    """The operator that made `x`, as autograd knows it: "tanh", "softmax", "addmm"; None without a graph."""
    return _operator(x.grad_fn, STRUCTURAL)[0]


def loss_operators(loss: Tensor) -> list[str]:
    """The operator that made the loss before it was averaged, and the one that made its first input: "ctcloss",
    "logsoftmax". Empty without a graph, or where the loss is of several terms."""
    name, node = _operator(loss.grad_fn, REDUCING)
    before = _operator(node.next_functions[0][0], STRUCTURAL)[0] if node is not None and node.next_functions else None
    return [name, before] if name and before else []


def _operator(node: Any, through: frozenset[str]) -> tuple[str | None, Any]:
    """Name and node of the first operator that is not one of those looked through."""
    for _ in range(8):
        if node is None:
            break
        name = type(node).__name__.rstrip("0123456789").removesuffix("Backward").lower().replace("_", "")
        if name not in through:
            return name, node
        node = node.next_functions[0][0] if node.next_functions else None
    return None, None


def describe(x: Tensor, role: str) -> dict[str, Any]:
    """The columns of BATCHES that speak of `x`, but for step, phase, role and name. Reads the device once."""
    whole = x.detach()
    rows = max(MOST_VALUES // max(whole[0].numel(), 1), 1) if whole.dim() and len(whole) else 1
    part = whole[:rows] if whole.dim() else whole
    row: dict[str, Any] = {
        "dtype": str(x.dtype).removeprefix("torch."),
        "shape": list(x.shape),
        "made_by": made_by(x) if role == "output" else None,
        "nonfinite_at": [],
        "nonfinite": 0,
    }
    if not part.numel() or part.is_complex():
        return row
    if part.dtype not in (torch.float32, torch.float64):
        # Ids of classes and tokens may be too large for float32.
        part = part.float() if part.is_floating_point() or part.device.type == "mps" else part.double()
    # A minimum that is NaN and a maximum that is infinite tell of such values in one pass.
    bounds = torch.stack(whole.aminmax()).tolist() if whole.is_floating_point() else [0.0]
    if max(map(abs, bounds)) > LARGE and part.device.type != "mps":
        part = part.double()  # The squares would overflow.
    if not all(map(math.isfinite, bounds)):
        bad = ~torch.isfinite(whole)
        row["nonfinite"] = int(bad.sum())
        if whole.dim():
            row["nonfinite_at"] = bad.reshape(len(bad), -1).any(1).nonzero()[:5, 0].tolist()
    clean = part.nan_to_num(0.0, 0.0, 0.0) if row["nonfinite"] else part
    values = part[torch.isfinite(part)] if row["nonfinite"] else part
    flat = _moments(values) if values.numel() else [None] * 4 + [0.0] * 3
    row |= dict(zip(("minimum", "maximum", "mean", "std", "zero_share", "negative_share", "whole"), flat, strict=True))
    row["whole"] = not values.numel() or bool(row["whole"])
    if part.dim() >= 2 and len(whole) > 1:
        flat_rows = whole.flatten(1)[: MOST_VALUES // CODES, : CODES * 4].nan_to_num(0.0, 0.0, 0.0)
        row["distinct_rows"] = len(torch.unique(flat_rows, dim=0)) / len(flat_rows)
    if role == "output" and part.dim() >= 2 and part.shape[1] > 1:
        off = torch.stack([(clean.sum(1) - 1).abs().max(), (clean.sum(0) - 1).abs().max()]).tolist()
        row["row_sum_off"], row["column_sum_off"] = off
        if len(part) == len(whole) > 1 and (flat[1] or 0.0) <= 0:
            shares = clean.exp()
            row["log_row_sum_off"], row["log_column_sum_off"] = torch.stack(
                [(shares.sum(1) - 1).abs().max(), (shares.sum(0) - 1).abs().max()]
            ).tolist()
    # Whole numbers of a target are ids of classes.
    pictures = role == "input" or (role == "target" and whole.is_floating_point())
    if pictures and part.dim() >= 3:
        row["wrapped"] = wrapped(clean)
    if role == "input" and part.dim() >= 3:
        row["interleaved"] = interleaved(clean)
    if role == "target" and whole.dim() == 2 and not whole.is_floating_point() and whole.shape[1] >= 4:
        row["trailing_value"], row["trailing"] = trailing(whole[:rows])
    return row


def _moments(values: Tensor) -> list[float]:
    """Minimum, maximum, mean, deviation, share of zeros and of negative numbers, and whether all are whole."""
    low, high = values.aminmax()
    var, mean = torch.var_mean(values, correction=0)
    zeros, negative = (values == 0).count_nonzero(), (values < 0).count_nonzero()
    whole = (values == values.round()).all()
    numbers = (low, high, mean, var.sqrt(), zeros / values.numel(), negative / values.numel(), whole)
    return torch.stack([n.to(values.dtype) for n in numbers]).tolist()


def wrapped(images: Tensor) -> float | None:
    """How much smoother byte images get when the circle of their 256 values is cut elsewhere, 0..1.

    Unsigned subtraction takes what would fall below 0 to the top of the range: neighbours that were alike are 255
    apart, and all is smooth again when the circle is cut at that value instead. Any linear scale of the values is
    allowed. None when they are no bytes, when few of the 256 values occur, or when the ends of the range, black and
    white, are as frequent as in cut-out and printed images.
    """
    x = images[:, 0] if images.dim() >= 4 and images.shape[1] <= 4 else images
    if x.dim() == 3 and x.shape[2] < 4 <= x.shape[1]:
        x = x[:, :, 0]  # a series (N, T, C): its neighbours are in time
    per_image = max(x[0].numel(), 1)
    x = x[: max(PIXELS // per_image, 1)].contiguous()
    if x.shape[-1] < 4 or x.shape[0] * per_image > 50 * PIXELS:
        return None
    if len(torch.unique(x.flatten()[: 8 * CODES])) > CODES:
        return None  # Told by a few numbers already: to sort all of them takes time.
    levels = torch.unique(x)
    if not FEWEST_CODES <= len(levels) <= CODES:
        return None
    step = (levels[1:] - levels[:-1]).min()
    codes = (x - levels[0]) / step
    if float((codes - codes.round()).abs().max()) > 0.05 or float(codes.max()) > CODES - 0.5:
        return None
    codes = codes.round()
    top = float(codes.max())
    if top < CODES - 8:
        return None
    for end, beside in ((codes == 0, (codes >= 1) & (codes <= 8)), (codes == top, (codes < top) & (codes >= top - 8))):
        if float(end.float().mean()) > float(beside.float().mean()) / 2 + 1e-3:
            return None
    rough = [
        float(((codes + s) % CODES).diff(dim=-1).abs().mean()) for s in range(0, CODES, CODES // SHIFTS)
    ]  # fmt: skip
    return 1 - min(rough) / rough[0] if rough[0] > 0 else None


def interleaved(images: Tensor) -> float | None:
    """How surely images (N, C, H, W) hold pixels after pixels, as files do, and not one plane for each channel.

    `view` keeps the order in memory, where `permute` was meant: then numbers C apart are of one channel of neighbours
    and nearer to each other than numbers side by side, and so are those C W apart (one pixel above the other) and those
    W apart. The value is the smaller of the two savings, below 1; planes of pictures have one below 0. None unless
    there are 3 or 4 channels of at least 8 x 8.
    """
    if images.dim() != 4 or images.shape[1] not in (3, 4) or min(images.shape[2:]) < 8:
        return None
    channels, wide = images.shape[1], images.shape[3]
    flat = images[: max(PIXELS // images[0].numel(), 2)].flatten(1)
    beside, apart, above, rows = (
        (flat[:, k:] - flat[:, :-k]).abs().mean() for k in (1, channels, channels * wide, wide)
    )
    near, far = torch.stack([apart / beside.clamp_min(1e-12), above / rows.clamp_min(1e-12)]).tolist()
    return 1 - max(near, far)


def trailing(ids: Tensor) -> tuple[int | None, float | None]:
    """The id that fills the ends of the rows, and the share of all positions that are such ends; ids (N, T).

    None, None when rows do not end in runs of one id, or it occurs inside them too.
    """
    last = ids[:, -1]
    value = last.mode().values
    same = ids == value
    ends = same.flip(1).cumprod(1).flip(1).bool()
    inside = (same & ~ends).float().mean()
    lengths = ends.sum(1)
    share, within, longest, shortest = torch.stack(
        [ends.float().mean(), inside, lengths.max().float(), lengths.min().float()]
    ).tolist()
    if longest < 3 or longest == shortest or within > 0.05 * share:
        return None, None
    return int(value), share
