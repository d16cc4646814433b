"""`snellen check`."""

from pathlib import Path
from typing import Annotated

import typer

from snellen.cli import common, fixing
from snellen.cli.common import FailOnOption, Format, FormatOption, IgnoreOption, OutputOption, SelectOption


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("check")(check)


def check(
    data: Annotated[Path, typer.Argument(help="A dataset: folder, COCO or panoptic JSON, data.yaml or CSV.")],
    fast: Annotated[bool, typer.Option("--fast", help="Labels and file headers only: decode no image.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Read every image anew.")] = False,
    engine: Annotated[str, typer.Option(help="Where images are measured: local, or ray (a Ray cluster).")] = "local",
    workers: Annotated[int | None, typer.Option(help="Measure images on so many cores; default: all.")] = None,
    with_model: Annotated[
        Path | None,
        typer.Option("--with-model", help="Look for wrong labels with a run's model, or with predictions of a file."),
    ] = None,
    baseline: Annotated[Path | None, typer.Option(help="Report only what this baseline does not record.")] = None,
    add_baseline: Annotated[
        Path | None, typer.Option("--add-baseline", help="Record what is found now, and only that, as accepted.")
    ] = None,
    statistics: Annotated[
        bool, typer.Option("--statistics", help="Print how many findings each rule has, and nothing else.")
    ] = False,
    fix: fixing.FixOption = False,
    unsafe_fixes: fixing.UnsafeOption = False,
    diff: fixing.DiffOption = False,
    in_place: fixing.InPlaceOption = False,
    undo: fixing.UndoOption = False,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    format: FormatOption = Format.TEXT,
    output: OutputOption = None,
    fail_on: FailOnOption = None,
) -> None:
    """Examine a dataset: what is wrong with it, why, and what it costs."""
    from snellen.findings.baseline import write_baseline
    from snellen.verbs.check import check as run

    if undo:
        fixing.take_back(data)
        return
    settings = common.settings_from(select, ignore, fail_on, baseline)
    if fix or diff:
        fixing.mend(
            data, output, settings, diff=diff, in_place=in_place, unsafe=unsafe_fixes, fast=fast, with_model=with_model
        )
    with common.progress_bar() as progress:
        result = run(
            data, fast=fast, settings=settings, cache=not no_cache, engine=engine, workers=workers,
            with_model=with_model, progress=progress,
        )  # fmt: skip
    if add_baseline:
        count = write_baseline(add_baseline, result.verdict.findings)
        typer.echo(f"{count} findings recorded in {add_baseline}; use it with --baseline {add_baseline}")
        raise typer.Exit(0)
    if statistics:
        from snellen.report.statistics import render_statistics

        typer.echo(render_statistics(result.verdict), nl=False)
        raise typer.Exit(common.exit_code(result))
    common.write_result(result, format, output)
    raise typer.Exit(common.exit_code(result))
