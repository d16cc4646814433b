"""The learning-rate finder: where the loss falls fastest in a sweep over all rates (Smith 2017, arXiv:1506.01186)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from snellen.data.facts import DataFacts
from snellen.experiments.rates import rate_range
from snellen.experiments.snapshot import generators_kept
from snellen.experiments.subject import Clock, Subject
from snellen.training.recipe import Recipe
from snellen.training.rehearsal import rehearsal_of

if TYPE_CHECKING:
    from torch import nn

    from snellen.training.tasks.base import LossFunction

SECONDS = 30.0
BATCHES = 4


@dataclass(frozen=True)
class RateFound:
    """What the sweep told."""

    rate: float | None
    """Where the smoothed loss falls fastest over the logarithm of the rate; None: nowhere, or too little time."""
    points: list[tuple[float, float]]
    """(rate, smoothed loss), by growing rate."""
    detail: str
    """How it was found, or why not."""


def find_rate(
    data: DataFacts,
    recipe: Recipe,
    *,
    model: "nn.Module | None" = None,
    loss: "LossFunction | None" = None,
    seconds: float = SECONDS,
) -> RateFound:
    """Sweep the rates on the first batches of a training by `recipe`, with its optimizer, at most about `seconds` long.

    `model` (None: the recipe's, built anew) is put back bit for bit; generators are as before. Raises UseError when
    there is nothing to train on.
    """
    with generators_kept():
        trial = rehearsal_of(data, recipe, model=model, loss=loss, batches=BATCHES)
        if not trial.batches:
            return RateFound(None, [], "no image could be read")
        takes = bool(getattr(trial.network, "needs_targets", False))
        subjects = [
            Subject(trial.network, x, targets, trial.loss_fn, trial.optimizer, takes_targets=takes)
            for x, targets in trial.batches
        ]
        rows = list(rate_range(subjects[0], Clock(seconds), subjects))
    points = [(row["setting"], row["value"]) for row in rows if row["trial"] == "lr-range"]
    told = next(row for row in rows if row["trial"] == "lr-suggestion")
    return RateFound(told["value"], points, told["detail"])
