"""Training under watch, which `exam` and `train` have in common."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from snellen.data.facts import DataFacts
from snellen.models.classical import is_classical
from snellen.progress import Progress
from snellen.verbs.run_folder import stopped
from snellen.watching.facts import RunFacts

if TYPE_CHECKING:
    from torch import nn

    from snellen.training.recipe import Recipe
    from snellen.training.tasks.base import LossFunction
    from snellen.training.trainer import Trained


def train_watched(
    verb: str,
    subject: str | Path,
    facts: DataFacts,
    recipe: "Recipe",
    folder: Path,
    *,
    model: "nn.Module | None",
    loss: "LossFunction | None",
    resume: bool,
    progress: Progress,
) -> "tuple[Trained, RunFacts]":
    """Train `recipe` (or the caller's own `model`) on `facts` into `folder`, and return it with what was recorded.

    Raises Interrupted, which says how `verb` goes on with `subject`, when Ctrl-C ended the training.
    """
    if model is None and is_classical(recipe.model):
        from snellen.training.classical import train_classical

        return train_classical(facts, recipe, folder, resume=resume, progress=progress)
    from snellen.training.trainer import train
    from snellen.training.watching import WatchedTraining

    watches: list[WatchedTraining] = []

    def watched(network: "nn.Module", optimizer: Any) -> WatchedTraining:
        watches.append(WatchedTraining(network, optimizer, folder))
        return watches[0]

    trained = train(
        facts, recipe, folder, resume=resume, progress=progress, recorder_factory=watched, model=model, loss=loss
    )
    if trained.stop_reason == "interrupted":
        raise stopped(verb, subject, folder, model is not None)
    return trained, watches[0].facts()
