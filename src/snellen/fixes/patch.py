"""The changes of annotation files as a patch that `patch -p1` applies."""

import difflib
from collections.abc import Iterator


def patch(name: str, old: bytes, new: bytes | None) -> bytes:
    """Unified diff of one file, three lines of context; `new` None: the file goes. Bytes stay what they are."""
    before, after = _lines(old), _lines(new or b"")
    # What both begin and end with is passed over first: the differ takes quadratic time.
    head = _common(before, after)
    tail = _common(before[head:][::-1], after[head:][::-1])
    skip = max(0, head - 3)
    end = max(0, tail - 3)
    mine = before[skip : len(before) - end], after[skip : len(after) - end]
    target = "/dev/null" if new is None else f"b/{name}"
    lines = list(difflib.unified_diff(*mine, f"a/{name}", target, lineterm="\n"))
    return "".join(_shown(lines, skip)).encode("latin-1")


def _lines(content: bytes) -> list[str]:
    """Lines that end at line feeds alone, one character a byte."""
    parts = content.decode("latin-1").split("\n")
    return [f"{part}\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _common(one: list[str], other: list[str]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _shown(lines: list[str], skip: int) -> Iterator[str]:
    for place, line in enumerate(lines):
        if line.startswith("@@ "):
            parts = line.split(" ")
            yield " ".join([parts[0], _moved(parts[1], skip), _moved(parts[2], skip), *parts[3:]])
        elif place < 2:
            # A name with spaces is ended by a tab, as GNU diff does; names are UTF-8, contents one character a byte.
            yield line[:-1].encode("utf-8").decode("latin-1") + ("\t\n" if " " in line[4:-1] else "\n")
        else:
            yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _moved(span: str, skip: int) -> str:
    """`-12,3` as seen from the file's beginning."""
    sign, numbers = span[0], span[1:].split(",")
    return sign + ",".join([str(int(numbers[0]) + skip), *numbers[1:]])
