"""COCO's average precision of one class, for the compiled walks over detections."""

from numba import njit


@njit(cache=True)
def interpolated(precision, recall, n, recalls):  # type: ignore[no-untyped-def]
    """Mean over `recalls` of the largest precision at that recall or beyond, 0 where none is reached.

    The first `n` of `precision` and `recall` (ascending) are the curve; `precision` becomes its envelope in place.
    """
    for j in range(n - 1, 0, -1):
        precision[j - 1] = max(precision[j - 1], precision[j])
    total, j = 0.0, 0
    for t in range(len(recalls)):
        while j < n and recall[j] < recalls[t]:
            j += 1
        if j == n:
            break
        total += precision[j]
    return total / len(recalls)
