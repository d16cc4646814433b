"""Scores panoptic segmentation: PQ, SQ and RQ over all classes, things and stuff, as panopticapi does."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.evaluation.bootstrap import image_draws, interval
from snellen.evaluation.facts import (
    BACKGROUND_CLASS,
    CONFUSION,
    CURVES,
    OBJECTS,
    PER_CLASS,
    PREDICTIONS,
    PROBLEMS,
    SCORES,
    ScoreFacts,
)
from snellen.evaluation.panoptic_match import SegmentMatch, Segments, match_segments
from snellen.evaluation.panoptic_rows import Sides, count_confusion, object_rows, prediction_rows
from snellen.evaluation.records import MAX_VALUE
from snellen.facts import table

Floats = NDArray[np.float64]
CONVENTION = (
    "panopticapi: segments of one class match at IoU above 0.5, void left out of the union; PQ = sum of IoU / (TP + "
    "FP/2 + FN/2) per class, then the mean over the classes that are labelled or predicted, the others null; a class "
    "without a match has SQ 0 in that mean; crowd regions are not missed, and predictions more than half on void or on "
    "a crowd region of their class are no errors"
)
VOID = 0
"""The id of pixels without a segment, in both maps."""


@dataclass(frozen=True)
class Segment:
    """What a segment id stands for."""

    id: int
    """The map's value, above 0; for COCO's PNG files R + 256 G + 256^2 B."""
    class_name: str
    crowd: bool = False
    """Truth only: many objects drawn as one."""


@dataclass(frozen=True)
class PanopticImage:
    """One image's truth and prediction."""

    name: str
    true_map: ArrayLike
    """(H, W) integers: segment ids, 0 for void."""
    true_segments: Sequence[Segment]
    predicted_map: ArrayLike
    """(H, W) integers, likewise."""
    predicted_segments: Sequence[Segment] = field(default_factory=tuple)


def evaluate_panoptic(
    images: Iterable[PanopticImage],
    class_names: Sequence[str],
    things: Collection[str],
    *,
    split: str = "val",
    input_size: int | None = None,
    train_scores: Mapping[str, float] | None = None,
    bootstrap: int = 200,
    seed: int = 0,
) -> ScoreFacts:
    """Score `images` over `class_names`, of which `things` are countable and the others stuff.

    Where the reference stops, a row of `problems` says what was left out: shape-mismatch and not-a-label-map (the
    image), unknown-class (the segment; its pixels are void), duplicate-segment-id (all but the first),
    segment-without-pixels, pixels-without-segment (they are void too), void-segment (a segment with id 0 or below). The
    truth's kinds have `object-` in front. `predictions` and `objects` have one row per segment, with the box around
    it. `bootstrap` draws of images give 95 % intervals.
    """
    class_names = list(class_names)
    position = {name: k for k, name in enumerate(class_names)}
    if len(position) != len(class_names) or not set(things) <= position.keys():
        raise ValueError("class_names holds a name twice, or lacks one of `things`")
    predictions: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    problems: list[dict[str, Any]] = []
    counts: list[Floats] = []
    confusion = np.zeros((len(class_names) + 1, len(class_names) + 1), dtype=np.int64)
    row = 0
    for row, image in enumerate(images, 1):
        sides, found = _read(image, position)
        problems += [{"row": row, "image": image.name, **problem} for problem in found]
        if sides is None:
            continue
        counts.append(_counts(sides.match, sides.true, sides.predicted, len(class_names)))
        predictions += prediction_rows(sides, class_names)
        objects += object_rows(sides, class_names)
        count_confusion(confusion, sides)
    stack = np.array(counts).reshape(-1, 4, len(class_names))
    rates = _rates(stack.sum(axis=0))
    groups = _groups(class_names, things)
    intervals = _intervals(stack, groups, bootstrap, seed)
    names = [*class_names, BACKGROUND_CLASS]
    return ScoreFacts(
        task="panoptic",
        split=split,
        predictions=table(PREDICTIONS, predictions),
        objects=table(OBJECTS, objects),
        per_class=table(PER_CLASS, _per_class(class_names, stack.sum(axis=0), rates)),
        curves=table(CURVES),
        confusion=table(
            CONFUSION,
            [
                {"true_class": names[i], "predicted_class": names[j], "count": int(confusion[i, j])}
                for i, j in np.argwhere(confusion).tolist()
            ],
        ),
        scores=table(
            SCORES,
            [
                {
                    "metric": metric,
                    "value": value if np.isfinite(value) else None,
                    "low": low,
                    "high": high,
                    "undefined": None if np.isfinite(value) else "no class of these is labelled or predicted",
                }
                for metric, value in _headline(rates, groups).items()
                for low, high in [intervals.get(metric, (None, None))]
            ],
        ),
        problems=table(PROBLEMS, problems),
        convention=CONVENTION,
        images=row,
        input_size=input_size,
        train_scores=dict(train_scores or {}),
    )


def _read(image: PanopticImage, position: Mapping[str, int]) -> tuple[Sides | None, list[dict[str, Any]]]:
    """Both sides as far as they can be scored, None when they cannot; and the problems."""
    true, predicted = np.asarray(image.true_map), np.asarray(image.predicted_map)
    for what, labels in (("true", true), ("predicted", predicted)):
        if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
            told = f"{what} map of {labels.dtype} and shape {labels.shape}"
            return None, [{"kind": "not-a-label-map", "value": told}]
    if true.shape != predicted.shape:
        told = f"true {true.shape}, predicted {predicted.shape}"
        return None, [{"kind": "shape-mismatch", "value": told}]
    t, p = true.astype(np.int64), predicted.astype(np.int64)
    own, own_problems = _listed(t, image.true_segments, position, "object-")
    other, problems = _listed(p, image.predicted_segments, position, "")
    return Sides(image.name, t, own, p, other, match_segments(t, own, p, other)), [*own_problems, *problems]


def _listed(
    labels: NDArray[np.int64], segments: Sequence[Segment], position: Mapping[str, int], prefix: str
) -> tuple[Segments, list[dict[str, Any]]]:
    """The segments that can be scored, and why the others cannot."""
    present = set(np.unique(labels).tolist())
    problems: list[dict[str, Any]] = []
    kept: dict[int, Segment] = {}
    for segment in segments:
        if segment.id <= VOID:
            kind = "void-segment"
        elif segment.id in kept:
            kind = "duplicate-segment-id"
        elif segment.class_name not in position:
            kind = "unknown-class"
        elif segment.id not in present:
            kind = "segment-without-pixels"
        else:
            kept[segment.id] = segment
            continue
        told = segment.class_name if kind == "unknown-class" else f"id {segment.id}, {segment.class_name}"
        problems.append({"kind": prefix + kind, "value": str(told)[:MAX_VALUE]})
    loose = sorted(present - {s.id for s in segments} - {VOID})
    if loose:
        told = f"{np.isin(labels, loose).sum()} pixels of {', '.join(map(str, loose[:5]))}"
        problems.append({"kind": f"{prefix}pixels-without-segment", "value": told})
    use = list(kept.values())
    found = Segments(
        np.array([s.id for s in use], dtype=np.int64),
        np.array([position[s.class_name] for s in use], dtype=np.int64),
        np.array([s.crowd and bool(prefix) for s in use], dtype=bool),
    )
    return found, problems


def _counts(match: SegmentMatch, true: Segments, predicted: Segments, classes: int) -> Floats:
    """(4, C) sum of IoU, true positives, false positives and false negatives."""
    hit = match.partner >= 0
    wrong = ~hit & ~match.ignored
    missed = ~match.found & ~true.crowd
    return np.stack(
        [
            np.bincount(predicted.classes[hit], match.iou[hit], classes),
            *(
                np.bincount(which, minlength=classes).astype(np.float64)
                for which in (predicted.classes[hit], predicted.classes[wrong], true.classes[missed])
            ),
        ]
    )


def _rates(counts: Floats) -> dict[str, Floats]:
    """(C,) PQ, SQ and RQ of (4, C) counts: NaN for a class without segments; SQ 0 without a match."""
    iou, tp, fp, fn = counts
    weight = tp + fp / 2 + fn / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        there = weight > 0
        sq = np.where(tp > 0, iou / tp, 0.0)
        return {
            "pq": np.where(there, iou / weight, np.nan),
            "sq": np.where(there, sq, np.nan),
            "rq": np.where(there, tp / weight, np.nan),
        }


def _groups(class_names: Sequence[str], things: Collection[str]) -> dict[str, NDArray[np.bool_]]:
    thing = np.array([name in things for name in class_names], dtype=bool)
    return {"": np.ones(len(class_names), dtype=bool), "_things": thing, "_stuff": ~thing}


def _headline(rates: Mapping[str, Floats], groups: Mapping[str, NDArray[np.bool_]]) -> dict[str, float]:
    out: dict[str, float] = {}
    for suffix, members in groups.items():
        for name, values in rates.items():
            defined = values[members & np.isfinite(values)]
            out[name + suffix] = float(defined.mean()) if len(defined) else float("nan")
    return out


def _intervals(
    stack: Floats, groups: Mapping[str, NDArray[np.bool_]], replicates: int, seed: int
) -> dict[str, tuple[float | None, float | None]]:
    if len(stack) < 2:
        return {}
    drawn: dict[str, list[float]] = {}
    for weights in image_draws(len(stack), replicates, seed):
        for metric, value in _headline(_rates(np.einsum("n,nak->ak", weights, stack)), groups).items():
            if np.isfinite(value):
                drawn.setdefault(metric, []).append(value)
    return {metric: interval(values) for metric, values in drawn.items()}


def _per_class(class_names: Sequence[str], counts: Floats, rates: Mapping[str, Floats]) -> list[dict[str, Any]]:
    rows = []
    for k, name in enumerate(class_names):
        _, tp, fp, fn = counts[:, k]
        values = {metric: float(v[k]) if np.isfinite(v[k]) else None for metric, v in rates.items()}
        if not tp:
            values["sq"] = None
        reasons = [
            *(["neither labelled nor predicted: PQ, SQ and RQ are 0 / 0"] if not tp + fp + fn else []),
            *(["no match: SQ is 0 / 0, and counts as 0 in means"] if fp + fn and not tp else []),
        ]
        rows.append(
            {
                "class_name": name,
                "objects": int(tp + fn),
                "predictions": int(tp + fp),
                "precision": float(tp / (tp + fp)) if tp + fp else None,
                "recall": float(tp / (tp + fn)) if tp + fn else None,
                **values,
                "undefined": "; ".join(reasons) or None,
            }
        )
    return rows
