"""`snellen train`."""

from pathlib import Path
from typing import Annotated, Any, NoReturn

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

FixOption = Annotated[
    bool,
    typer.Option("--fix", help="Then train anew with what the findings change safely; the better run is kept."),
]
FindLrOption = Annotated[
    bool, typer.Option("--find-lr", help="Sweep the learning rates first and train at the one found; --set lr=auto.")
]
FoldsOption = Annotated[
    int, typer.Option("--folds", min=0, help="Cross-validation: that many runs, each with another part held out.")
]
BagsOption = Annotated[
    int, typer.Option("--bags", min=0, help="That many runs, each on as many images drawn with replacement.")
]
UnsafeOption = Annotated[
    bool, typer.Option("--unsafe-fixes", help="With --fix: also what changes the loss, the network or its decay.")
]


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
    find_lr: FindLrOption = False,
    folds: FoldsOption = 0,
    bags: BagsOption = 0,
    fix: FixOption = False,
    unsafe_fixes: UnsafeOption = False,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    format: FormatOption = Format.TEXT,
    fail_on: FailOnOption = None,
) -> None:
    """Train under watch, and say what went wrong; labels are read but images are not examined first."""
    from snellen.errors import UseError
    from snellen.training.recipe import Recipe
    from snellen.verbs.train import train as run
    from snellen.verbs.train_fix import train_and_fix

    if unsafe_fixes and not fix:
        raise UseError("--unsafe-fixes says which fixes; it needs --fix")
    settings = common.settings_from(select, ignore, fail_on)
    options = {
        "model": model, "out": out, "recipe": Recipe.from_toml(recipe) if recipe else None, "resume": resume,
        "settings": settings, "preflight": not no_preflight,
        **common.recipe_overrides(set_, epochs=epochs, pretrained=pretrained or None),
    }  # fmt: skip
    if find_lr:
        options.setdefault("lr", "auto")
    if folds or bags:
        if fix:
            raise UseError("--fix changes one run after the other: find the recipe first, then use --folds or --bags")
        _train_many(data, folds, bags, options, format)
    with common.progress_bar() as progress:
        if fix:
            done = train_and_fix(data, unsafe=unsafe_fixes, progress=progress, **options)
            result = done.result
        else:
            result = run(data, progress=progress, **options)
    common.write_result(result, format, None)
    aside = format is not Format.TEXT
    if fix:
        typer.echo(str(done), err=aside)
    typer.echo(f"run: {result.folder}", err=aside)
    raise typer.Exit(common.exit_code(result))


def _train_many(data: Path, folds: int, bags: int, options: dict[str, Any], form: Format) -> NoReturn:
    from snellen.verbs.train_many import train_many

    if options.get("model") is None:
        del options["model"]
    with common.progress_bar() as progress:
        done = train_many(data, folds=folds, bags=bags, progress=progress, **options)
    for name, result in done.results.items():
        typer.echo(f"== {name}", err=form is not Format.TEXT)
        common.write_result(result, form, None)
    typer.echo(f"{done}\nruns: {done.folder}", err=form is not Format.TEXT)
    raise typer.Exit(max(common.exit_code(result) for result in done.results.values()))
