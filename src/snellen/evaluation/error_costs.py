"""What errors cost: the mAP50 that is won by mending a group of them and nothing else (TIDE, section 2.3).

A localisation or classification error becomes the true positive it would have been when it is the best claimant of an
object nobody found, else it is deleted; duplicate, background and both are deleted; a missed object is taken off the
count. `false_positive` deletes every false positive, `false_negative` takes every object not found off the count.

Equal to tidecv 1.0.1 on the same errors but for two things: a class whose objects were all missed would be perfect
without them and counts 1 (tidecv: 0, or drops it from the mean), and the 101 recalls are pycocotools', which differ
from tidecv's i / 100 in the last bit (on small sets up to 0.2 points, where a recall falls on one of them).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from snellen.evaluation.coco_core import RECALL_THRESHOLDS, TRUE, Matching
from snellen.evaluation.errors import CLASSIFICATION, KINDS, LOCALISATION, Analysis
from snellen.evaluation.interpolation import interpolated
from snellen.evaluation.pairs import Bools, Floats, Ints

MISSED, FALSE_POSITIVE, FALSE_NEGATIVE = "missed", "false_positive", "false_negative"
COST_KINDS = (*KINDS, MISSED)
SPECIAL = (FALSE_POSITIVE, FALSE_NEGATIVE)
"""Not kinds of their own: each sums up several."""
_ALWAYS = -2
_NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Remedy:
    """One kind of error, laid out so that mending any group of them is a short walk along the true positives."""

    errors: Ints
    """(M,) detections that go."""
    before: Ints
    """(M,) the first step that no longer sees the error; E when none follows in its class."""
    steps: Ints
    """(E,) by class and falling score: the detection mended, or -1 for a true positive there was before."""
    counted: Ints
    """(E,) detections of the class up to and with this step that were not ignored."""
    starts: Ints
    """(K + 1,) where the steps of each class begin."""
    objects: Ints
    """(O,) objects taken off the count."""


@dataclass(frozen=True)
class Remedies:
    """Every kind of error of one evaluation; see `remedies`."""

    kinds: dict[str, Remedy]
    object_classes: Ints
    """(G,)."""
    positives: Floats
    """(K,) objects that count."""
    ap: Floats
    """(K,) AP at IoU 0.5; 0 without objects."""

    def count(self, kind: str, detection_group: NDArray[Any], object_group: NDArray[Any], groups: int) -> Ints:
        """(groups,) errors of the kind; groups as in `costs`."""
        errors, lost = detection_group[self.kinds[kind].errors], object_group[self.kinds[kind].objects]
        return (np.bincount(errors + 1, minlength=groups + 1) + np.bincount(lost + 1, minlength=groups + 1))[1:]

    def costs(self, kind: str, detection_group: NDArray[Any], object_group: NDArray[Any], groups: int) -> Floats:
        """(groups, K) mAP50 points (0..1) that each class gains when the errors of one group are mended.

        Summed over the classes it is the cost of the group. `detection_group` (N,) and `object_group` (G,), any
        integers, say which group an error is in, -1: in none.
        """
        remedy, num_classes = self.kinds[kind], len(self.positives)
        mended = np.flatnonzero(remedy.steps >= 0)
        group = np.full(len(remedy.steps), _ALWAYS, dtype=np.int64)
        group[mended] = detection_group[remedy.steps[mended]]
        lost = remedy.objects[object_group[remedy.objects] >= 0]
        cell = object_group[lost].astype(np.int64) * num_classes + self.object_classes[lost]
        fewer = np.bincount(cell, minlength=groups * num_classes).reshape(groups, num_classes)
        out = np.zeros((groups, num_classes))
        if (self.positives > 0).any():
            _mend(
                detection_group[remedy.errors], remedy.before, group, remedy.counted, remedy.starts, fewer,
                self.positives, self.ap, RECALL_THRESHOLDS, out,
            )  # fmt: skip
            out /= np.count_nonzero(self.positives)
        return out


def remedies(
    matching: Matching, analysis: Analysis, object_classes: Ints, crowd: Bools, order: Ints, starts: Ints
) -> Remedies:
    """Lay out the errors of every kind; `order` and `starts` as `matching.staircase_order()` gives them."""
    status, classes = matching.status[0, 0][order], matching.classes[order]
    running = np.append(0, np.cumsum(status <= TRUE))
    counted = running[1:] - running[starts[classes]]
    # A detection's key is its place in its class, odd, so that even keys fall between two of them.
    keys = 2 * (np.arange(len(order)) - starts[classes]) + 1
    place = np.empty(len(order), dtype=np.int64)
    place[order] = keys
    hits = np.flatnonzero(status == TRUE)
    outcomes = analysis.outcomes[order]
    not_found = np.flatnonzero((analysis.found < 0) & ~crowd)

    def remedy(errors: Ints, objects: Ints = _NONE, mended: Ints = _NONE, into: Ints = _NONE) -> Remedy:
        """`errors` as positions in `order`, `mended` as detections that become true positives of `into`."""
        new = place[mended]
        foreign = np.flatnonzero(matching.classes[mended] != into)
        for k in np.unique(into[foreign]):
            here = foreign[into[foreign] == k]
            own = -matching.scores[order[starts[k] : starts[k + 1]]]
            new[here] = 2 * np.searchsorted(own, -matching.scores[mended[here]], side="right")
        step_classes = np.append(classes[hits], into)
        step_keys = np.append(keys[hits], new)
        by_key = np.lexsort((step_keys, step_classes))
        step_classes, step_keys = step_classes[by_key], step_keys[by_key]
        last = starts[step_classes] + (step_keys - 1) // 2
        before_any = step_keys == 0
        seen = np.where(before_any, 0, counted[np.where(before_any, 0, last)] if len(counted) else 0)
        step_starts = np.searchsorted(step_classes, np.arange(len(starts))).astype(np.int64)
        before = np.empty(len(errors), dtype=np.int64)
        _followers(classes[errors], keys[errors], step_keys, step_starts, before)
        steps = np.append(np.full(len(hits), -1), mended)[by_key]
        return Remedy(order[errors], before, steps, seen, step_starts, objects)

    kinds: dict[str, Remedy] = {}
    for index, kind in enumerate(KINDS, start=LOCALISATION):
        errors = np.flatnonzero(outcomes == index)
        mended = _NONE
        if index in (LOCALISATION, CLASSIFICATION):
            own = order[errors]
            mended = own[analysis.claimant[analysis.target[own]] == own]
        kinds[kind] = remedy(errors, mended=mended, into=object_classes[analysis.target[mended]])
    kinds[MISSED] = remedy(_NONE, not_found[analysis.claimant[not_found] < 0])
    kinds[FALSE_NEGATIVE] = remedy(_NONE, not_found)
    positives = matching.positives[0].astype(np.float64)
    ap = np.zeros(len(positives))
    _base(kinds[MISSED].counted, kinds[MISSED].starts, positives, RECALL_THRESHOLDS, ap)
    return Remedies(kinds, object_classes, positives, ap)


def kind_costs(remedies: Remedies, detections: int, crowd: Bools) -> dict[str, Floats]:
    """For each kind, `missed` and both special ones, (K,) the mAP50 points (0..1) each class would gain."""
    everything = np.zeros(detections, dtype=np.int8), np.zeros(len(crowd), dtype=np.int8)
    costs = {kind: remedies.costs(kind, *everything, 1)[0] for kind in (*COST_KINDS, FALSE_NEGATIVE)}
    held = remedies.positives > 0
    # Without false positives precision is 1 up to the recall reached.
    hits = np.diff(remedies.kinds[MISSED].starts)
    reached = np.divide(hits, remedies.positives, out=np.full(len(held), -1.0), where=held)
    ap = np.searchsorted(RECALL_THRESHOLDS, reached, side="right") / len(RECALL_THRESHOLDS)
    costs[FALSE_POSITIVE] = np.where(held, ap - remedies.ap, 0.0) / max(1, np.count_nonzero(held))
    return costs


@njit(cache=True)
def _followers(classes, keys, step_keys, step_starts, before):  # type: ignore[no-untyped-def]
    # Errors and steps ascend within each class, so one sweep finds the first step at or behind each error.
    last, s = -1, 0
    for e in range(len(keys)):
        if classes[e] != last:
            last = classes[e]
            s = step_starts[last]
        while s < step_starts[last + 1] and step_keys[s] < keys[e]:
            s += 1
        before[e] = s if s < step_starts[last + 1] else len(step_keys)


@njit(cache=True)
def _base(counted, starts, positives, recalls, ap):  # type: ignore[no-untyped-def]
    precision, recall = np.empty(len(counted)), np.empty(len(counted))
    for k in range(len(positives)):
        n = 0
        for s in range(starts[k], starts[k + 1]):
            n += 1
            precision[n - 1] = n / counted[s]
            recall[n - 1] = n / positives[k]
        if positives[k] > 0:
            ap[k] = interpolated(precision, recall, n, recalls)


@njit(cache=True)
def _mend(  # type: ignore[no-untyped-def]
    error_group, before, step_group, counted, starts, fewer, positives, ap, recalls, out
):  # fmt: skip
    groups, steps = len(out), len(counted)
    gone = np.zeros((groups, steps + 1), dtype=np.int64)
    for e in range(len(before)):
        if error_group[e] >= 0:
            gone[error_group[e], before[e]] += 1
    precision, recall = np.empty(steps), np.empty(steps)
    for g in range(groups):
        for k in range(len(positives)):
            if positives[k] <= 0 or (starts[k] == starts[k + 1] and fewer[g, k] == 0):
                continue
            left = positives[k] - fewer[g, k]
            if left <= 0:
                out[g, k] = 1.0 - ap[k]
                continue
            n, removed, added = 0, 0, 0
            for s in range(starts[k], starts[k + 1]):
                removed += gone[g, s]
                if step_group[s] != g and step_group[s] != _ALWAYS:
                    continue
                added += step_group[s] == g
                n += 1
                precision[n - 1] = n / (counted[s] - removed + added)
                recall[n - 1] = n / left
            out[g, k] = interpolated(precision, recall, n, recalls) - ap[k]
