"""The undo journal: what files held before they were changed in place, kept until the user throws it away.

It lies in `.snellen-undo/<number>/` of the dataset's folder, which no reader looks into. It is written before a file is
touched, so that a kill at any moment can be undone.
"""

import json
import os
import shutil
from hashlib import blake2b
from pathlib import Path
from typing import Any

from snellen.errors import UseError
from snellen.files import write_text, written_whole

FOLDER = ".snellen-undo"
JOURNAL = "journal.json"


class Journal:
    """The journal of one run of fixes over the dataset at `root`."""

    def __init__(self, root: Path) -> None:
        place = root / FOLDER
        taken = [int(p.name) for p in place.iterdir() if p.name.isdigit()] if place.is_dir() else []
        self.root, self.folder = root, place / str(max(taken, default=0) + 1)
        self.files: dict[str, dict[str, Any]] = {}

    def apply(self, changes: dict[str, bytes | None]) -> None:
        """Note what is there, then write `changes`: file -> new content, None: the file goes."""
        moved: set[str] = set()
        for file, new in changes.items():
            entry = self.files.get(file)
            if entry is None:
                entry = self.files[file] = {"kept": f"{len(self.files)}.kept"}
                if new is None:
                    moved.add(file)
                else:
                    self._keep(file, entry["kept"])
            elif new is None and entry["after"] is not None:
                (self.root / file).unlink()
            entry["after"] = None if new is None else _hash(new)
        text = json.dumps({"version": 1, "files": self.files}, indent=1)
        write_text(self.folder / JOURNAL, text, durable=True)
        for file in moved:
            os.replace(self.root / file, self.folder / self.files[file]["kept"])
        for file, new in changes.items():
            if new is not None:
                # The file a link leads to is written, so that the link stays one.
                with written_whole(Path(os.path.realpath(self.root / file)), durable=True) as temporary:
                    temporary.write_bytes(new)
                    shutil.copymode(self.root / file, temporary)

    def _keep(self, file: str, name: str) -> None:
        with written_whole(self.folder / name, durable=True) as temporary:
            shutil.copyfile(self.root / file, temporary)


def latest(data: Path) -> Path:
    """The newest journal of the dataset at `data`, a folder or an annotation file. Raises UseError without one."""
    for folder in (data, *data.absolute().parents[:2]):
        place = folder / FOLDER
        numbers = [int(p.name) for p in place.iterdir() if (p / JOURNAL).is_file()] if place.is_dir() else []
        if numbers:
            return place / str(max(numbers))
    raise UseError(f"{data}: no undo journal there ({FOLDER}/); only fixes made with --in-place leave one")


def undo(journal: Path) -> list[str]:
    """Put every file of `journal` back byte for byte, throw the journal away, and return the files.

    Raises UseError, before anything is touched, when it is no journal or a file was changed since.
    """
    root = journal.parent.parent
    try:
        files: dict[str, dict[str, Any]] = json.loads((journal / JOURNAL).read_text(encoding="utf-8"))["files"]
        entries = [(name, str(e["kept"]), e["after"]) for name, e in files.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UseError(f"{journal}: is no undo journal ({error})") from error
    for name, kept, after in entries:
        path = Path(os.path.normpath(root / name))
        inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
        if not inside or os.path.basename(kept) != kept:
            raise UseError(f"{journal}: names {name!r}, which lies outside of {root}; it was not followed")
        if not (journal / kept).is_file():
            continue  # a kill came before this file was moved away
        there = _hash(path.read_bytes()) if path.is_file() else None
        if there not in (after, _hash((journal / kept).read_bytes())):
            raise UseError(f"{path}: was changed after the fixes; move it away to undo the others")
    restored = []
    for name, kept, _ in entries:
        if not (journal / kept).is_file():
            continue
        path = Path(os.path.realpath(root / name))
        with written_whole(path, durable=True) as temporary:
            shutil.copyfile(journal / kept, temporary)
            shutil.copymode(path if path.is_file() else journal / kept, temporary)
        restored.append(name)
    shutil.rmtree(journal)
    if not any(journal.parent.iterdir()):
        journal.parent.rmdir()
    return restored


def _hash(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
