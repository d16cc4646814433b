"""`snellen predict`."""

from pathlib import Path
from typing import Annotated

import typer

from snellen.cli import common


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("predict")(predict)


def predict(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV file; default: print.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Leave out scores below this; default: the pipeline's, else 0.25."),
    ] = None,
    no_pipeline: Annotated[
        bool, typer.Option("--no-pipeline", help="Leave out what `evaluate --fix` has fitted (RUN/pipeline.json).")
    ] = False,
    masks: Annotated[
        Path | None, typer.Option("--masks", help="Segmentation: folder for the class maps, a PNG an image.")
    ] = None,
    crf: Annotated[
        bool, typer.Option("--crf", help="Segmentation: draw the class maps to the image's edges by a dense CRF.")
    ] = False,
) -> None:
    """Run a trained model on images: one line per prediction, as CSV; of a segmenter one per image and class."""
    from snellen.verbs.predict import pipeline_of
    from snellen.verbs.predict import predict as run_predict

    steps = None if no_pipeline else pipeline_of(run)
    if steps is not None:
        given = "" if threshold is None else f"; --threshold {threshold:g} comes before its thresholds"
        typer.echo(f"{run / 'pipeline.json'} is applied: {steps}{given} (--no-pipeline leaves it out)", err=True)
    with common.progress_bar() as progress:
        table = run_predict(
            run, images, threshold=threshold, pipeline=not no_pipeline, masks=masks, crf=crf, progress=progress
        )
    if output is None:
        typer.echo(table.write_csv(), nl=False)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        table.write_csv(output)
        typer.echo(f"{len(table)} predictions written to {output}", err=True)
