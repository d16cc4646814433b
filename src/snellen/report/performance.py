"""The scores: headline numbers with intervals, classes, curves, confusions, the errors' costs, and pictures."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from markupsafe import Markup

from snellen.evaluation.facts import ALL_CLASSES, BACKGROUND_CLASS, ScoreFacts
from snellen.report.charts import Series, bars, lines
from snellen.report.marks import confusion, intervals
from snellen.report.plain import number, plain
from snellen.report.thumbnails import Box, Overlay, Thumbnails, Tile
from snellen.report.totals import HEADLINE, Score, headline_rows, score_rows

MOST_CLASSES = 100
MOST_CURVES = 8
MOST_CONFUSED = 25
GALLERY = 12


@dataclass(frozen=True)
class Performance:
    """The scores section."""

    headline: list[Score]
    rest: list[Score]
    headline_chart: Markup
    convention: str
    about: str
    columns: list[str]
    per_class: list[list[str]]
    more_classes: int
    charts: list[tuple[str, Markup, str]]
    confusion: Markup
    confused_of: str
    galleries: list[tuple[str, str, list[Tile]]]
    """Title, how to read it, tiles."""
    left_out: str


def performance(scores: ScoreFacts, thumbnails: Thumbnails) -> Performance:
    """Tables, drawings and pictures of `scores`."""
    columns, table = _per_class(scores)
    matrix, of = _confusion(scores)
    galleries = _detection_gallery(scores, thumbnails) if scores.task == "detection" else _mistakes(scores, thumbnails)
    return Performance(
        headline=headline_rows(scores),
        rest=[row for row in score_rows(scores) if row.metric not in HEADLINE],
        headline_chart=_headline_chart(headline_rows(scores)),
        convention=plain(scores.convention, 600),
        about=f"{scores.images:,} images of split {plain(scores.split)}"
        + (f", input {scores.input_size} px" if scores.input_size else ""),
        columns=columns,
        per_class=table,
        more_classes=max(0, len(scores.per_class) - MOST_CLASSES),
        charts=[c for c in (_curves(scores), _costs(scores), _gap(scores)) if c[1]],
        confusion=matrix,
        confused_of=of,
        galleries=[(title, hint, kept) for title, hint, tiles in galleries if (kept := [t for t in tiles if t])],
        left_out=_left_out(scores),
    )  # fmt: skip


def _headline_chart(rows: list[Score]) -> Markup:
    """Those with an interval, or all."""
    known = [(r.metric, r.value, r.low, r.high) for r in rows if r.value is not None]
    drawn = [r for r in known if r[2] is not None] or known
    return intervals("scores with 95 % intervals", drawn) if drawn else Markup("")


def _per_class(scores: ScoreFacts) -> tuple[list[str], list[list[str]]]:
    counted = {"classification": "images", "multi-label": "images", "semantic": "pixels", "panoptic": "segments"}
    columns = {"class_name": "class", "objects": counted.get(scores.task, "objects"), "predictions": "predictions",
               "ap": "AP", "ap50": "AP50", "roc_auc": "ROC AUC", "iou": "IoU", "dice": "Dice",
               "boundary_iou": "boundary IoU", "boundary_f": "boundary F", "pq": "PQ", "sq": "SQ", "rq": "RQ",
               "precision": "precision", "recall": "recall", "f1": "F1", "best_threshold": "threshold"}  # fmt: skip
    kept = [c for c in columns if c == "class_name" or scores.per_class[c].null_count() < len(scores.per_class)]
    worst = {"semantic": "iou", "panoptic": "pq"}.get(scores.task, "ap")
    ordered = scores.per_class.sort(worst, nulls_last=True, maintain_order=True).head(MOST_CLASSES)
    rows = [
        [plain(row[c], 60) if c == "class_name" else number(row[c]) for c in kept] for row in ordered.to_dicts()
    ]  # fmt: skip
    return [columns[c] for c in kept], rows


def _curves(scores: ScoreFacts) -> tuple[str, Markup, str]:
    curves = scores.curves
    names = scores.per_class.sort("objects", descending=True, maintain_order=True)["class_name"].to_list()
    present = set(curves["class_name"].unique())
    shown = [n for n in names if n in present and n != ALL_CLASSES]
    shown = ([ALL_CLASSES] if ALL_CLASSES in present and len(shown) != 1 else []) + shown[: MOST_CURVES - 1]
    series = []
    for name in shown:
        one = curves.filter(pl.col("class_name") == name)
        series.append(Series(name, one["recall"].to_list(), one["precision"].to_list()))
    drawn = lines(
        "precision against recall", series, x_label="recall", y_label="precision", x_range=(0, 1), y_range=(0, 1),
        height=250,
    )  # fmt: skip
    over = len(present) - len(shown)
    return (
        "Precision and recall",
        drawn,
        f"The {len(shown)} largest classes; {over} more not drawn." if over > 0 else "",
    )


def _costs(scores: ScoreFacts) -> tuple[str, Markup, str]:
    costs = sorted(((k, v) for k, v in scores.error_costs.items() if np.isfinite(v)), key=lambda kv: -kv[1])
    if not any(v > 0 for _, v in costs):
        return "", Markup(""), ""
    drawn = bars("what each kind of error costs", [(plain(k), [round(100 * v, 2)]) for k, v in costs], unit=" pt")
    return "What the errors cost", drawn, "Points of mAP50 (0..100) won by removing only these errors."


def _gap(scores: ScoreFacts) -> tuple[str, Markup, str]:
    pairs = [
        (k, [100 * v, 100 * there])
        for k, v in scores.train_scores.items()
        for there in [scores.score(k)]
        if k in HEADLINE and there is not None
    ]
    drawn = bars("training against validation", [(plain(k), [round(x, 1) for x in p]) for k, p in pairs],
                 ["train", plain(scores.split, 20)], unit=" %")  # fmt: skip
    return (
        "Training split against this one",
        drawn,
        "A large gap means the network learned the images, not the classes.",
    )


def _confusion(scores: ScoreFacts) -> tuple[Markup, str]:
    table = scores.confusion
    if not len(table):
        return Markup(""), ""
    totals = scores.per_class["class_name"].to_list()
    used = set(table["true_class"].unique()) | set(table["predicted_class"].unique())
    if len(totals) > MOST_CONFUSED:
        # The classes most often confused tell more than the most frequent ones.
        off = table.filter(pl.col("true_class") != pl.col("predicted_class"))
        wrong = dict(off.group_by("true_class").agg(pl.col("count").sum()).iter_rows())
        totals.sort(key=lambda name: -wrong.get(name, 0))
    names = totals[:MOST_CONFUSED] + ([BACKGROUND_CLASS] if BACKGROUND_CLASS in used else [])
    place = {name: i for i, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)))
    for true, predicted, count in table.select("true_class", "predicted_class", "count").iter_rows():
        if true in place and predicted in place:
            counts[place[true], place[predicted]] += count
    cut = len(totals) - MOST_CONFUSED
    of = f"the {MOST_CONFUSED} classes with most errors; {cut} more not drawn" if cut > 0 else ""
    return confusion("confusion matrix", names, counts, BACKGROUND_CLASS), of


def _detection_gallery(scores: ScoreFacts, thumbnails: Thumbnails) -> list[tuple[str, str, list[Tile | None]]]:
    missed = scores.objects.filter(~pl.col("found") & ~pl.col("crowd").fill_null(False)).with_columns(
        area=(pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1"))
    ).sort("area", descending=True, maintain_order=True)  # fmt: skip
    wrong = scores.predictions.filter(~pl.col("outcome").is_in(["correct", "ignored"])).sort(
        "score", descending=True, maintain_order=True
    )
    misses = []
    for row in missed.unique("image", keep="first", maintain_order=True).head(GALLERY).to_dicts():
        box = _box(row)
        overlays = [*_context(scores, row["image"], box), Overlay(box, "truth bad", plain(row["class_name"]))]
        note = f"{plain(row['class_name'], 40)} missed, best overlap {number(row['best_iou'])}"
        misses.append(thumbnails.tile(row["image"], overlays, note=note, focus=box))
    false = []
    for row in wrong.unique("image", keep="first", maintain_order=True).head(GALLERY).to_dicts():
        box = _box(row)
        told = f"{plain(row['class_name'], 40)} {number(row['score'])}"
        overlays = [*_context(scores, row["image"], box), Overlay(box, "guess bad", told)]
        false.append(thumbnails.tile(row["image"], overlays, note=f"{told}: {plain(row['outcome'], 30)}", focus=box))
    hint = "Dashed is the label, solid the prediction, red the one in question."
    return [("Largest missed objects", hint, misses), ("Most confident errors", hint, false)]


def _box(row: dict[str, float]) -> Box:
    return row["x1"], row["y1"], row["x2"], row["y2"]


def _context(scores: ScoreFacts, image: str, but: Box) -> list[Overlay]:
    """Labels and the twelve best predictions of an image, without the box in question."""
    labels = scores.objects.filter(pl.col("image") == image)
    guesses = scores.predictions.filter(pl.col("image") == image).sort("score", descending=True).head(12)
    out = [Overlay(_box(r), "truth", plain(r["class_name"])) for r in labels.to_dicts()]
    out += [Overlay(_box(r), "guess", f"{plain(r['class_name'], 60)} {number(r['score'])}") for r in guesses.to_dicts()]
    return [o for o in out if o.box != but]


def _mistakes(scores: ScoreFacts, thumbnails: Thumbnails) -> list[tuple[str, str, list[Tile | None]]]:
    wrong = scores.predictions.filter(pl.col("class_name") != pl.col("true_class")).sort(
        ["loss", "score"], descending=True, nulls_last=True, maintain_order=True
    )
    tiles = []
    for row in wrong.head(2 * GALLERY).to_dicts():
        sure = number(row["score"]) if row["score"] is not None else f"IoU {number(row['iou'])}"
        note = f"{plain(row['true_class'], 30)} taken for {plain(row['class_name'], 30)}, {sure}"
        tiles.append(thumbnails.tile(row["image"], note=note))
    hint = "The label, what it was taken for, and how sure the network was."
    if scores.task == "semantic":
        hint = "The confusion that costs the image most pixels, and the image's mean IoU."
    elif scores.task == "panoptic":
        hint = "The segment, what it was taken for, and how far the two overlap."
    return [("Worst mistakes", hint, tiles)]


def _left_out(scores: ScoreFacts) -> str:
    if not len(scores.problems):
        return ""
    kinds = scores.problems["kind"].value_counts(sort=True).head(6).rows()
    return f"{len(scores.problems):,} left out: " + ", ".join(f"{count:,} {plain(kind, 60)}" for kind, count in kinds)
