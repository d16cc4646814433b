"""`snellen evaluate`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from snellen.cli import common
from snellen.cli.common import FailOnOption, Format, FormatOption, IgnoreOption, OutputOption, SelectOption


class Kind(StrEnum):
    """What is compared."""

    BOX = "box"
    MASK = "mask"
    KEYPOINTS = "keypoints"
    ORIENTED = "oriented"


class Convention(StrEnum):
    """Whose definitions lead."""

    COCO = "coco"
    LVIS = "lvis"
    VOC2007 = "voc2007"
    VOC2010 = "voc2010"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("evaluate")(evaluate)


def evaluate(
    subject: Annotated[
        Path,
        typer.Argument(
            help="A run folder, or predictions: COCO results JSON, CSV, a folder of YOLO .txt files or of PNG masks, "
            "panoptic JSON."
        ),
    ],
    data: Annotated[Path, typer.Option("--data", help="The dataset with the truth.")],
    split: Annotated[str | None, typer.Option("--split", help="Which split; default: val, or all there is.")] = None,
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="Detections: what is compared; default: the finest that both hold.")
    ] = None,
    convention: Annotated[
        Convention, typer.Option("--convention", help="Detections: whose definitions lead.")
    ] = Convention.COCO,
    max_dets: Annotated[
        str | None, typer.Option("--max-dets", help="Detections of a class in an image that count: 1,10,300.")
    ] = None,
    fix: Annotated[
        bool,
        typer.Option("--fix", help="A run: fit suppression, calibration and thresholds, and write RUN/pipeline.json."),
    ] = False,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    format: FormatOption = Format.TEXT,
    output: OutputOption = None,
    fail_on: FailOnOption = None,
) -> None:
    """Score a run's model, or anybody's predictions, and say why each point was lost."""
    from snellen.verbs.evaluate import evaluate as run
    from snellen.verbs.evaluate import is_run

    if fix:
        _refuse_predictions(subject)
    settings = common.settings_from(select, ignore, fail_on)
    with common.progress_bar() as progress:
        result = run(
            subject, data, split=split, kind=None if kind is None else kind.value, convention=convention.value,
            max_dets=_limits(max_dets), settings=settings, progress=progress,
        )  # fmt: skip
    if result.scores is not None and not is_run(subject):
        typer.echo(f"{subject}: {'; '.join(result.scores.convention.split('; ')[:2])}", err=True)
    common.write_result(result, format, output)
    if fix:
        from snellen.verbs.fit_pipeline import fit_pipeline

        with common.progress_bar() as progress:
            fixed = fit_pipeline(subject, data, split=split, progress=progress)
        typer.echo(str(fixed), err=output is None and format is not Format.TEXT)
    raise typer.Exit(common.exit_code(result))


def _limits(text: str | None) -> tuple[int, ...] | None:
    """The limits of `--max-dets`, rising. Raises UseError on anything but whole numbers from 1 on."""
    from snellen.errors import UseError

    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 0 < len(part) < 10 and int(part) > 0 for part in parts):
        raise UseError(f"--max-dets {text}: write whole numbers from 1 on, as 1,10,300")
    return tuple(sorted({int(part) for part in parts}))


def _refuse_predictions(subject: Path) -> None:
    """Say before an hour of scoring that nothing can be fitted for a file."""
    from snellen.errors import UseError
    from snellen.verbs.evaluate import is_run

    if not is_run(subject):
        raise UseError(f"{subject}: --fix mends the predictions of a run, and this is no run folder")
