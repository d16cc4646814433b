"""`snellen exam`."""

from pathlib import Path
from typing import Annotated

import typer

from snellen.cli import common
from snellen.cli.common import FailOnOption, Format, FormatOption, IgnoreOption, SelectOption

DataArgument = Annotated[Path, typer.Argument(help="Class folder, COCO JSON, VOC folder or YOLO data.yaml.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Name of a model; default: a small fast one.")]
EpochsOption = Annotated[int | None, typer.Option("--epochs", help="Passes over the training images.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Run folder; default: the next free runs/NAME.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out where it stopped.")]
PretrainedOption = Annotated[bool, typer.Option("--pretrained", help="Start from published weights (downloads them).")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Change a field of the recipe: lr=0.01")]
NoPreflightOption = Annotated[
    bool, typer.Option("--no-preflight", help="Leave out the experiments before the training.")
]
RecipeOption = Annotated[
    Path | None, typer.Option("--recipe", help="A recipe.toml instead of the one found by looking.")
]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("exam")(exam)


def exam(
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
    """The main job: check the data, inspect the network, train under watch, evaluate, write one report."""
    from snellen.training.recipe import Recipe
    from snellen.verbs.exam import exam as run

    settings = common.settings_from(select, ignore, fail_on)
    overrides = common.recipe_overrides(set_, epochs=epochs, pretrained=pretrained or None)
    with common.progress_bar() as progress:
        result = run(
            data, model=model, out=out, recipe=Recipe.from_toml(recipe) if recipe else None, resume=resume,
            settings=settings, preflight=not no_preflight, progress=progress, **overrides,
        )  # fmt: skip
    common.write_result(result, format, None)
    if result.folder:
        typer.echo(f"report: {result.folder / 'report.html'}", err=format is not Format.TEXT)
    raise typer.Exit(common.exit_code(result))
