"""The changes of annotation files as a patch that `patch -p1` applies."""

import difflib
from collections.abc import Iterator

CONTEXT = 3
Opcode = tuple[str, int, int, int, int]


def patch(name: str, old: bytes, new: bytes | None) -> bytes:
    """Unified diff of one file; `new` None: the file goes. Bytes stay what they are; empty where nothing changed."""
    before, after = _lines(old), _lines(new or b"")
    hunks = list(_hunks(before, after))
    if not hunks:
        return b""
    # A name with spaces is ended by a tab, as GNU diff does.
    end = "\t\n" if " " in name else "\n"
    target = "/dev/null\n" if new is None else f"b/{name}{end}"
    return f"--- a/{name}{end}+++ {target}".encode() + "".join(hunks).encode("latin-1")


def _lines(content: bytes) -> list[str]:
    """Lines that end at line feeds alone, one character a byte."""
    parts = content.decode("latin-1").split("\n")
    return [f"{part}\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _hunks(before: list[str], after: list[str]) -> Iterator[str]:
    matcher: difflib.SequenceMatcher[str] = difflib.SequenceMatcher(None, [], [])
    matcher.opcodes = _opcodes(before, after)  # type: ignore[attr-defined]
    for group in matcher.get_grouped_opcodes(CONTEXT):
        _, a, _, b, _ = group[0]
        _, _, a_end, _, b_end = group[-1]
        yield f"@@ -{_range(a, a_end)} +{_range(b, b_end)} @@\n"
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (_line(" ", line) for line in before[i1:i2])
                continue
            yield from (_line("-", line) for line in before[i1:i2])
            yield from (_line("+", line) for line in after[j1:j2])


def _opcodes(before: list[str], after: list[str]) -> list[Opcode]:
    """What difflib says, but what both begin and end with is passed over first: it takes quadratic time."""
    head = _common(before, after)
    tail = _common(before[head:][::-1], after[head:][::-1])
    a, b = len(before) - tail, len(after) - tail
    inner = difflib.SequenceMatcher(None, before[head:a], after[head:b], autojunk=False).get_opcodes()
    found: list[Opcode] = [("equal", 0, head, 0, head)] if head else []
    found += [(tag, i1 + head, i2 + head, j1 + head, j2 + head) for tag, i1, i2, j1, j2 in inner]
    return found + ([("equal", a, len(before), b, len(after))] if tail else [])


def _common(one: list[str], other: list[str]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _range(start: int, end: int) -> str:
    """`first,count` as unified diffs count: from 1, and the line before where there are none."""
    count = end - start
    return f"{start + (count > 0)},{count}"


def _line(sign: str, line: str) -> str:
    return f"{sign}{line}" if line.endswith("\n") else f"{sign}{line}\n\\ No newline at end of file\n"
