"""Strings and numbers made fit to print: what a dataset's author wrote must not steer a terminal or a page."""

import math
import unicodedata
from collections.abc import Mapping
from typing import Any

ABBREVIATIONS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def plain(text: object, limit: int = 400) -> str:
    """One printable line: control, format (right-to-left override) and separator characters as escapes, then cut.

    The result holds no lone surrogate, so it can always be encoded as UTF-8. `limit` is in characters.
    """
    source = str(text)
    cut = source[: limit + 1]
    safe = "".join(_escape(c) if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp", "Co"} else c for c in cut)
    return safe if len(safe) <= limit and len(source) <= limit else safe[: limit - 1] + "…"


def _escape(character: str) -> str:
    code = ord(character)
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character) or (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    )


def number(value: float | None, digits: int = 3) -> str:
    """A number for people: integers with thin separators, `digits` significant figures otherwise; "–" for null."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def short(value: float | None) -> str:
    """A large count in four characters: 11.2 M."""
    if value is None:
        return "–"
    for size, letter in ABBREVIATIONS:
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}"
    return number(value)


def size(count: float | None) -> str:
    """A number of bytes in binary units: 44.6 MiB."""
    if count is None:
        return "–"
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if count >= 1024**power:
            return f"{count / 1024**power:.3g} {unit}"
    return f"{count:.0f} B"


def share(value: float | None) -> str:
    """A fraction as a percentage: 0.123 -> 12 %; tiny but not zero -> <0.1 %; nearly but not all -> 99.9 %."""
    if value is None or not math.isfinite(value):
        return ""
    percent = 100 * value
    if 0 < percent < 0.1:
        return "<0.1 %"
    if percent < 10 or 99 < percent < 100:
        return f"{min(percent, 99.9) if percent < 100 else percent:.1f} %".replace(".0 %", " %")
    return f"{percent:.0f} %"


def value_text(value: Any, limit: int = 160) -> str:
    """Any value of an evidence in one line."""
    if value is None or isinstance(value, bool | int | float):
        return number(value)
    if isinstance(value, Mapping):
        return plain(", ".join(f"{k}: {value_text(v, 60)}" for k, v in list(value.items())[:12]), limit)
    if isinstance(value, list | tuple | set | frozenset):
        items = list(value)
        shown = ", ".join(value_text(v, 60) for v in items[:8])
        return plain(shown, limit) + (f" … {len(items) - 8} more" if len(items) > 8 else "")
    return plain(value, limit)
