"""Where the parts of a JSON text stand, so that one can be changed and the rest kept byte for byte."""

import json
from typing import Any

from snellen.fixes.edit import EditError

Span = tuple[int, int]
_SPACE = " \t\n\r"
_DECODER = json.JSONDecoder()


def members(text: str, start: int) -> dict[str, Span]:
    """Key -> span of its value in the object that begins at `start`; of a repeated key the last. Raises EditError."""
    found: dict[str, Span] = {}
    at = _skip(text, start + 1)
    while text[at : at + 1] == '"':
        key, end = _read(text, at)
        at = _skip(text, _skip(text, end) + 1)
        _, end = _read(text, at)
        found[key] = (at, end)
        at = _skip(text, end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
    return found


def elements(text: str, start: int) -> list[Span]:
    """The spans of the elements of the array that begins at `start`. Raises EditError."""
    found: list[Span] = []
    at = _skip(text, start + 1)
    while at < len(text) and text[at] != "]":
        _, end = _read(text, at)
        found.append((at, end))
        at = _skip(text, end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
    return found


def value(text: str, span: Span) -> Any:
    """The value of a span."""
    return _read(text, span[0])[0]


def _read(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at `start`, and where it ends."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise EditError(f"the file cannot be edited as JSON, at character {start}: {error}") from error


def without(spans: list[Span], dropped: set[int]) -> list[tuple[int, int, str]]:
    """The changes that take the elements at positions `dropped` out of an array, with their commas."""
    kept = [i for i in range(len(spans)) if i not in dropped]
    if not kept:
        return [(spans[0][0], spans[-1][1], "")] if spans else []
    first = kept[0]
    changes = [(spans[0][0], spans[first][0], "")] if first else []
    return changes + [(spans[i - 1][1], spans[i][1], "") for i in sorted(dropped) if i > first]


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at
