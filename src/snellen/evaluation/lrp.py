"""Localisation recall precision (Oksuz, Cam, Kalkan and Akbas, TPAMI 2021): one error of finding and placing.

    LRP(s) = (sum over TP of (1 - IoU) / (1 - tau) + FP + FN) / (TP + FP + FN)            (equation 1, q = 1 - IoU)

of the detections with a score of at least s, at tau = 0.5; oLRP is its minimum over s. 0 is perfect, 1 the worst.
Its parts at that threshold: localisation (mean 1 - IoU of the true positives), false positive (1 - precision) and
false negative (1 - recall). Equal scores enter together, as a threshold cannot part them.
"""

from dataclasses import dataclass

import numpy as np

from snellen.evaluation.coco_core import FALSE, TRUE, Matching
from snellen.evaluation.pairs import Floats

CONVENTION = "oLRP at IoU 0.5: the least LRP error over all score thresholds, mean over classes with objects"


@dataclass(frozen=True)
class Lrp:
    """(K,) of every class, NaN without objects; the parts are NaN too where nothing is right at any threshold."""

    olrp: Floats
    """0..1; 1 when nothing is right."""
    localisation: Floats
    """0..0.5: mean 1 - IoU."""
    false_positive: Floats
    """0..1."""
    false_negative: Floats
    """0..1; 1 when nothing is right."""
    threshold: Floats
    """The score at which the error is least."""

    def summary(self) -> dict[str, float | None]:
        """The means over the classes where they are defined; None where they are for no class."""
        names = {"oLRP": self.olrp, "oLRP_localisation": self.localisation, "oLRP_fp": self.false_positive}
        names["oLRP_fn"] = self.false_negative
        return {n: None if np.isnan(v).all() else float(np.nanmean(v)) for n, v in names.items()}


def lrp(matching: Matching) -> Lrp:
    """Return the optimal LRP of every class, in the first area range and at the first threshold of `matching`."""
    order, starts = matching.staircase_order()
    status, overlap, scores = matching.status[0, 0][order], matching.match_overlap[order], matching.scores[order]
    tau = float(matching.iou_thresholds[0])
    found = np.full((5, len(starts) - 1), np.nan)
    for k in np.flatnonzero(matching.positives[0]):
        own = slice(starts[k], starts[k + 1])
        true = status[own] == TRUE
        if not true.any():
            found[[0, 3], k] = 1.0
            continue
        tp, fp = np.cumsum(true), np.cumsum(status[own] == FALSE)
        missed = matching.positives[0, k] - tp
        displaced = np.cumsum(np.where(true, 1 - overlap[own], 0.0))
        error = (displaced / (1 - tau) + fp + missed) / (tp + fp + missed)
        error[:-1][np.diff(scores[own]) == 0] = np.inf
        best = int(np.argmin(error))
        right = tp[best]
        if right:
            found[1:3, k] = displaced[best] / right, fp[best] / (right + fp[best])
        found[[0, 3, 4], k] = error[best], missed[best] / matching.positives[0, k], scores[own][best]
    return Lrp(*found)
