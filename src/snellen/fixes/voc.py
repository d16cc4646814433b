"""Edits of Pascal VOC files: text spans that expat finds, everything else stays byte for byte."""

from collections.abc import Callable, Sequence
from typing import Any
from xml.parsers import expat

from snellen.fixes.edit import Edit, EditError, clipped, number, rows_of, spliced

OPS = frozenset({"drop-box", "clip-box", "set-box", "rewrite-size", "drop-image"})
Span = tuple[int, int]
CORNER_NAMES = ("xmin", "ymin", "xmax", "ymax")


def edited(content: bytes, edits: Sequence[Edit]) -> bytes:
    """The file after `edits`. Raises EditError."""
    # One character a byte, so that expat's byte positions are positions in the text.
    text = content.decode("latin-1")
    objects, texts = _found(content)
    changes: list[tuple[int, int, str]] = []
    for edit in edits:
        op = edit["op"]
        if op == "rewrite-size":
            sides = [tag for tag in ("width", "height") if ("size", tag) in texts]
            changes += [(*texts["size", tag], str(edit[tag])) for tag in sides]
            continue
        for row in rows_of(edit):
            if row > len(objects):
                raise EditError("the file has fewer objects than were read")
            if op == "drop-box":
                changes.append((*_with_its_line(text, objects[row - 1]), ""))
            elif op in ("clip-box", "set-box"):
                places = [texts.get((row, tag)) for tag in CORNER_NAMES]
                spans = [span for span in places if span is not None]
                if len(spans) < 4:
                    raise EditError("the object has no four corners")
                old = [float(text[a:b]) for a, b in spans]
                new = edit["box_xyxy"] if op == "set-box" else clipped(old, edit["width"], edit["height"])
                changes += [(*span, str(number(v))) for span, v, was in zip(spans, new, old, strict=True) if v != was]
            else:
                raise EditError(f"{op} is not known for VOC files")
    return spliced(text, changes).encode("latin-1")


def _found(content: bytes) -> tuple[list[Span], dict[Any, Span]]:
    """Spans of the objects in document order, and of the texts of size (`size`, tag) and corners (row, tag)."""
    parser = expat.ParserCreate()
    objects: list[Span] = []
    texts: dict[Any, Span] = {}
    path: list[tuple[str, int]] = []
    open_rows: list[int] = []

    def begin(tag: str, _: dict[str, str]) -> None:
        path.append((tag, parser.CurrentByteIndex))
        if tag == "object":
            objects.append((parser.CurrentByteIndex, -1))
            open_rows.append(len(objects))

    def end(tag: str) -> None:
        tags = [name for name, _ in path]
        _, start = path.pop()
        at = parser.CurrentByteIndex
        if tag == "object":
            row = open_rows.pop()
            objects[row - 1] = (start, content.index(b">", at) + 1)
        inner = (content.index(b">", start) + 1, at)
        if tags[1:-1] == ["size"]:
            texts.setdefault(("size", tag), inner)
        elif open_rows and tags[-3:-1] == ["object", "bndbox"]:
            texts.setdefault((open_rows[-1], tag), inner)

    def refuse(*_: object) -> None:
        raise EditError("the file declares entities")

    handlers: dict[str, Callable[..., None]] = {
        "StartElementHandler": begin, "EndElementHandler": end, "EntityDeclHandler": refuse,
    }  # fmt: skip
    for name, handler in handlers.items():
        setattr(parser, name, handler)
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError) as error:
        raise EditError(f"the file cannot be edited as XML: {error}") from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise EditError("the file is UTF-16: convert it to UTF-8")
    return objects, texts


def _with_its_line(text: str, span: Span) -> Span:
    """The span, with the white space and line end that are left over when nothing else stands on its lines."""
    start, end = span
    left = len(text[:start].rstrip(" \t"))
    right = end + len(text[end:]) - len(text[end:].lstrip(" \t\r"))
    if text[left - 1 : left] == "\n" and text[right : right + 1] == "\n":
        return left, right + 1
    return span
