"""`exam`, the main job: check -> inspect -> train under watch -> evaluate -> one report."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snellen.environment import environment
from snellen.findings.engine import judge, required_tier
from snellen.findings.settings import LoadedSettings, chosen_rules, load_settings
from snellen.progress import Progress, silent
from snellen.result import Result
from snellen.verbs.evaluate import score_model
from snellen.verbs.preflight import of_recipe
from snellen.verbs.run_folder import chosen_recipe, new_run_folder, write_run
from snellen.verbs.tuning import tuned, without_auto
from snellen.verbs.watched import train_watched
from snellen.watching.facts import RunFacts

if TYPE_CHECKING:
    from torch import nn

    from snellen.training.recipe import Recipe
    from snellen.training.tasks.base import LossFunction


def exam(
    data: str | Path,
    *,
    model: "str | nn.Module | None" = None,
    out: str | Path | None = None,
    recipe: "Recipe | None" = None,
    loss: "LossFunction | None" = None,
    resume: bool = False,
    settings: LoadedSettings | None = None,
    cache: bool = True,
    preflight: bool = True,
    progress: Progress = silent,
    **overrides: Any,
) -> Result:
    """Examine the dataset at `data`, a network for it, a training run and its predictions; write one report.

    Args:
        data: Class folder, COCO JSON, VOC folder or YOLO data.yaml.
        model: A name, or a ready module; None: the small fast default of the task.
        out: Run folder, which holds `report.html` at the end; None: the next free `runs/<name>`.
        recipe: Replaces the one found by looking at the data.
        loss: Replaces the task's loss.
        resume: Go on with the run in `out` where it was stopped or killed, with the recipe it was begun with.
        settings: Rules and their options; None: those that hold for the working folder.
        cache: Use and keep the cache of image measurements.
        preflight: Experiment on the network and one batch before the training; a few seconds.
        progress: Told how far the exam is.
        overrides: Fields of the recipe: `epochs=3`.

    Raises:
        UseError: `data` cannot be read, holds nothing to train on, or `out` is taken. Anything less is a finding.
        Interrupted: Ctrl-C or SIGTERM ended the training; it is saved.
    """
    settings = settings or load_settings(Path.cwd())
    rules = chosen_rules(settings.values)
    folder = new_run_folder(out, Path(data), resume)
    from snellen.data.examine import examine
    from snellen.data.measuring import measure_again
    from snellen.experiments.gather import with_trials
    from snellen.models.classical import is_classical
    from snellen.models.registry import check_name
    from snellen.network.examine import examine as examine_network
    from snellen.training.prepare import build_model
    from snellen.training.recipe import check_overrides
    from snellen.training.simple_baseline import simple_baseline

    if isinstance(model, str):
        overrides["model"] = model
    # Before the images are measured, which may take an hour.
    overrides, auto = without_auto(overrides)
    check_overrides(overrides)
    if "model" in overrides:
        check_name(overrides["model"])
    clock = _Clock()

    facts = examine(Path(data), tier=required_tier(rules), cache=cache, progress=progress)
    clock.lap("check")

    final = chosen_recipe(facts, folder, recipe, resume, overrides)
    ready = model if model is not None and not isinstance(model, str) else None
    if auto and not resume:
        final = tuned(facts, final, auto, overrides, model=ready, loss=loss, progress=progress)
    classical = ready is None and is_classical(final.model)
    network_facts = None
    if not classical:  # Features and an estimator have no layers to look at.
        network = ready if ready is not None else build_model(facts, final)
        name = final.model if ready is None else type(ready).__name__
        size = final.image_size
        network_facts = examine_network(network, (1, 3, size, size), name=name, task=facts.task)
    clock.lap("inspect")

    before: RunFacts | None = None
    pictures: dict[str, bytes] = {}
    if preflight and not resume and not classical:
        before, pictures = of_recipe(facts, final, model=ready, loss=loss, progress=progress)
        clock.lap("preflight")

    trained, run_facts = train_watched(
        "exam", data, facts, final, folder, model=ready, loss=loss, resume=resume, progress=progress
    )
    run_facts = with_trials(run_facts, before)
    clock.lap("train")

    scored = score_model(trained.model, final, trained.class_names, facts, ledger=trained.ledger, progress=progress)
    scores = scored.scores
    facts = measure_again(facts, {**trained.unreadable, **scored.unreadable})
    if facts.task == "classification" and not classical:
        floor = simple_baseline(facts, final, scores.predictions, progress=progress)
        scores = replace(scores, simple_baseline=floor)
    clock.lap("evaluate")

    subjects = [s for s in (facts, network_facts, run_facts, scores, final) if s is not None]
    verdict = judge(subjects, settings, rules=rules, data_root=Path(facts.root))
    clock.lap("judge")
    result = Result(
        subject=str(data), verdict=verdict, data=facts, network=network_facts, run=run_facts, scores=scores,
        recipe=final.model_dump(mode="json"), environment=environment(), folder=folder, seconds=clock.laps,
        pictures=pictures,
    )  # fmt: skip
    write_run(result)
    return result


class _Clock:
    """Wall seconds between laps, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Close the stage `name`."""
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now
