"""Labels that a model's predictions speak against: what rules judge one by one, and a person looks at first.

In the manner of ObjectLab (Tkachenko et al., 2023) for objects, with confident learning's measure of sureness
(Northcutt et al., JAIR 2021) for both tasks: a prediction accuses a label only when it is at least as sure as the
model's right ones of its class are on the mean. Images that the model learned from are measured apart and held to the
higher of the two means, since a network repeats the labels that it memorised.
"""

from collections.abc import Collection, Sequence

import numpy as np
import polars as pl

from snellen.boxes import CORNERS
from snellen.evaluation.confident_learning import ROUNDING, Floats, Ints, class_thresholds, suggested_classes
from snellen.evaluation.facts import SUSPECTS
from snellen.facts import table

OVERLOOKED_IOU = 0.1
"""A predicted box that overlaps every label by less than this is of an object without a label (TIDE's background)."""
OVERLOOKED_COVER = 0.5
"""... and neither is it covered by one label to this share, as a part of a labelled object is (judgement)."""
MISPLACED_IOU = (0.1, 0.5)
SAME_IOU = 0.5
"""Overlap from which two boxes are of one object."""
DEFENCE = {"misplaced": 0.25, "swapped": 0.5}
"""A label stands when a prediction of its class fits it as well, at more than this share of the suspect's score. With
0.5, photographs of raccoons have three misplaced boxes, all of them the model's mistakes; with 0.75, one of four
swapped classes in spoilt scenes of digits is not a planted one."""
MIN_RIGHT = 10
"""A class with fewer right predictions is measured by those of all classes (judgement)."""
KEYS = ("learned", "class_name")


def detection_suspects(
    predictions: pl.DataFrame, objects: pl.DataFrame, learned: Collection[str] | None = None
) -> pl.DataFrame:
    """SUSPECTS of a detector's tables PREDICTIONS and OBJECTS, the surest first.

    overlooked: a sure box where no object of any class is labelled. misplaced: a sure box that overlaps an object of
    its class by 0.1 to 0.5, which no other prediction fits better. swapped: a sure box of another class on an object.
    `learned` names the images that the model was trained on; None: not known.
    """
    told = predictions.filter(pl.col("outcome") != "ignored").with_columns(_learned(learned)).with_row_index("suspect")
    sure = _surest(told)
    if sure.is_empty():
        return table(SUSPECTS)
    labelled = objects.with_row_index("object").filter(~pl.col("crowd"))
    met = _meetings(sure, labelled)
    best = met.sort("iou", descending=True, maintain_order=True).unique("suspect", keep="first", maintain_order=True)
    cover = met.group_by("suspect").agg(pl.col("cover").max().alias("most_covered"))
    found = sure.drop("object", "iou").join(best.select("suspect", "object", "iou", "label"), on="suspect", how="left")
    found = found.join(cover, on="suspect", how="left").with_columns(pl.col("iou", "most_covered").fill_null(0.0))
    same = pl.col("label") == pl.col("class_name")
    low, high = MISPLACED_IOU
    kind = (
        pl.when((pl.col("iou") < OVERLOOKED_IOU) & (pl.col("most_covered") < OVERLOOKED_COVER))
        .then(pl.lit("overlooked"))
        .when(same & pl.col("iou").is_between(low, high))
        .then(pl.lit("misplaced"))
        .when(~same & (pl.col("iou") >= SAME_IOU))
        .then(pl.lit("swapped"))
    )
    found = found.with_columns(kind.alias("kind")).filter(pl.col("kind").is_not_null())
    return _table(_best_of_each_place(_unrivalled(found, told, labelled)))


def classification_suspects(
    images: Sequence[str],
    labels_N: Ints,
    p_NC: Floats,
    class_names: Sequence[str],
    learned: Collection[str] | None = None,
) -> pl.DataFrame:
    """SUSPECTS of a classifier, mislabelled images, by falling margin of their probability over the label's."""
    known = frozenset(learned or ())
    trained_on = np.array([image in known for image in images], dtype=bool)
    others = ~trained_on
    thresholds = class_thresholds(labels_N[others], p_NC[others]) if others.any() else None
    top, right = p_NC.max(axis=1), p_NC.argmax(axis=1) == labels_N
    rows = []
    for part in (others, trained_on):
        if not part.any():
            continue
        own = class_thresholds(labels_N[part], p_NC[part])
        own = own if thresholds is None else np.fmax(own, np.where(np.isfinite(thresholds), thresholds, -np.inf))
        suggested = suggested_classes(labels_N, p_NC, own)
        accused = part & (suggested >= 0)
        share = {
            k: float(right[part & (top >= own[k] - ROUNDING)].mean()) for k in np.unique(suggested[accused]).tolist()
        }
        for i in np.flatnonzero(accused).tolist():
            k = int(suggested[i])
            rows.append(
                {
                    "kind": "mislabelled", "image": images[i], "label": class_names[labels_N[i]],
                    "suggested": class_names[k], "score": float(p_NC[i, k]), "usual": float(own[k]),
                    "share_right": share[k], "label_score": float(p_NC[i, labels_N[i]]),
                    "learned": bool(trained_on[i]) if learned is not None else None,
                }
            )  # fmt: skip
    margin = pl.col("score") - pl.col("label_score")
    return table(SUSPECTS, rows).sort(margin, descending=True, maintain_order=True)


def _learned(learned: Collection[str] | None) -> pl.Expr:
    value = pl.lit(None, dtype=pl.Boolean) if learned is None else pl.col("image").is_in(sorted(learned))
    return value.alias("learned")


def _surest(told: pl.DataFrame) -> pl.DataFrame:
    """The wrong predictions that are as sure as the right ones of their class, with `usual` and `share_right`."""
    right = pl.col("outcome") == "correct"
    count, mean = right.sum(), pl.col("score").filter(right).mean()
    parts = told.group_by("learned").agg(count.alias("pooled_count"), mean.alias("pooled"))
    usual = told.group_by(KEYS).agg(count.alias("count"), mean.alias("own"))
    usual = usual.join(parts, on="learned", nulls_equal=True).filter(pl.col("pooled_count") >= MIN_RIGHT)
    few = pl.col("count") < MIN_RIGHT
    usual = usual.with_columns(few.alias("few"), pl.when(few).then("pooled").otherwise("own").alias("usual"))
    held_out = usual.filter(~pl.col("learned").fill_null(True)).select("class_name", pl.col("usual").alias("least"))
    usual = usual.join(held_out, on="class_name", how="left").with_columns(pl.max_horizontal("usual", "least"))
    sure = told.join(usual, on=KEYS, nulls_equal=True, maintain_order="left").filter(pl.col("score") >= pl.col("usual"))
    shares = pl.when("few").then(right.mean().over("learned")).otherwise(right.mean().over(KEYS))
    return sure.with_columns(shares.alias("share_right")).filter(~right)


def _meetings(boxes: pl.DataFrame, objects: pl.DataFrame) -> pl.DataFrame:
    """Each of `boxes` with each object of its image that it touches: their columns, `iou`, `cover` of the box."""
    own = {c: f"label_{c}" for c in CORNERS}
    wanted = objects.select("image", pl.col("object").cast(pl.Int64), pl.col("class_name").alias("label"), *CORNERS)
    pairs = boxes.drop("object", "iou", strict=False).join(wanted.rename(own), on="image", maintain_order="left")
    across, down = (
        (pl.min_horizontal(f"{a}2", f"label_{a}2") - pl.max_horizontal(f"{a}1", f"label_{a}1")).clip(0) for a in "xy"
    )
    area = (pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1"))
    label_area = (pl.col("label_x2") - pl.col("label_x1")) * (pl.col("label_y2") - pl.col("label_y1"))
    pairs = pairs.with_columns((across * down).alias("both")).filter(pl.col("both") > 0)
    return pairs.with_columns(
        (pl.col("both") / (area + label_area - pl.col("both"))).alias("iou"), (pl.col("both") / area).alias("cover")
    )


def _unrivalled(found: pl.DataFrame, told: pl.DataFrame, objects: pl.DataFrame) -> pl.DataFrame:
    """Suspects whose label no other prediction of the label's class defends; with `label_score`."""
    accused = found.filter(pl.col("kind") != "overlooked")
    theirs = objects.filter(pl.col("object").is_in(accused["object"].implode()))
    near = _meetings(told.filter(pl.col("image").is_in(accused["image"].implode())), theirs)
    near = near.filter(pl.col("class_name") == pl.col("label")).select(
        "object",
        pl.col("suspect").alias("rival"),
        pl.col("score").alias("rival_score"),
        pl.col("iou").alias("rival_iou"),
    )
    pairs = accused.select("suspect", "object", "kind", "iou").join(near, on="object")
    pairs = pairs.filter(pl.col("suspect") != pl.col("rival"))
    least = pl.when(pl.col("kind") == "misplaced").then("iou").otherwise(pl.lit(SAME_IOU))
    defence = pairs.filter(pl.col("rival_iou") >= least).group_by("suspect").agg(
        pl.col("rival_score").max().alias("label_score")
    )  # fmt: skip
    scored = found.join(defence, on="suspect", how="left", maintain_order="left")
    scored = scored.with_columns(pl.col("label_score").fill_null(0.0))
    share = pl.col("kind").replace_strict(DEFENCE, default=0.0)
    return scored.filter(pl.col("label_score") <= share * pl.col("score"))


def _best_of_each_place(found: pl.DataFrame) -> pl.DataFrame:
    """The surest suspect of each object, and of those that overlap where nothing is labelled."""
    found = found.sort("score", "suspect", descending=[True, False])
    taken: dict[str, list[tuple[float, ...]]] = {}
    keep = []
    objects: set[int] = set()
    for row in found.select("kind", "image", "object", *CORNERS).iter_rows():
        kind, image, number, box = row[0], row[1], row[2], row[3:]
        if kind == "overlooked":
            there = taken.setdefault(image, [])
            keep.append(all(_iou(box, other) < SAME_IOU for other in there))
            there.append(box)
        else:
            keep.append(number not in objects)
            objects.add(number)
    return found.filter(pl.Series(keep, dtype=pl.Boolean))


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    both = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return both / (sum((q[2] - q[0]) * (q[3] - q[1]) for q in (a, b)) - both)


def _table(found: pl.DataFrame) -> pl.DataFrame:
    unlabelled = pl.col("kind") == "overlooked"
    return (
        found.with_columns(pl.col("class_name").alias("suggested"))
        .with_columns(pl.when(~unlabelled).then(pl.col(c)).alias(c) for c in ("label", "object", "label_score"))
        .select(pl.col(name).cast(dtype) for name, (dtype, _) in SUSPECTS.items())
    )
