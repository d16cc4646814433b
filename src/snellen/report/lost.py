"""Where the points of a score are lost: kinds of error, kinds of object, suppression, the gap to the training split."""

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl
from markupsafe import Markup

from snellen.evaluation.facts import ScoreFacts
from snellen.report.charts import bars
from snellen.report.figures import Curve, Figure, plot, shares, waterfall
from snellen.report.plain import number, plain, share
from snellen.report.totals import HEADLINE

OF_THE_OBJECT = ("size", "aspect", "crowding", "border")
MOST_PROPERTIES = 8
MOST_COSTS = 12


def lost_points(scores: ScoreFacts) -> list[Figure]:
    """Those of the figures that have something to show."""
    found = [error_waterfall(scores), *recall_by_kind(scores), suppression_sweep(scores), training_gap(scores)]
    return [figure for figure in found if figure.drawing]


def error_waterfall(scores: ScoreFacts) -> Figure:
    """From mAP50 over what mending each kind of error alone would win to a perfect score."""
    costs = sorted(((k, v) for k, v in scores.error_costs.items() if np.isfinite(v)), key=lambda kv: -kv[1])
    now = scores.score("mAP50")
    title = "What the errors cost"
    if not any(v > 0 for _, v in costs):
        return Figure(title, Markup(""))
    rows = [[plain(k), f"{100 * v:.1f}", *([f"{100 * (now + v):.1f}"] if now is not None else [])] for k, v in costs]
    if now is None:
        drawn = bars("what each kind of error costs", [(plain(k), [round(100 * v, 2)]) for k, v in costs], unit=" pt")
    else:
        steps = [(plain(k, 40), v) for k, v in costs]
        drawn = waterfall("from mAP50 to perfect, by kind of error", ("mAP50", now), steps, ("perfect", 1.0))
    special = [f"{100 * scores.special_costs[k]:.1f} {name}" for k, name in
               (("false_positive", "without any false positive"), ("false_negative", "with no object missed"))
               if k in scores.special_costs]  # fmt: skip
    hint = "Points of mAP50 (0..100) won by mending only these errors; what is won only together is the rest."
    if special:
        hint += f" As much as {' and '.join(special)}."
    return Figure(title, drawn, hint, ["error", "points", *(["mAP50 then"] if now is not None else [])], rows)


def dearest_errors(scores: ScoreFacts) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: the kinds of error in the kinds of object or image where they cost most."""
    # A bin that holds most objects costs most whatever its kind: only those are told that cost more than their share.
    held = scores.slices.select("property", "bin", part=pl.col("objects") / pl.col("objects").sum().over("property"))
    whole = scores.costs.group_by("kind", "property").agg(pl.col("cost").sum().alias("whole"))
    dear = (
        scores.costs.join(held, on=["property", "bin"], how="left")
        .join(whole, on=["kind", "property"], how="left")
        .filter((pl.col("cost") >= 0.005) & (pl.col("cost") > 1.5 * pl.col("part").fill_null(0.0) * pl.col("whole")))
        .sort(["cost", "kind", "property", "bin"], descending=[True, False, False, False])
        .head(MOST_COSTS)
    )
    rows = [
        [plain(r["kind"], 30), f"{plain(r['property'], 30)}: {plain(r['bin'], 60)}", f"{r['errors']:,}",
         share(r["part"]) or "–", f"{100 * r['cost']:.1f}"]
        for r in dear.to_dicts()
    ]  # fmt: skip
    return ["error", "where", "errors", "share of objects", "points of mAP50"], rows


def recall_by_kind(scores: ScoreFacts) -> list[Figure]:
    """Recall by what objects, and what their images, are like."""
    slices = scores.slices.filter((pl.col("property") != "class") & (pl.col("objects") > 0))
    names = slices["property"].unique(maintain_order=True).to_list()
    mine = [name for name in OF_THE_OBJECT if name in names]
    others = [name for name in names if name not in OF_THE_OBJECT][:MOST_PROPERTIES]
    hint = "Dark: found at the threshold of the best F1; light: found at any score. At the right: of how many objects."
    return [
        _recall("Recall by kind of object", slices, mine, hint),
        _recall("Recall by kind of image", slices, others, "Thirds of the images' properties; colours as beside."),
    ]


def _recall(title: str, slices: pl.DataFrame, names: Sequence[str], hint: str) -> Figure:
    groups, rows = [], []
    for name in names:
        own = slices.filter(pl.col("property") == name).to_dicts()
        told = []
        for r in own:
            sure, ever = r["found_at_threshold"] / r["objects"], r["found"] / r["objects"]
            told.append((plain(r["bin"], 40), sure, ever, f"{sure:.2f} of {r['objects']:,}"))
            rows.append([plain(name, 40), plain(r["bin"], 60), f"{r['objects']:,}", number(sure), number(ever)])
        groups.append((plain(name, 40), told))
    columns = ["property", "", "objects", "recall", "recall at any score"]
    return Figure(title, shares(title.lower(), groups), hint, columns, rows)


def suppression_sweep(scores: ScoreFacts) -> Figure:
    """mAP50 if boxes of a class that overlap were suppressed anew at another IoU."""
    table = scores.suppression
    swept = table.drop_nulls(["iou_threshold", "map50"]).sort("iou_threshold")
    given = table.filter(pl.col("iou_threshold").is_null())
    title = "Another suppression"
    if len(swept) < 2:
        return Figure(title, Markup(""))
    low = float(swept["map50"].min())  # type: ignore[arg-type]
    high = float(swept["map50"].max())  # type: ignore[arg-type]
    room = max(0.01, 0.2 * (high - low))
    x = swept["iou_threshold"].to_numpy()
    curves = [Curve("suppressed anew", x, swept["map50"].to_numpy(), colour=0)]
    now = given["map50"].drop_nulls()
    if len(now):
        level = float(now[0])
        low, high = min(low, level), max(high, level)
        curves.append(Curve("as given", np.array([x[0], x[-1]]), np.array([level, level]), colour=1))
    drawn = plot(
        "mAP50 against the threshold of suppression", curves, x_label="IoU above which a box is suppressed",
        y_label="mAP50", x_range=(float(x[0]), float(x[-1])), y_range=(max(0.0, low - room), min(1.0, high + room)),
        height=190,
    )  # fmt: skip
    rows = [
        ["as given" if r["iou_threshold"] is None else number(r["iou_threshold"]), f"{r['kept']:,}",
         number(r["map50"]), f"{r['duplicates']:,}", f"{r['found']:,}"]
        for r in [*given.to_dicts(), *swept.to_dicts()]
    ]  # fmt: skip
    return Figure(
        title, drawn, "Non-maximum suppression repeated on the predictions as given, within each class.",
        ["IoU", "kept", "mAP50", "duplicates", "objects found"], rows,
    )  # fmt: skip


def training_gap(scores: ScoreFacts) -> Figure:
    """The headline metrics on the training split and on this one."""
    pairs = [
        (name, value, there)
        for name, value in scores.train_scores.items()
        for there in [scores.score(name)]
        if name in HEADLINE and there is not None
    ]
    drawn = bars(
        "training against validation", [(plain(k), [round(100 * a, 1), round(100 * b, 1)]) for k, a, b in pairs],
        ["train", plain(scores.split, 20)], unit=" %",
    )  # fmt: skip
    rows = [[plain(k, 60), number(a), number(b), f"{100 * (a - b):+.1f}"] for k, a, b in pairs]
    return Figure(
        "Training split against this one", drawn, "A large gap means the network learned the images, not the classes.",
        ["metric", "train", plain(scores.split, 20), "points apart"], rows,
    )  # fmt: skip


def failing_segments(scores: ScoreFacts, told: Iterable[str]) -> list[str]:
    """One sentence a segment that fails more than the rest, but for those `told` elsewhere."""
    what, done = ("images", "wrongly classified") if scores.task == "classification" else ("objects", "missed")
    known = set(told)
    out = []
    for r in scores.segments.sort("excess", descending=True, nulls_last=True, maintain_order=True).to_dicts():
        if r["segment"] in known or not r["count"]:
            continue
        elsewhere = share(r["others_failed"] / r["others"]) if r["others"] else "–"
        out.append(
            f"{plain(r['segment'], 200)}: {r['failed']:,} of {r['count']:,} {what} {done} "
            f"({share(r['failed'] / r['count'])}), {elsewhere or '0 %'} elsewhere (p {r['p']:.1g})"
        )
    return out
