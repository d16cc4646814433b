"""JSON of any size and soundness: read to its first level, then some megabytes of a list at a time.

msgspec parses a few times faster than the standard library and knows types, but takes only what RFC 8259 allows. What
Python's own `json.dump` writes beyond that (NaN, infinities, lone surrogates) is put into strings first.
"""

import gc
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from snellen.data.records import RecordError

T = TypeVar("T")
CHUNK_BYTES = 4 << 20
"""How much of a list is taken at a time: enough for ten thousand records, little enough to forget."""
MAX_ENTRY_BYTES = 16 << 20
"""Single records above this (16 MiB) are not read: an outline of a million points is smaller."""
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises on JSON that it cannot read, or not as the type asked for."""

_NON_FINITE = re.compile(rb"-?(?:NaN|Infinity)")
_SURROGATE = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\(u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_BETWEEN_OBJECTS = re.compile(rb"\}\s*(,)\s*\{")
_COMMA = re.compile(rb"(,)")


def decode(data: bytes, kind: type[T]) -> T:
    """The document as `kind`, a Struct of `msgspec.Raw` fields or Raw itself. Raises RecordError on what is none."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise RecordError(f"holds something else: {error}") from error
    except UNREADABLE as error:
        mended = _mended(data)
        if mended == data:
            raise RecordError(f"is not JSON: {error}") from error
    try:
        return msgspec.json.decode(mended, type=kind)
    except UNREADABLE as error:
        raise RecordError(f"is not JSON: {error}") from error


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the search for reference cycles: parsed JSON has none, and walking millions of lists costs a third."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def elements(array: msgspec.Raw, kind: type[T]) -> Iterator[list[T | Any]]:
    """The elements of a well-formed JSON array, a chunk at a time.

    Each is a `kind` where it is of that type, else what the standard library makes of it, or the RecordError why it
    makes nothing of it. Raises RecordError when `array` is no list.
    """
    typed, raws = msgspec.json.Decoder(list[kind]), msgspec.json.Decoder(list[msgspec.Raw])  # type: ignore[valid-type]
    one = msgspec.json.Decoder(kind)
    for chunk in _chunks(array):
        try:
            if len(chunk) > MAX_ENTRY_BYTES:
                raise RecordError
            yield typed.decode(chunk)
        except (*UNREADABLE, RecordError):
            yield [_element(bytes(raw), one) for raw in raws.decode(chunk)]


def _element(data: bytes, typed: msgspec.json.Decoder[T]) -> T | Any:
    if len(data) > MAX_ENTRY_BYTES:
        return RecordError(f"{len(data):,} bytes are more than the {MAX_ENTRY_BYTES:,} that one record may have")
    try:
        return typed.decode(data)
    except UNREADABLE:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            return RecordError(f"it cannot be read: {error}")


def _chunks(array: msgspec.Raw) -> Iterator[bytes]:
    """About CHUNK_BYTES of `array` at a time, each an array of its own."""
    text = memoryview(array)
    head = bytes(text[:1])
    if head != b"[":
        kinds = {b"{": "an object", b'"': "a string", b"n": "null", b"t": "true", b"f": "false"}
        raise RecordError(f"is no list but {kinds.get(head, 'a number')}")
    start, end, size = 1, len(text) - 1, CHUNK_BYTES
    while start < end:
        after = _boundary(text, start + size, end)
        chunk = b"".join((b"[", text[start:after], b"]"))
        try:
            msgspec.json.decode(chunk, type=msgspec.Raw)
        except UNREADABLE:  # the comma stood inside an element; doubling keeps the whole linear in the file's size
            if after >= end:
                raise
            size *= 2
            continue
        yield chunk
        start, size = after + 1, CHUNK_BYTES


def _boundary(text: memoryview, target: int, end: int) -> int:
    """Where a comma stands that may part two elements, from `target` on; `end` when there is none."""
    if target >= end:
        return end
    found = _BETWEEN_OBJECTS.search(text, target, min(end, target + (1 << 20))) or _COMMA.search(text, target, end)
    return found.start(1) if found else end


def _mended(data: bytes) -> bytes:
    """The document in UTF-8 without mark, with non-finite numbers as strings and lone surrogates as text."""
    encoding = json.detect_encoding(data)
    if encoding != "utf-8":
        try:
            data = data.decode(encoding).encode("utf-8", "backslashreplace")
        except UnicodeDecodeError:
            return data
    if b"\\ud" in data or b"\\uD" in data:
        data = _SURROGATE.sub(lambda m: rb"\\" + m[1] if m[1] else m[0], data)
    parts: list[bytes] = []
    start, inside = 0, False
    for token in _NON_FINITE.finditer(data):
        between = data[start : token.start()]
        # A backslash escapes whatever follows it, so pairs of them go first.
        quotes = between.replace(rb"\\", b"").replace(rb"\"", b"").count(b'"')
        inside ^= bool(quotes % 2)
        parts += [between, token[0] if inside else b'"' + token[0] + b'"']
        start = token.end()
    return b"".join([*parts, data[start:]])
