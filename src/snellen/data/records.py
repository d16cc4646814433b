"""What a reader gathers: rows for the tables of DataFacts, and the guards that keep hostile input out of them.

Problem kinds that every reader may record:

* `corrupt-annotation-file`: an annotation file cannot be parsed, or is larger than `MAX_ANNOTATION_BYTES`
* `malformed-label`: a record lacks a field, or a field is of the wrong type
* `unsafe-path`: a path is absolute, holds a NUL byte or leaves the dataset; it was not followed
* `symlink-placeholder`: a small text file stands where a directory link should
* `missing-split-target`: a split names a folder, list or image id that is not there
* `duplicate-id`: an id that must be unique appears again
* `unknown-image-id`: an annotation belongs to an image that is not listed
* `orphan-label`: a label file without an image
* `image-in-two-splits`: one image file is listed by two splits
"""

import math
import os
import re
import reprlib
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snellen.data.facts import BOXES, IMAGES, KEYPOINTS, MASKS, OUTLINES
from snellen.data.rows import Rows

MAX_ANNOTATION_BYTES = 1 << 30
"""Annotation files above this (1 GiB) are not read: COCO's largest is half of it."""
MOST_PROBLEMS = 10_000
"""Problems of one kind listed for one file: a file of a million bad records must not cost gigabytes."""
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip


_PLAIN = re.compile(r"[^/\\\0.\s\ud800-\udfff][^/\\\0\ud800-\udfff]*(/[^/\\\0.\ud800-\udfff][^/\\\0\ud800-\udfff]*)*")
_BRIEF = reprlib.Repr()
_BRIEF.maxlist = _BRIEF.maxtuple = _BRIEF.maxdict = _BRIEF.maxstring = _BRIEF.maxother = 100
_BRIEF.maxlevel = 3


class RecordError(ValueError):
    """A record or file cannot be used; caught by the reader and turned into a problem."""


@dataclass
class Records:
    """Rows under construction; `root` is the folder that all paths are relative to."""

    root: Path
    format: str
    task: str
    images: dict[str, int] = field(default_factory=dict)
    """Key of an image -> its position in `image_rows`."""
    image_rows: Rows = field(default_factory=lambda: Rows(IMAGES))
    boxes: Rows = field(default_factory=lambda: Rows(BOXES))
    """`object` is filled in at the end."""
    outlines: Rows = field(default_factory=lambda: Rows(OUTLINES))
    """Geometry as written; what `OUTLINES` calls measured is filled in later."""
    keypoints: Rows = field(default_factory=lambda: Rows(KEYPOINTS))
    masks: Rows = field(default_factory=lambda: Rows(MASKS))
    problems: list[dict[str, Any]] = field(default_factory=list)
    classes: dict[int, tuple[str, bool]] = field(default_factory=dict)
    """Class id -> name, declared."""
    class_details: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Class id -> supercategory, colour, thing, where the format says them."""
    splits: list[str] = field(default_factory=list)
    """Declared, whether images belong to them or not."""
    keypoint_names: list[str] = field(default_factory=list)
    keypoint_flip: list[int] = field(default_factory=list)
    skeleton: list[list[int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Path of a file or folder that was seen and not read -> why."""
    misnamed: set[str] = field(default_factory=set)
    """Paths that `relative` had to escape: no file can be opened by them."""
    _told: dict[tuple[str, str | None], int] = field(default_factory=dict)
    """Kind and file of a problem -> how often."""

    def problem(
        self, kind: str, file: str | None, message: str, *, row: int | None = None, image: str | None = None,
        value: object = None,
    ) -> None:  # fmt: skip
        """Record a bad record; `value` is shortened to 200 characters.

        Beyond MOST_PROBLEMS of one kind in one file they are only counted: `problem_rows` says how many.
        """
        count = self._told.get((kind, file), 0)
        self._told[kind, file] = count + 1
        if count < MOST_PROBLEMS:
            shown, message = None if value is None else brief(value), one_line(message[:1000])
            self.problems.append(
                {"kind": kind, "file": file, "row": row, "image": image, "value": shown, "message": message}
            )

    def problem_rows(self) -> list[dict[str, Any]]:
        """The problems, and one more for each kind and file that has too many to list."""
        more = [
            {"kind": kind, "file": file, "value": f"{count:,}",
             "message": f"{count - MOST_PROBLEMS:,} more records of {file} have the same problem"}
            for (kind, file), count in self._told.items()
            if count > MOST_PROBLEMS
        ]  # fmt: skip
        return self.problems + more

    def image(self, key: str, **columns: Any) -> bool:
        """Add an image; False, and a problem, when it is already listed by another split."""
        if key not in self.images:
            self.images[key] = self.image_rows.append({"image": key, "listed": True} | columns)
            return True
        first, split = self.said(key, "split"), columns.get("split")
        if first != split:
            message = f"{key} is in split {first} and in split {split}; the first counts"
            self.problem("image-in-two-splits", columns.get("label_file") or key, message, image=key)
        return False

    def said(self, key: str, column: str) -> Any:
        """What was recorded of the listed image `key`."""
        return self.image_rows.cell(self.images[key], column)

    def relative(self, path: Path) -> str:
        """`path` below the root, with forward slashes; bytes that are not UTF-8 escaped."""
        text, start = str(path), f"{self.root}{os.sep}"
        if text.startswith(start) and ".." not in text:
            text = text[len(start) :].replace(os.sep, "/")
        else:
            text = Path(os.path.relpath(path, self.root)).as_posix()
        key = clean(text)
        if key != text:
            self.misnamed.add(key)
        return key

    def pass_over(self, path: Path, reason: str) -> None:
        """Put a file or folder that is not read into the ledger."""
        key = self.relative(path)
        self.left_out[key] = reason


def brief(value: object) -> str:
    """At most 200 characters of any value that a parser made: large, deep and shared ones cost no more than small."""
    if isinstance(value, str):
        return clean(value[:200])
    try:
        return clean(_BRIEF.repr(value))[:200]
    except ValueError:  # an integer of thousands of digits
        return type(value).__name__


def clean(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates are written as escapes, so that two names stay two."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: str) -> str:
    """Text without line breaks or other control characters."""
    return "".join(c if c.isprintable() else "?" for c in clean(text))


def plain_path(text: str) -> bool:
    """Whether a path needs no normalising: it names a file below where it starts, by visible names."""
    return len(text) <= 1024 and _PLAIN.fullmatch(text) is not None


def inside(root: Path, base: Path, text: str) -> Path:
    """`text` as a path below `root`, seen from `base`. Raises RecordError when it is unusable or leaves `root`."""
    if not text.strip() or "\0" in text or len(text) > 1024:
        raise RecordError("the path is empty, too long or holds a NUL byte")
    if re.match(r"[A-Za-z]:[\\/]", text):
        raise RecordError("the path is absolute, on a drive of Windows")
    text = clean(text.replace("\\", "/"))
    path = Path(os.path.normpath(base / text))
    if not path.is_relative_to(os.path.normpath(root)):
        raise RecordError("the path leaves the dataset's folder")
    return path


def leads_out(root: Path, path: Path) -> bool:
    """Whether links lead `path`, which lies below `root`, to a file outside of it."""
    # Not Path.resolve, which raises on a loop of links before Python 3.13.
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def read_bytes(path: Path, root: Path | None = None, *, limit: int = MAX_ANNOTATION_BYTES) -> bytes:
    """The file, at most `limit` bytes; below `root`, where given, links followed.

    Raises RecordError naming value, limit and remedy; a pipe or a device is not opened.
    """
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise RecordError("is no regular file: it was not opened")
        if root is not None and leads_out(root, path):
            raise RecordError("is a link that leads out of the dataset's folder: it was not followed")
        size = state.st_size
        if size > limit:
            raise RecordError(f"{size:,} bytes are more than the {limit:,} that are read: split the file")
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot be read: {error.strerror or error}") from error


def number(value: object) -> float | None:
    """A JSON or text number as a float; NaN and infinities stay; anything else is None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError:
        return None


def integer(value: object) -> int | None:
    """A whole number that fits 64 bits, else None. `"3"` and `3.0` count."""
    real = number(value)
    if real is None or not math.isfinite(real) or real != int(real) or abs(real) >= 2**63:
        return None
    return int(value) if isinstance(value, int) else int(real)


def well_formed(x1: float | None, y1: float | None, x2: float | None, y2: float | None) -> bool:
    """Finite, with positive width and height."""
    corners = [c for c in (x1, y1, x2, y2) if c is not None and math.isfinite(c)]
    return len(corners) == 4 and corners[2] > corners[0] and corners[3] > corners[1]


def files_below(
    folder: Path, suffixes: frozenset[str], pass_over: Callable[[Path, str], None] | None = None
) -> Iterator[Path]:
    """Files below `folder` with one of `suffixes`, sorted; hidden ones and linked folders are passed over.

    `pass_over` is told each of those, and each hidden folder that holds such files, with the reason.
    Raises OSError where a folder cannot be listed: its images must not be missing in silence.
    """

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, names in os.walk(folder, onerror=refuse):
        if pass_over:
            for name in sorted(folders):
                path = Path(place, name)
                if path.is_symlink():
                    pass_over(path, "a linked folder: links to folders among the images are not followed")
                elif name.startswith(".") and _holds(path, suffixes):
                    pass_over(path, "a hidden folder")
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in suffixes:
                if not name.startswith("."):
                    yield Path(place, name)
                elif pass_over:
                    pass_over(Path(place, name), "a hidden file")


def _holds(folder: Path, suffixes: frozenset[str]) -> bool:
    """Whether a file with one of `suffixes` lies below, hidden or not, as far as one may look."""
    return any(os.path.splitext(n)[1].lower() in suffixes for _, _, names in os.walk(folder) for n in names)


def placeholder_target(path: Path) -> Path | None:
    """Where a link that was checked out as text points: a file below 200 bytes naming an existing folder nearby.

    Nearby: below the grandparent of `path`, so that a hostile file cannot lead the reader about the disk.
    """
    if not path.is_file() or path.stat().st_size > 200:
        return None
    text = path.read_bytes().decode("utf-8", "replace").strip()
    if not text or "\0" in text or "\n" in text or text.startswith("/"):
        return None
    target = Path(os.path.normpath(path.parent / text))
    return target if target.is_dir() and target.is_relative_to(path.parent.parent) and target != path.parent else None
