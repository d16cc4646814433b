"""The chart's tables: text for the terminal, Markdown, and one HTML file that needs nothing beside it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.chart.case import Case, all_cases
from benchmarks.chart.score import UNION, Judged, Scores, judge_all, scores

HEAD = (
    "faulty runs", "detected", "cause first", "in first 3", "precision", "place", "median step", "mended",
    "healthy runs", "with an alarm",
)  # fmt: skip
LEGEND = """\
*detected*: any error or warning. *cause first*, *in first 3*: an accepted diagnosis is the first, or among the first \
three, of what the tool calls root causes. *precision*: of distinct error and warning rules per run, faulty and \
healthy, those that are an accepted diagnosis or the consequence of one. *place*: of named runs whose case has a \
place, those where it is right. *median step*: when the cause was first named, with seed 0. *mended*: of the runs that \
suffered from what a setting of the recipe can mend, those that the offered setting mended. *with an alarm*: healthy \
runs with any error or warning. Thresholds were set on runs of kind "healthy" and never on those of kind "unseen"."""
Table = list[list[str]]


def percent(value: float | None) -> str:
    """A share as a number with three places, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def cells(s: Scores) -> list[str]:
    """The values under `HEAD`."""
    return [
        str(s.faulty), percent(s.detected), percent(s.first), percent(s.third), percent(s.precision), percent(s.place),
        "–" if s.steps is None else f"{s.steps:g}", percent(s.mended), str(s.healthy),
        f"{s.false_alarms}" if s.healthy else "–",
    ]  # fmt: skip


def tables(rows: Iterable[Mapping[str, Any]]) -> dict[str, Table]:
    """Title -> table; the first line of a table is its head."""
    by_name = {case.name: case for case in all_cases()}
    judged = judge_all(rows, by_name)
    names = sorted(judged, key=lambda t: (t != "snellen", t == UNION, t))
    out: dict[str, Table] = {"All runs": [["tool", *HEAD, "tool failed"]]}
    for tool in names:
        total = scores(judged[tool])
        out["All runs"].append([tool, *cells(total), str(total.failed)])
    for title, key in (("By kind", lambda c: c.kind), ("By group", lambda c: c.group)):
        out[title] = [[title[3:], "tool", *HEAD]]
        for value in sorted({key(j.case) for runs in judged.values() for j in runs}):
            for tool in names:
                part = [j for j in judged[tool] if key(j.case) == value]
                if part and (title == "By kind" or tool in ("snellen", UNION)):
                    out[title].append([value, tool, *cells(scores(part))])
    if "snellen" in judged:
        out["Case by case: Snellen"] = case_table(judged["snellen"], rows)
    return out


def case_table(judged: Sequence[Judged], rows: Iterable[Mapping[str, Any]]) -> Table:
    """One line per faulty case, and one per healthy case with an alarm: what was said, the missed ones first."""
    said: dict[str, Counter[str]] = {}
    for row in rows:
        if row["tool"] == "snellen":
            roots = [s["rule"] for s in row["said"] if s["severity"] in ("error", "warning") and not s["causes"]]
            said.setdefault(row["case"], Counter()).update(dict.fromkeys(roots or ["silent"], 1))
    lines: list[tuple[float, list[str]]] = []
    cases: dict[str, list[Judged]] = {}
    for j in judged:
        cases.setdefault(j.case.name, []).append(j)
    for name, runs in cases.items():
        case: Case = runs[0].case
        if not case.faulty and not any(j.detected for j in runs):
            continue
        first = sum(j.rank == 1 for j in runs) if case.faulty else -1
        what = ", ".join(f"{rule} ×{count}" for rule, count in said[name].most_common(5))
        number = str(case.fault_number) if case.fault_number else ""
        right = f"{first} of {len(runs)}" if case.faulty else f"alarm in {sum(j.detected for j in runs)}"
        lines.append((first / len(runs), [name, number, case.about, right, ", ".join(sorted(case.accepted)), what]))
    head = ["case", "type", "what is wrong", "cause first", "accepted", "root causes named"]
    return [head, *(line for _, line in sorted(lines, key=lambda pair: (pair[0], pair[1])))]


def markdown(table: Table) -> str:
    """A Markdown table; numbers stand to the right."""
    head, *body = [[cell.replace("|", "\\|") for cell in line] for line in table]
    right = [bool(body) and all(_number(line[i]) for line in body) for i in range(len(head))]
    rule = ["---:" if r else "---" for r in right]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *body))


def _number(cell: str) -> bool:
    return cell == "–" or cell.replace(".", "", 1).isdigit()


def summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """The tables of tools and groups, aligned for a terminal."""
    out = []
    for title, table in tables(rows).items():
        if title.startswith("Case"):
            continue
        widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
        out.append(title)
        out += ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in table]
        out.append("")
    return "\n".join(out)


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; color: #1c2330;
  background: #fff }
h1 { font-size: 1.7rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
p { max-width: 62rem; color: #4a5568 }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums }
th { text-align: left; font-weight: 600; border-bottom: 2px solid #cbd5e0 }
th, td { padding: .3rem .65rem; vertical-align: top } td { border-bottom: 1px solid #edf0f4 }
td.n, th.n { text-align: right; white-space: nowrap } tr.own td { background: #eef6ff; font-weight: 600 }
td.bad { color: #a61b1b } td.well { color: #14653a }
@media (prefers-color-scheme: dark) { body { background: #14181f; color: #dbe2ec } p { color: #a3afc0 }
  td { border-color: #262d38 } th { border-color: #3a4454 } tr.own td { background: #1b2b40 }
  td.bad { color: #ff9b9b } td.well { color: #7ddba3 } }
"""


def html(all_tables: Mapping[str, Table], about: str) -> str:
    """The whole page."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>The chart</title><style>{STYLE}</style><h1>The chart: faulty and healthy trainings</h1>"
        f"<p>{escape(about)}</p><p>{escape(LEGEND.replace('*', ''))}</p>"
    ]
    for title, table in all_tables.items():
        head, *body = table
        right = [bool(body) and all(_number(line[i]) for line in body) for i in range(len(head))]
        parts.append(f"<h2>{escape(title)}</h2><div class=wide><table><tr>")
        parts += [f"<th{' class=n' if r else ''}>{escape(cell)}</th>" for cell, r in zip(head, right, strict=True)]
        for line in body:
            own = "snellen" in line[:2] and not title.startswith("Case")
            parts.append(f"<tr{' class=own' if own else ''}>")
            for cell, r in zip(line, right, strict=True):
                mark = "n" if r else "bad" if cell.startswith(("0 of ", "alarm in ")) else ""
                parts.append(f"<td{f' class={mark}' if mark else ''}>{escape(cell)}</td>")
        parts.append("</table></div>")
    return "".join(parts) + "</html>\n"


def write_page(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """chart.md and chart.html in `folder`."""
    found = tables(rows)
    runs = len({(row["case"], row["seed"]) for row in rows})
    cases = {row["case"] for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    about = (
        f"{len(cases)} cases, {runs} runs (seeds {', '.join(map(str, seeds))}), {len({r['tool'] for r in rows})} tools."
    )
    text = "\n\n".join(["# The chart", about, LEGEND, *(f"## {t}\n\n{markdown(table)}" for t, table in found.items())])
    paths = [folder / "chart.md", folder / "chart.html"]
    paths[0].write_text(text + "\n")
    paths[1].write_text(html(found, about))
    return paths
