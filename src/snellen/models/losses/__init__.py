"""Losses of classifiers and segmenters, each a `LossTerm`: a sum, and the count it is to be divided by.

Each is a sum over labels or over images, so a batch cut up into parts gives the same sum and count as the whole.
"""

from snellen.models.losses.class_weights import class_weights
from snellen.models.losses.cross_entropy import IGNORED, cross_entropy, focal
from snellen.models.losses.dice import dice
from snellen.models.losses.lovasz import lovasz_hinge, lovasz_softmax
from snellen.models.losses.named import LOSSES, expected_at_start, named_loss
from snellen.models.losses.ohem import ohem_cross_entropy

__all__ = [
    "IGNORED", "LOSSES", "class_weights", "cross_entropy", "dice", "expected_at_start", "focal", "lovasz_hinge",
    "lovasz_softmax", "named_loss", "ohem_cross_entropy",
]  # fmt: skip
