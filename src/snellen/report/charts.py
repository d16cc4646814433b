"""The charts of the report. Each takes plain numbers, aggregates them, and draws a bounded number of shapes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from snellen.report.plain import number, share
from snellen.report.svg import SERIES, Frame, Scale, drawing, element, legend, path, rect, text

WIDTH = 344.0
"""Units of a small chart: the width of a phone, so that its letters are never scaled down."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """One line of a chart: finite or not, any length."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    dots: bool = False
    """Draw each point too: few points, such as one per epoch."""


def finite(values: ArrayLike) -> Floats:
    """The finite ones, flat; null is NaN."""
    array = np.asarray(values, dtype=np.float64).ravel()
    return array[np.isfinite(array)]


def bars(
    label: str, rows: Sequence[tuple[str, Sequence[float]]], series: Sequence[str] = ("",), unit: str = "",
    most: int = 16, width: float = WIDTH,
) -> Markup:  # fmt: skip
    """Horizontal bars, one row per name and one bar per series; beyond `most` rows the rest is summed up in words."""
    if not rows:
        return Markup("")
    shown = rows[:most]
    top = 16.0 if len(series) > 1 else 2.0
    thick = 12.0
    height = len(series) * thick + (9 if len(series) > 1 else 6)
    peak = max((v for _, values in shown for v in values if math.isfinite(v)), default=0.0) or 1.0
    left, right = 112.0, width - 62
    parts = list(legend(series, left, 11, width - left)) if len(series) > 1 else []
    for index, (name, values) in enumerate(shown):
        y = top + 4 + index * height
        parts.append(text(left - 7, y + len(series) * thick / 2 + 4, name, "end", "name", cut=17))
        for k, value in enumerate(values):
            length = (right - left) * value / peak if math.isfinite(value) else 0.0
            kind = f"s{k % SERIES}"
            parts.append(rect(left, y + k * thick, max(length, 1.0 if value else 0.0), thick - 1.5, class_=kind))
            parts.append(text(left + length + 5, y + k * thick + thick - 2.5, number(value) + unit, class_="tick"))
    end = top + 6 + len(shown) * height
    if len(rows) > most:
        end += 16
        parts.append(text(left, end - 4, f"and {len(rows) - most:,} more", class_="label"))
    return drawing(width, end, parts, label)


def decimate(x: Floats, y: Floats, columns: int = 280) -> tuple[Floats, Floats]:
    """At most four points a column: first, lowest, highest, last, so that no spike is lost (NaN counts as a gap)."""
    if len(x) <= 4 * columns:
        return x, y
    edges = np.linspace(0, len(x), columns + 1).astype(int)
    keep: list[int] = []
    for begin, end in pairwise(edges):
        part = y[begin:end]
        good = np.flatnonzero(np.isfinite(part))
        if len(good) == 0:
            keep.append(int(begin))
            continue
        low, high = good[np.argmin(part[good])], good[np.argmax(part[good])]
        keep += sorted({int(begin + i) for i in (good[0], low, high, good[-1])})
    return x[keep], y[keep]


def lines(
    label: str, series: Sequence[Series], *, x_label: str = "", y_label: str = "", log: bool = False,
    x_range: tuple[float, float] | None = None, y_range: tuple[float, float] | None = None,
    width: float = WIDTH, height: float = 210.0, mark: tuple[float, str] | None = None,
) -> Markup:  # fmt: skip
    """Lines over a common axis. Non-finite values are gaps, told by a red tick at the foot. `mark`: a level to show."""
    every = [(s, np.asarray(s.x, np.float64), np.asarray(s.y, np.float64)) for s in series]
    xs = finite(np.concatenate([x for _, x, _ in every])) if every else np.zeros(0)
    ys = finite(np.concatenate([y for _, _, y in every])) if every else np.zeros(0)
    if log:
        ys = ys[ys > 0]
    if not len(xs) or not len(ys):
        return Markup("")
    low, high = y_range or (float(ys.min()), float(ys.max()))
    if mark:
        low, high = min(low, mark[0]), max(high, mark[0])
    if y_range is None:
        low, high = (low * 0.9, high * 1.1) if log else _room(low, high)
    x_low, x_high = x_range or (float(xs.min()), float(xs.max()))
    top = 34.0 if len(series) > 1 else 22.0
    frame = Frame(
        Scale(x_low, x_high if x_high > x_low else x_low + 1, 46.0, width - 10), Scale(low, high, height - 36, top, log)
    )
    parts = list(frame.axes(x_label))
    parts.append(text(0, 11, y_label + (", log scale" if log else ""), class_="label"))
    if len(series) > 1:
        parts += list(legend([s.name for s in series], 46, 26, width - 56))
    if mark:
        y = frame.y(mark[0])
        parts.append(element("line", x1=frame.x.start, x2=frame.x.end, y1=y, y2=y, class_="limit"))
        parts.append(text(frame.x.end, y - 4, mark[1], "end", "limit-text"))
    for index, (one, all_x, all_y) in enumerate(every):
        parts += _line(frame, one, *decimate(all_x, all_y), index, log)
    return drawing(width, height, parts, label)


def _room(low: float, high: float) -> tuple[float, float]:
    margin = 0.06 * (high - low) or max(abs(high) * 0.1, 1e-3)
    return (0.0 if 0 <= low <= 0.35 * high else low - margin), high + margin


def _line(frame: Frame, series: Series, x: Floats, y: Floats, index: int, log: bool) -> list[Markup]:
    good = np.isfinite(x) & np.isfinite(y) & ((y > 0) if log else True)
    parts: list[Markup] = []
    kind = f"line t{index % SERIES}"
    breaks = np.flatnonzero(np.diff(good.astype(np.int8)) != 0) + 1
    for piece in np.split(np.arange(len(x)), breaks):
        if len(piece) and good[piece[0]]:
            points = [(frame.x(float(x[i])), frame.y(float(y[i]))) for i in piece]
            if len(points) > 1:
                parts.append(path(points, class_=kind))
            if series.dots or len(points) == 1:
                parts += [
                    element("circle", [element("title", [Markup("{}").format(f"{number(y[i])}")])], cx=px, cy=py, r=2.6,
                            class_=f"s{index % SERIES}")
                    for i, (px, py) in zip(piece, points, strict=True)
                ]  # fmt: skip
    lost = x[np.isfinite(x) & ~np.isfinite(y) & ~np.isnan(y)]
    for value in lost[:200]:
        parts.append(rect(frame.x(float(value)) - 1, frame.y.start - 6, 2, 6, "not finite", class_="bad"))
    return parts


def histogram(
    label: str, groups: Sequence[tuple[str, ArrayLike]], *, x_label: str = "", bins: int = 36, log: bool = False,
    mark: tuple[float, str] | None = None, span: tuple[float, float] | None = None, width: float = WIDTH,
    height: float = 170.0,
) -> Markup:  # fmt: skip
    """Shares per bin, one outline per group, so that groups of different size compare; `mark` is a threshold."""
    arrays = [(name, values[values > 0] if log else values) for name, raw in groups for values in [finite(raw)]]
    arrays = [(name, values) for name, values in arrays if len(values)]
    if not arrays:
        return Markup("")
    everything = np.concatenate([v for _, v in arrays])
    low, high = span or (float(everything.min()), float(everything.max()))
    if mark:
        low, high = min(low, mark[0]), max(high, mark[0])
    if not high > low:
        low, high = (low / 1.5, high * 1.5) if log else (low - 0.5, high + 0.5)
    edges = np.geomspace(low, high, bins + 1) if log else np.linspace(low, high, bins + 1)
    counts = [(name, np.histogram(values, edges)[0] / len(values)) for name, values in arrays]
    peak = max(float(c.max()) for _, c in counts) or 1.0
    top = 20.0 if len(counts) > 1 or mark else 8.0
    frame = Frame(Scale(low, high, 10.0, width - 10, log), Scale(0, peak, height - 36, top))
    parts = list(frame.axes(x_label, values=False))
    if len(counts) > 1:
        parts += list(legend([name for name, _ in counts], 10, 11, width - 20))
    for index, (name, shares) in enumerate(counts):
        points = [(frame.x(low), frame.y.start)]
        for k, value in enumerate(shares):
            points += [(frame.x(float(edges[k])), frame.y(value)), (frame.x(float(edges[k + 1])), frame.y(value))]
        points.append((frame.x(high), frame.y.start))
        parts.append(path(points, closed=True, class_=f"area a{index % SERIES}"))
        for k, value in enumerate(shares):
            x = frame.x(float(edges[k]))
            wide = frame.x(float(edges[k + 1])) - x
            if index == 0:
                tip = f"{name} {number(edges[k])} – {number(edges[k + 1])}: {share(float(value)) or '0 %'}".strip()
                parts.append(rect(x, top, wide, frame.y.start - top, tip, class_="hit"))
    if mark:
        x = frame.x(mark[0])
        parts.append(element("line", x1=x, x2=x, y1=top - 6, y2=frame.y.start, class_="limit"))
        anchor = "end" if x > width * 0.6 else "start"
        parts.append(text(x + (-4 if anchor == "end" else 4), top + 4, mark[1], anchor, "limit-text"))
    return drawing(width, height, parts, label)


def density(
    label: str, x: ArrayLike, y: ArrayLike, *, x_label: str, y_label: str, log: bool = False, columns: int = 30,
    rows: int = 22, width: float = WIDTH, height: float = 240.0, diagonal: bool = False,
) -> Markup:  # fmt: skip
    """How many points fall into each cell of a grid: darker is more (square root, so that single points show)."""
    xs, ys = np.asarray(x, np.float64).ravel(), np.asarray(y, np.float64).ravel()
    good = np.isfinite(xs) & np.isfinite(ys) & ((xs > 0) & (ys > 0) if log else True)
    xs, ys = xs[good], ys[good]
    if not len(xs):
        return Markup("")
    spans = []
    for values in (xs, ys):
        low, high = float(values.min()), float(values.max())
        if log:
            low, high = (low, high) if high > 1.3 * low else (low / 1.5, high * 1.5)
        elif not high > low:
            low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
        spans.append((low, high))
    space = np.geomspace if log else np.linspace
    x_edges, y_edges = space(*spans[0], columns + 1), space(*spans[1], rows + 1)
    x_edges[[0, -1]], y_edges[[0, -1]] = spans[0], spans[1]
    grid, _, _ = np.histogram2d(xs, ys, [x_edges, y_edges])
    frame = Frame(Scale(*spans[0], 46.0, width - 10, log), Scale(*spans[1], height - 36, 22.0, log))
    parts = list(frame.axes(x_label))
    parts.append(text(0, 11, y_label, class_="label"))
    peak = float(grid.max())
    for i, j in zip(*np.nonzero(grid), strict=True):
        left, right = frame.x(float(x_edges[i])), frame.x(float(x_edges[i + 1]))
        bottom, top = frame.y(float(y_edges[j])), frame.y(float(y_edges[j + 1]))
        strength = 0.18 + 0.82 * math.sqrt(grid[i, j] / peak)
        parts.append(
            rect(left, top, right - left, bottom - top, f"{int(grid[i, j]):,}", class_="s0", fill_opacity=strength)
        )
    return drawing(width, height, parts, label)


def heat(label: str, grid: Floats, *, width: float = 210.0, height: float = 210.0, unit: str = "") -> Markup:
    """A matrix as shades: row 0 on top, the darkest cell is the largest."""
    rows, columns = grid.shape
    peak = float(grid.max()) or 1.0
    w, h = width / columns, height / rows
    parts = [rect(0.5, 0.5, width - 1, height - 1, class_="frame")]
    for r, c in zip(*np.nonzero(grid), strict=True):
        strength = 0.08 + 0.92 * float(grid[r, c]) / peak
        tip = f"{number(float(grid[r, c]))}{unit}"
        parts.append(rect(c * w, r * h, w + 0.3, h + 0.3, tip, class_="s0", fill_opacity=strength))
    return drawing(width, height, parts, label)
