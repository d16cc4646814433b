"""Plant every defect and say who finds it.

    python -m benchmarks.planted_defects.run                         Snellen, all plants, both arrangements
    python -m benchmarks.planted_defects.run yolo coco               only these formats
    python -m benchmarks.planted_defects.run --peer cvflow=/tmp/cvflow/bin/python --peer ...   and other linters
    python -m benchmarks.planted_defects.run --json out.json         everything that was said, as JSON
    python -m benchmarks.planted_defects.run --write                 docs/data-checks.md, from the list of checks

A peer is installed in an environment of its own (`python -m venv /tmp/cvflow && /tmp/cvflow/bin/pip install cvflow`);
known are cvflow, labellint, cleanvision, datumaro and panlabel.

Every plant is planted twice: alone in a fresh copy of the clean set, and together with all others of its format that
can stand beside it. Snellen finds it when the expected rule names the place. A peer finds it, alone, when an issue of
a fitting kind (`FITS` of its adapter) is not on the clean set, whether it names the place or not; together, when such
an issue names the place.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.planted_defects.checks import write_page
from benchmarks.planted_defects.clean import CleanSets
from benchmarks.planted_defects.examination import PLANTS, alarms, alone, plant_alone, plant_together, together
from benchmarks.planted_defects.peers import PEERS, Issue, Peer

Row = dict[str, Any]


def snellen(forms: Sequence[str], sets: CleanSets, folder: Path) -> tuple[dict[str, Row], dict[str, list[str]]]:
    """Key of a plant -> what Snellen said; format -> findings on its clean set."""
    rows: dict[str, Row] = {}
    for form in forms:
        for outcome in [alone(p, sets, folder) for p in PLANTS if p.format == form]:
            rows[outcome.plant.key] = {
                "alone": outcome.found, "together": None, "said": outcome.said, "strange": list(outcome.strange),
            }  # fmt: skip
        for outcome in together(form, sets, folder):
            rows[outcome.plant.key]["together"] = outcome.found
    return rows, {form: list(alarms(form, sets)) for form in forms}


def _without(issues: Sequence[Issue], root: Path) -> list[Issue]:
    """The issues without the path of the set in their texts, so that those of two copies can be compared."""
    return [(severity, kind, text.replace(str(root), "")) for severity, kind, text in issues]


def _fitting(issues: Sequence[Issue], kinds: frozenset[str], known: frozenset[Issue]) -> list[Issue]:
    return [issue for issue in issues if issue[1] in kinds and issue not in known]


def peer(name: str, python: Path, forms: Sequence[str], sets: CleanSets, folder: Path) -> Row:
    """Key of a plant -> whether the peer found it alone and together; its alarms on the clean sets; its crashes."""
    rows: dict[str, Row] = {}
    false: dict[str, list[str]] = {}
    crashes: dict[str, str] = {}
    with Peer(name, python) as running:
        for form in (f for f in forms if f in running.module.FORMATS):
            clean = running.ask(form, sets.path(form))
            known = frozenset(_without(clean.issues, sets.path(form)))
            false[form] = [f"{i[0]} {i[1]}: {i[2]}" for i in clean.issues if i[0] in ("error", "warning")]
            if clean.error:
                crashes[f"{form}, clean"] = clean.error
            for plant in (p for p in PLANTS if p.format == form):
                root, place = plant_alone(plant, sets, folder / "peer")
                answer = running.ask(form, root)
                found = _fitting(_without(answer.issues, root), running.fits(plant.check), known)
                rows[plant.key] = {"alone": bool(found), "together": None, "said": found[0][2][:200] if found else ""}
                if answer.error:
                    crashes[plant.key] = answer.error
                shutil.rmtree(root)
            planted = plant_together(form, sets, folder / "peer")
            answer = running.ask(form, folder / "peer")
            if answer.error:
                crashes[f"{form}, together"] = answer.error
            for plant, place in planted:
                found = _fitting(_without(answer.issues, folder / "peer"), running.fits(plant.check), known)
                rows[plant.key]["together"] = any(place in i[2] for i in found)
            shutil.rmtree(folder / "peer")
    return {"plants": rows, "alarms": false, "crashes": crashes}


def _share(rows: dict[str, Row], keys: Sequence[str], way: str) -> str:
    told = [rows[k][way] for k in keys if k in rows and rows[k][way] is not None]
    return f"{sum(told)}/{len(told)}" if told else "-"


def show(result: Row, forms: Sequence[str]) -> None:
    """Print the tables."""
    tools = {"snellen": result["snellen"], **result["peers"]}
    for way in ("alone", "together"):
        print(f"\nPlants found, {way}:\n\n| format | {' | '.join(tools)} |\n| --- |{' ---: |' * len(tools)}")
        for form in (*forms, "all"):
            keys = [p.key for p in PLANTS if p.format in forms and form in (p.format, "all")]
            print(f"| {form} | {' | '.join(_share(t['plants'], keys, way) for t in tools.values())} |")
    print(
        f"\nErrors and warnings on the clean sets:\n\n| format | {' | '.join(tools)} |\n| --- |{' ---: |' * len(tools)}"
    )
    for form in forms:
        counts = [str(len(t["alarms"][form])) if form in t["alarms"] else "-" for t in tools.values()]
        print(f"| {form} | {' | '.join(counts)} |")
    for name, tool in result["peers"].items():
        for where, error in tool["crashes"].items():
            print(f"{name} stopped at {where}: {error}")
    print(f"\n| plant | check | rule | {' | '.join(tools)} |\n| --- | ---: | --- |{' --- |' * len(tools)}")
    for plant in (p for p in PLANTS if p.format in forms):
        cells = [_cell(t["plants"].get(plant.key)) for t in tools.values()]
        print(f"| {plant.key} | {plant.check} | {plant.rule} | {' | '.join(cells)} |")
    for key, row in result["snellen"]["plants"].items():
        if not (row["alone"] and row["together"] is not False):
            print(f"missed: {key}: {row['said']}")
        for text in row["strange"]:
            print(f"unexplained: {key}: {text}")


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    both = [row["alone"]] + ([] if row["together"] is None else [row["together"]])
    return "found" if all(both) else ("alone only" if row["alone"] else ("together only" if any(both) else "no"))


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", help="formats; all when none is named")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help=f"one of {', '.join(PEERS)}")
    parser.add_argument("--json", type=Path, help="write everything that was said to this file")
    parser.add_argument("--write", action="store_true", help="write docs/data-checks.md and stop")
    options = parser.parse_args()
    if options.write:
        write_page()
        return
    forms = options.formats or list(dict.fromkeys(p.format for p in PLANTS))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sets = CleanSets(folder / "clean")
        rows, false = snellen(forms, sets, folder)
        result: Row = {"snellen": {"plants": rows, "alarms": false}, "peers": {}}
        for text in options.peer:
            name, python = text.split("=", 1)
            result["peers"][name] = peer(name, Path(python), forms, sets, folder)
    show(result, forms)
    print(f"\n{len(rows)} plants in {time.perf_counter() - start:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
