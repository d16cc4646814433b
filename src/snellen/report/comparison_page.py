"""Runs side by side as one HTML page that needs nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from markupsafe import Markup

from snellen.evaluation.comparison import Comparison
from snellen.evaluation.disagreement import disagreements
from snellen.evaluation.facts import ALL_CLASSES, ScoreFacts
from snellen.findings.words import plural
from snellen.report.comparison_charts import Gap, Priced, cost_benefit, front, gaps, parts_of
from snellen.report.comparison_examples import examples
from snellen.report.curves import class_curves
from snellen.report.eye_chart import eye_chart
from snellen.report.figures import Curve, Figure, plot, small_plot
from snellen.report.plain import number, plain, short, value_text
from snellen.report.svg import SERIES
from snellen.report.templating import render
from snellen.report.thumbnails import Thumbnails, Tile
from snellen.result import Result

PICTURES = 900_000
"""Bytes of pictures, at most."""
MOST_GAPS = 24
"""Classes drawn: the better and the worse half of it; the table has the others."""
MOST_LISTED = 200
MOST_STAMPS = 24
MOST_SETTINGS = 200
TILES = 12
COSTS = (
    ("flops", 0.5, "multiply-adds of one forward pass"), ("parameters", 1.0, "parameters"),
    ("seconds_per_image", 1000.0, "milliseconds an image"), ("training_seconds", 1.0, "seconds of training"),
)  # fmt: skip
"""Column of RUNS, factor, words."""
CHANGING = ("date",)
"""Lines of an environment that differ from run to run."""


@dataclass(frozen=True)
class Against:
    """One run compared with the first."""

    name: str
    told: str
    """What the headline metric says."""
    also: str
    """What else is real."""
    metrics: Figure
    classes: Figure
    classes_cut: str
    agreement: Markup
    agreement_key: list[tuple[str, str, str]]
    """CSS class, words, count."""
    agreement_told: str
    only: list[tuple[str, int, list[Tile]]]
    """Title, how many there are, pictures."""


def render_comparison(found: Comparison, results: Sequence[Result]) -> str:
    """One page of at most 2 MB of `found`, the comparison of `results` in their order.

    Pictures are read from the first run's dataset where that is still at hand.
    """
    names = found.runs["run"].to_list()
    scores = [result.scores for result in results if result.scores is not None]
    thumbnails = Thumbnails(_root(results), PICTURES)
    others = [
        _against(found, names[0], name, scores[0], own, thumbnails, len(names) - 1)
        for name, own in zip(names[1:], scores[1:], strict=True)
    ]
    settings, same = _differing([result.recipe for result in results])
    machines, _ = _differing([{k: v for k, v in r.environment.items() if k not in CHANGING} for r in results])
    context = {
        "names": [plain(name, 80) for name in names],
        "about": f"{found.task}, {found.runs['images'][0]:,} images of split {plain(found.split)}",
        "boxes": found.task == "detection",
        "notes": [plain(note) for note in found.notes],
        "eye_chart": eye_chart(),
        "runs": _runs(found),
        "costs": _costs(found),
        "others": others,
        "curves": _curves(names, scores),
        "stamps": _stamps(found, scores),
        "settings": settings,
        "same_settings": same,
        "machines": machines,
        "pictures_dropped": thumbnails.dropped,
    }
    return render("comparison.html", context)


def _root(results: Sequence[Result]) -> Path | None:
    data = results[0].data
    return Path(data.root) if data is not None and Path(data.root).is_dir() else None


def _runs(found: Comparison) -> tuple[list[str], list[list[str]]]:
    """The table of runs: score, interval, costs."""
    rows = found.runs.to_dicts()
    table = [
        [
            plain(r["run"], 60), number(r["value"]), f"{number(r['low'])} to {number(r['high'])}",
            short(r["parameters"]), short(None if r["flops"] is None else r["flops"] / 2),
            number(None if r["seconds_per_image"] is None else 1000 * r["seconds_per_image"]),
            plain(r["input"] or "–", 40),
            number(None if r["training_seconds"] is None else round(r["training_seconds"])),
        ]
        for r in rows
    ]  # fmt: skip
    metric = plain(rows[0]["metric"], 60)
    return ["run", metric, "95 % interval", "parameters", "MACs", "ms an image", "input", "trained, s"], table


def _priced(found: Comparison, column: str, factor: float) -> list[Priced]:
    return [
        Priced(plain(r["run"], 80), factor * r[column], r["value"], r["low"], r["high"], k)
        for k, r in enumerate(found.runs.to_dicts())
        if r[column] is not None and r["value"] is not None and r["value"] == r["value"]
    ]


def _costs(found: Comparison) -> list[Figure]:
    """Score against every cost by which the runs differ."""
    metric = plain(found.runs["metric"][0], 40)
    out = []
    for column, factor, words in COSTS:
        rows = _priced(found, column, factor)
        drawn = cost_benefit(f"{metric} against {words}", rows, words, metric)
        best = {row.name for row in front(rows)}
        table = [[r.name, short(r.cost), number(r.value), "yes" if r.name in best else "no"] for r in rows]
        out.append(
            Figure(f"{metric} against {words}", drawn, "", ["run", words, metric, "no cheaper run is as good"], table)
        )
    return [figure for figure in out if figure.drawing]


def _against(
    found: Comparison, first: str, name: str, mine: ScoreFacts, theirs: ScoreFacts, thumbnails: Thumbnails, share: int
) -> Against:
    metrics, classes = found.metrics.filter(run=name), found.classes.filter(run=name)
    told, also = _told(found, name, first)
    drawn, cut = _class_gaps(classes)
    row = found.agreement.filter(run=name).row(0, named=True)
    a, b = plain(first, 40), plain(name, 40)
    key = [
        ("both-right", "both right", row["both"]), ("s0", f"only {a}", row["only_first"]),
        (f"s{found.runs['run'].to_list().index(name) % SERIES}", f"only {b}", row["only_other"]),
        ("neither", "both wrong", row["neither"]),
    ]  # fmt: skip
    odd = disagreements(mine, theirs)
    tiles = max(4, TILES // share)
    only = [
        (f"Only {run} is right", int((odd["only"] == side).sum()),
         examples(odd.filter(only=side), mine, theirs, (a, b), thumbnails, tiles))
        for run, side in ((b, "other"), (a, "first"))
    ]  # fmt: skip
    return Against(
        name=plain(name, 80), told=told, also=also,
        metrics=Figure("Headline metrics", _gaps(f"{b} against {a}", metrics), "", *_table(metrics, "metric", a, b)),
        classes=Figure("Classes", drawn, "", *_table(classes, "class", a, b)), classes_cut=cut,
        agreement=parts_of(f"agreement of {a} and {b}", [(told, count, kind) for kind, told, count in key]),
        agreement_key=[(kind, told, f"{count:,}") for kind, told, count in key],
        agreement_told=f"{plain(row['what'])}; chance of such a split between equals: {row['p']:.2g}",
        only=only,
    )  # fmt: skip


def _told(found: Comparison, run: str, first: str) -> tuple[str, str]:
    """What the headline metric says of `run` and `first`, and what else is real."""
    a, b, metric = plain(first, 60), plain(run, 60), found.runs["metric"][0]
    rows = {r["name"]: r for r in found.metrics.filter(run=run).to_dicts()}
    head = rows.pop(metric)
    span = f" ({_signed(head['low'])} to {_signed(head['high'])})" if head["low"] is not None else ""
    by = f"{plain(metric, 40)} {_signed(head['difference'])}{span}"
    if head["better"] is None:
        told = f"{b} and {a} cannot be told apart by {by}"
    else:
        told = f"{b} {'beats' if head['better'] else 'falls behind'} {a}: {by}"
    real = [f"{plain(r['name'], 40)} {_signed(r['difference'])}" for r in rows.values() if r["real"]]
    classes = found.classes.filter((pl.col("run") == run) & pl.col("real"))["better"]
    better = int(classes.sum())
    if len(classes):
        real += [f"{plural(better, 'class', 'classes')} better, {len(classes) - better} worse"]
    return told, f"Real as well: {', '.join(real)}." if real else "Nothing else is told apart."


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def _gaps(label: str, rows: pl.DataFrame) -> Markup:
    """The metrics that are shares; a loss has another scale, and stands in the table."""
    return gaps(label, [_gap(r) for r in rows.filter(pl.col("name") != "log_loss").to_dicts()])


def _gap(row: Mapping[str, Any]) -> Gap:
    return Gap(plain(row["name"], 60), row["difference"], row["low"], row["high"], row["better"])


def _class_gaps(classes: pl.DataFrame) -> tuple[Markup, str]:
    """The classes by falling difference; of many those at either end."""
    known = classes.filter(pl.col("difference").is_finite()).sort(
        ["difference", "name"], descending=[True, False]
    )  # fmt: skip
    half = MOST_GAPS // 2
    shown = known if len(known) <= MOST_GAPS else pl.concat([known.head(half), known.tail(half)])
    cut = f"{len(known) - len(shown):,} classes between them are in the table." if len(known) > len(shown) else ""
    return gaps("differences by class", [_gap(r) for r in shown.to_dicts()]), cut


def _table(rows: pl.DataFrame, what: str, first: str, other: str) -> tuple[list[str], list[list[str]]]:
    ordered = rows.sort("difference", descending=True, nulls_last=True, maintain_order=True).head(MOST_LISTED)
    table = [
        [
            plain(r["name"], 60), f"{r['count']:,}", number(r["first"]), number(r["other"]),
            f"{r['difference']:+.3f}", f"{number(r['low'])} to {number(r['high'])}", f"{r['p_adjusted']:.2g}",
            {None: "–", True: "better", False: "worse"}[r["better"]],
        ]
        for r in ordered.to_dicts()
    ]  # fmt: skip
    return [what, "of", first, other, "difference", "95 % interval", "p adjusted", "real"], table


def _curves(names: Sequence[str], scores: Sequence[ScoreFacts]) -> Figure:
    """Precision against recall of all classes together, a line a run; nothing where the facts hold no such curve."""
    curves = []
    for k, (name, own) in enumerate(zip(names, scores, strict=True)):
        found = class_curves(own, "recall", "precision")
        if ALL_CLASSES in found:
            curves.append(Curve(plain(name, 40), *found[ALL_CLASSES], colour=k))
    drawn = plot("precision against recall of all runs", curves, x_label="recall", y_label="precision")
    rows = [[c.name, *(_precision(c, r / 10) for r in range(1, 10))] for c in curves]
    columns = ["precision at recall", *(f"0.{r}" for r in range(1, 10))]
    return Figure("All classes together", drawn, "", columns, rows)


def _precision(curve: Curve, recall: float) -> str:
    reached = curve.y[curve.x >= recall - 1e-9]
    return number(float(reached.max())) if len(reached) else "–"


def _stamps(found: Comparison, scores: Sequence[ScoreFacts]) -> list[tuple[str, Markup]]:
    """The curves of the classes in which the runs differ most."""
    far = found.classes.filter(pl.col("difference").is_finite()).with_columns(pl.col("difference").abs().alias("far"))
    order = far.group_by("name").agg(pl.col("far").max()).sort(["far", "name"], descending=[True, False])
    curves = [class_curves(own, "recall", "precision") for own in scores]
    names = [n for n in order["name"].to_list() if any(n in own for own in curves)][:MOST_STAMPS]
    return [
        (plain(name, 40), small_plot(f"precision against recall of {name}",
                                     [(k, *own[name]) for k, own in enumerate(curves) if name in own]))
        for name in names
    ]  # fmt: skip


def _differing(recipes: Sequence[Mapping[str, Any]]) -> tuple[list[list[str]], int]:
    """The settings that are not the same in all runs, and how many are; a run without one shows a dash."""
    keys = list(dict.fromkeys(key for recipe in recipes for key in recipe))
    missing = object()
    values = {key: [recipe.get(key, missing) for recipe in recipes] for key in keys}
    differ = [key for key in keys if any(v != values[key][0] for v in values[key])]
    rows = [
        [plain(key, 60), *("–" if v is missing else value_text(v) for v in values[key])]
        for key in differ[:MOST_SETTINGS]
    ]
    return rows, len(keys) - len(differ)
