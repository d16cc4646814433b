"""Drawing on the server side: elements, scales and axes. Everything a user wrote is escaped here.

Colours are CSS classes (`s0` ... `s7` for series), so one drawing serves light, dark and print; there are no style
attributes, which the page's content security policy refuses.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from snellen.report.plain import number, plain

SERIES = 8
"""Colour classes there are; a ninth series starts again."""


def element(name: str, content: Iterable[Markup] = (), **attributes: object) -> Markup:
    """One SVG element. Underscores in attribute names stand for hyphens, a trailing one is dropped (`class_`)."""
    told = Markup("").join(
        Markup(' {}="{}"').format(Markup(key.rstrip("_").replace("_", "-")), _attribute(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(content)
    tag = Markup(name)
    return Markup("<{}{}>{}</{}>").format(tag, told, inner, tag) if inner else Markup("<{}{}/>").format(tag, told)


def _attribute(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def drawing(width: float, height: float, parts: Iterable[Markup], label: str, class_: str = "chart") -> Markup:
    """An SVG of `width` x `height` units with a text alternative."""
    return element(
        "svg", parts, class_=class_, viewBox=f"0 0 {width:g} {height:g}", width=float(width), height=float(height),
        role="img", aria_label=plain(label),
    )  # fmt: skip


def text(
    x: float, y: float, content: object, anchor: str = "start", class_: str | None = None, cut: int = 60
) -> Markup:
    """A line of text; longer than `cut` characters it is cut and whole in a tooltip."""
    whole = plain(content)
    shown = whole if len(whole) <= cut else whole[: cut - 1] + "…"
    parts = [escape(shown)] + ([element("title", [escape(whole)])] if shown != whole else [])
    return element(
        "text", parts, x=float(x), y=float(y), text_anchor=anchor if anchor != "start" else None, class_=class_
    )


def tooltip(content: object) -> Markup:
    """A title element: what the mouse shows."""
    return element("title", [escape(plain(content))])


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """At most about `count` round numbers (1, 2, 5 times a power of ten) within low..high."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, base: float = 10.0) -> list[float]:
    """Powers of `base` within low..high; where there are fewer than two, round numbers instead."""
    first, last = math.ceil(math.log(low, base) - 1e-9), math.floor(math.log(high, base) + 1e-9)
    stride = max(1, math.ceil((last - first + 1) / 6))
    powers = [base**i for i in range(first, last + 1, stride)]
    return powers if len(powers) > 1 else ticks(low, high, 4)


@dataclass(frozen=True)
class Scale:
    """Maps data low..high to pixels start..end, linearly or by the logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Position of `value`, clipped to the axis."""
        read: Callable[[float], float] = math.log if self.log else float
        low, high = read(self.low), read(self.high)
        value = min(max(value, self.low), self.high)
        return self.start + (read(value) - low) / (high - low or 1.0) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Round numbers on the axis."""
        return log_ticks(self.low, self.high) if self.log else ticks(self.low, self.high, count)


@dataclass(frozen=True)
class Frame:
    """The plotting area of a chart with its two axes."""

    x: Scale
    y: Scale
    """Its start is the bottom."""

    def axes(self, x_label: str = "", *, values: bool = True) -> Iterable[Markup]:
        """Grid lines, tick labels and the title of x; without `values` nothing for y."""
        left, right, bottom = self.x.start, self.x.end, self.y.start
        for value in self.y.ticks(4) if values else ():
            y = self.y(value)
            yield element("line", x1=left, x2=right, y1=y, y2=y, class_="grid")
            yield text(left - 5, y + 3.5, number(value), "end", "tick")
        for value in self.x.ticks(5):
            x = self.x(value)
            yield element("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis")
            yield text(x, bottom + 15, number(value), "middle", "tick")
        yield element("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis")
        if x_label:
            yield text((left + right) / 2, bottom + 29, x_label, "middle", "label")


def path(points: Sequence[tuple[float, float]], class_: str, closed: bool = False) -> Markup:
    """A polyline, or a polygon when `closed`; nothing without points."""
    if not points:
        return Markup("")
    told = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("Z" if closed else "")
    return element("path", d=told, class_=class_)


def rect(
    x: float, y: float, width: float, height: float, tip: object = None, *, class_: str,
    fill_opacity: float | None = None, rx: float | None = None,
) -> Markup:  # fmt: skip
    """A rectangle, with what the mouse shows over it."""
    return element(
        "rect", [tooltip(tip)] if tip is not None else (), x=float(x), y=float(y), width=max(float(width), 0.0),
        height=max(float(height), 0.0), class_=class_, fill_opacity=fill_opacity, rx=rx,
    )  # fmt: skip


def legend(names: Sequence[str], x: float, y: float, width: float) -> Iterable[Markup]:
    """Coloured squares with names, in one line."""
    step = width / max(len(names), 1)
    for index, name in enumerate(names):
        left = x + index * min(step, 120.0)
        yield rect(left, y - 8, 9, 9, class_=f"s{index % SERIES}")
        yield text(left + 13, y, name, class_="tick", cut=max(4, int(min(step, 120.0) / 6.5) - 2))
