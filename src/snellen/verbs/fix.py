"""`fix`: make the fixes that rules propose, in a copy, as a patch, or in place with an undo journal."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from snellen.data.writers.save import new_folder
from snellen.errors import UseError
from snellen.findings.settings import LoadedSettings, load_settings
from snellen.findings.words import plural
from snellen.fixes.changes import changes_for
from snellen.fixes.journal import Journal
from snellen.fixes.patch import patch
from snellen.fixes.plan import UNSAFE, plan
from snellen.fixes.working_copy import copy_tree
from snellen.progress import Progress, silent
from snellen.report.plain import plain
from snellen.result import Result
from snellen.verbs.check import check

Write = Callable[[Path, dict[str, bytes | None]], None]
MAX_PASSES = 10
"""Mending a cause may bare what was only its consequence; chains are shorter than this."""


@dataclass
class Fixed:
    """What was fixed, what was left, and how to get it; prints as a table."""

    subject: str
    where: str
    """In words: where the fixed annotation files are."""
    made: dict[str, int] = field(default_factory=dict)
    """Rule -> findings mended."""
    left: dict[tuple[str, str], int] = field(default_factory=dict)
    """(rule, why) -> findings that stay."""
    files: list[str] = field(default_factory=list)
    """Files that differ from the original, relative to the dataset's folder."""
    not_copied: list[str] = field(default_factory=list)
    """Links out of the dataset, pipes and devices."""
    patch: bytes = b""
    """The changes as `patch -p1` takes them, when a patch was asked for."""
    result: Result | None = None
    """The dataset examined again, after the fixes."""

    def __str__(self) -> str:
        total = sum(self.made.values())
        lines = [f"{plain(self.subject)}: {plural(total, 'finding')} fixed in {plural(len(self.files), 'file')}"]
        lines[0] += f", {self.where}" if self.files or not total else ""
        lines += [f"  {count:>6,}  {rule}" for rule, count in sorted(self.made.items())]
        if self.left:
            lines.append(f"{plural(sum(self.left.values()), 'finding')} left:")
            lines += [f"  {count:>6,}  {rule}: {plain(why)}" for (rule, why), count in sorted(self.left.items())]
        if any(why == UNSAFE for _, why in self.left):
            lines.append("`snellen explain RULE` tells what each is and how to mend it by hand")
        lines += [f"not copied: {plain(name)} leads out of the dataset, or is no file" for name in self.not_copied]
        return "\n".join(lines)


def fix(
    data: str | Path,
    output: str | Path | None = None,
    *,
    in_place: bool = False,
    unsafe: bool = False,
    fast: bool = False,
    with_model: str | Path | None = None,
    settings: LoadedSettings | None = None,
    progress: Progress = silent,
) -> Fixed:
    """Make the fixes for what `check` finds in the dataset at `data`; images are never changed.

    Into the folder `output`, which must be empty or not there: a copy of the dataset's folder with the annotation files
    mended and the images linked. `in_place`: in the dataset itself, with an undo journal. Neither: nothing is changed,
    and `Fixed.patch` is the patch. `unsafe` also makes fixes that may drop or move something that was meant, and those
    that a model proposes (`with_model`, as `check` takes it). The dataset is examined again after each pass, until
    there is nothing more to fix.
    Raises UseError when `output` is not free, DatasetError when there is no dataset.
    """
    if output is not None and in_place:
        raise UseError("a copy or in place: name one of --output and --in-place")
    settings = settings or load_settings(Path.cwd())
    data = Path(data)

    def examine(path: Path, cache_dir: Path | None = None) -> Result:
        return check(path, fast=fast, settings=settings, cache_dir=cache_dir, with_model=with_model, progress=progress)

    first = examine(data)
    assert first.data is not None
    base = _base(data, Path(first.data.root))
    if in_place:
        done = Fixed(str(data), f"in place; undo with: snellen check {data} --undo")
        journal = Journal(Path(first.data.root))
        _passes(done, first, lambda: examine(data), unsafe, lambda _, files: journal.apply(files), journal.root)
        return done
    inner, inner_root = os.path.relpath(data.resolve(), base), os.path.relpath(first.data.root, base)
    if output is not None:
        done = Fixed(str(data), f"in {output}")
        with new_folder(Path(output), base) as folder:
            done.not_copied = copy_tree(base, folder)
            with _temporary(base) as cache:
                _passes(done, first, lambda: examine(folder / inner, cache), unsafe, _write, folder / inner_root)
        return done
    done = Fixed(str(data), "as a patch")
    with _temporary(base) as folder, _temporary(base) as cache:
        copy_tree(base, folder)
        _passes(done, first, lambda: examine(folder / inner, cache), unsafe, _write, folder / inner_root)
        done.patch = b"".join(_patches(done, Path(first.data.root), folder / inner_root))
    return done


def _base(data: Path, root: Path) -> Path:
    """The folder that holds both what the user named and what its paths are relative to."""
    data = data.resolve()
    return Path(os.path.commonpath([data if data.is_dir() else data.parent, root]))


def _passes(done: Fixed, first: Result, again: Callable[[], Result], unsafe: bool, write: Write, root: Path) -> None:
    """Plan, edit and examine until nothing more can be fixed; `first` is the verdict on what lies at `root` now."""
    result = first
    failed: dict[str, str] = {}
    changed: dict[str, None] = {}
    for _ in range(MAX_PASSES):
        assert result.data is not None
        planned = plan(result.verdict, result.data, unsafe=unsafe)
        todo = [(f, e) for f, e in planned.edits if f.fingerprint not in failed]
        changes = changes_for(result.data, todo)
        failed |= {finding.fingerprint: why for finding, why in changes.failed}
        if not changes.files:
            break
        write(root, changes.files)
        changed |= dict.fromkeys(changes.files)
        for finding in changes.made:
            done.made[finding.rule] = done.made.get(finding.rule, 0) + 1
        result = again()
    done.result = result
    done.files = list(changed)
    assert result.data is not None
    last = plan(result.verdict, result.data, unsafe=unsafe)
    for finding, why in [*last.left, *((f, failed.get(f.fingerprint, "was not reached")) for f, _ in last.edits)]:
        done.left[finding.rule, why] = done.left.get((finding.rule, why), 0) + 1


def _write(root: Path, files: dict[str, bytes | None]) -> None:
    """Into a working copy: nothing there is linked but images, which are taken away and never written."""
    for name, content in files.items():
        path = root / name
        if content is None:
            path.unlink()
        else:
            Path(os.path.realpath(path)).write_bytes(content)


@contextmanager
def _temporary(base: Path) -> Iterator[Path]:
    """A folder that goes again, on the dataset's own file system where that can be written, so that links reach."""
    place = Path(tempfile.gettempdir())
    beside = base.parent
    if place.stat().st_dev != base.stat().st_dev and os.access(beside, os.W_OK):
        place = beside
    folder = Path(tempfile.mkdtemp(prefix=".snellen-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _patches(done: Fixed, root: Path, fixed: Path) -> Iterator[bytes]:
    for name in sorted(done.files):
        old = (root / name).read_bytes()
        if Path(name).suffix.lower() not in (".json", ".xml", ".txt", ".csv", ".yaml", ".yml"):
            yield f"# {name}: remove this file yourself, a patch of text cannot\n".encode()
            continue
        yield patch(name, old, (fixed / name).read_bytes() if (fixed / name).is_file() else None)
