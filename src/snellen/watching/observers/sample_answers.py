"""What the labels of a run's samples say: whether an input gives them away, and how well they are guessed when new.

* `first-sight-accuracy` share of right guesses on training rows never seen before, of the last quarter of those that
  came before the first validation (of: rows); `first-sight-majority` share of their most frequent label.
* `answer-column` of flat inputs: the column that gives the target away (index), value: squared correlation with a
  target that is a number, or 1 where the column bears one value in all rows of a class and in no other (of: rows).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LEAST_ROWS = 100
"""Rows below which labels and inputs are not compared."""


def row(measure: str, value: float, of: float | None = None, **more: Any) -> dict[str, Any]:
    """A row of `watching.facts.MEASURES`."""
    return {"measure": measure, "value": float(value), "of": None if of is None else float(of), **more}


def first_sight(batches: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """How well the model does on training rows before it was trained on them: what validation should show, too."""
    rows = 0
    judged: list[Mapping[str, Any]] = []
    for b in batches:
        if b["phase"] == "validation" and rows >= LEAST_ROWS:
            break
        if b["phase"] == "training":
            rows += len(b["prints"])
            judged += [b] if "right" in b else []
    if not judged:
        return
    prints, labels, right = (np.concatenate([b[k] for b in judged]) for k in ("prints", "labels", "right"))
    new = np.sort(np.unique(prints, return_index=True)[1])
    late = new[len(new) * 3 // 4 :]
    if len(late) >= LEAST_ROWS // 2:
        yield row("first-sight-accuracy", float(right[late].mean()), len(late))
        most = np.unique(labels[late], return_counts=True)[1].max()
        yield row("first-sight-majority", most / len(late), len(late))


def answer_column(train: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Whether one column of flat inputs is the label in other words."""
    values, labels, prints = compared(train, "labels", "prints")
    # The same few rows over and over prove nothing.
    different = np.unique(prints, return_index=True)[1]
    values, labels = values[different], labels[different]
    if len(labels) < LEAST_ROWS or values.shape[1] != train[0]["features"] or values.shape[1] < 2:
        return
    if labels.dtype.kind == "f":
        x, y = values - values.mean(0), labels - labels.mean()
        power = (x * x).sum(0) * (y * y).sum()
        explained = np.where(power > 0, (x * y[:, None]).sum(0) ** 2 / np.where(power > 0, power, 1), 0.0)
        best = int(explained.argmax())
        yield row("answer-column", explained[best], len(labels), index=best)
        return
    classes, counts = np.unique(labels, return_counts=True)
    for k in classes[(counts >= LEAST_ROWS // 4) & (counts <= len(labels) - LEAST_ROWS // 4)]:
        inside, outside = values[labels == k], values[labels != k]
        tells = (inside == inside[0]).all(0) & (outside != inside[0]).all(0)
        if tells.any():
            yield row(
                "answer-column", 1.0, len(labels), index=int(tells.argmax()),
                detail=f"it is {inside[0][tells.argmax()]:.4g} in every row of class {k:g} and in no other",
            )  # fmt: skip
            return


def compared(train: Sequence[Mapping[str, Any]], *keys: str) -> list[Array]:
    """Values of the first rows, float64 (N, k), and what those batches hold under each key, (N,); finite rows only."""
    kept = [b for b in train if "values" in b and all(k in b and len(b[k]) == len(b["values"]) for k in keys)]
    if not kept or len({b["values"].shape[1] for b in kept}) != 1:
        return [np.zeros((0, 0)), *(np.zeros(0) for _ in keys)]
    values = np.concatenate([b["values"] for b in kept]).astype(float)
    others = [np.concatenate([b[k] for b in kept]) for k in keys]
    good = np.isfinite([values.sum(1), *others]).all(0)
    return [values[good], *(other[good] for other in others)]
