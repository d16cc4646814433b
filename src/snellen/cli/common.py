"""What several verbs share: the options about rules and output, the progress bar, and writing a result."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from snellen.findings.settings import LoadedSettings
    from snellen.progress import Progress
    from snellen.result import Result


class Format(StrEnum):
    """Output formats."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"
    HTML = "html"


FormatOption = Annotated[Format, typer.Option("--format", "-f", help="How to print the result.")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Write there instead of printing.")]
FailOnOption = Annotated[
    str | None, typer.Option("--fail-on", help="Exit with 1 at this severity: info, warning, error or never.")
]
SelectOption = Annotated[
    list[str] | None, typer.Option("--select", help="Run only these rules: name, code, prefix, category or ALL.")
]
IgnoreOption = Annotated[list[str] | None, typer.Option("--ignore", help="Do not run these rules.")]


def settings_from(
    select: list[str] | None, ignore: list[str] | None, fail_on: str | None, baseline: Path | None = None
) -> "LoadedSettings":
    """The working folder's settings with the command line on top. Raises SettingsError or UnknownRuleError."""
    from dataclasses import replace

    from snellen.findings.registry import find_rules
    from snellen.findings.settings import SettingsError, load_settings
    from snellen.findings.severity import Severity

    loaded = load_settings(Path.cwd())
    update: dict[str, object] = {}
    if select:
        update["select"] = tuple(select)
    if ignore:
        update["ignore"] = (*loaded.values.ignore, *ignore)
    for selector in (*(select or ()), *(ignore or ())):
        find_rules(selector)
    if fail_on:
        try:
            if fail_on != "never":
                Severity.parse(fail_on)
        except ValueError as error:
            raise SettingsError(f"--fail-on: {error}, or never") from error
        update["fail_on"] = fail_on
    if baseline:
        update["baseline"] = str(baseline.resolve())
    if not update:
        return loaded
    return replace(loaded, values=loaded.values.model_copy(update=update), origin=f"{loaded.origin} + command line")


@contextmanager
def progress_bar() -> Iterator["Progress"]:
    """A bar with the time left on a terminal; elsewhere one line per finished stage, on standard error."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = [
        TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    ]  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int, note: str = "") -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total, note="")
            bar.update(tasks[stage], completed=done, total=total, note=note)

        yield show


class _Lines:
    """Progress for logs: when a stage ends, and every 15 seconds while it runs."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}
        self.last = time.monotonic()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        begun = self.started.setdefault(stage, now)
        if done < total and now - self.last < 15:
            return
        self.last = now
        spent = now - begun
        left = f", {spent / done * (total - done):.0f} s left" if 0 < done < total else ""
        print(f"{stage}: {done}/{total} in {spent:.1f} s{left}{'  ' + note if note else ''}", file=sys.stderr)


def write_result(result: "Result", form: Format, output: Path | None) -> None:
    """Print `result`, or write it to `output`."""
    text = render(result, form)
    if output is None:
        typer.echo(text, nl=not text.endswith("\n"))
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
        typer.echo(f"{form} written to {output}", err=True)


def render(result: "Result", form: Format) -> str:
    """Return `result` in the format asked for."""
    if form is Format.TEXT:
        from snellen.report.text import render_text

        return render_text(result)
    if form is Format.JSON:
        from snellen.report.json import render_json

        return render_json(result)
    if form is Format.SARIF:
        from snellen.report.sarif import render_sarif

        return render_sarif(result)
    if form is Format.GITHUB:
        from snellen.report.github import render_github

        return render_github(result)
    from snellen.report.html import render_html

    return render_html(result, image_root=Path(result.data.root) if result.data else None)


def exit_code(result: "Result") -> int:
    """1 when a finding is at least as severe as the settings' `fail-on`, else 0."""
    return int(result.verdict.fails())


def recipe_overrides(assignments: list[str] | None, **named: object) -> dict[str, Any]:
    """Parse `--set field=value` (values as in TOML, else text) and drop the options that were not given.

    `--set field.key=value` is one entry of a field that holds several, such as `model_options.box_loss=giou`.

    Raises UseError on an assignment without `=`, or to an entry of a plain value; the recipe itself refuses unknown
    fields.
    """
    import tomllib

    from snellen.errors import UseError

    found: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
    for assignment in assignments or ():
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UseError(f"--set {assignment}: write field=value")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        field, dot, entry = key.strip().partition(".")
        held = found.get(field, {})
        if dot and not isinstance(held, dict):
            raise UseError(f"--set {assignment}: {field} is {held!r} already, which has no entries")
        found[field] = {**held, entry: value} if dot else value
    return found
