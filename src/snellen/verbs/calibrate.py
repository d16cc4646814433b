"""`calibrate`: a dataset's own distribution of what rules measure, and where their thresholds cut it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from snellen.data.examine import examine
from snellen.data.facts import DataFacts
from snellen.errors import UseError
from snellen.findings.measured import Measured
from snellen.findings.registry import find_rule
from snellen.findings.rule import Rule
from snellen.findings.settings import LoadedSettings, build_rule, chosen_rules, load_settings
from snellen.findings.severity import Tier
from snellen.progress import Progress, silent

PERCENTILES = (0, 0.1, 1, 5, 25, 50, 75, 95, 99, 99.9, 100)
BINS = 20


@dataclass(frozen=True)
class Cut:
    """One rule's threshold against the dataset."""

    rule: str
    code: str
    option: str
    threshold: float
    above: bool
    """The rule looks at what lies above the threshold; false: below."""
    quantity: str
    records: str
    count: int
    """Records measured, with a finite value."""
    percentiles: dict[str, float]
    """Percentile -> value; empty when nothing was measured."""
    edges: list[float]
    """Bin edges of the histogram, between the 0.1st and the 99.9th percentile and the threshold."""
    counts: list[int]
    beyond: int
    """Records on the rule's side of the threshold."""
    found: int
    """Records in the rule's findings: fewer, where it asks for more than the threshold."""
    at_thousandth: float | None
    """The threshold beyond which 0.1 % of the records would lie."""
    at_hundredth: float | None
    """The threshold beyond which 1 % of the records would lie."""
    values: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON, without the values."""
        return {name: value for name, value in vars(self).items() if name != "values"}


@dataclass(frozen=True)
class Calibration:
    """Every cut of one dataset; prints as a page a rule."""

    subject: str
    cuts: Sequence[Cut]

    def __str__(self) -> str:
        from snellen.report.calibration import render_text

        return render_text(self)


def calibrate(
    data: str | Path,
    rule: str | None = None,
    *,
    fast: bool = False,
    settings: LoadedSettings | None = None,
    progress: Progress = silent,
) -> Calibration:
    """Measure the dataset at `data` as the rule called `rule` does (None: as every chosen rule with a threshold does).

    Thresholds are those of `settings` (default: the working folder's). `fast` decodes no image, and leaves out the
    rules that need it. Raises UseError on a rule that has no threshold over records of a dataset, DatasetError when
    nothing can be read at `data`.
    """
    settings = settings or load_settings(Path.cwd())
    if rule is not None:
        kind = find_rule(rule)
        if kind.measured is None:
            raise UseError(f"{kind.name}: has no threshold over the records of a dataset; `snellen calibrate DATA` "
                           "shows the rules that have")  # fmt: skip
        rules = [build_rule(kind, settings.values.rules.get(kind.name, {}))]
    else:
        rules = [r for r in chosen_rules(settings.values) if r.measured is not None]
    if fast:
        rules = [r for r in rules if r.tier <= Tier.HEADERS]
    tier = max((r.tier for r in rules), default=Tier.LABELS)
    facts = examine(Path(data), tier=tier, progress=progress)
    return Calibration(str(data), [_cut(r, facts) for r in rules])


def _cut(rule: Rule, facts: DataFacts) -> Cut:
    assert rule.measured is not None
    measured: Measured = rule.measured(facts)
    values = measured.values.cast(pl.Float64).drop_nulls().to_numpy()
    values = np.sort(values[np.isfinite(values)])
    threshold = float(getattr(rule.options, measured.option))
    check = getattr(rule, "check")  # noqa: B009  # each rule's has its own signature
    found = sum(finding.affected for finding in check(facts))
    beyond = int((values >= threshold).sum() if measured.above else (values <= threshold).sum())
    levels = np.percentile(values, PERCENTILES) if len(values) else []
    edges, counts = _histogram(values, threshold)
    rare = [_cutting(values, share, measured.above) for share in (0.001, 0.01)]
    return Cut(
        rule=rule.name, code=rule.code, option=measured.option, threshold=threshold, above=measured.above,
        quantity=measured.quantity, records=measured.records, count=len(values),
        percentiles={f"{p:g}": float(v) for p, v in zip(PERCENTILES, levels, strict=False)},
        edges=edges, counts=counts, beyond=beyond, found=found, at_thousandth=rare[0], at_hundredth=rare[1],
        values=values,
    )  # fmt: skip


def _cutting(values: np.ndarray, share: float, above: bool) -> float | None:
    """The threshold beyond which at most `share` of the values lie."""
    if not len(values):
        return None
    level, side = (1 - share, "higher") if above else (share, "lower")
    return float(np.quantile(values, level, method=side))  # type: ignore[call-overload]


def _histogram(values: np.ndarray, threshold: float) -> tuple[list[float], list[int]]:
    """Linear bins over all but the outermost thousandths, which go into the first and the last bin."""
    if not len(values):
        return [], []
    low, high = np.percentile(values, [0.1, 99.9])
    low, high = min(low, threshold), max(high, threshold)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return [float(e) for e in edges], [int(c) for c in counts]
