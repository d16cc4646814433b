"""`snellen convert`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from snellen.cli import common


class Carry(StrEnum):
    """What becomes of the images."""

    COPY = "copy"
    LINK = "link"
    NONE = "none"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("convert")(convert)


def convert(
    data: Annotated[Path, typer.Argument(help="The dataset to read, of any format.")],
    to: Annotated[str, typer.Option("--to", help="Format to write: coco, voc, yolo, yolo-segments, ... (see below).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write: empty, or not there.")],
    images: Annotated[
        Carry, typer.Option("--images", help="Copy the images, hard-link them, or write annotations alone.")
    ] = Carry.COPY,
) -> None:
    """Write a dataset in another format, and say what that format cannot hold.

    Formats: class-folders, coco, voc, yolo, yolo-segments, yolo-obb, yolo-pose, csv, open-images, masks, colour-masks,
    instance-masks, panoptic.
    """
    from snellen.verbs.convert import convert as run

    with common.progress_bar() as progress:
        done = run(data, output, to=to, images=images.value, progress=progress)
    typer.echo(str(done))
