"""`snellen inspect`."""

from pathlib import Path
from typing import Annotated

import typer

from snellen.cli import common
from snellen.cli.common import FailOnOption, Format, FormatOption, IgnoreOption, OutputOption, SelectOption


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("inspect")(inspect)


def inspect(
    model: Annotated[str, typer.Argument(help="Name of a model: ours, timm's or torchvision's.")],
    size: Annotated[int | None, typer.Option("--size", min=1, help="Side of the square input, pixels.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="A dataset to judge the network against.")] = None,
    classes: Annotated[int | None, typer.Option("--classes", min=1, help="Classes of the head.")] = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    format: FormatOption = Format.TEXT,
    output: OutputOption = None,
    fail_on: FailOnOption = None,
) -> None:
    """Examine a network before it is trained: cost, memory, receptive field, wiring."""
    from snellen.verbs.inspect import inspect as run

    settings = common.settings_from(select, ignore, fail_on)
    with common.progress_bar() as progress:
        result = run(model, input_size=size, data=data, num_classes=classes, settings=settings, progress=progress)
    common.write_result(result, format, output)
    raise typer.Exit(common.exit_code(result))
