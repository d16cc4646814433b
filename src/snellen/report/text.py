"""The result as text for a terminal or a log."""

import io
import shutil
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from snellen.findings.finding import Finding
from snellen.findings.severity import Severity
from snellen.findings.words import plural
from snellen.network.facts import NetworkFacts
from snellen.report.architecture import network_blocks
from snellen.report.causes import Cause, root_causes, sentence, skipped_by_reason
from snellen.report.plain import number, plain
from snellen.report.totals import data_totals, headline_rows, network_totals, run_totals
from snellen.result import Result

PLACES_PER_RULE = 10
COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "blue"}
LOG_WIDTH = 120
"""Columns of tables when the output is no terminal; lines of findings are never wrapped there."""


def render_text(result: Result, *, full: bool = False, color: bool | None = None) -> str:
    """The verdict, root causes with their consequences under them, and the numbers in short tables.

    `full` prints every finding, and the reason for each rule that did not run; otherwise the worst 10 of a rule.
    `color` None: when standard output is a terminal. Names from the dataset are printed without control characters.
    """
    colored = sys.stdout.isatty() if color is None else color
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else LOG_WIDTH
    buffer = io.StringIO()
    console = Console(
        file=buffer, force_terminal=colored, no_color=not colored, color_system="standard" if colored else None,
        width=width, highlight=False, markup=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    verdict = result.verdict
    causes = root_causes(verdict)
    worst = max((c.severity for c in causes), default=None)
    console.print(Text(f"{plain(result.subject)}: ", "bold") + Text(sentence(verdict), _colour(worst)), soft_wrap=True)
    for place, cause in enumerate(causes, 1):
        console.print()
        for line in _cause_lines(place, cause, full):
            console.print(line, soft_wrap=True)
    for title, rows in _tables(result):
        console.print()
        console.print(_table(title, rows))
    if result.network is not None and result.run is None:
        console.print()
        console.print(_blocks(result.network))
    console.print()
    for text in _closing(result, causes, full):
        console.print(Text(text, "dim"), soft_wrap=True)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _colour(severity: Severity | None) -> str:
    return f"bold {COLOURS[severity]}" if severity else "bold green"


def _cause_lines(position: int, cause: Cause, full: bool) -> Iterable[Text]:
    head = Text(f"{position}. ")
    head.append(cause.label, _colour(cause.severity))
    head.append(f"  {cause.rule} ({cause.code})", "bold")
    parts = [plural(len(cause.findings), "finding") if len(cause.findings) > 1 else "", cause.extent]
    if any(parts):
        head.append("  " + ", ".join(p for p in parts if p), "dim")
    yield head
    yield from _finding_lines(cause.findings, "  ", full, cause.severity)
    fix = cause.worst.fix
    if fix:
        yield Text(f"  fix ({fix.safety}): {plain(fix.title)}", "green")
    for follow in cause.consequences:
        yield Text(f"  explains {plural(len(follow), 'finding')} of {follow[0].rule} ({follow[0].code})", "dim")
        yield from _finding_lines(follow if full else follow[:1], "    ", full, None)


def _finding_lines(findings: Sequence[Finding], indent: str, full: bool, severity: Severity | None) -> Iterable[Text]:
    shown = findings if full else findings[:PLACES_PER_RULE]
    for finding in shown:
        line = Text(indent)
        place = plain(finding.place)
        if place:
            line.append(place + "  ", "cyan")
        line.append(f"{finding.rule} ({finding.code})", COLOURS[severity] if severity else "dim")
        line.append("  " + plain(finding.message, 600), "" if severity else "dim")
        yield line
    if len(findings) > len(shown):
        yield Text(f"{indent}+ {len(findings) - len(shown):,} more", "dim")


def _tables(result: Result) -> Iterable[tuple[str, list[tuple[str, str]]]]:
    if result.data is not None:
        yield "dataset", data_totals(result.data)
    if result.network is not None:
        yield "network", network_totals(result.network)
    if result.run is not None:
        yield "training", run_totals(result.run)
    if result.scores is not None:
        rows = [
            (row.metric, number(row.value) + (f"  ({number(row.low)} – {number(row.high)})" if row.interval else ""))
            for row in headline_rows(result.scores)
        ]
        yield f"scores on {plain(result.scores.split)}", rows


def _table(title: str, rows: list[tuple[str, str]]) -> Table:
    # A title may be wider than its table, and is not broken for that.
    heading = Text(title, "bold", no_wrap=True, overflow="ignore")
    table = Table(box=None, show_header=False, pad_edge=False, title=heading, title_justify="left")
    table.add_column(style="dim")
    table.add_column()
    for name, value in rows:
        table.add_row(Text(f"  {plain(name)}"), Text(plain(value)))
    return table


def _blocks(network: NetworkFacts) -> Table:
    table = Table(
        box=None, pad_edge=False, title="blocks", title_justify="left", title_style="bold", header_style="dim"
    )
    table.add_column("  block")
    for heading in ("output", "parameters", "MACs", "share", "receptive field"):
        table.add_column(heading, justify="right")
    for block in network_blocks(network):
        field = block.rows[-1][-1]
        cells = (f"  {block.name}", block.shape, block.params, block.macs, block.macs_share, field)
        table.add_row(*(Text(plain(cell)) for cell in cells))
    return table


def _closing(result: Result, causes: Sequence[Cause], full: bool) -> Iterable[str]:
    verdict = result.verdict
    line = f"{plural(len(verdict.ran), 'rule')} ran, settings: {plain(verdict.settings_origin)}"
    if verdict.suppressed:
        line += f"; {verdict.suppressed:,} suppressed"
    if verdict.in_baseline:
        line += f"; {verdict.in_baseline:,} in the baseline"
    yield line
    if verdict.skipped:
        reasons = skipped_by_reason(verdict)
        told = (
            ":"
            if full
            else ": "
            + "; ".join(
                f"{len(names)} {reason if len(names) == 1 else reason.replace('needs ', 'need ', 1)}"
                for reason, names in reasons
            )
        )
        yield f"{plural(len(verdict.skipped), 'rule')} not run{told}"
        if full:
            yield from (f"  {reason}: {', '.join(names)}" for reason, names in reasons)
    if result.seconds:
        yield "time: " + ", ".join(f"{plain(stage)} {seconds:.1f} s" for stage, seconds in result.seconds.items())
    if causes:
        yield f"`snellen explain {causes[0].rule}` tells what a rule looks for, why, and how to fix it"
