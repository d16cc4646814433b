"""`snellen export`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class ExportFormat(StrEnum):
    """Output formats."""

    ONNX = "onnx"
    PT2 = "pt2"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("export")(export)


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    form: Annotated[
        ExportFormat | None, typer.Option("--format", "-f", help="pt2 is torch.export's; default: by the file's name.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a run's network as ONNX or torch.export, and compare it with the original."""
    from snellen.verbs.export import export as run_export

    typer.echo(run_export(run, output, format=form.value if form else None, force=force))
