"""`exam`, the main job: check -> inspect -> train under watch -> evaluate -> one report."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snellen.environment import environment
from snellen.errors import UseError
from snellen.findings.engine import judge, required_tier
from snellen.findings.settings import LoadedSettings, chosen_rules, load_settings
from snellen.progress import Progress, silent
from snellen.result import Result
from snellen.verbs.run_folder import new_run_folder, write_run

if TYPE_CHECKING:
    from torch import nn

    from snellen.training.recipe import Recipe


def exam(
    data: str | Path,
    *,
    model: "str | nn.Module | None" = None,
    out: str | Path | None = None,
    recipe: "Recipe | None" = None,
    resume: bool = False,
    settings: LoadedSettings | None = None,
    cache: bool = True,
    progress: Progress = silent,
    prepare: "Callable[[nn.Module], None] | None" = None,
    loss: "Callable[..., Any] | None" = None,
    **overrides: Any,
) -> Result:
    """Examine the dataset at `data`, a network for it, a training run and its predictions; write one report.

    `model` is a name, or a ready module; None takes the small fast default of the task. `recipe` replaces the one
    found by looking at the data; `overrides` (`epochs=3`) replace single fields of either. `out` is the run folder
    (default: the next free `runs/<name>`), which holds `report.html` at the end; with `resume` a killed exam goes on
    where it was. `prepare` is called with the model before it is inspected; `loss` replaces the task's loss.
    Raises UseError when `data` cannot be read at all; anything less is a finding.
    """
    from snellen.data.examine import examine
    from snellen.models.registry import create
    from snellen.network.examine import examine as examine_network
    from snellen.training.recipe import default_recipe
    from snellen.training.trainer import train
    from snellen.verbs.evaluate import score
    from snellen.watch.recorder import Recorder

    settings = settings or load_settings(Path.cwd())
    rules = chosen_rules(settings.values)
    clock = _Clock()

    facts = examine(Path(data), tier=required_tier(rules), cache=cache, progress=progress)
    clock.lap("check")

    folder = new_run_folder(out, Path(data), resume)
    name = model if isinstance(model, str) else None
    chosen = {k: v for k, v in {"model": name, **overrides}.items() if v is not None}
    final = recipe.model_copy(update=chosen) if recipe else default_recipe(facts, **chosen)
    classes = class_names(facts)
    if not classes:
        raise UseError(f"{data}: no usable labels to train on; `snellen check {data}` says why")
    network = model if model is not None and not isinstance(model, str) else None
    if network is None:
        network = create(
            final.model, task=facts.task, num_classes=len(classes), image_size=final.image_size,
            pretrained=final.pretrained,
        )  # fmt: skip
    if prepare:
        prepare(network)
    shape = (1, 3, final.image_size, final.image_size)
    network_facts = examine_network(network, shape, name=final.model, task=facts.task)
    clock.lap("inspect")

    trained = train(
        facts, final, folder, resume=resume, progress=progress, model=network, loss=loss,
        recorder_factory=lambda m, o: Recorder(m, o),
    )  # fmt: skip
    clock.lap("train")

    scores = score(trained, facts, progress=progress)
    clock.lap("evaluate")

    run_facts = trained.recorder.facts()
    everything = [facts, network_facts, run_facts, scores]
    verdict = judge(everything, settings, rules=rules, data_root=Path(facts.root))
    clock.lap("judge")
    result = Result(
        subject=str(data), verdict=verdict, data=facts, network=network_facts, run=run_facts, scores=scores,
        recipe=final.model_dump(mode="json"), environment=environment(), folder=folder, seconds=clock.laps,
    )  # fmt: skip
    write_run(result)
    return result


def class_names(facts: Any) -> list[str]:
    """Names of the classes that usable labels use or the dataset declares, in the order of their ids."""
    import polars as pl

    known = facts.classes.drop_nulls("class_name").sort("class_id")
    column = facts.images["class_name"] if facts.task == "classification" else _usable(facts.boxes)["class_name"]
    used = set(column.drop_nulls().unique())
    return list(known.filter(pl.col("declared") | pl.col("class_name").is_in(list(used)))["class_name"]) if used else []


def _usable(boxes: Any) -> Any:
    return boxes.filter(boxes["usable"])


class _Clock:
    """Wall seconds between laps, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


__all__ = ["Mapping", "class_names", "exam"]
