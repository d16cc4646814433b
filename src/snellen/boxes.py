"""What every room knows of boxes."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CORNERS = ("x1", "y1", "x2", "y2")
"""The columns of a box in every table: left, top, right, bottom, pixels of the decoded image."""


def pairwise_iou(boxes: Floats, others: Floats) -> Floats:
    """(n, m) intersection over union of xyxy boxes (n, 4) and (m, 4) of positive area."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=2)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    other_area = np.prod(others[:, 2:] - others[:, :2], axis=1)
    return inter / (area[:, None] + other_area[None, :] - inter)
