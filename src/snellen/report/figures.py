"""A drawing with the numbers behind it, and the plots of scores: curves, bars that start where others end, dots."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from snellen.report.charts import WIDTH, Floats
from snellen.report.plain import number
from snellen.report.svg import SERIES, Frame, Scale, drawing, element, path, rect, text

FEW = 10
LETTER = 6.1
"""Units that a character of a legend takes, about."""


@dataclass(frozen=True)
class Figure:
    """What the page shows as a picture, a line on how to read it, and the same as a table."""

    title: str
    drawing: Markup
    """Empty: nothing to draw, and the page leaves the figure out."""
    hint: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Curve:
    """One line of a plot."""

    name: str
    x: Floats
    y: Floats
    colour: int | None = None
    """Which of the series' colours; None: drawn faintly behind the others, and not named."""
    dot: tuple[float, float] | None = None
    """The point to mark."""
    sizes: Floats | None = None
    """How many records each point stands for: a dot of that area, and no line through points of less than ten."""


def key(entries: Sequence[tuple[str, str]], x: float, width: float) -> tuple[list[Markup], float]:
    """Coloured squares with names in as many lines as they need, and the height of all; entries: CSS class and name."""
    longest = max((len(name) for _, name in entries), default=0)
    columns = max(1, min(len(entries) or 1, int(width // (min(longest, 24) * LETTER + 22))))
    step = width / columns
    parts = []
    for index, (kind, name) in enumerate(entries):
        left, top = x + index % columns * step, 10 + index // columns * 15.0
        parts.append(rect(left, top - 8, 9, 9, class_=kind))
        parts.append(text(left + 13, top, name, class_="tick", cut=max(5, int((step - 20) / LETTER))))
    return parts, -(-len(entries) // columns) * 15.0


def plot(
    label: str, curves: Sequence[Curve], *, x_label: str, y_label: str, x_range: tuple[float, float] = (0, 1),
    y_range: tuple[float, float] = (0, 1), diagonal: bool = False, mark: tuple[float, str] | None = None,
    width: float = WIDTH, height: float = 230.0,
) -> Markup:  # fmt: skip
    """Curves over common axes, those without a colour behind; `diagonal` from corner to corner, `mark` a place on x."""
    drawn = [c for c in curves if len(c.x)]
    if not drawn:
        return Markup("")
    named = [(f"s{c.colour % SERIES}", c.name) for c in drawn if c.colour is not None and c.name]
    shown, top = key(named, 46, width - 56) if len(named) > 1 else ([], 0.0)
    top += 16.0
    frame = Frame(Scale(*x_range, 46.0, width - 10), Scale(*y_range, top + height - 52, top + 6))
    parts = [*shown, text(0, top - 4, y_label, class_="label"), *frame.axes(x_label)]
    if diagonal:
        ends = [(frame.x(x_range[0]), frame.y(y_range[0])), (frame.x(x_range[1]), frame.y(y_range[1]))]
        parts.append(path(ends, class_="line even"))
    if mark:
        x = frame.x(mark[0])
        parts.append(element("line", x1=x, x2=x, y1=frame.y.end, y2=frame.y.start, class_="common"))
        parts.append(text(min(max(x, 90.0), width - 60), top - 4, mark[1], "middle", "tick"))
    for curve in sorted(drawn, key=lambda c: c.colour is not None):
        parts += _curve(frame, curve)
    return drawing(width, top + height - 16, parts, label)


def _curve(frame: Frame, curve: Curve) -> Iterable[Markup]:
    good = np.isfinite(curve.x) & np.isfinite(curve.y)
    points = [
        (frame.x(float(x)), frame.y(float(y))) for x, y in zip(curve.x[good], curve.y[good], strict=True)
    ]  # fmt: skip
    colour = None if curve.colour is None else curve.colour % SERIES
    sizes = curve.sizes[good] if curve.sizes is not None else np.full(len(points), FEW)
    many = [point for point, size in zip(points, sizes, strict=True) if size >= FEW]
    yield path(many, class_="line other" if colour is None else f"line t{colour}")
    if curve.sizes is not None:
        largest = float(sizes.max()) or 1.0
        for (x, y), size in zip(points, sizes, strict=True):
            tip = element("title", [Markup("{:,}").format(int(size))])
            yield element("circle", [tip], cx=x, cy=y, r=1.5 + 4.5 * float(size / largest) ** 0.5, class_=f"s{colour}")
    if curve.dot is not None:
        tip = Markup("{}: {} at {}").format(curve.name, number(curve.dot[1]), number(curve.dot[0]))
        x, y = frame.x(curve.dot[0]), frame.y(curve.dot[1])
        yield element("circle", [element("title", [tip])], cx=x, cy=y, r=4.0, class_=f"s{colour} ringed")


def thin(curve_x: Floats, curve_y: Floats, most: int) -> tuple[Floats, Floats]:
    """At most `most` points at even distances along the row, the first and the last among them."""
    if len(curve_x) <= most:
        return curve_x, curve_y
    keep = np.unique(np.linspace(0, len(curve_x) - 1, most).round().astype(int))
    return curve_x[keep], curve_y[keep]


def small_plot(label: str, curves: Sequence[tuple[int, Floats, Floats]], side: float = 96.0) -> Markup:
    """A plot of 0..1 by 0..1 the size of a stamp; curves: colour, x, y. Without axes: they stand beside it once."""
    x, y = Scale(0, 1, 0.5, side - 0.5), Scale(0, 1, side * 0.75 - 0.5, 0.5)
    parts = [rect(0.5, 0.5, side - 1, side * 0.75 - 1, class_="frame")]
    for colour, xs, ys in curves:
        points = [(x(float(a)), y(float(b))) for a, b in zip(*thin(xs, ys, 26), strict=True)]
        parts.append(path(points, class_=f"line t{colour % SERIES}"))
    return drawing(side, side * 0.75, parts, label, "chart fixed")


def waterfall(
    label: str, start: tuple[str, float], steps: Sequence[tuple[str, float]], end: tuple[str, float],
    width: float = WIDTH,
) -> Markup:  # fmt: skip
    """Bars from top to bottom, each of `steps` beginning where the one above ended; what they leave to `end` is drawn
    as the last step. Values 0..1, told as points of a hundred."""
    reached = start[1] + sum(step for _, step in steps)
    rest = end[1] - reached
    rows = [(*start, 0.0, "s0")]
    at = start[1]
    for name, step in steps:
        rows.append((name, step, at, "s1"))
        at += step
    rows.append(("several at once" if rest >= 0 else "counted twice", rest, at, "rest"))
    rows.append((*end, 0.0, "s0"))
    scale = Scale(0, max(1.0, reached), 112.0, width - 46)
    parts = []
    for k, (name, value, left, kind) in enumerate(rows):
        y = 4 + 20.0 * k
        low, high = sorted((scale(left), scale(left + value)))
        parts.append(text(105, y + 11, name, "end", "name", cut=17))
        parts.append(rect(low, y, max(high - low, 1.0), 14, f"{name}: {100 * value:.1f}", class_=kind))
        if k + 1 < len(rows):
            edge = scale(left + value)
            parts.append(element("line", x1=edge, x2=edge, y1=y + 14, y2=y + 20, class_="axis"))
        sign = "+" if value > 0 and 0 < k < len(rows) - 1 else ""
        parts.append(text(max(low, high) + 5, y + 11, f"{sign}{100 * value:.1f}".replace("-", "−"), class_="tick"))
    return drawing(width, 4 + 20.0 * len(rows), parts, label)


def shares(
    label: str, groups: Sequence[tuple[str, Sequence[tuple[str, float, float, str]]]], width: float = WIDTH
) -> Markup:
    """Bars of 0..1 below headings; each row: name, the inner share, the outer share that holds it, a note."""
    scale = Scale(0, 1, 146.0, width - 74)
    parts: list[Markup] = []
    y = 0.0
    for heading, rows in groups:
        parts.append(text(0, y + 12, heading, class_="value", cut=50))
        y += 18
        for name, inner, outer, note in rows:
            parts.append(text(139, y + 11, name, "end", "name", cut=24))
            parts.append(rect(scale(0), y + 1, scale(1) - scale(0), 12, class_="track"))
            parts.append(rect(scale(0), y + 1, scale(outer) - scale(0), 12, class_="span"))
            parts.append(rect(scale(0), y + 1, scale(inner) - scale(0), 12, class_="s0"))
            parts.append(text(scale(1) + 5, y + 11, note, class_="tick", cut=14))
            y += 17
        y += 8
    return drawing(width, y, parts, label) if groups else Markup("")


def small_interval(value: float | None, low: float | None, high: float | None) -> Markup:
    """A value and its interval as a bar of 0..1 below a number."""
    if value is None or low is None or high is None or not 0 <= low <= value <= high <= 1:
        return Markup("")
    scale = Scale(0, 1, 1.0, 119.0)
    parts = [
        rect(1, 3, 118, 2, class_="track"), rect(scale(low), 1, max(scale(high) - scale(low), 1.5), 6, class_="span"),
        rect(scale(value) - 1, 0, 2, 8, class_="s0"),
    ]  # fmt: skip
    return drawing(120, 8, parts, f"{number(low)} to {number(high)}", "chart fixed")
