"""A copy of a dataset's folder to work on: annotation files copied, images linked, links out of it left behind."""

import os
import shutil
from pathlib import Path

from snellen.data.records import IMAGE_SUFFIXES, leads_out
from snellen.findings.suppression import SIDECAR


def copy_tree(source: Path, target: Path) -> list[str]:
    """Copy `source` into the empty folder `target`; returns what was not copied: links out of it, pipes, devices.

    Images are hard links where the file system allows it. Hidden files stay behind, but for the sidecar.
    """
    skipped = []
    for place, folders, names in os.walk(source, followlinks=False):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        here = Path(place)
        there = target / here.relative_to(source)
        there.mkdir(exist_ok=True)
        links = [f for f in folders if (here / f).is_symlink()]
        for name in sorted([*names, *links]):
            path = here / name
            if name.startswith(".") and name != SIDECAR:
                continue
            if leads_out(source, path) or not (path.is_file() or path.is_dir()):
                skipped.append(path.relative_to(source).as_posix())
            elif path.is_symlink() and not os.path.isabs(os.readlink(path)):
                os.symlink(os.readlink(path), there / name)
            elif path.is_file():
                _carry(path, there / name)
    return skipped


def _carry(path: Path, target: Path) -> None:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        try:
            os.link(path, target, follow_symlinks=True)
            return
        except OSError:  # another file system, or one without hard links
            pass
    shutil.copyfile(path, target)
