"""A comparison of runs as text and as JSON."""

import io
import shutil
import sys

import polars as pl
from rich.console import Console
from rich.table import Table

from snellen.evaluation.comparison import Comparison
from snellen.files import to_json
from snellen.findings.words import plural
from snellen.report.plain import number, plain

SCHEMA_VERSION = 1
MOST_CLASSES = 20


def comparison_text(found: Comparison) -> str:
    """What is told apart in one sentence a run, then the tables; classes: the real differences, then the largest."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 120
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, highlight=False, markup=False, emoji=False, legacy_windows=False)
    first = found.runs["run"][0]
    for run in found.runs["run"].to_list()[1:]:
        console.print(_sentence(found, run, first), soft_wrap=True)
    for note in found.notes:
        console.print(plain(note), soft_wrap=True)
    console.print()
    console.print(_runs(found.runs))
    for run in found.runs["run"].to_list()[1:]:
        console.print()
        console.print(_differences(f"{run} against {first}", "metric", found.metrics.filter(run=run)))
        classes = found.classes.filter(run=run).sort(
            [pl.col("real"), pl.col("difference").abs()], descending=True, nulls_last=True
        )
        if len(classes):
            console.print()
            shown = classes.head(MOST_CLASSES)
            console.print(_differences(f"classes, {len(shown)} of {len(classes)}", "class", shown))
        row = found.agreement.filter(run=run).row(0, named=True)
        console.print(
            f"\n{row['what']}: {row['both']} by both, {row['only_first']} only by {plain(first, 60)}, "
            f"{row['only_other']} only by {plain(run, 60)}, {row['neither']} by neither (p {row['p']:.2g})",
            soft_wrap=True,
        )
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def comparison_json(found: Comparison) -> str:
    """Every table as a list of records; the columns are those of `evaluation.comparison`."""
    tables = {name: getattr(found, name).to_dicts() for name in ("runs", "metrics", "classes", "agreement")}
    about = {"schema_version": SCHEMA_VERSION, "task": found.task, "split": found.split, "notes": found.notes}
    return to_json({**about, **tables})


def _sentence(found: Comparison, run: str, first: str) -> str:
    real = found.metrics.filter((pl.col("run") == run) & pl.col("real"))
    classes = found.classes.filter((pl.col("run") == run) & pl.col("real"))
    if real.is_empty() and classes.is_empty():
        return f"{plain(run, 80)} and {plain(first, 80)} cannot be told apart on {found.runs['images'][0]} images"
    parts = [
        f"{plain(row['name'], 60)} {row['difference']:+.3f} ({number(row['low'])} to {number(row['high'])})"
        for row in real.to_dicts()
    ]
    better = int(classes["better"].sum())
    told = f"; {plural(better, 'class', 'classes')} better, {len(classes) - better} worse" if len(classes) else ""
    return f"{plain(run, 80)} against {plain(first, 80)}: {', '.join(parts) or 'no metric differs'}{told}"


def _runs(runs: pl.DataFrame) -> Table:
    table = Table(title="runs", title_justify="left", box=None, pad_edge=False)
    for name in (
        "run",
        str(runs["metric"][0]),
        "95 % interval",
        "parameters",
        "GFLOPs",
        "ms an image",
        "input",
        "trained in s",
    ):
        table.add_column(name, justify="left" if name == "run" else "right")
    for row in runs.to_dicts():
        table.add_row(
            plain(row["run"], 60),
            number(row["value"]),
            f"{number(row['low'])} to {number(row['high'])}",
            f"{row['parameters']:,}" if row["parameters"] is not None else "-",
            f"{row['flops'] / 1e9:.2f}" if row["flops"] is not None else "-",
            f"{1000 * row['seconds_per_image']:.1f}" if row["seconds_per_image"] is not None else "-",
            plain(row["input"] or "-", 40),
            f"{row['training_seconds']:.0f}" if row["training_seconds"] is not None else "-",
        )
    return table


def _differences(title: str, what: str, rows: pl.DataFrame) -> Table:
    table = Table(title=plain(title, 160), title_justify="left", box=None, pad_edge=False)
    for name in (what, "count", "first", "this", "difference", "95 % interval", "p adjusted", ""):
        table.add_column(name, justify="left" if name in (what, "") else "right")
    for row in rows.to_dicts():
        verdict = {None: "", True: "better", False: "worse"}[row["better"]]
        table.add_row(
            plain(row["name"], 60), f"{row['count']:,}", number(row["first"]), number(row["other"]),
            f"{row['difference']:+.3f}", f"{number(row['low'])} to {number(row['high'])}", f"{row['p_adjusted']:.2g}",
            verdict,
        )  # fmt: skip
    return table
