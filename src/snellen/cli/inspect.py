"""`snellen inspect`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from snellen.cli import common
from snellen.cli.common import FailOnOption, Format, FormatOption, IgnoreOption, OutputOption, SelectOption


class Convention(StrEnum):
    """Whose way of counting the cost is told in."""

    MACS = "macs"
    FLOPS = "flops"
    FVCORE = "fvcore"
    THOP = "thop"
    PTFLOPS = "ptflops"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("inspect")(inspect)


def inspect(
    model: Annotated[
        str,
        typer.Argument(
            help="A model: ours, timm's, torchvision's, smp:NAME, transformers:TYPE, or a file: .onnx, .pt2."
        ),
    ],
    size: Annotated[int | None, typer.Option("--size", min=1, help="Side of the square input, pixels.")] = None,
    input: Annotated[str | None, typer.Option("--input", help="Shape of one input, such as 3x640x480.")] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Inputs in the examined batch.")] = 1,
    data: Annotated[Path | None, typer.Option("--data", help="A dataset to judge the network against.")] = None,
    classes: Annotated[int | None, typer.Option("--classes", min=1, help="Classes of the head.")] = None,
    convention: Annotated[
        Convention, typer.Option("--convention", help="Count the cost as this tool does.")
    ] = Convention.MACS,
    depth: Annotated[int | None, typer.Option("--depth", min=1, help="Print the layers, folded to this depth.")] = None,
    card: Annotated[
        str | None, typer.Option("--card", help="Tell the largest batch for a card: 24GiB, rtx-4090, a100-80.")
    ] = None,
    optimizer: Annotated[str, typer.Option("--optimizer", help="Optimizer whose state the card holds.")] = "adamw",
    amp: Annotated[bool, typer.Option("--amp", help="Train in mixed precision.")] = False,
    effective: Annotated[
        bool, typer.Option("--effective", help="Measure effective receptive fields, on images of the data or on noise.")
    ] = False,
    time: Annotated[bool, typer.Option("--time", help="Measure the time of each layer on this machine.")] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="Bound the time on a device: h100, a100-80, l4, rtx-4090 ...")
    ] = None,
    select: SelectOption = None,
    ignore: IgnoreOption = None,
    format: FormatOption = Format.TEXT,
    output: OutputOption = None,
    fail_on: FailOnOption = None,
) -> None:
    """Examine a network before it is trained: cost, memory, receptive field, wiring."""
    from snellen.network.budget import OPTIMIZER_STATE, card_bytes
    from snellen.network.devices import device as known_device
    from snellen.report.inspection import InspectionOptions, inspection_text
    from snellen.verbs.inspect import inspect as run

    if optimizer not in OPTIMIZER_STATE:
        raise typer.BadParameter(f"expected one of {', '.join(OPTIMIZER_STATE)}", param_hint="--optimizer")
    if card is not None:
        card_bytes(card)
    if device is not None:
        known_device(device)
    settings = common.settings_from(select, ignore, fail_on)
    with common.progress_bar() as progress:
        result = run(
            model, input_shape(input), input_size=size, batch=batch, data=data, num_classes=classes,
            effective=effective, time=time, settings=settings, progress=progress,
        )  # fmt: skip
    common.write_result(result, format, output)
    if format is Format.TEXT and output is None and result.network is not None:
        options = InspectionOptions(convention.value, depth, card, optimizer, amp, device)
        typer.echo("\n" + inspection_text(result.network, options), nl=False)
    raise typer.Exit(common.exit_code(result))


def input_shape(text: str | None) -> tuple[int, ...] | None:
    """The shape of one input from `3x640x480`; None stays None."""
    if text is None:
        return None
    parts = text.lower().replace("×", "x").split("x")
    if not all(p.isdecimal() and int(p) > 0 for p in parts):
        raise typer.BadParameter(f"{text!r}: write a shape such as 3x640x640", param_hint="--input")
    return tuple(int(p) for p in parts)
