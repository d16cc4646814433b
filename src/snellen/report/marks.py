"""Charts of judgement: a confusion matrix, a value against its limit, scores with intervals, levels against objects."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

from snellen.report.charts import WIDTH, Floats, finite
from snellen.report.plain import number, share, short
from snellen.report.svg import Scale, drawing, element, rect, text

READ_IN_CELLS = 12
"""Classes of a confusion matrix whose cells have room for numbers."""


def confusion(label: str, names: Sequence[str], counts: Floats, unlabelled: str = "") -> Markup:
    """Rows are the truth, columns the prediction, shade is the share of the row; the diagonal is right.

    `unlabelled` names the row of predictions that meet no object.
    """
    n = len(names)
    cell = 34.0 if n <= READ_IN_CELLS else 22.0
    left, top = 118.0, 26.0 + 5.2 * min(13, max(map(len, names), default=0))
    # The last name leans over the edge.
    size = left + n * cell + 3.6 * min(13, len(names[-1]) if names else 0)
    parts = [text(left - 6, top - 8, "truth ↓  predicted →", "end", "label")]
    parts.append(rect(left, top, n * cell - 1, n * cell - 1, class_="empty"))
    rows, columns = counts.sum(1), counts.sum(0)
    for k, name in enumerate(names):
        x = left + (k + 0.5) * cell
        turned = element(
            "g",
            [text(0, 0, name, class_="name", cut=13)],
            transform=f"translate({x + 3:.1f} {top - 8:.1f}) rotate(-50)",
        )
        parts += [turned, text(left - 7, top + (k + 0.5) * cell + 4, name, "end", "name", cut=17)]
        if k:
            at = k * cell - 0.5
            parts.append(element("line", x1=left, x2=left + n * cell, y1=top + at, y2=top + at, class_="gap"))
            parts.append(element("line", x1=left + at, x2=left + at, y1=top, y2=top + n * cell, class_="gap"))
    for r, c in zip(*np.nonzero(counts), strict=True):
        # False positives have no true objects to be a share of: they are told as a share of the predictions.
        whole = columns[c] if names[r] == unlabelled else rows[r]
        part = float(counts[r, c] / whole)
        x, y = left + c * cell, top + r * cell
        tip = f"{names[r]} → {names[c]}: {int(counts[r, c]):,} ({share(part)})"
        kind = "right" if r == c else "wrong"
        parts.append(rect(x, y, cell - 1, cell - 1, tip, class_=kind, fill_opacity=0.1 + 0.9 * part))
        if n <= READ_IN_CELLS:
            strong = "cell strong" if part > 0.55 else "cell"
            count = f"{int(counts[r, c])}" if counts[r, c] < 10000 else short(float(counts[r, c])).replace(" ", "")
            parts.append(text(x + cell / 2 - 0.5, y + cell / 2 + 3.5, count, "middle", strong))
    return drawing(size, top + n * cell + 6, parts, label, "chart fixed")


def gauge(label: str, value: float, limit: float) -> Markup:
    """A measured value as a bar and its limit as a mark; the side of the limit on which the value lies is red."""
    begin, end = min(0.0, value, limit), max(value, limit, 0.0) * 1.15
    scale = Scale(begin, end if end > begin else begin + 1, 4.0, 236.0)
    edge, zero = scale(limit), scale(0.0)
    bad = (scale.start, edge) if value < limit else (edge, scale.end)
    parts = [
        rect(scale.start, 12, scale.end - scale.start, 9, class_="track"),
        rect(bad[0], 12, bad[1] - bad[0], 9, class_="zone"),
        rect(min(zero, scale(value)), 14, abs(scale(value) - zero), 5, class_="s0"),
        element("line", x1=edge, x2=edge, y1=9, y2=24, class_="limit"),
        text(min(max(scale(value), 14.0), 226.0), 9, number(value), "middle", "value"),
        text(min(max(edge, 34.0), 206.0), 34, f"limit {number(limit)}", "middle", "limit-text"),
    ]
    return drawing(240, 38, parts, label)


def levels(label: str, rows: Sequence[tuple[str, float, float]], sizes: ArrayLike, width: float = WIDTH) -> Markup:
    """What each level of a detector can see, against what there is: object sizes above, stride..receptive field below.

    `rows`: name, stride, receptive field, in input pixels; `sizes`: sides of the objects at the network's input.
    """
    values = finite(sizes)
    values = values[values > 0]
    ends = [v for _, stride, field in rows for v in (stride, field) if math.isfinite(v) and v > 0]
    both = np.concatenate([values, np.asarray(ends, np.float64)])
    if not len(both):
        return Markup("")
    low, high = float(both.min()) / 1.2, float(both.max()) * 1.2
    scale = Scale(low, high, 52.0, width - 10, True)
    floor = 96.0 if len(values) else 4.0
    parts = list(_object_bars(values, scale, floor))
    parts.append(element("line", x1=scale.start, x2=scale.end, y1=floor, y2=floor, class_="axis"))
    powers = [2.0**k for k in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)]
    parts += [text(scale(value), floor + 14, number(value), "middle", "tick") for value in powers]
    y = floor + 24
    for name, stride, field in rows:
        left, right = scale(max(stride, low)), scale(min(max(field, low), high))
        tip = f"stride {number(stride)} px, receptive field {number(field)} px"
        parts.append(rect(left, y, max(right - left, 2), 11, tip, class_="s1", rx=2))
        parts.append(text(scale.start - 6, y + 9, name, "end", "name", cut=9))
        y += 17
    return drawing(width, y + 4, parts, label)


def _object_bars(values: Floats, scale: Scale, floor: float) -> Iterable[Markup]:
    edges = np.geomspace(scale.low, scale.high, 45)
    counts = np.histogram(values, edges)[0]
    for k in np.flatnonzero(counts):
        x, tall = scale(float(edges[k])), (floor - 6) * float(counts[k]) / float(counts.max())
        wide = scale(float(edges[k + 1])) - x - 0.5
        yield rect(x, floor - tall, wide, tall, f"{counts[k]:,} objects", class_="s0")
    if len(values):
        yield text(scale.start - 6, floor - 4, "objects", "end", "name")
