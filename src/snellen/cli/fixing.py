"""The options of `snellen check` that mend instead of report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli import common

if TYPE_CHECKING:
    from snellen.findings.settings import LoadedSettings

FixOption = Annotated[
    bool, typer.Option("--fix", help="Mend what is safe to mend; needs --output COPY, --diff or --in-place.")
]
UnsafeOption = Annotated[
    bool, typer.Option("--unsafe-fixes", help="With --fix: also drop or move what could have been meant.")
]
DiffOption = Annotated[bool, typer.Option("--diff", help="Print the fixes as a patch for `patch -p1`; write nothing.")]
InPlaceOption = Annotated[
    bool, typer.Option("--in-place", help="With --fix: change the annotation files, with a journal for --undo.")
]
UndoOption = Annotated[bool, typer.Option("--undo", help="Take the last --fix --in-place back, byte for byte.")]


def mend(
    data: Path,
    output: Path | None,
    settings: "LoadedSettings",
    *,
    diff: bool,
    in_place: bool,
    unsafe: bool,
    fast: bool,
    with_model: Path | None,
) -> None:
    """Run `snellen check --fix`; the summary goes to standard output, or to standard error beside a patch."""
    import sys

    from snellen.errors import UseError
    from snellen.verbs.fix import fix

    if not diff and not in_place and output is None:
        raise UseError("--fix: say where with --output COPY, --diff or --in-place")
    if diff and in_place:
        raise UseError("--diff writes nothing: leave out --in-place")
    with common.progress_bar() as progress:
        done = fix(
            data, None if diff else output, in_place=in_place, unsafe=unsafe, fast=fast, with_model=with_model,
            settings=settings, progress=progress,
        )  # fmt: skip
    if diff and output is not None:
        output.write_bytes(done.patch)
    elif diff:
        sys.stdout.buffer.write(done.patch)
        sys.stdout.buffer.flush()
    typer.echo(str(done), err=diff)
    raise typer.Exit(common.exit_code(done.result) if done.result else 0)


def take_back(data: Path) -> None:
    """Run `snellen check --undo`."""
    from snellen.fixes.journal import latest, undo

    journal = latest(data)
    files = undo(journal)
    typer.echo(f"{len(files)} files are as they were before the fixes; {journal} is gone")
