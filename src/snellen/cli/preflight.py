"""`snellen preflight`."""

from pathlib import Path
from typing import Annotated

import typer

from snellen.cli import common
from snellen.cli.common import FailOnOption, Format, FormatOption, IgnoreOption, OutputOption, SelectOption
from snellen.cli.exam import DataArgument, ModelOption, PretrainedOption, RecipeOption, SetOption


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("preflight")(preflight)


def preflight(
    data: DataArgument,
    model: ModelOption = None,
    pretrained: PretrainedOption = False,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Time for all experiments.")] = 60.0,
    html: Annotated[Path | None, typer.Option("--html", help="Write the report with its pictures there.")] = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    format: FormatOption = Format.TEXT,
    output: OutputOption = None,
    fail_on: FailOnOption = None,
) -> None:
    """Experiment on a network and one batch before it is trained: wiring, modes, learning rate, memory."""
    from snellen.training.recipe import Recipe
    from snellen.verbs.preflight import preflight_data as run

    settings = common.settings_from(select, ignore, fail_on)
    overrides = common.recipe_overrides(set_, pretrained=pretrained or None)
    with common.progress_bar() as progress:
        result = run(
            data, model=model, recipe=Recipe.from_toml(recipe) if recipe else None, seconds=seconds,
            settings=settings, progress=progress, **overrides,
        )  # fmt: skip
    common.write_result(result, format, output)
    if html is not None:
        result.to_html(html)
    raise typer.Exit(common.exit_code(result))
