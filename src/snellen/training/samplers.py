"""How often each image comes in an epoch, against rare classes: pure functions of the labels, the seed and the epoch.

The rows of an epoch are numbers of images; a second copy of image i is i + N, the third i + 2 N, so that no two copies
are augmented alike.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def class_balanced(labels: Sequence[Ints], classes: int) -> Floats:
    """(N,) expected copies of each image, N altogether, in which every class in use weighs the same.

    `labels` are the classes of each image's objects. An image of one class has the weight 1 / (images of the class),
    one of several their sum; images without objects count as a class of their own.
    """
    member = _membership(labels, classes)
    weights = member @ (1 / np.maximum(member.sum(axis=0), 1))
    return np.asarray(weights * len(labels) / weights.sum())


def repeat_factors(labels: Sequence[Ints], classes: int, threshold: float) -> Floats:
    """(N,) expected copies of each image, at least 1: the largest of its classes' max(1, sqrt(threshold / share)).

    `share` is that of the images that hold the class. Gupta et al. 2019 (LVIS), appendix B.
    """
    member = _membership(labels, classes)[:, :classes]
    share = member.mean(axis=0)
    of_class = np.maximum(1.0, np.sqrt(threshold / np.maximum(share, 1e-12)))
    return np.asarray(np.where(member, of_class, 1.0).max(axis=1))


def weighted(labels: Sequence[Ints], weights: Sequence[float]) -> Floats:
    """(N,) expected copies of each image, N altogether, by the largest weight of its classes; without objects the mean.

    Raises ValueError when there are not as many weights as classes.
    """
    highest = max((int(k.max()) for k in labels if len(k)), default=-1)
    if highest >= len(weights):
        raise ValueError(f"{len(weights)} weights, and a class number {highest}")
    each = np.asarray(weights, dtype=np.float64)
    own = np.array([each[k].max() if len(k) else each.mean() for k in labels])
    return np.asarray(own * len(labels) / own.sum())


def epoch_rows(copies: Floats | None, count: int, seed: int, epoch: int) -> Ints:
    """The rows of an epoch in order: every image once, or round(sum of `copies`) rows in random order.

    Each image comes its expected number of times, rounded up or down at random (systematic sampling), so an epoch has
    always the same length.
    """
    rng = np.random.default_rng((seed, epoch))
    if copies is None:
        return rng.permutation(count).astype(np.int64)
    order = rng.permutation(count)
    total = round(float(copies.sum()))
    ends = np.cumsum(copies[order])
    # The last end is exactly the total, whatever was lost in adding up.
    steps = np.floor(ends / ends[-1] * total + rng.uniform()).astype(np.int64)
    steps[-1] = total
    times = np.zeros(count, np.int64)
    times[order] = np.diff(np.minimum(steps, total), prepend=0)
    images = np.repeat(np.arange(count), times)
    copy = np.arange(len(images)) - np.repeat(np.cumsum(times) - times, times)
    return rng.permutation(images + copy * count)


def cut(rows: Ints, batch_size: int) -> list[Ints]:
    """The rows in round(rows / batch_size) batches, of sizes one apart at most.

    No row is dropped and no batch is a small rest, which BatchNorm would suffer from.
    """
    return np.array_split(rows, max(1, round(len(rows) / batch_size)))


def _membership(labels: Sequence[Ints], classes: int) -> NDArray[np.bool_]:
    """(N, classes + 1): whether an image holds a class; the last column: none."""
    member = np.zeros((len(labels), classes + 1), np.bool_)
    for i, own in enumerate(labels):
        member[i, own if len(own) else classes] = True
    return member
