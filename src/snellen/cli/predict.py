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
    images: Annotated[list[str], typer.Argument(help="Images, folders of images, videos, or camera:0.")],
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
    draw: Annotated[Path | None, typer.Option("--draw", help="New folder for pictures with the predictions.")] = None,
    coco: Annotated[Path | None, typer.Option("--coco", help="Detection: file for COCO JSON.")] = None,
    dataset: Annotated[
        Path | None,
        typer.Option("--dataset", help="New folder: the images with predictions from 0.9 on as labels to train on."),
    ] = None,
    every: Annotated[float, typer.Option(min=0.0, help="Video: seconds between frames; 0: every frame.")] = 1.0,
    key_frames: Annotated[
        bool, typer.Option("--key-frames", help="Video: only frames whose picture has changed.")
    ] = False,
    seconds: Annotated[
        float | None, typer.Option(min=0.0, help="Video and camera: stop after so much of the stream.")
    ] = None,
) -> None:
    """Run a trained model on images: one line per prediction, as CSV; of a segmenter one per image and class."""
    from snellen.verbs.predict import pipeline_of
    from snellen.verbs.predict import predict as run_predict

    if dataset is not None:
        from snellen.verbs.pseudo_labels import THRESHOLD, pseudo_label

        with common.progress_bar() as progress:
            limit = THRESHOLD if threshold is None else threshold
            typer.echo(str(pseudo_label(run, images, dataset, threshold=limit, progress=progress)))
        return
    steps = None if no_pipeline else pipeline_of(run)
    if steps is not None:
        given = "" if threshold is None else f"; --threshold {threshold:g} comes before its thresholds"
        typer.echo(f"{run / 'pipeline.json'} is applied: {steps}{given} (--no-pipeline leaves it out)", err=True)
    with common.progress_bar() as progress:
        table = run_predict(
            run, images, threshold=threshold, pipeline=not no_pipeline, masks=masks, crf=crf, draw=draw, coco=coco,
            every=every, key_frames=key_frames, seconds=seconds, progress=progress,
        )  # fmt: skip
    if output is None:
        typer.echo(table.write_csv(), nl=False)
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        table.write_csv(output)
        typer.echo(f"{len(table)} predictions written to {output}", err=True)
