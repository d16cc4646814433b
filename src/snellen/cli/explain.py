"""`snellen explain`."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("explain")(explain)


def explain(rule: Annotated[str, typer.Argument(help="Name or code: box-out-of-bounds, ANN104.")]) -> None:
    """Print a rule's page: what it finds, why that is bad, how it is computed, how to mend it."""
    import sys

    from snellen.verbs.explain import explain as page

    text = page(rule)
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
    else:
        typer.echo(text, nl=False)
