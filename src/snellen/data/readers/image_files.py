"""Finds the image files that a table names, by path, by name or, as Open Images does, by id without a suffix."""

from pathlib import Path

from snellen.data.decoding import displayed_size
from snellen.data.records import IMAGE_SUFFIXES, files_below, inside

FOLDERS = ("", "images", "Images", "JPEGImages", "imgs", "img")
"""Folders, beside the table or in the root, that names are customarily relative to."""


class ImageFiles:
    """The image files below `root`; they are listed once, and only when the customary places hold none of a name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._bases: list[Path] = []
        self._by_name: dict[str, Path | None] | None = None
        self._sizes: dict[Path, tuple[int, int] | None] = {}

    def find(self, beside: Path, name: str, split: str | None) -> Path:
        """The file called `name`; where there is none, the place at which it would be expected.

        Raises RecordError for a path that leaves the root.
        """
        bare = Path(name).suffix.lower() not in IMAGE_SUFFIXES
        if bare and "/" not in name and (path := self._listed(name)):
            return path
        for base in (*self._bases, *self._customary(beside, split)):
            if (path := inside(self.root, base, name)).is_file():
                if base not in self._bases:
                    self._bases.insert(0, base)
                return path
        expected = inside(self.root, beside, name)
        return self._listed(Path(name.replace("\\", "/")).name) or expected

    def size(self, path: Path) -> tuple[int, int] | None:
        """Width and height as displayed; None when the file cannot be read."""
        if path not in self._sizes:
            self._sizes[path] = displayed_size(path)
        return self._sizes[path]

    def _customary(self, beside: Path, split: str | None) -> list[Path]:
        bases = [place / folder for place in (beside, self.root) for folder in FOLDERS]
        return list(dict.fromkeys([*bases, *(base / split for base in bases if split)]))

    def _listed(self, name: str) -> Path | None:
        """The only file of that name, or of that name without its suffix, anywhere below the root."""
        if self._by_name is None:
            self._by_name = {}
            for path in files_below(self.root, IMAGE_SUFFIXES):
                for key in (path.name, path.stem):
                    self._by_name[key] = None if key in self._by_name else path
        return self._by_name.get(name)
