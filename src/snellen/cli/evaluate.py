"""`snellen evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from snellen.cli import common
from snellen.cli.common import FailOnOption, Format, FormatOption, IgnoreOption, OutputOption, SelectOption


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("evaluate")(evaluate)


def evaluate(
    subject: Annotated[Path, typer.Argument(help="A run folder, or predictions: COCO results JSON or CSV.")],
    data: Annotated[Path, typer.Option("--data", help="The dataset with the truth.")],
    split: Annotated[str | None, typer.Option("--split", help="Which split; default: val, or all there is.")] = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    format: FormatOption = Format.TEXT,
    output: OutputOption = None,
    fail_on: FailOnOption = None,
) -> None:
    """Score a run's model, or anybody's predictions, and say why each point was lost."""
    from snellen.verbs.evaluate import evaluate as run

    settings = common.settings_from(select, ignore, fail_on)
    with common.progress_bar() as progress:
        result = run(subject, data, split=split, settings=settings, progress=progress)
    common.write_result(result, format, output)
    raise typer.Exit(common.exit_code(result))
