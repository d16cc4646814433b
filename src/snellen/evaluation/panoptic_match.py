"""Matches the segments of one image as panopticapi does (Kirillov et al., Panoptic Segmentation, CVPR 2019)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Segments:
    """One image's segments on one side, in the order listed."""

    ids: Ints
    """(S,) values of the map, each above 0."""
    classes: Ints
    """(S,) class indices."""
    crowd: NDArray[np.bool_]
    """(S,) regions of many objects: nothing is found or missed in them; all False for predictions."""


@dataclass(frozen=True)
class SegmentMatch:
    """T true and P predicted segments."""

    partner: Ints
    """(P,) the true segment that each predicted one matches, -1 when none."""
    iou: Floats
    """(P,) overlap with the partner, else the largest with any true segment that is no crowd; void left out."""
    nearest: Ints
    """(P,) the true segment of that overlap, -1 when none is touched."""
    ignored: NDArray[np.bool_]
    """(P,) unmatched, and more than half on void or on a crowd region of its class: no false positive."""
    found: NDArray[np.bool_]
    """(T,)."""
    best_iou: Floats
    """(T,) largest overlap with a predicted segment of the class."""


def match_segments(true_map: Ints, true: Segments, predicted_map: Ints, predicted: Segments) -> SegmentMatch:
    """Match two (H, W) maps of segment ids, 0 being void; every id in a map is listed, every listed id in the map.

    Segments of one class match at an IoU above 0.5, of which there is at most one. Void in the truth counts neither in
    the union nor against a prediction. Of several crowd regions of a class the last listed counts, as in the reference.
    """
    cells = overlaps(true_map, true.ids, predicted_map, predicted.ids)
    inter = cells[1:, 1:].astype(np.float64)
    true_area, predicted_area = cells[1:].sum(axis=1), cells[:, 1:].sum(axis=0)
    void = cells[0, 1:]
    union = true_area[:, None] + predicted_area[None] - inter - void[None]
    iou = np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)
    iou[true.crowd] = 0.0
    same = true.classes[:, None] == predicted.classes[None]
    pairs = np.argwhere(same & (iou > 0.5))
    partner = np.full(len(predicted.ids), -1, dtype=np.int64)
    partner[pairs[:, 1]] = pairs[:, 0]
    crowd_of = dict(zip(true.classes[true.crowd].tolist(), np.flatnonzero(true.crowd).tolist(), strict=True))
    excused = void.astype(np.float64)
    for j, k in enumerate(predicted.classes.tolist()):
        if k in crowd_of:
            excused[j] += inter[crowd_of[k], j]
    found = np.zeros(len(true.ids), dtype=bool)
    found[pairs[:, 0]] = True
    # The partner has the largest overlap there is: two above one half would need more pixels than there are.
    best = iou.max(axis=0, initial=0.0)
    nearest = np.where(best > 0, iou.argmax(axis=0) if len(iou) else 0, -1).astype(np.int64)
    ignored = (partner < 0) & (excused > 0.5 * predicted_area)
    return SegmentMatch(partner, best, nearest, ignored, found, (iou * same).max(axis=1, initial=0.0))


def overlaps(true_map: Ints, true_ids: Ints, predicted_map: Ints, predicted_ids: Ints) -> Ints:
    """(T + 1, P + 1) common pixels; row and column 0 stand for ids that are not listed.

    Maps are runs of equal pixels, so that only where a run begins is looked up.
    """
    t, p = true_map.ravel(), predicted_map.ravel()
    starts = np.flatnonzero(np.append(True, (t[1:] != t[:-1]) | (p[1:] != p[:-1]))) if len(t) else np.zeros(0, np.int64)
    lengths = np.diff(np.append(starts, len(t)))
    cell = _position(t[starts], true_ids) * (len(predicted_ids) + 1) + _position(p[starts], predicted_ids)
    counts = np.bincount(cell, lengths, minlength=(len(true_ids) + 1) * (len(predicted_ids) + 1))
    return np.rint(counts).astype(np.int64).reshape(len(true_ids) + 1, -1)


def _position(values: Ints, ids: Ints) -> Ints:
    """1-based place of each value among `ids`, 0 when it is not there."""
    if not len(ids):
        return np.zeros(len(values), dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    at = np.minimum(np.searchsorted(ids[order], values), len(ids) - 1)
    return np.where(ids[order][at] == values, order[at] + 1, 0).astype(np.int64)


def segment_boxes(labels: Ints, ids: Ints) -> Floats:
    """(S, 4) x1, y1, x2, y2 in pixels around the pixels of each of `ids`, which are all in the (H, W) map."""
    if not len(ids):
        return np.zeros((0, 4))
    width = labels.shape[1]
    flat = labels.ravel()
    begins = np.append(True, flat[1:] != flat[:-1])
    begins[::width] = True
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], len(flat))
    place = _position(flat[starts], ids)
    low, high = np.full((len(ids) + 1, 2), np.inf), np.zeros((len(ids) + 1, 2))
    np.minimum.at(low, place, np.stack([starts % width, starts // width], axis=1))
    np.maximum.at(high, place, np.stack([(ends - 1) % width + 1, starts // width + 1], axis=1))
    return np.hstack([low, high])[1:]
