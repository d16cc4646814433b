"""The `snellen` command."""

import sys
from importlib import import_module

import typer

VERBS = (
    "exam", "check", "calibrate", "convert", "inspect", "preflight", "train", "evaluate", "compare",
    "predict", "export", "demo", "report", "replay", "explain", "rules",
)  # fmt: skip

app = typer.Typer(
    name="snellen",
    help="An eye exam for computer vision: what is wrong with this dataset, network, training run or prediction.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for verb in VERBS:
    import_module(f"snellen.cli.{verb}").register(app)


def _version(show: bool) -> None:
    if show:
        from snellen._version import __version__

        typer.echo(f"snellen {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Exit code 0: nothing at or above `--fail-on`; 1: a finding is; 2: the input cannot be used."""


def main() -> None:
    """Run the command line; errors of use are one line and exit code 2, Ctrl-C is exit code 130."""
    from snellen.errors import Interrupted, UseError
    from snellen.report.plain import plain

    try:
        app()
    except UseError as error:
        print(f"snellen: {plain(error, 1000)}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as stop:
        print(f"snellen: {plain(stop, 4000)}", file=sys.stderr)
        sys.exit(130)
    except SystemExit as end:
        if end.code == 130:  # Ctrl-C, as typer ends it
            print("snellen: interrupted", file=sys.stderr)
        raise
