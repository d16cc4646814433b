"""`snellen calibrate`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from snellen.cli import common
from snellen.cli.common import IgnoreOption, OutputOption, SelectOption


class Form(StrEnum):
    """Output formats."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("calibrate")(calibrate)


def calibrate(
    data: Annotated[Path, typer.Argument(help="The dataset to measure.")],
    rule: Annotated[str | None, typer.Option("--rule", help="This rule alone: name or code.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Labels and file headers only: decode no image.")] = False,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    format: Annotated[Form, typer.Option("--format", "-f", help="How to print it.")] = Form.TEXT,
    output: OutputOption = None,
) -> None:
    """Show what rules measure of a dataset, where their thresholds cut it, and which would cut 0.1 % and 1 %."""
    from snellen.report.calibration import render_html, render_json, render_text
    from snellen.verbs.calibrate import calibrate as run

    settings = common.settings_from(select, ignore, None)
    with common.progress_bar() as progress:
        found = run(data, rule, fast=fast, settings=settings, progress=progress)
    text = {Form.TEXT: render_text, Form.JSON: render_json, Form.HTML: render_html}[format](found)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
        typer.echo(f"{format} written to {output}", err=True)
