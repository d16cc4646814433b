"""`preflight`: experiments on a model, one batch and its loss before the first step of a training."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snellen.environment import environment
from snellen.findings.engine import judge
from snellen.findings.settings import LoadedSettings, chosen_rules, load_settings
from snellen.progress import Progress, silent
from snellen.result import Result
from snellen.verbs.facts_for import facts_for
from snellen.watching.facts import RunFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn
    from torch.optim import Optimizer

    from snellen.data.facts import DataFacts
    from snellen.training.recipe import Recipe
    from snellen.training.tasks.base import LossFunction

SECONDS = 60.0
WITHIN_TRAINING = 5.0
"""Seconds that the preflight of `exam` and `train` may take."""


def preflight(
    model: "nn.Module",
    batch_or_loader: Any,
    loss_fn: "Callable[[Any, Any], Any] | None" = None,
    optimizer: "Optimizer | None" = None,
    *,
    seconds: float = SECONDS,
    settings: LoadedSettings | None = None,
    progress: Progress = silent,
) -> Result:
    """Experiment on `model` before it is trained, and judge what came out; nothing of it is left changed.

    Takes at most about `seconds`; experiments that do not fit are named in the facts (`Result.run.trials`). Parameters,
    buffers, gradients, modes, optimizer state and random generators are bit for bit as before.

    Args:
        model: Any module. One that cannot be run on the batch gives an event with the reason, never an exception.
        batch_or_loader: (inputs, targets), (a, b, ..., targets), a mapping, a single tensor that is its own target, or
            something that yields such batches, of which the first four are taken. Inputs that are a tuple are
            positional arguments, a mapping keyword arguments, a list holds one tensor a sample.
        loss_fn: Called as loss_fn(outputs, targets) -> a scalar tensor, or several by name that are added up. Without
            it the model has to return its own loss, given the targets if it takes them, as detectors of torchvision do.
        optimizer: Tried at 0.1, 1 and 10 times its rate, and over all rates; without it these are left out.
        seconds: Time for all experiments.
        settings: Rules and their options; None: those that hold for the working folder.
        progress: Told which experiment runs.
    """
    from snellen.experiments.gather import preflight_facts
    from snellen.experiments.pictures import input_pictures

    settings = settings or load_settings(Path.cwd())
    began = time.perf_counter()
    facts, subjects = preflight_facts(model, batch_or_loader, loss_fn, optimizer, seconds=seconds, progress=progress)
    rules = [rule for rule in chosen_rules(settings.values) if {*rule.needs().values()} == {RunFacts}]
    pictures = input_pictures(subjects[0].inputs, subjects[0].targets) if subjects else {}
    return Result(
        subject=type(model).__name__, verdict=judge([facts], settings, rules=rules), run=facts, pictures=pictures,
        environment=environment(), seconds={"preflight": time.perf_counter() - began},
    )  # fmt: skip


def preflight_data(
    data: str | Path,
    *,
    model: str | None = None,
    recipe: "Recipe | None" = None,
    seconds: float = SECONDS,
    settings: LoadedSettings | None = None,
    progress: Progress = silent,
    **overrides: Any,
) -> Result:
    """The preflight of the training that `snellen train` would run on the dataset at `data`.

    Parameters as in `train`. Raises UseError when data or recipe cannot be used.
    """
    from snellen.models.registry import check_name
    from snellen.training.recipe import Recipe, check_overrides
    from snellen.training.recipe_defaults import default_recipe

    if model is not None:
        overrides["model"] = model
    check_overrides(overrides)
    if "model" in overrides:
        check_name(overrides["model"])
    settings = settings or load_settings(Path.cwd())
    task = overrides.get("task") or (recipe.task if recipe else None)
    facts = facts_for(Path(data), task, progress)
    final = recipe.vary(**overrides) if recipe else default_recipe(facts, **overrides)
    began = time.perf_counter()
    found, pictures = of_recipe(facts, final, seconds=seconds, progress=progress)
    rules = [rule for rule in chosen_rules(settings.values) if {RunFacts, Recipe} & {*rule.needs().values()}]
    verdict = judge([facts, found, final], settings, rules=rules, data_root=Path(facts.root))
    return Result(
        subject=str(data), verdict=verdict, data=facts, run=found, recipe=final.model_dump(mode="json"),
        environment=environment(), pictures=pictures, seconds={"preflight": time.perf_counter() - began},
    )  # fmt: skip


def of_recipe(
    facts: "DataFacts",
    recipe: "Recipe",
    *,
    model: "nn.Module | None" = None,
    loss: "LossFunction | None" = None,
    seconds: float = WITHIN_TRAINING,
    progress: Progress = silent,
) -> tuple[RunFacts, dict[str, bytes]]:
    """Facts of the preflight of a training by `recipe`, and pictures of what its network gets.

    A network of the recipe is built anew, so that the training's own is not met; the caller's `model` is put back bit
    for bit. Random generators are as before. Raises UseError when there is nothing to train on.
    """
    from snellen.experiments.gather import preflight_facts
    from snellen.experiments.pictures import input_pictures
    from snellen.experiments.snapshot import generators_kept
    from snellen.training.rehearsal import rehearsal_of

    with generators_kept():
        trial = rehearsal_of(facts, recipe, model=model, loss=loss)
        if not trial.batches:
            nothing: dict[str, Any] = dict(RunFacts.empty_tables())
            return RunFacts(**nothing, finished=False), {}
        batch = trial.batches[0]
        found, _ = preflight_facts(
            trial.network, batch, trial.loss_fn, trial.optimizer, seconds=seconds, progress=progress
        )
        return found, input_pictures(*batch)
