"""`snellen demo`."""

from pathlib import Path
from typing import Annotated

import typer

from snellen.cli import common


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("demo")(demo)


def demo(
    sick: Annotated[bool, typer.Option("--sick", help="Plant a dozen named defects first, and find them.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default: the next free runs/demo-N.")] = None,
) -> None:
    """Run the exam on real data that comes with Snellen: scanned digits to classify, digit scenes to detect in."""
    from snellen.verbs.demo import demo as run

    with common.progress_bar() as progress:
        outcome = run(sick=sick, out=out, progress=progress)
    typer.echo(str(outcome))
    raise typer.Exit(0 if outcome.passed else 1)
