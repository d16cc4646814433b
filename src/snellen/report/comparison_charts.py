"""The drawings of a comparison: differences with intervals, agreement, score against cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from snellen.report.charts import WIDTH
from snellen.report.figures import LETTER
from snellen.report.plain import number, short
from snellen.report.svg import SERIES, Frame, Scale, drawing, element, path, rect, text

WIDE = 720.0
"""Units of a chart as wide as the page's text."""


@dataclass(frozen=True)
class Gap:
    """One difference, other minus first."""

    name: str
    difference: float
    low: float | None
    high: float | None
    better: bool | None
    """In favour of the other run; None: not real."""


@dataclass(frozen=True)
class Priced:
    """One run: what it costs and what it scores."""

    name: str
    cost: float
    value: float
    low: float | None
    high: float | None
    colour: int


def gaps(label: str, rows: Sequence[Gap], width: float = WIDTH) -> Markup:
    """A dot and its interval a row around zero; green and red are real, grey may be chance."""
    if not rows:
        return Markup("")
    reach = max(max(abs(v) for v in (r.difference, r.low or 0.0, r.high or 0.0)) for r in rows) or 1.0
    scale = Scale(-reach, reach, 128.0, width - 52)
    bottom = 6 + 20.0 * len(rows)
    parts: list[Markup] = []
    for value in (-reach, 0.0, reach):
        x = scale(value)
        parts.append(element("line", x1=x, x2=x, y1=2, y2=bottom, class_="axis" if value == 0 else "grid"))
        parts.append(text(x, bottom + 13, f"{value:+.2g}" if value else "0", "middle", "tick"))
    for k, row in enumerate(rows):
        y = 14 + 20.0 * k
        kind = {None: "even-gap", True: "good-gap", False: "bad-gap"}[row.better]
        parts.append(text(120, y + 4, row.name, "end", "name", cut=18))
        if row.low is not None and row.high is not None:
            tip = f"{row.low:+.3f} to {row.high:+.3f}"
            parts.append(rect(scale(row.low), y - 2, scale(row.high) - scale(row.low), 4, tip, class_=f"{kind} pale"))
        parts.append(element("circle", cx=scale(row.difference), cy=y, r=4.0, class_=kind))
        parts.append(text(width - 46, y + 4, f"{row.difference:+.3f}".replace("-", "−"), class_="tick"))
    return drawing(width, bottom + 18, parts, label)


def parts_of(label: str, rows: Sequence[tuple[str, int, str]], width: float = WIDE) -> Markup:
    """One bar in parts: name, count, CSS class; names stand below it."""
    total = sum(count for _, count, _ in rows)
    if not total:
        return Markup("")
    parts, x = [], 0.0
    for name, count, kind in rows:
        wide = width * count / total
        if count:
            parts.append(rect(x, 0, max(wide - 1, 1.0), 18, f"{name}: {count:,}", class_=kind))
        x += wide
    return drawing(width, 18, parts, label)


def front(rows: Sequence[Priced]) -> list[Priced]:
    """Those that no other run beats at equal or lower cost, from the cheapest on (Pareto)."""
    best: list[Priced] = []
    for row in sorted(rows, key=lambda r: (r.cost, -r.value)):
        if not best or row.value > best[-1].value:
            best.append(row)
    return best


def cost_benefit(label: str, rows: Sequence[Priced], x_label: str, y_label: str, width: float = WIDTH) -> Markup:
    """Score against cost, a dot a run with its interval; the step line joins those that no cheaper run beats."""
    rows = [row for row in rows if row.cost > 0]
    if len(rows) < 2 or min(r.cost for r in rows) == max(r.cost for r in rows):
        return Markup("")
    height = 230.0
    ends = [v for r in rows for v in (r.value, r.low, r.high) if v is not None]
    low, high = min(ends), max(ends)
    room = 0.12 * (high - low) or 0.05
    cheap, dear = min(r.cost for r in rows), max(r.cost for r in rows)
    log = dear > 4 * cheap
    x_low, x_high = (cheap / 1.3, dear * 1.3) if log else (0.0, 1.15 * dear)
    frame = Frame(Scale(x_low, x_high, 46.0, width - 14, log), Scale(low - room, high + room, height - 36, 22))
    parts = [text(0, 11, y_label, class_="label")]
    for value in frame.y.ticks(4):
        y = frame.y(value)
        parts.append(element("line", x1=frame.x.start, x2=frame.x.end, y1=y, y2=y, class_="grid"))
        parts.append(text(frame.x.start - 5, y + 3.5, number(value), "end", "tick"))
    ticks = [t for t in frame.x.ticks(4) if x_low <= t <= x_high]
    parts += [text(frame.x(value), frame.y.start + 15, short(value), "middle", "tick") for value in ticks]
    parts.append(element("line", x1=frame.x.start, x2=frame.x.end, y1=frame.y.start, y2=frame.y.start, class_="axis"))
    told = x_label + (", log scale" if log else "")
    parts.append(text((frame.x.start + frame.x.end) / 2, height - 6, told, "middle", "label"))
    best = front(rows)
    steps: list[tuple[float, float]] = []
    for row in best:
        x, y = frame.x(row.cost), frame.y(row.value)
        steps += [(x, steps[-1][1]), (x, y)] if steps else [(x, y)]
    parts.append(path(steps, "line front"))
    names: list[tuple[float, float, float]] = []
    for row in sorted(rows, key=lambda r: -r.value):
        x, y, kind = frame.x(row.cost), frame.y(row.value), f"s{row.colour % SERIES}"
        if row.low is not None and row.high is not None:
            parts.append(rect(x - 1, frame.y(row.high), 2, frame.y(row.low) - frame.y(row.high), class_=f"{kind} pale"))
        tip = f"{row.name}: {number(row.value)} at {short(row.cost)}"
        ring = " ringed" if row not in best else " on-front"
        parts.append(
            element("circle", [element("title", [Markup("{}").format(tip)])], cx=x, cy=y, r=5.0, class_=kind + ring)
        )
        taken = [(frame.x(r.cost) - 6, frame.y(r.value) - 6, 12.0) for r in rows if r is not row] + names
        at, top, anchor = _room_for(row.name, x, y, width, taken)
        wide = min(len(row.name), 20) * LETTER
        names.append((at if anchor == "start" else at - wide, top - 9, wide))
        parts.append(text(at, top, row.name, anchor, "name", cut=20))
    return drawing(width, height, parts, label)


def _room_for(
    name: str, x: float, y: float, width: float, taken: Sequence[tuple[float, float, float]]
) -> tuple[float, float, str]:
    """Where the name of a dot at (x, y) goes: x, baseline, anchor; beside it, on the first line that nothing takes.

    `taken` are the left and upper ends and the widths of boxes 12 units high.
    """
    wide = min(len(name), 20) * LETTER
    for line in range(8):
        for baseline in (y - 6 - 12.0 * line, y + 12 * line + 6):
            for left, anchor in ((x + 9, "start"), (x - 9 - wide, "end")):
                inside = left >= 46 and left + wide <= width and baseline > 20
                if inside and not any(
                    left < other + size and other < left + wide and baseline - 9 < upper + 12 and upper < baseline
                    for other, upper, size in taken
                ):
                    return (left if anchor == "start" else x - 9), baseline, anchor
    return x + 9, y - 6, "start"
