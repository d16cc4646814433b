"""Losses by name, and sums of them: what a recipe's `loss` may say."""

from collections.abc import Callable, Mapping
from functools import partial
from math import log
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from snellen.errors import UseError
from snellen.models.loss import LossTerm
from snellen.models.losses.cross_entropy import cross_entropy, focal
from snellen.models.losses.dice import dice
from snellen.models.losses.lovasz import lovasz_softmax
from snellen.models.losses.ohem import ohem_cross_entropy

LOSSES: dict[str, Callable[..., LossTerm]] = {
    "ce": cross_entropy,
    "focal": focal,
    "ohem-ce": ohem_cross_entropy,
    "dice": dice,
    "lovasz": lovasz_softmax,
}
"""Name -> (logits, targets, *, class_weights, ...) -> LossTerm."""
MAPS_ONLY = frozenset({"dice", "lovasz"})
"""They compare regions, of which a single label has none."""

NamedLoss = Callable[[Tensor, Tensor], dict[str, LossTerm]]
"""(logits, targets) -> terms by name; their means are added up."""


def named_loss(
    name: str,
    *,
    class_weights: Tensor | None = None,
    maps: bool = True,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> NamedLoss:
    """The loss called `name`, or the sum of several, "ce+dice".

    Args:
        name: Names of `LOSSES`, joined by "+".
        class_weights: (K,) float for each of them; None: all alike.
        maps: Targets are class maps; else one label an image, of which some losses have no use.
        options: Loss name -> its further arguments, `{"focal": {"gamma": 2.0}}`; others are not looked at.

    Raises:
        UseError: A part that is unknown, or named twice, or needs maps.
    """
    parts = name.split("+")
    known = [n for n in LOSSES if maps or n not in MAPS_ONLY]
    for part in parts:
        if part not in known or parts.count(part) > 1:
            raise UseError(f"no loss is called {name!r}: one or more of {', '.join(known)}, each once, joined by '+'")
    chosen = {
        part: partial(LOSSES[part], class_weights=class_weights, **(options or {}).get(part, {})) for part in parts
    }
    return lambda logits, targets: {part: loss(logits, targets) for part, loss in chosen.items()}


def expected_at_start(
    name: str, classes: int, *, gamma: float = 2.0, pixels_NK: NDArray[np.int64] | None = None
) -> float | None:
    """The loss of a network that gives all K classes the same probability, unweighted; None where it is not known.

    Cross-entropy, all of it or of the hardest: ln K. Focal: (1 - 1/K)^gamma ln K. Lovasz: 1 - 1/K, which is the error
    of every pixel of a class. Dice: 1 - 2 n / (P + K n) for a class of n of an image's P pixels; it takes `pixels_NK`,
    those of each class in some images.
    """
    even = log(classes)
    of = {"ce": even, "ohem-ce": even, "focal": (1 - 1 / classes) ** gamma * even, "lovasz": 1 - 1 / classes}
    if pixels_NK is not None and pixels_NK.any():
        n = pixels_NK[pixels_NK.any(axis=1)].astype(np.float64)
        each = 1 - 2 * n / (n.sum(axis=1, keepdims=True) + classes * n)
        of["dice"] = float((np.where(n > 0, each, 0).sum(axis=1) / (n > 0).sum(axis=1)).mean())
    parts = name.split("+")
    return sum(of[p] for p in parts) if all(p in of for p in parts) else None
