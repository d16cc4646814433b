"""Finds the image files that a table names, by path, by name or, as Open Images does, by id without a suffix."""

import os
from pathlib import Path

from snellen.data.decoding import displayed_size
from snellen.data.records import IMAGE_SUFFIXES, files_below, inside

FOLDERS = ("", "images", "Images", "JPEGImages", "imgs", "img")
"""Folders, beside the table or in the root, that names are customarily relative to."""


class ImageFiles:
    """The image files below `root`; they are listed once, when a name is not where the one before it was."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._base: Path | None = None
        """Where the last name was found."""
        self._paths: set[str] = set()
        self._bases: dict[tuple[Path, str | None], list[str]] = {}
        self._by_name: dict[str, Path | None] = {}
        self._sizes: dict[Path, tuple[int, int] | None] = {}

    def find(self, beside: Path, name: str, split: str | None) -> Path:
        """The file called `name`; where there is none, the place at which it would be expected.

        Raises RecordError for a path that leaves the root.
        """
        if self._base and (path := inside(self.root, self._base, name)).is_file():
            return path
        expected = inside(self.root, beside, name)
        self._list()
        for base in self._customary(beside, split):
            if (named := f"{base}{os.sep}{name}") in self._paths:
                self._base = Path(base)
                return Path(named)
        if expected.is_file():
            return expected
        return self._by_name.get(Path(name.replace("\\", "/")).name) or expected

    def size(self, path: Path) -> tuple[int, int] | None:
        """Width and height as displayed; None when the file cannot be read."""
        if path not in self._sizes:
            self._sizes[path] = displayed_size(path)
        return self._sizes[path]

    def _customary(self, beside: Path, split: str | None) -> list[str]:
        key = (beside, split)
        if key not in self._bases:
            bases = [place / folder for place in (beside, self.root) for folder in FOLDERS]
            self._bases[key] = list(dict.fromkeys(str(b) for b in (*bases, *(b / split for b in bases if split))))
        return self._bases[key]

    def _list(self) -> None:
        """Note every image file, and those whose name, or name without its suffix, is the only one of its kind."""
        if self._paths or self._by_name:
            return
        self._by_name[""] = None
        for path in files_below(self.root, IMAGE_SUFFIXES):
            self._paths.add(str(path))
            for key in (path.name, path.stem):
                self._by_name[key] = None if key in self._by_name else path
