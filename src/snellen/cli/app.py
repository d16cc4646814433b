"""The `snellen` command."""

import sys
from importlib import import_module

import typer

VERBS = ("exam", "check", "inspect", "train", "evaluate", "predict", "demo", "report", "explain", "rules")

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
    from snellen.errors import UseError

    try:
        app()
    except UseError as error:
        print(f"snellen: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("snellen: interrupted", file=sys.stderr)
        sys.exit(130)
