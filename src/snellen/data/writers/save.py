"""Puts what a writer made on disk: a whole folder or none, images byte for byte, nothing outside of it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Literal

from snellen.data.facts import DataFacts
from snellen.data.records import leads_out
from snellen.data.writers.losses import Losses
from snellen.data.writers.written import Written
from snellen.errors import UseError
from snellen.progress import Progress

Images = Literal["copy", "link", "none"]
MARK = ".snellen-partial"
"""Lies in a folder under construction, so that what a kill left behind is known and cleared away."""


@contextmanager
def new_folder(target: Path, source: Path) -> Iterator[Path]:
    """Yield `<target>.partial` to write into; it becomes `target` when the block ends, and goes when it raises.

    A kill leaves the partial folder, which the next call clears away. Raises UseError when `target` holds something or
    lies inside of `source`.
    """
    target = Path(os.path.abspath(target))
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        raise UseError(f"{target}: already holds something; name a folder that is empty or not there")
    if Path(os.path.realpath(target)).is_relative_to(os.path.realpath(source)):
        raise UseError(f"{target}: lies inside of the dataset {source}; name a folder beside it")
    partial = target.with_name(f"{target.name}.partial")
    if partial.exists() or partial.is_symlink():
        if partial.is_symlink() or not (partial / MARK).is_file():
            raise UseError(f"{partial}: is in the way, and not what a broken-off run left; move it")
        shutil.rmtree(partial)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise UseError(f"{partial}: cannot be made ({error.strerror})") from error
    try:
        (partial / MARK).touch()
        yield partial
        (partial / MARK).unlink()
        partial.replace(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def save(
    data: DataFacts, written: Written, folder: Path, images: Images, losses: Losses, progress: Progress
) -> dict[str, int]:
    """Write `written` below `folder`; how many annotation files and images were written, by name."""
    count = {"annotation_files": 0, "image_files": 0}
    progress("write labels", 0, 1)
    for name, content in written.files:
        path = below(folder, name)
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(content)
        count["annotation_files"] += 1
    progress("write labels", 1, 1)
    if images == "none":
        return count
    for done, (image, place) in enumerate(written.places.items(), 1):
        count["image_files"] += carry(Path(data.root), image, below(folder, place), images, losses)
        progress(f"{images} images", done, len(written.places))
    return count


def carry(root: Path, image: str, target: Path, images: Images, losses: Losses) -> bool:
    """Copy or link one image; False, counted, when there is no such file or it must not be opened."""
    source = root / image
    if not source.is_file() or leads_out(root, source):
        what = "image files that are not there, or links out of the dataset, were not carried over"
        losses.add("image-files", what, image)
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    if images == "link":
        try:
            os.link(os.path.realpath(source), target)
            return True
        except OSError:
            losses.add("copied-images", "images were copied: links do not reach across file systems", image)
    try:
        with source.open("rb") as original, target.open("xb") as copy:
            shutil.copyfileobj(original, copy, 1 << 20)
    except OSError as error:
        losses.add("image-files", "image files could not be read", f"{image} ({error.strerror})")
        return False
    return True


def below(folder: Path, name: str) -> Path:
    """`name` as a path below `folder`. Raises UseError when it leads out, whatever a writer made of a record."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise UseError(f"{name!r}: would be written outside of {folder}")
    return folder / path
