"""What a loss function returns: sums and counts, kept apart until all processes' counts are known."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LossTerm:
    """A sum and the count it is to be divided by.

    They stay apart until the counts of every process and every accumulated batch are known, so that the loss, and
    the gradient, do not depend on how a batch was cut up.
    """

    total: Tensor
    """Sum over the batch, scalar, with gradient."""
    weight: Tensor
    """What to divide by: images, or positive anchors; scalar float32, no gradient; the trainer takes at least 1."""
