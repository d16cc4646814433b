"""`snellen replay`."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("replay")(replay)


def replay(
    run: Annotated[Path, typer.Argument(help="A run folder whose training became non-finite.")],
) -> None:
    """Run the step that became NaN or infinite again, and name the module and operator where it began.

    Exit code 1 when it is reproduced, 0 when everything is finite this time.
    """
    from snellen.report.plain import plain
    from snellen.verbs.replay import replay as replay_step

    result = replay_step(run)
    typer.echo(plain(result, 2000))
    raise typer.Exit(1 if result.reproduced else 0)
