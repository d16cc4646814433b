"""Receptive fields as exact interval arithmetic on an infinite lattice.

Along one image axis, output position `i` of a map depends on the input pixels `lo(i)..hi(i)`. The pattern repeats:
`lo(i + P) = lo(i) + P * stride` for a small period P (1 until something upsamples), so a map is known by P intervals,
and convolution, pooling, upsampling and merging are gathers over them. There are no borders, so nothing is clipped,
and after upsampling every phase is exact instead of an upper bound. The recursion on a plain chain is that of
Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

MAX_PHASES = 256
"""Above this many phases (resizing by an odd ratio) the intervals are replaced by one that contains them all."""

Atom = tuple[Literal["h", "w", "i", "j", "p", "o"], int]
"""A factor of a tensor dimension and its size: image rows `h`, columns `w`, rows and columns within a window `i` `j`,
tokens whose place was lost `p`, anything else `o`."""

Dims = tuple[tuple[Atom, ...], ...]
"""Per tensor dimension the factors it is made of, outermost first; factors of size 1 may be left out."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The intervals of one period of positions, in input pixels; `lo > hi` marks a position nothing reaches."""

    stride: float
    lo: tuple[float, ...]
    hi: tuple[float, ...]

    @property
    def size(self) -> float:
        """Receptive field of the position that sees most, input pixels."""
        return max(h - lo for lo, h in zip(self.lo, self.hi, strict=True)) + 1

    def gather(self, outs: int, ins: int, taps: Callable[[int], Iterable[int]]) -> "Axis":
        """The axis of a map whose position `o` reads positions `taps(o)`, with `taps(o + outs) = taps(o) + ins`."""
        period = len(self.lo)
        repeats = period // math.gcd(period, ins)
        lo, hi = [], []
        for o in range(outs * repeats):
            low, high = math.inf, -math.inf
            for tap in taps(o):
                cycle, phase = divmod(tap, period)
                shift = cycle * period * self.stride
                low = min(low, self.lo[phase] + shift)
                high = max(high, self.hi[phase] + shift)
            lo.append(low)
            hi.append(high)
        return Axis(self.stride * ins / outs, tuple(lo), tuple(hi)).simplified()

    def union(self, other: "Axis") -> "Axis":
        """What a sum or concatenation of two maps sees. Maps of different stride keep the finer stride's lattice."""
        if self == other:
            return self
        period = math.lcm(len(self.lo), len(other.lo))
        if period > MAX_PHASES or self.stride != other.stride:
            period = 1
            a, b = self.collapsed(), other.collapsed()
        else:
            a, b = self, other
        lo = tuple(min(a.at(i)[0], b.at(i)[0]) for i in range(period))
        hi = tuple(max(a.at(i)[1], b.at(i)[1]) for i in range(period))
        return Axis(min(a.stride, b.stride), lo, hi).simplified()

    def at(self, position: int) -> tuple[float, float]:
        """The first and last input pixel that `position` sees."""
        cycle, phase = divmod(position, len(self.lo))
        shift = cycle * len(self.lo) * self.stride
        return self.lo[phase] + shift, self.hi[phase] + shift

    def collapsed(self) -> "Axis":
        """One interval that contains every phase's."""
        lo = min(low - i * self.stride for i, low in enumerate(self.lo))
        hi = max(high - i * self.stride for i, high in enumerate(self.hi))
        return Axis(self.stride, (lo,), (hi,))

    def simplified(self) -> "Axis":
        """The same intervals with the smallest period."""
        period = len(self.lo)
        if period == 1:
            return self
        if period > MAX_PHASES:
            return self.collapsed()
        for shorter in range(1, period):
            if period % shorter == 0:
                step = shorter * self.stride
                if all(
                    self.lo[i] == self.lo[i - shorter] + step and self.hi[i] == self.hi[i - shorter] + step
                    for i in range(shorter, period)
                ):
                    return Axis(self.stride, self.lo[:shorter], self.hi[:shorter])
        return self

    def convolve(self, kernel: int, stride: int, padding: int, dilation: int) -> "Axis":
        """Convolution or pooling."""
        if kernel == stride == 1 and padding == 0:
            return self
        return self.gather(
            1, stride, lambda o: range(o * stride - padding, o * stride - padding + kernel * dilation, dilation)
        )

    def convolve_transposed(self, kernel: int, stride: int, padding: int, dilation: int) -> "Axis":
        """Transposed convolution: `i` reaches `o` through tap `j` where `i * stride + j * dilation = o + padding`."""
        return self.gather(
            stride,
            1,
            lambda o: [
                (o + padding - j * dilation) // stride
                for j in range(kernel)
                if (o + padding - j * dilation) % stride == 0
            ],
        )

    def resize(self, size_in: int, size_out: int, reach: int) -> "Axis":
        """Interpolation; `reach` neighbours to each side: 0 nearest, 1 linear, 2 cubic."""
        if size_in == size_out:
            return self
        divisor = math.gcd(size_in, size_out)
        ins, outs = size_in // divisor, size_out // divisor

        def taps(o: int) -> Iterable[int]:
            if reach == 0:
                return (o * ins // outs,)
            # The sample lies at (o + 1/2) * ins / outs - 1/2; on an exact hit the neighbours weigh nothing.
            first, rest = divmod((2 * o + 1) * ins - outs, 2 * outs)
            return (first,) if rest == 0 else range(first - reach + 1, first + reach + 1)

        return self.gather(outs, ins, taps)

    def pool_adaptively(self, size_in: int, size_out: int) -> "Axis":
        """Adaptive pooling to more than one cell: cell `o` reads `floor(o in/out) .. ceil((o + 1) in/out)`."""
        divisor = math.gcd(size_in, size_out)
        ins, outs = size_in // divisor, size_out // divisor
        return self.gather(outs, ins, lambda o: range(o * ins // outs, -(-(o + 1) * ins // outs)))


PIXEL = Axis(1.0, (0.0,), (0.0,))
"""The input image itself."""


@dataclass(frozen=True, slots=True)
class Field:
    """What is known of the receptive field of a tensor's elements."""

    dims: Dims
    h: Axis = PIXEL
    w: Axis = PIXEL
    reach: Literal["local", "global", "lost"] = "local"
    """`global`: all of the image; `lost`: positions were regrouped so that the field is not known."""
    gated: bool = False
    """With a local reach: a summary of the image scales or joins this map (squeeze-and-excitation) and is left out of
    the intervals. With a global reach: the value is such a summary, the same for all places."""

    def of(self, letter: str) -> Axis:
        """The axis called "h" or "w"."""
        return self.h if letter == "h" else self.w

    def spatial(self, dim: int) -> bool:
        """Whether dimension `dim` runs over more than one place of the image."""
        return any(kind in "hwp" and size > 1 for kind, size in self.dims[dim])


GLOBAL = Field((), reach="global")
"""Every place sees all of the image (attention, a linear layer over the flattened map)."""
SUMMARY = Field((), reach="global", gated=True)
"""One value for all places (global pooling)."""
LOST = Field((), reach="lost")


def image_field(shape: Sequence[int], axes: int = 2) -> Field:
    """The field of an input whose last `axes` dimensions (1 or 2) are the image's."""
    letters: tuple[Literal["h", "w"], ...] = ("h", "w") if axes == 2 else ("w",)
    dims: list[tuple[Atom, ...]] = [(("o", n),) for n in shape[: len(shape) - axes]]
    dims += [((letter, n),) for letter, n in zip(letters, shape[len(shape) - axes :], strict=True)]
    return Field(tuple(dims))


def regroup(field: Field, shape: Sequence[int]) -> Field | None:
    """`field` for the same elements under a new shape; None when the places are torn apart.

    Cutting an axis into windows makes each window one position that sees all of it: exact once the window is mixed
    (attention within windows, a convolution behind space-to-depth), an upper bound before. Joining the windows again
    gives every position of a window what the window sees.
    """
    atoms = [atom for label in field.dims for atom in label if atom[1] != 1]
    atoms.reverse()
    out: list[tuple[Atom, ...]] = []
    for size in shape:
        label: list[Atom] = []
        while size > 1:
            if not atoms:
                return None
            kind, n = atoms.pop()
            if size % n == 0:
                take = n
            elif n % size == 0:
                take, inner = size, n // size
                rest: Literal["h", "w", "i", "j", "p", "o"] = kind
                if kind in "hw":
                    field = moved(field, kind, field.of(kind).gather(1, inner, _block(inner)))
                    rest = "i" if kind == "h" else "j"
                atoms.append((rest, inner))
            else:
                return None
            size //= take
            within = {"i": "h", "j": "w"}.get(kind)
            if within and label and label[-1][0] == within:
                field = moved(field, within, field.of(within).gather(take, 1, _spread(take)))
                label[-1] = (label[-1][0], label[-1][1] * take)
            else:
                label.append((kind, take))
        out.append(tuple(label))
    return replace(field, dims=tuple(out)) if not atoms else None


def _block(size: int) -> Callable[[int], range]:
    return lambda o: range(o * size, o * size + size)


def _spread(size: int) -> Callable[[int], tuple[int]]:
    return lambda o: (o // size,)


def merge(fields: Sequence[Field], shape: Sequence[int]) -> Field:
    """The field of an element-wise operation of `shape` over operands that broadcast to it.

    An operand that is the same for all places of the map (a gate) does not widen the local field.
    """
    if any(f.reach == "lost" for f in fields):
        return LOST
    if any(f.reach == "global" and not f.gated for f in fields):
        return GLOBAL
    local = [f for f in fields if f.reach == "local"]
    gated = len(local) < len(fields) or any(f.gated for f in local)
    if not local:
        return SUMMARY
    dims: list[tuple[Atom, ...]] = []
    for back in range(len(shape), 0, -1):
        here = [
            f.dims[-back]
            for f in local
            if len(f.dims) >= back and math.prod(n for _, n in f.dims[-back]) == shape[-back]
        ]
        best = max(here, key=lambda label: sum(kind != "o" for kind, _ in label), default=(("o", shape[-back]),))
        dims.append(best)
    extent = math.prod(n for label in dims for kind, n in label if kind in "hwp")
    wide = [
        f for f in local if math.prod(n for label in f.dims for kind, n in label if kind in "hwp") == extent
    ] or local
    h, w = wide[0].h, wide[0].w
    for field in wide[1:]:
        h, w = h.union(field.h), w.union(field.w)
    return Field(tuple(dims), h, w, gated=gated or len(wide) < len(local))


def moved(field: Field, letter: str, axis: Axis) -> Field:
    """`field` with one axis replaced."""
    return replace(field, h=axis) if letter == "h" else replace(field, w=axis)
