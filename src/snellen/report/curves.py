"""The curves of an evaluation: precision and recall, ROC, F1 against the threshold, reliability."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from snellen.evaluation.facts import ALL_CLASSES, ScoreFacts
from snellen.evaluation.mended_reliability import MendedReliability, mended_reliability
from snellen.report.charts import Floats
from snellen.report.figures import Curve, Figure, plot, small_plot, thin
from snellen.report.plain import number, plain, share

MOST_NAMED = 8
"""Classes with a colour and a name; of more the best and the worst."""
MOST_FAINT = 60
MOST_LISTED = 100
"""Classes of a table, and of small plots."""
RECALLS = np.arange(1, 10) / 10
FALSE_RATES = (0.001, 0.01, 0.05, 0.1, 0.2)
THRESHOLDS = 201
XY = tuple[Floats, Floats]


def score_curves(scores: ScoreFacts) -> list[Figure]:
    """Those of the figures that have something to show."""
    found = [precision_recall(scores), roc(scores), f1_by_threshold(scores), reliability(scores)]
    return [figure for figure in found if figure.drawing]


def class_curves(scores: ScoreFacts, x: str, y: str) -> dict[str, XY]:
    """Class -> the points of its curve, the whole first, then by falling average precision."""
    rows = scores.curves.drop_nulls([x, y])
    parts = {name: part for (name,), part in rows.partition_by("class_name", as_dict=True).items()}
    worth = _worth(scores)
    order = sorted(parts, key=lambda name: (name != ALL_CLASSES, -worth.get(name, 0.0), str(name)))
    return {name: (parts[name][x].to_numpy(), parts[name][y].to_numpy()) for name in order}


def _worth(scores: ScoreFacts) -> dict[str, float]:
    """Class -> AP at IoU 0.5, or average precision; what orders the classes and stands behind their names."""
    column = "ap50" if scores.per_class["ap50"].null_count() < len(scores.per_class) else "ap"
    return dict(scores.per_class.select("class_name", column).drop_nulls().iter_rows())


def chosen(names: Sequence[str]) -> list[str]:
    """Up to eight of `names`, which are in order of worth: all, or the whole, the three best and the four worst."""
    if len(names) <= MOST_NAMED:
        return list(names)
    first = [name for name in names[:1] if name == ALL_CLASSES]
    rest = [name for name in names if name != ALL_CLASSES]
    return [*first, *rest[:3], *rest[-(MOST_NAMED - 3 - len(first)) :]]


def _curves(found: dict[str, XY], worth: dict[str, float]) -> list[Curve]:
    """The chosen in colours, the others behind them."""
    if len(found) == 2 and ALL_CLASSES in found:
        # One class and the whole are one curve.
        found = {name: xy for name, xy in found.items() if name != ALL_CLASSES}
    named = chosen(list(found))
    others = [name for name in found if name not in named][:MOST_FAINT]
    return [
        *(Curve("", *thin(*found[name], 40)) for name in others),
        *(Curve(plain(name, 40) + (f" ({number(worth[name], 2)})" if name in worth else ""), *found[name], colour=k)
          for k, name in enumerate(named)),
    ]  # fmt: skip


def _left(found: dict[str, XY]) -> str:
    more = len(found) - MOST_NAMED
    return f"Named: the best and the worst classes; {more} more in grey." if more > 0 else ""


def precision_recall(scores: ScoreFacts) -> Figure:
    """Precision against recall of every class; as numbers, the precision that is left at each recall."""
    found = class_curves(scores, "recall", "precision")
    at = " at IoU 0.5" if scores.task == "detection" else ""
    rows = []
    for name, (recall, precision) in list(found.items())[:MOST_LISTED]:
        best = [precision[recall >= wanted - 1e-9] for wanted in RECALLS]
        rows.append([plain(name, 60), *(number(float(p.max())) if len(p) else "–" for p in best)])
    return Figure(
        "Precision and recall",
        plot(f"precision against recall{at}", _curves(found, _worth(scores)), x_label="recall", y_label="precision"),
        f"Behind each class: its average precision{at}. {_left(found)}".strip(),
        ["precision at recall", *(number(r) for r in RECALLS)],
        rows,
    )


def roc(scores: ScoreFacts) -> Figure:
    """The share of positives against the share of negatives above every threshold; nothing for a detector."""
    rates = class_curves(scores, "fpr", "recall")
    ends = {name: (np.r_[0.0, x, 1.0], np.r_[0.0, y, 1.0]) for name, (x, y) in rates.items()}
    area = dict(scores.per_class.select("class_name", "roc_auc").drop_nulls().iter_rows())
    rows = [
        [plain(name, 60), *(number(float(y[x <= rate].max())) for rate in FALSE_RATES)]
        for name, (x, y) in list(ends.items())[:MOST_LISTED]
    ]
    drawn = plot(
        "ROC: true positive rate against false positive rate", _curves(ends, area), x_label="false positive rate",
        y_label="true positive rate (recall)", diagonal=True,
    )  # fmt: skip
    hint = f"Each class against the rest; behind its name the area below. {_left(ends)}".strip()
    columns = ["recall at false positive rate", *(share(rate) for rate in FALSE_RATES)]
    return Figure("ROC", drawn, hint, columns, rows)


def f1_curves(scores: ScoreFacts) -> dict[str, XY]:
    """Class -> thresholds, rising, and F1 with everything at or above them told; the whole first.

    Of a detector exact, from its predictions; else through the points of the curves.
    """
    if scores.task != "detection":
        found = class_curves(scores, "score", "precision")
        recalls = class_curves(scores, "score", "recall")
        return {name: _f1_of_curve(score, precision, recalls[name][1]) for name, (score, precision) in found.items()}
    counted = scores.predictions.filter(pl.col("outcome") != "ignored", pl.col("score").is_finite()).select(
        "class_name", "score", right=pl.col("outcome") == "correct"
    )
    objects = dict(scores.per_class.select("class_name", "objects").drop_nulls().iter_rows())
    parts = {str(name): part for (name,), part in counted.partition_by("class_name", as_dict=True).items()}
    worth = _worth(scores)
    names = sorted((n for n in parts if objects.get(n)), key=lambda n: (-worth.get(n, 0.0), n))
    whole = {ALL_CLASSES: _f1(counted, sum(objects.values()))} if len(names) > 1 else {}
    return whole | {name: _f1(parts[name], objects[name]) for name in names}


def _f1_of_curve(score: Floats, precision: Floats, recall: Floats) -> XY:
    both = precision + recall
    order = np.argsort(score, kind="stable")
    return score[order], (2 * precision * recall / np.where(both > 0, both, 1.0))[order]


def _f1(rows: pl.DataFrame, objects: int) -> XY:
    score, right = rows["score"].to_numpy(), rows["right"].to_numpy()
    order = np.argsort(score, kind="stable")
    above = np.r_[np.cumsum(right[order][::-1])[::-1], 0]
    # Scores within 0..1 are drawn on 0..1; thresholds beyond the last prediction tell nothing and score 0.
    low, high = min(0.0, float(score.min())), max(1.0, float(score.max()))
    thresholds = np.linspace(low, high, THRESHOLDS)
    at = np.searchsorted(score[order], thresholds, side="left")
    taken = len(score) - at
    return thresholds, 2 * above[at] / (taken + objects)


def f1_by_threshold(scores: ScoreFacts) -> Figure:
    """F1 against the threshold, with the one that each class wants."""
    found = f1_curves(scores)
    best = _best_thresholds(scores, found)
    common = scores.score("f1_threshold")
    told = {"detection": "at the common one", "multi-label": "as told"}.get(scores.task)
    used = dict(scores.per_class.select("class_name", "f1").drop_nulls().iter_rows())
    rows = []
    for name in [n for n in found if n != ALL_CLASSES][:MOST_LISTED]:
        wanted, f1 = best.get(name, (None, None))
        now = used.get(name)
        if scores.task == "detection" and common is not None:
            now = float(np.interp(common, *found[name]))
        rows.append([plain(name, 60), number(wanted), number(f1), *([number(now)] if told else [])])
    named = chosen(list(found))
    curves = [Curve("", *thin(*found[n], 60)) for n in found if n not in named][:MOST_FAINT]
    curves += [Curve(plain(n, 40), *found[n], colour=k, dot=best.get(n)) for k, n in enumerate(named)]
    ends = [end for x, _ in found.values() if len(x) for end in (float(x[0]), float(x[-1]))]
    span = (min([0.0, *ends]), max([1.0, *ends]))
    mark = (common, f"best for all {number(common)}") if common is not None and len(found) > 1 else None
    hint = "Dots: the threshold that each class wants."
    if scores.task == "classification":
        hint += " Each class against the rest; the answer scored here is the most probable class."
    return Figure(
        "F1 against the threshold",
        plot("F1 against the score threshold", curves, x_label="score threshold", y_label="F1", x_range=span,
             mark=mark),
        f"{hint} {_left(found)}".strip(),
        ["class", "wants", "F1 there", *([f"F1 {told}"] if told else [])],
        rows,
    )  # fmt: skip


def _best_thresholds(scores: ScoreFacts, found: dict[str, XY]) -> dict[str, tuple[float, float]]:
    """Class -> its threshold of best F1 and that F1: as evaluated where the facts say so, else of the curve."""
    out = {}
    for name, (x, y) in found.items():
        if len(x):
            at = int(np.argmax(y))
            out[name] = (float(x[at]), float(y[at]))
    if scores.task == "detection":
        known = scores.per_class.select("class_name", "best_threshold", "f1").drop_nulls()
        out |= {name: (x, y) for name, x, y in known.iter_rows() if name in out}
    return out


def reliability(scores: ScoreFacts) -> Figure:
    """The share right against the score, as predicted and after a fitted map."""
    before = scores.reliability.filter((pl.col("class_name") == ALL_CLASSES) & (pl.col("count") > 0))
    mended = mended_reliability(scores)
    after = mended.rows if mended else before.clear()
    curves = [
        Curve(name, t["confidence"].to_numpy(), t["accuracy"].to_numpy(), colour=k, sizes=t["count"].to_numpy())
        for k, (name, t) in enumerate([("as predicted", before), ("after isotonic scaling", after)])
        if len(t)
    ]
    drawn = plot(
        "reliability: share right against score", curves, x_label="mean score of a bin", y_label="share right",
        diagonal=True,
    )  # fmt: skip
    later = {low: (count, share_right) for low, count, share_right in after.select("low", "count", "accuracy").rows()}
    rows = [
        [f"{number(r['low'], 2)} to {number(r['high'], 2)}", f"{r['count']:,}", number(r["confidence"]),
         number(r["accuracy"]), *([f"{later[r['low']][0]:,}", number(later[r["low"]][1])] if r["low"] in later else
                                  ["–", "–"])]
        for r in before.to_dicts()
    ]  # fmt: skip
    columns = ["score", "predictions", "mean score", "share right", "predictions after scaling", "share right"]
    return Figure("Reliability", drawn, _calibrated(scores, mended), columns, rows)


def _calibrated(scores: ScoreFacts, mended: MendedReliability | None) -> str:
    error = scores.score("ece")
    told = "On the diagonal scores are true; below it they promise too much. The dots' area is the number."
    if mended is None or error is None:
        return told
    return (
        f"{told} Calibration error {number(error, 2)}; {number(mended.error, 2)} after an isotonic map, always fitted "
        f"on the other half of the images."
    )


def small_multiples(scores: ScoreFacts) -> list[tuple[str, str, object]]:
    """Name, average precision and a stamp of the curve of every class, where there are too many to name at once."""
    found = class_curves(scores, "recall", "precision")
    names = [name for name in found if name != ALL_CLASSES]
    if len(names) <= MOST_NAMED:
        return []
    worth = _worth(scores)
    return [
        (plain(name, 40), number(worth.get(name), 2), small_plot(f"precision, recall of {name}", [(0, *found[name])]))
        for name in names[:MOST_LISTED]
    ]  # fmt: skip
