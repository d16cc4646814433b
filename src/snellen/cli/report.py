"""`snellen report`."""

from pathlib import Path
from typing import Annotated

import typer

from snellen.cli import common
from snellen.cli.common import FailOnOption, Format, FormatOption, IgnoreOption, OutputOption, SelectOption


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("report")(report)


def report(
    run: Annotated[Path, typer.Argument(help="A run folder that an exam wrote.")],
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    format: FormatOption = Format.TEXT,
    output: OutputOption = None,
    fail_on: FailOnOption = None,
) -> None:
    """Judge a finished run again with today's settings, and print it in any format; nothing is measured anew."""
    from snellen.verbs.run_folder import read_run

    result = read_run(run, common.settings_from(select, ignore, fail_on))
    common.write_result(result, format, output)
    raise typer.Exit(common.exit_code(result))
