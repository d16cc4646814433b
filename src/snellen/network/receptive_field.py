"""Receptive fields as exact interval arithmetic on an infinite lattice.

Along one image axis, output position `i` of a map depends on the input pixels `lo(i)..hi(i)`. The pattern repeats:
`lo(i + P) = lo(i) + span` for a small period P (1 until something upsamples), so a map is known by P intervals,
and convolution, pooling, upsampling and merging are gathers over them. There are no borders, so nothing is clipped,
and after upsampling every phase is exact instead of an upper bound. The recursion on a plain chain is that of
Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

MAX_PHASES = 1024
"""The longest period that is followed (resizing by an odd ratio); maps are seldom longer than this."""

Kind = Literal["h", "w", "i", "j", "p", "o"]
"""Image rows `h`, columns `w`, rows and columns within a window `i` `j`, tokens whose place was lost `p`, anything
else `o`."""

Atom = tuple[Kind, int]
"""A factor of a tensor dimension and its size."""

Dims = tuple[tuple[Atom, ...], ...]
"""Per tensor dimension the factors it is made of, outermost first; factors of size 1 may be left out."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The intervals of one period of positions, in input pixels; `lo > hi` marks a position nothing reaches."""

    span: int
    """Input pixels from one period to the next; negative in a map that was turned round."""
    lo: tuple[float, ...]
    hi: tuple[float, ...]

    @property
    def stride(self) -> float:
        """Input pixels from one position to the next, on average over a period."""
        return self.span / len(self.lo)

    @property
    def sizes(self) -> list[float]:
        """Receptive field of each position of a period, input pixels; 0 where nothing reaches."""
        return [max(h - lo + 1, 0.0) for lo, h in zip(self.lo, self.hi, strict=True)]

    @property
    def size(self) -> float:
        """Receptive field of the position that sees most, input pixels."""
        return max(self.sizes)

    def at(self, position: int) -> tuple[float, float]:
        """The first and last input pixel that `position` sees."""
        cycle, phase = divmod(position, len(self.lo))
        return self.lo[phase] + cycle * self.span, self.hi[phase] + cycle * self.span

    def centre(self, position: int = 0) -> float:
        """The middle of what `position` sees, input pixels; the first pixel's own middle is 0."""
        low, high = self.at(position)
        return (low + high) / 2

    def gather(self, outs: int, ins: int, taps: Callable[[int], Iterable[int]], limit: int = MAX_PHASES) -> "Axis":
        """The axis of a map whose position `o` reads positions `taps(o)`, with `taps(o + outs) = taps(o) + ins`.

        A map of `limit` positions needs no longer a period than that.
        """
        period = len(self.lo)
        repeats = period // math.gcd(period, ins)
        count = min(outs * repeats, limit, MAX_PHASES)
        lo, hi = [], []
        for o in range(count):
            low, high = math.inf, -math.inf
            for tap in taps(o):
                a, b = self.at(tap)
                low, high = min(low, a), max(high, b)
            lo.append(low)
            hi.append(high)
        # Exact for a whole period, the nearest pixel where the map is shorter than one.
        span = round(self.span * ins * count / (outs * period))
        return Axis(span, tuple(lo), tuple(hi)).simplified()

    def union(self, other: "Axis", limit: int = MAX_PHASES) -> "Axis":
        """What a sum or concatenation of two maps of `limit` positions sees.

        Two maps of one size may differ a little in stride (a map of 7 cells resized to 13): then each position is
        joined with its like, and the finer stride is told.
        """
        if self == other:
            return self
        period = math.lcm(len(self.lo), len(other.lo))
        if self.stride != other.stride or period > limit:
            period = min(limit, MAX_PHASES)
        pairs = [(self.at(i), other.at(i)) for i in range(period)]
        lo = tuple(min(a[0], b[0]) for a, b in pairs)
        hi = tuple(max(a[1], b[1]) for a, b in pairs)
        return Axis(round(min(self.stride, other.stride) * period), lo, hi).simplified()

    def simplified(self) -> "Axis":
        """The same intervals with the smallest period."""
        period = len(self.lo)
        for shorter in range(1, period):
            if period % shorter == 0 and self.span * shorter % period == 0:
                step = self.span * shorter // period
                if all(
                    self.lo[i] == self.lo[i - shorter] + step and self.hi[i] == self.hi[i - shorter] + step
                    for i in range(shorter, period)
                ):
                    return Axis(step, self.lo[:shorter], self.hi[:shorter])
        return self

    def convolve(self, kernel: int, stride: int, padding: int, dilation: int, limit: int = MAX_PHASES) -> "Axis":
        """Convolution or pooling."""
        if kernel == stride == 1 and padding == 0:
            return self
        reach = kernel * dilation
        return self.gather(
            1, stride, lambda o: range(o * stride - padding, o * stride - padding + reach, dilation), limit
        )

    def convolve_transposed(
        self, kernel: int, stride: int, padding: int, dilation: int, limit: int = MAX_PHASES
    ) -> "Axis":
        """Transposed convolution: `i` reaches `o` through tap `j` where `i * stride + j * dilation = o + padding`."""

        def taps(o: int) -> Iterable[int]:
            reached = (o + padding - j * dilation for j in range(kernel))
            return [place // stride for place in reached if place % stride == 0]

        return self.gather(stride, 1, taps, limit)

    def shifted(self, places: int) -> "Axis":
        """The map moved by `places` positions to the far end, as padding in front does."""
        return self.gather(1, 1, lambda o: (o - places,))

    def mirrored(self, size: int) -> "Axis":
        """The map of `size` positions turned round: its span is negative, since what it sees moves backwards."""
        places = [self.at(size - 1 - o) for o in range(len(self.lo))]
        return Axis(-self.span, tuple(a for a, _ in places), tuple(b for _, b in places))

    def repeated(self, times: int, limit: int = MAX_PHASES) -> "Axis":
        """Every position `times` times in a row."""
        return self.gather(times, 1, lambda o: (o // times,), limit)

    def blocks(self, size: int) -> "Axis":
        """Runs of `size` positions, each made one that sees all of the run."""
        return self.gather(1, size, lambda o: range(o * size, o * size + size))

    def resize(self, ins: int, outs: int, offset: Fraction, reach: Fraction, size_out: int) -> "Axis":
        """Interpolation of a map by `outs / ins` to `size_out` positions.

        Output `o` lies at `o * ins / outs + offset` between the inputs' middles, and reads the inputs nearer to it
        than `reach` (linear 1, cubic 2; 0 takes the one whose cell it lies in).
        """

        def taps(o: int) -> Iterable[int]:
            place = Fraction(o * ins, outs) + offset
            if reach == 0:
                return (math.floor(place),)
            if place.denominator == 1 and reach in (1, 2):
                return (int(place),)  # On an exact hit the neighbours weigh nothing.
            return range(math.floor(place - reach) + 1, math.ceil(place + reach))

        return self.gather(outs, ins, taps, size_out)

    def pool_adaptively(self, size_in: int, size_out: int) -> "Axis":
        """Adaptive pooling to more than one cell: cell `o` reads `floor(o in/out) .. ceil((o + 1) in/out)`."""
        divisor = math.gcd(size_in, size_out)
        ins, outs = size_in // divisor, size_out // divisor
        return self.gather(outs, ins, lambda o: range(o * ins // outs, -(-(o + 1) * ins // outs)), size_out)


PIXEL = Axis(1, (0,), (0,))
"""The input image itself."""


@dataclass(frozen=True, slots=True)
class Field:
    """What is known of the receptive field of a tensor's elements.

    A field of global reach that still has `dims` keeps in `h` and `w` what each place sees without the mixing over
    the whole image: in a vision transformer, its patch.
    """

    dims: Dims
    h: Axis = PIXEL
    w: Axis = PIXEL
    reach: Literal["local", "global", "lost"] = "local"
    """`global`: all of the image; `lost`: positions were regrouped so that the field is not known."""
    gated: bool = False
    """A summary of the image scales or joins this map (squeeze-and-excitation) and is left out of the intervals; or,
    without `dims`, the value is such a summary, the same for all places."""
    joined: tuple[int, tuple[Atom, ...]] | None = None
    """Where tokens of no place (a class token) were put before the places: how many, and what came after them."""

    def of(self, letter: str) -> Axis:
        """The axis called "h" or "w"."""
        return self.h if letter == "h" else self.w

    def spatial(self, dim: int) -> bool:
        """Whether dimension `dim` runs over more than one place of the image."""
        return any(kind in "hwp" and size > 1 for kind, size in self.dims[dim])

    def mixed(self) -> "Field":
        """The same places, each seeing the whole image."""
        return replace(self, reach="global")


GLOBAL = Field((), reach="global")
"""Every output sees all of the image, and its place is not known (a linear layer over the flattened map)."""
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
                rest: Kind = kind
                if kind in "hw":
                    field = moved(field, kind, field.of(kind).blocks(inner))
                    rest = "i" if kind == "h" else "j"
                atoms.append((rest, inner))
            else:
                return None
            size //= take
            within = {"i": "h", "j": "w"}.get(kind)
            if within and label and label[-1][0] == within:
                field = moved(field, within, field.of(within).repeated(take))
                label[-1] = (label[-1][0], label[-1][1] * take)
            else:
                label.append((kind, take))
        out.append(tuple(label))
    return replace(field, dims=tuple(out)) if not atoms else None


def in_line(field: Field, dim: int) -> tuple[Field, Literal["", "h", "w"], int] | None:
    """`field` with dimension `dim` as a plain run along one image axis: (field, letter, size).

    The letter is "" where the dimension is no image axis; None where it runs over several or over unordered places.
    """
    label = [atom for atom in field.dims[dim] if atom[1] > 1]
    size = math.prod(n for _, n in label)
    letters = [kind for kind, _ in label if kind in "hwp"]
    if not letters:
        return field, "", size
    if letters not in (["h"], ["w"]) or label[0][0] != letters[0]:
        return None
    letter: Literal["h", "w"] = "h" if letters == ["h"] else "w"
    if len(label) > 1:  # Each position several times in a row, as repeat_interleave does.
        field = moved(field, letter, field.of(letter).repeated(size // label[0][1], size))
    return field, letter, size


def merge(fields: Sequence[Field], shape: Sequence[int]) -> Field:
    """The field of an element-wise operation of `shape` over operands that broadcast to it.

    An operand that is the same for all places of the map (a gate) does not widen the local field.
    """
    if any(f.reach == "lost" for f in fields):
        return LOST
    mixing = any(f.reach == "global" and (f.dims or not f.gated) for f in fields)
    placed = [f for f in fields if f.dims]
    if not placed:
        return GLOBAL if mixing else SUMMARY
    if len(placed) > 1:
        placed = [in_lines(f) for f in placed]
    dims: list[tuple[Atom, ...]] = []
    for back in range(len(shape), 0, -1):
        here = [
            f.dims[-back]
            for f in placed
            if len(f.dims) >= back and math.prod(n for _, n in f.dims[-back]) == shape[-back]
        ]
        best = max(here, key=lambda label: sum(kind != "o" for kind, _ in label), default=(("o", shape[-back]),))
        dims.append(best)
    extents = [math.prod(n for label in f.dims for kind, n in label if kind in "hwp") for f in placed]
    extent = math.prod(n for label in dims for kind, n in label if kind in "hwp")
    wide = [f for f, e in zip(placed, extents, strict=True) if e == extent] or placed
    gated = any(f.gated for f in fields) or len(wide) < len(placed)
    h, w = wide[0].h, wide[0].w
    if any((f.h.span < 0) != (h.span < 0) or (f.w.span < 0) != (w.span < 0) for f in wide):
        # A map and its mirror image: towards the borders a position sees nearly all of the image.
        return Field(tuple(dims), h, w, "global", gated)
    for field in wide[1:]:
        h, w = h.union(field.h, _extent(dims, "h")), w.union(field.w, _extent(dims, "w"))
    joined = next((f.joined for f in wide if f.joined), None)
    return Field(tuple(dims), h, w, "global" if mixing else "local", gated, joined)


def in_lines(field: Field) -> Field:
    """`field` with the axes in line that can be."""
    for dim, label in enumerate(field.dims):
        if len(label) > 1 and (placed := in_line(field, dim)) is not None and placed[1]:
            field = replace(placed[0], dims=(*field.dims[:dim], ((placed[1], placed[2]),), *field.dims[dim + 1 :]))
    return field


def _extent(dims: Sequence[Sequence[Atom]], letter: str) -> int:
    """Positions of a map along one axis; without any the tokens' order is not known, and one period must do."""
    return max((n for label in dims for kind, n in label if kind == letter), default=MAX_PHASES)


def moved(field: Field, letter: str, axis: Axis) -> Field:
    """`field` with one axis replaced."""
    return replace(field, h=axis) if letter == "h" else replace(field, w=axis)
