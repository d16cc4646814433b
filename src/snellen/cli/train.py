"""`snellen train`."""

import typer

from snellen.cli import common
from snellen.cli.common import FailOnOption, Format, FormatOption, IgnoreOption, SelectOption
from snellen.cli.exam import (
    DataArgument,
    EpochsOption,
    ModelOption,
    NoPreflightOption,
    OutOption,
    PretrainedOption,
    RecipeOption,
    ResumeOption,
    SetOption,
)


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("train")(train)


def train(
    data: DataArgument,
    model: ModelOption = None,
    epochs: EpochsOption = None,
    out: OutOption = None,
    resume: ResumeOption = False,
    pretrained: PretrainedOption = False,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    no_preflight: NoPreflightOption = False,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    format: FormatOption = Format.TEXT,
    fail_on: FailOnOption = None,
) -> None:
    """Train under watch, and say what went wrong; labels are read but images are not examined first."""
    from snellen.training.recipe import Recipe
    from snellen.verbs.train import train as run

    settings = common.settings_from(select, ignore, fail_on)
    overrides = common.recipe_overrides(set_, epochs=epochs, pretrained=pretrained or None)
    with common.progress_bar() as progress:
        result = run(
            data,
            model=model,
            out=out,
            recipe=Recipe.from_toml(recipe) if recipe else None,
            resume=resume,
            settings=settings,
            preflight=not no_preflight,
            progress=progress,
            **overrides,
        )
    common.write_result(result, format, None)
    typer.echo(f"run: {result.folder}", err=format is not Format.TEXT)
    raise typer.Exit(common.exit_code(result))
