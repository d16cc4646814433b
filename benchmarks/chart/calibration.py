"""How far the healthy runs are from each threshold.

    python -m benchmarks.chart.calibration --write docs/calibration.md

The healthy cases of `healthy*.py` are trained and watched once per seed (never those of kind "unseen"); their facts are
kept beside the rows of the chart. Then each numeric option of each rule over a run is moved, both ways, by the factors
of `FACTORS`, until the rule speaks of a healthy run: that is the margin. A rule judged alone here may be explained away
by another in a report, so a margin is what the rule has without the help of others.
"""

import argparse
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarks.chart.case import Case, all_cases
from benchmarks.chart.harness import Snellen
from benchmarks.chart.page import markdown

from snellen.errors import UseError
from snellen.findings.registry import all_rules
from snellen.findings.rule import Rule
from snellen.findings.severity import Severity
from snellen.watching.facts import RunFacts

FACTORS = (1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
FOLDER = Path("build/chart/facts")
ABOUT = """\
# Calibration of the rules over training runs

Made by `python -m benchmarks.chart.calibration --write docs/calibration.md`; do not edit. {runs} healthy runs of \
{cases} recipes (`benchmarks/chart/healthy*.py`, seeds {seeds}; the recipes of kind "unseen" are never used) were \
watched, and judged anew with each numeric option moved up and down, one at a time. *speaks at* is the value nearest \
to the default at which the rule, alone, speaks of a healthy run; *margin* is the factor between the two; *runs* is \
the number of healthy runs that it then speaks of, and *first* is one of them. A margin of "> 100" says that no factor \
up to 100, up or down, makes it speak. Options that count steps, samples or classes say how much must be seen and not \
how bad it must be; they are in the table, too. Options whose default is 0 are left out, as there is no factor of 0."""


@dataclass(frozen=True)
class Margin:
    """One option of one rule."""

    rule: str
    option: str
    default: float
    value: float | None
    """Nearest value at which a healthy run fires; None: none up to the largest factor."""
    factor: float | None
    runs: int
    example: str


def watched(case: Case, seed: int, folder: Path) -> RunFacts:
    """Facts of one healthy run, trained when they are not kept yet."""
    path = folder / case.name.replace("/", "--") / str(seed)
    if path.is_dir():
        try:
            return RunFacts.load(path)
        except (TypeError, OSError):
            shutil.rmtree(path)  # The columns changed since.
    tool = Snellen()
    tool.looks = ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case.run(tool, seed)
    tool.watch.finish()
    facts = tool.watch.facts()
    path.mkdir(parents=True)
    facts.save(path)
    return facts


def rules_of_runs() -> list[type[Rule]]:
    """Rules that need the facts of a run and nothing else."""
    return [rule for rule in all_rules().values() if list(rule.needs().values()) == [RunFacts]]


def speaks(rule: Rule, facts: RunFacts) -> bool:
    """Whether the rule yields an error or warning, judged alone."""
    check: Any = rule.check  # type: ignore[attr-defined]
    return rule.severity is not Severity.INFO and any(True for _ in check(facts))


def margins(kind: type[Rule], runs: Sequence[tuple[str, RunFacts]]) -> Iterator[Margin]:
    """The margin of each numeric option of a rule; values that the option refuses are left out."""
    for name, field in kind.Options.model_fields.items():
        default = field.default
        if isinstance(default, bool) or not isinstance(default, int | float) or not default:
            continue
        found: tuple[float, float, list[str]] | None = None
        for factor in FACTORS:
            for value in (default * factor, default / factor):
                if isinstance(default, int):
                    value = round(value)
                rule = _with(kind, name, value)
                if rule is None or value == default or not value:  # No count is 0.
                    continue
                fired = [run for run, facts in runs if speaks(rule, facts)]
                if fired and (found is None or len(fired) > len(found[2])):
                    found = value, factor, fired
            if found:
                break
        if found:
            yield Margin(kind.name, name, default, found[0], found[1], len(found[2]), found[2][0])
        else:
            yield Margin(kind.name, name, default, None, None, 0, "")


def _with(kind: type[Rule], option: str, value: float) -> Rule | None:
    try:
        return kind(kind.Options(**{option: value}))
    except ValueError:
        return None  # Outside of what the option allows.


def table(found: Sequence[Margin]) -> list[list[str]]:
    """Lines for `page.markdown`, the narrowest margins first."""
    lines = [["rule", "option", "default", "speaks at", "margin", "runs", "first"]]
    for m in sorted(found, key=lambda m: (m.factor or float("inf"), m.rule, m.option)):
        value = "–" if m.value is None else f"{m.value:.3g}"
        factor = f"> {FACTORS[-1]:g}" if m.factor is None else f"{m.factor:g}"
        lines.append([m.rule, m.option, f"{m.default:g}", value, factor, str(m.runs) if m.runs else "–", m.example])
    return lines


def main() -> int:
    """Read the command line, watch, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--facts", type=Path, default=FOLDER, help="folder of the facts of healthy runs")
    parser.add_argument("--write", type=Path, help="write the page there, too")
    parser.add_argument("--rules", nargs="+", help="names of rules; all by default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    healthy = [case for case in all_cases() if case.kind == "healthy"]
    runs = []
    for number, case in enumerate(healthy, 1):
        print(f"\rwatching {number}/{len(healthy)} {case.name:60s}", end="", file=sys.stderr, flush=True)
        runs += [(f"{case.name} ({seed})", watched(case, seed, options.facts)) for seed in options.seeds]
    rules = [r for r in rules_of_runs() if not options.rules or r.name in options.rules]
    if not rules:
        raise UseError("no such rule over runs")
    found: list[Margin] = []
    for number, rule in enumerate(rules, 1):
        print(f"\rmoving options {number}/{len(rules)} {rule.name:60s}", end="", file=sys.stderr, flush=True)
        found += margins(rule, runs)
    print(file=sys.stderr)
    about = ABOUT.format(runs=len(runs), cases=len(healthy), seeds=", ".join(map(str, options.seeds)))
    page = f"{about}\n\n{markdown(table(found))}\n"
    print(page)
    if options.write:
        options.write.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
