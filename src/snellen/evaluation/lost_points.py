"""Every lost point by kind of error and by what objects and images are like."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from snellen.evaluation.coco_core import IGNORED, TRUE, Matching
from snellen.evaluation.error_costs import COST_KINDS, MISSED, Remedies
from snellen.evaluation.errors import OUTCOMES, Analysis
from snellen.evaluation.facts import COSTS, EVALUATED, SLICES
from snellen.evaluation.pairs import Bools, Floats, Ints
from snellen.evaluation.properties import Property
from snellen.facts import table


def breakdown(
    remedies: Remedies,
    by_class: dict[str, Floats],
    analysis: Analysis,
    matching: Matching,
    properties: Sequence[Property],
    crowd: Bools,
    class_names: Sequence[str],
    threshold: float | None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the tables `costs` and `slices`.

    `by_class` as `kind_costs` returns it, `threshold` the score from which predictions are shown.
    """
    costs: list[dict[str, Any]] = []
    slices: list[dict[str, Any]] = []
    object_classes = remedies.object_classes
    found = (analysis.found >= 0) & ~crowd
    shown = found.copy()
    shown[found] = matching.scores[analysis.found[found]] >= (2.0 if threshold is None else threshold)
    classes = Property(
        "class", class_names, [(None, None)] * len(class_names), object_classes, np.asarray(matching.classes)
    )
    for one in (classes, *properties):
        groups = len(one.bins)
        counted = one.objects >= 0
        for column, mask in (("objects", ~crowd), ("found", found), ("found_at_threshold", shown)):
            numbers = np.bincount(one.objects[mask & counted], minlength=groups)
            if column == "objects":
                slices += [
                    {"property": one.name, "bin": name, "low": low, "high": high}
                    for name, (low, high) in zip(one.bins, one.edges, strict=True)
                ]
            for row, number in zip(slices[-groups:], numbers.tolist(), strict=True):
                row[column] = number
        for kind in COST_KINDS if (remedies.positives > 0).any() else ():
            errors = remedies.count(kind, one.detections, one.objects, groups)
            points = by_class[kind]
            if one is not classes:
                points = np.maximum(remedies.costs(kind, one.detections, one.objects, groups).sum(axis=1), 0.0)
            costs += [
                {
                    "kind": kind,
                    "property": one.name,
                    "bin": one.bins[g],
                    "errors": int(errors[g]),
                    "cost": float(points[g]),
                }
                for g in range(groups)
                if errors[g] or points[g]
            ]
    return table(COSTS, costs), table(SLICES, slices)


def evaluated_images(
    images: Sequence[str],
    object_images: Ints,
    matching: Matching,
    analysis: Analysis,
    crowd: Bools,
    threshold: float | None,
) -> pl.DataFrame:
    """The table `evaluated`: what is right, wrong and missed in every image at `threshold`."""
    shown = (matching.scores >= (2.0 if threshold is None else threshold)) & (matching.status[0, 0] != IGNORED)
    correct = shown & (matching.status[0, 0] == TRUE)
    objects = np.bincount(object_images[~crowd], minlength=len(images))
    right = np.bincount(matching.images[correct], minlength=len(images))
    wrong = np.bincount(matching.images[shown & ~correct], minlength=len(images))
    columns = {"image": list(images), "objects": objects, "correct": right, "wrong": wrong, "missed": objects - right}
    return pl.DataFrame(columns, schema={name: dtype for name, (dtype, _) in EVALUATED.items()})


def causes(analysis: Analysis, crowd: Bools) -> pl.Series:
    """The column `cause` of the objects."""
    # Position -1, where nothing claims the object, is the entry added at the end.
    kinds = np.append(OUTCOMES, "")[np.append(analysis.outcomes, len(OUTCOMES))[analysis.claimant]]
    words = np.where(analysis.found >= 0, "found", np.where(analysis.claimant >= 0, kinds, MISSED))
    return pl.Series("cause", [None if out else str(word) for word, out in zip(words, crowd, strict=True)], pl.String)


def threshold_bits(matching: Matching, value: int) -> pl.Series:
    """(N,) UInt16: bit t is set where the status at the t-th IoU threshold is `value`."""
    bits = np.zeros(len(matching.rows), dtype=np.uint16)
    for t, row in enumerate(matching.status[0][:16]):
        bits |= (row == value).astype(np.uint16) << np.uint16(t)
    return pl.Series(bits, dtype=pl.UInt16)
