"""Networks side by side, as text, JSON and HTML."""

import io

from markupsafe import Markup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from snellen.files import to_json
from snellen.network.comparison import NetworkComparison
from snellen.report.charts import bars
from snellen.report.comparison_charts import Priced, cost_benefit
from snellen.report.eye_chart import eye_chart
from snellen.report.inspection import duration
from snellen.report.plain import number, plain, short, size
from snellen.report.templating import render

SCHEMA_VERSION = 1


def networks_rows(found: NetworkComparison) -> tuple[list[str], list[list[str]]]:
    """Headings and cells; columns that no network has a value for are left out."""
    rows = []
    for row in found.networks.iter_rows(named=True):
        least = "" if row["complete"] else "≥ "
        rows.append(
            {
                "network": plain(row["network"], 60),
                "input": " × ".join(str(n) for n in row["input"]),
                "parameters": short(row["parameters"]),
                "MACs": least + short(row["macs"]),
                "backward MACs": least + short(row["backward_macs"]),
                "weights": size(row["weight_bytes"]),
                "activations an image": size(row["activation_bytes"]),
                f"training, batch {found.batch}": size(row["training_bytes"]),
                "receptive field": _field(row),
                "time": duration(row["seconds"]) if row["seconds"] is not None else "",
                "score": f"{100 * row['score']:.1f} %" if row["score"] is not None else "",
            }
        )
    same = len({row["input"] for row in rows}) == 1  # Then a note tells it.
    head = [name for name in rows[0] if any(row[name] for row in rows) and not (same and name == "input")]
    return head, [[row[name] or "–" for name in head] for row in rows]


def _field(row: dict[str, object]) -> str:
    height, width = row["rf_height"], row["rf_width"]
    if not isinstance(height, float) or not isinstance(width, float):
        return "global" if row["rf_global"] else ""
    told = number(height) if height == width else f"{number(height)} × {number(width)}"
    return f"{told}, global" if row["rf_global"] else told


def networks_text(found: NetworkComparison) -> str:
    """A table, then what must be known to read it."""
    head, rows = networks_rows(found)
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for i, name in enumerate(head):
        grid.add_column(name, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    buffer = io.StringIO()
    Console(file=buffer, width=190, color_system=None).print(grid)
    lines = [*buffer.getvalue().splitlines(), "", *(plain(note, 300) for note in found.notes)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def networks_json(found: NetworkComparison) -> str:
    """The rows as records; the columns are those of `network.comparison`."""
    about = {"schema_version": SCHEMA_VERSION, "notes": found.notes, "convention": found.convention}
    return to_json({**about, "networks": found.networks.to_dicts()})


def networks_fragment(found: NetworkComparison) -> str:
    """The table alone, for notebooks."""
    head, rows = networks_rows(found)
    return render("networks_fragment.html", {"head": head, "rows": rows, "notes": [plain(n, 300) for n in found.notes]})


def networks_page(found: NetworkComparison) -> str:
    """A page of its own: the table, its columns as bars, and score against cost."""
    head, rows = networks_rows(found)
    names = [plain(n, 60) for n in found.networks["network"]]
    context = {
        "names": names, "head": head, "rows": rows, "notes": [plain(n, 300) for n in found.notes],
        "charts": _charts(found, names), "eye_chart": eye_chart(),
    }  # fmt: skip
    return render("networks.html", context)


def _charts(found: NetworkComparison, names: list[str]) -> list[tuple[str, Markup, str]]:
    columns = (
        ("Parameters, millions", "parameters", 1e6, ""), ("Multiply-adds, billions", "macs", 1e9, ""),
        (f"Training memory at batch {found.batch}, GiB", "training_bytes", float(1 << 30), ""),
        ("Time of a pass here, milliseconds", "seconds", 1e-3, ""),
    )  # fmt: skip
    charts = []
    for title, column, unit, hint in columns:
        values = found.networks[column].to_list()
        told = [(n, [float(f"{v / unit:.3g}")]) for n, v in zip(names, values, strict=True) if v is not None]
        if told:
            charts.append((title, bars(title, told), hint))
    points = [
        Priced(name, row["macs"] / 1e9, row["score"], None, None, i)
        for i, (name, row) in enumerate(zip(names, found.networks.iter_rows(named=True), strict=True))
        if row["score"] is not None and row["macs"]
    ]
    drawn = cost_benefit("score against cost", points, "billions of multiply-adds", "score")
    charts.append(("Score against cost", drawn, "The line joins those that no cheaper one beats."))
    return [chart for chart in charts if chart[1]]
