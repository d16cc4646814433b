"""`snellen compare`."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.common import OutputOption
from snellen.cli.inspect import input_shape

if TYPE_CHECKING:
    from snellen.evaluation.comparison import Comparison
    from snellen.network.comparison import NetworkComparison


class CompareFormat(StrEnum):
    """Output formats."""

    TEXT = "text"
    JSON = "json"
    HTML = "html"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("compare")(compare)


def compare(
    subjects: Annotated[
        list[str],
        typer.Argument(
            help="Two or more run folders, the others compared with the first; or networks: names, .onnx, .pt2 files."
        ),
    ],
    replicates: Annotated[int, typer.Option("--replicates", min=100, help="How often the images are drawn.")] = 1000,
    size: Annotated[int | None, typer.Option("--size", min=1, help="Networks: side of the square input.")] = None,
    input: Annotated[
        str | None, typer.Option("--input", help="Networks: shape of one input, such as 3x640x480.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Networks: images in a training step.")] = 32,
    classes: Annotated[int | None, typer.Option("--classes", min=1, help="Networks: classes of the head.")] = None,
    time: Annotated[bool, typer.Option("--time", help="Networks: measure a pass on this machine.")] = False,
    format: Annotated[CompareFormat, typer.Option("--format", "-f", help="How to print it.")] = CompareFormat.TEXT,
    output: OutputOption = None,
) -> None:
    """Say which differences between runs are real, and what each run costs; or put networks side by side."""
    from snellen.network.comparison import NetworkComparison
    from snellen.verbs.compare import compare as run

    found = run(
        *subjects, replicates=replicates, inputs=input_shape(input), input_size=size, batch=batch,
        num_classes=classes, time=time,
    )  # fmt: skip
    text = _networks(found, format) if isinstance(found, NetworkComparison) else _runs(found, subjects, format)
    if output is None:
        typer.echo(text, nl=not text.endswith("\n"))
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
        typer.echo(f"{format} written to {output}", err=True)


def _runs(found: "Comparison", folders: list[str], form: CompareFormat) -> str:
    from snellen.report.comparison import comparison_json, comparison_text

    if form is CompareFormat.HTML:
        from snellen.report.comparison_page import render_comparison
        from snellen.verbs.run_folder import read_run

        return render_comparison(found, [read_run(folder) for folder in folders])
    return comparison_text(found) if form is CompareFormat.TEXT else comparison_json(found)


def _networks(found: "NetworkComparison", form: CompareFormat) -> str:
    from snellen.report.networks import networks_json, networks_page, networks_text

    return {"text": networks_text, "json": networks_json, "html": networks_page}[form.value](found)
