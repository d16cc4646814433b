"""Scores semantic segmentation: IoU, Dice, pixel accuracy and the quality of the boundaries, pooled over the images."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.evaluation.bootstrap import image_draws, interval
from snellen.evaluation.boundaries import CONTOUR_RATIO, boundary_counts, boundary_width, contour_f1
from snellen.evaluation.facts import CONFUSION, CURVES, OBJECTS, PER_CLASS, PREDICTIONS, PROBLEMS, SCORES, ScoreFacts
from snellen.evaluation.pixel_confusion import count_pixels
from snellen.facts import table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NO_CLASS = "(no class)"
"""What the confusion names where the predicted value is no class."""
MOST_CLASSES = 2_000
"""More would ask for a confusion matrix of many hundred MB."""
CONVENTION = (
    "pixels pooled over the images, then IoU = TP / (TP + FP + FN) per class; means over the classes that are labelled "
    "or predicted somewhere (accuracy: labelled somewhere), the others null; unlabelled pixels count nowhere; a "
    "predicted value that is no class is wrong; boundary IoU (Cheng et al. 2021) pooled, width 2 % of the diagonal; "
    "boundary F (Csurka et al. 2013) the mean over the images that hold the class, tolerance 0.75 % of the diagonal"
)


@dataclass(frozen=True)
class _Image:
    """What one image adds."""

    row: dict[str, Any]
    """Of the table of predictions."""
    counts: Ints
    """(3, C) pixels rightly predicted, labelled and predicted."""
    boundary: tuple[Ints, Ints] | None
    """(C,) intersection and union."""
    contour: Floats | None
    """(C,) F1; NaN where undefined."""


def evaluate_semantic(
    images: Iterable[tuple[str, ArrayLike, ArrayLike]],
    class_names: Sequence[str],
    *,
    ignore_index: int | None = 255,
    boundaries: bool = True,
    split: str = "val",
    input_size: int | None = None,
    train_scores: Mapping[str, float] | None = None,
    bootstrap: int = 200,
    seed: int = 0,
) -> ScoreFacts:
    """Score (name, true, predicted) label maps, each (H, W) integers that index `class_names`, taken one by one.

    True pixels of `ignore_index` count nowhere. What cannot be scored is listed in `problems`: shape-mismatch,
    not-a-label-map (not two-dimensional, or not integers) and unlabelled-image leave the image out;
    object-unknown-class leaves out true pixels that are neither a class nor to be ignored, and unknown-class counts
    predicted pixels that are no class as wrong. `predictions` has one row per image, with the pair of classes that
    costs it most pixels. `bootstrap` draws of images give 95 % intervals. `boundaries` costs most of the time. Raises
    ValueError on a name given twice, or more than `MOST_CLASSES`.
    """
    class_names = list(class_names)
    if len(set(class_names)) != len(class_names) or len(class_names) > MOST_CLASSES:
        raise ValueError(f"class_names holds a name twice, or more than {MOST_CLASSES} of them")
    problems: list[dict[str, Any]] = []
    scored: list[_Image] = []
    names = [*class_names, NO_CLASS]
    confusion = np.zeros((len(class_names), len(names)), dtype=np.int64)
    total = 0
    for total, (name, true, predicted) in enumerate(images, 1):
        t, p = np.asarray(true), np.asarray(predicted)
        own, own_problems = _confusion_of(t, p, len(class_names), ignore_index)
        problems += [{"row": total, "image": name, **problem} for problem in own_problems]
        if own is None:
            continue
        confusion += own
        edge, contour = _boundaries_of(t, p, len(class_names), ignore_index) if boundaries else (None, None)
        counts_of = np.stack([np.diagonal(own), own.sum(axis=1), own.sum(axis=0)[:-1]])
        scored.append(_Image(_image_row(name, own, names), counts_of, edge, contour))
    contours = np.array([i.contour for i in scored if i.contour is not None]).reshape(-1, len(class_names))
    edges = np.array([i.boundary for i in scored if i.boundary is not None], dtype=np.int64)
    edges = edges.reshape(-1, 2, len(class_names))
    counts = np.array([i.counts for i in scored], dtype=np.int64).reshape(-1, 3, len(class_names))
    ones = np.ones(len(scored))
    rates = _rates(counts, edges, contours, ones)
    intervals = _intervals(counts, edges, contours, bootstrap, seed)
    rows = [
        {"metric": metric, "value": _known(value), "low": low, "high": high, "undefined": _reason(value, len(scored))}
        for metric, value in _headline(rates).items()
        for low, high in [intervals.get(metric, (None, None))]
    ]
    return ScoreFacts(
        task="semantic",
        split=split,
        predictions=table(PREDICTIONS, [image.row for image in scored]),
        per_class=table(PER_CLASS, _per_class(class_names, rates)),
        confusion=table(
            CONFUSION,
            [
                {"true_class": names[i], "predicted_class": names[j], "count": int(confusion[i, j])}
                for i, j in np.argwhere(confusion).tolist()
            ],
        ),
        scores=table(SCORES, rows),
        problems=table(PROBLEMS, problems),
        objects=table(OBJECTS),
        curves=table(CURVES),
        convention=CONVENTION,
        images=total,
        input_size=input_size,
        train_scores=dict(train_scores or {}),
    )


def _confusion_of(
    true: NDArray[Any], predicted: NDArray[Any], classes: int, ignore: int | None
) -> tuple[Ints | None, list[dict[str, Any]]]:
    """(C, C + 1) counts of one image, None when it cannot be scored; and its problems."""
    for what, labels in (("true", true), ("predicted", predicted)):
        if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
            told = f"{what} map of {labels.dtype} and shape {labels.shape}"
            return None, [{"kind": "not-a-label-map", "value": told}]
    if true.shape != predicted.shape:
        return None, [{"kind": "shape-mismatch", "value": f"true {true.shape}, predicted {predicted.shape}"}]
    counted = count_pixels(true, predicted, classes)
    confusion = counted.confusion
    problems = []
    if counted.unlabelled:
        odd = true[(true < 0) | (true >= classes)]
        odd = odd[odd != ignore] if ignore is not None else odd
        if odd.size:
            problems.append(_unknown("object-unknown-class", odd))
    if ignore is not None and 0 <= ignore < classes:
        confusion[ignore] = 0
    if confusion[:, -1].any():
        wrong = ((predicted < 0) | (predicted >= classes)) & (true >= 0) & (true < classes)
        problems.append(_unknown("unknown-class", predicted[wrong & (true != ignore)]))
    if not confusion.any():
        return None, [*problems, {"kind": "unlabelled-image", "value": f"{true.size} pixels, none of a class"}]
    return confusion, problems


def _boundaries_of(
    true: NDArray[Any], predicted: NDArray[Any], classes: int, ignore: int | None
) -> tuple[tuple[Ints, Ints], Floats]:
    """(C,) boundary intersection and union, and (C,) contour F1 of one image."""
    t, p = _plain(true, classes), _plain(predicted, classes)
    if ignore is not None and 0 <= ignore < classes:
        t[t == ignore] = classes
    # A predicted value that is no class is wrong, unlike a pixel without label: it is told apart from that.
    p[p == classes] = classes + 1
    p[t == classes] = classes
    reach = CONTOUR_RATIO * float(np.hypot(*true.shape))
    edges = boundary_counts(t, p, classes, boundary_width((true.shape[0], true.shape[1])))
    return edges, contour_f1(t, p, classes, reach)


def _unknown(kind: str, odd: NDArray[Any]) -> dict[str, Any]:
    values = np.unique(odd)
    told = ", ".join(str(v) for v in values[:5].tolist()) + (" ..." if len(values) > 5 else "")
    return {"kind": kind, "value": f"{odd.size} pixels of value {told}"}


def _plain(labels: NDArray[Any], classes: int) -> NDArray[np.uint16]:
    return np.where((labels < 0) | (labels >= classes), classes, labels).astype(np.uint16)


def _rates(counts: Ints, edges: Ints, contours: Floats, weights: Floats) -> dict[str, Floats]:
    """(C,) values, each image counted `weights` (N,) times; NaN where 0 / 0."""
    hits, true, predicted = np.einsum("n,nak->ak", weights, counts)
    rates = {
        "true": true,
        "predicted": predicted,
        "hits": hits,
        "iou": _ratio(hits, true + predicted - hits),
        "dice": _ratio(2 * hits, true + predicted),
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, true),
    }
    if len(edges):
        inter, union = np.einsum("n,nak->ak", weights, edges)
        held = np.isfinite(contours)
        rates["boundary_iou"] = _ratio(inter, union)
        rates["boundary_f"] = _ratio(weights @ np.where(held, contours, 0.0), weights @ held)
    return rates


def _headline(rates: Mapping[str, Floats]) -> dict[str, float]:
    means = {"mean_dice": "dice", "mean_accuracy": "recall", "mean_precision": "precision",
             "boundary_iou": "boundary_iou", "boundary_f": "boundary_f"}  # fmt: skip
    total = np.array(rates["true"].sum())
    return {
        "miou": _nanmean(rates["iou"]),
        "pixel_accuracy": float(_ratio(rates["hits"].sum(), total)),
        "fw_iou": float(_ratio((rates["true"] * np.nan_to_num(rates["iou"])).sum(), total)),
        **{metric: _nanmean(rates[name]) for metric, name in means.items() if name in rates},
    }


def _intervals(
    counts: Ints, edges: Ints, contours: Floats, replicates: int, seed: int
) -> dict[str, tuple[float | None, float | None]]:
    if len(counts) < 2:
        return {}
    drawn: dict[str, list[float]] = {}
    for weights in image_draws(len(counts), replicates, seed):
        for metric, value in _headline(_rates(counts, edges, contours, weights)).items():
            if np.isfinite(value):
                drawn.setdefault(metric, []).append(value)
    return {metric: interval(values) for metric, values in drawn.items()}


def _per_class(class_names: Sequence[str], rates: Mapping[str, Floats]) -> list[dict[str, Any]]:
    shown = ("iou", "dice", "precision", "recall", "boundary_iou", "boundary_f")
    rows = []
    for k, name in enumerate(class_names):
        true, predicted = int(rates["true"][k]), int(rates["predicted"][k])
        reasons = [
            *(["neither labelled nor predicted: IoU and Dice are 0 / 0"] if not true and not predicted else []),
            *(["no labelled pixel: recall is 0 / 0"] if not true else []),
            *(["no predicted pixel: precision is 0 / 0"] if not predicted else []),
        ]
        values = {metric: _known(float(rates[metric][k])) for metric in shown if metric in rates}
        rows.append(
            {
                "class_name": name,
                "objects": true,
                "predictions": predicted,
                **values,
                "undefined": "; ".join(reasons) or None,
            }
        )
    return rows


def _image_row(name: str, confusion: Ints, names: Sequence[str]) -> dict[str, Any]:
    """The image's own mean IoU, and the pair of classes that costs it most pixels."""
    hits = np.diagonal(confusion)
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    row: dict[str, Any] = {
        "image": name,
        "iou": _nanmean(_ratio(hits, confusion.sum(axis=1) + confusion.sum(axis=0)[:-1] - hits)),
        "loss": 1 - float(hits.sum() / confusion.sum()),
    }
    if wrong.any():
        i, j = np.unravel_index(int(wrong.argmax()), wrong.shape)
        row |= {"true_class": names[int(i)], "class_name": names[int(j)]}
    return row


def _reason(value: float, images: int) -> str | None:
    if np.isfinite(value):
        return None
    return "no class has a boundary" if images else "no image could be scored"


def _ratio(numerator: Any, denominator: Any) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator > 0, np.asarray(numerator, dtype=np.float64) / denominator, np.nan)


def _nanmean(values: Floats) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
