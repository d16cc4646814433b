"""`snellen compare`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from snellen.cli.common import OutputOption


class CompareFormat(StrEnum):
    """Output formats."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("compare")(compare)


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Two or more run folders; the others are compared with the first.")
    ],
    replicates: Annotated[int, typer.Option("--replicates", min=100, help="How often the images are drawn.")] = 1000,
    format: Annotated[CompareFormat, typer.Option("--format", "-f", help="How to print it.")] = CompareFormat.TEXT,
    output: OutputOption = None,
) -> None:
    """Say which differences between runs are real, and what each run costs."""
    from snellen.report.comparison import comparison_json, comparison_text
    from snellen.report.comparison_page import render_comparison
    from snellen.verbs.compare import compare as run
    from snellen.verbs.run_folder import read_run

    results = [read_run(folder) for folder in runs]
    found = run(*results, replicates=replicates)
    if format is CompareFormat.HTML:
        text = render_comparison(found, results)
    else:
        text = comparison_text(found) if format is CompareFormat.TEXT else comparison_json(found)
    if output is None:
        typer.echo(text, nl=not text.endswith("\n"))
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
        typer.echo(f"{format} written to {output}", err=True)
