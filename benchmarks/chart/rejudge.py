"""Judge the kept facts of a chart anew, with the rules as they now are: seconds a run instead of a training.

    python -m benchmarks.chart.run --facts build/chart/facts
    python -m benchmarks.chart.rejudge --facts build/chart/facts --rows build/chart/rows.jsonl --write new.jsonl

What was said early in a run, and what became of repairs, stays as it was: it hangs on facts that are not kept.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
from benchmarks.chart.harness import said_of
from benchmarks.chart.run import read_rows
from benchmarks.chart.worker import facts_folder

from snellen.facts import table
from snellen.verbs.judge import judge
from snellen.watching.facts import RunFacts


def load(folder: Path) -> RunFacts:
    """Kept facts; a column that has come since is null."""
    tables: dict[str, Any] = {}
    for name, schema in RunFacts.TABLES.items():
        kept = pl.read_parquet(folder / f"{name}.parquet")
        tables[name] = pl.concat([table(schema), kept.select(c for c in kept.columns if c in schema)], how="diagonal")
    text = (folder / "scalars.json").read_text(encoding="utf-8")
    scalars = json.loads(text, object_hook=lambda d: float(d["non-finite"]) if d.keys() == {"non-finite"} else d)
    return RunFacts(**tables, **scalars)


def main() -> int:
    """Read rows, replace what was said, write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--write", type=Path, required=True)
    options = parser.parse_args()
    rows = read_rows(options.rows)
    changed = 0
    for done, row in enumerate(rows, 1):
        folder = facts_folder(options.facts, row["case"], row["seed"])
        if row["tool"] == "snellen" and (folder / "scalars.json").is_file():
            said = [s.to_dict() for s in said_of(judge(load(folder)).findings)]
            changed += said != row["said"]
            row["said"] = said
        print(f"\r{done}/{len(rows)}, {changed} changed", end="", file=sys.stderr, flush=True)
    options.write.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
