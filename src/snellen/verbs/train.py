"""`train`: train under watch, without examining the images first or scoring the result afterwards."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from snellen.environment import environment
from snellen.findings.engine import judge
from snellen.findings.settings import LoadedSettings, chosen_rules, load_settings
from snellen.progress import Progress, silent
from snellen.result import Result
from snellen.verbs.facts_for import facts_for
from snellen.verbs.preflight import of_recipe
from snellen.verbs.run_folder import chosen_recipe, new_run_folder
from snellen.verbs.tuning import tuned, without_auto
from snellen.verbs.watched import train_watched
from snellen.watching.facts import RunFacts

if TYPE_CHECKING:
    from torch import nn

    from snellen.training.recipe import Recipe
    from snellen.training.tasks.base import LossFunction


def train(
    data: str | Path,
    *,
    model: "str | nn.Module | None" = None,
    out: str | Path | None = None,
    recipe: "Recipe | None" = None,
    loss: "LossFunction | None" = None,
    resume: bool = False,
    settings: LoadedSettings | None = None,
    preflight: bool = True,
    progress: Progress = silent,
    **overrides: Any,
) -> Result:
    """Train on the dataset at `data` and judge the run; parameters as in `exam`. The run lies in `Result.folder`.

    Raises UseError when data, recipe or run folder cannot be used, Interrupted when Ctrl-C or SIGTERM ended it.
    """
    from snellen.data.measuring import measure_again
    from snellen.experiments.gather import with_trials
    from snellen.models.classical import is_classical
    from snellen.models.registry import check_name
    from snellen.training.recipe import Recipe, check_overrides

    if isinstance(model, str):
        overrides["model"] = model
    overrides, auto = without_auto(overrides)
    check_overrides(overrides)
    if "model" in overrides:
        check_name(overrides["model"])
    settings = settings or load_settings(Path.cwd())
    folder = new_run_folder(out, Path(data), resume)
    task = overrides.get("task") or (recipe.task if recipe else None)
    facts = facts_for(Path(data), task, progress)
    final = chosen_recipe(facts, folder, recipe, resume, overrides)
    ready = model if model is not None and not isinstance(model, str) else None
    if auto and not resume:
        final = tuned(facts, final, auto, overrides, model=ready, loss=loss, progress=progress)
    classical = ready is None and is_classical(final.model)
    before: RunFacts | None = None
    pictures: dict[str, bytes] = {}
    if preflight and not resume and not classical:
        before, pictures = of_recipe(facts, final, model=ready, loss=loss, progress=progress)
    trained, found = train_watched(
        "train", data, facts, final, folder, model=ready, loss=loss, resume=resume, progress=progress
    )
    found = with_trials(found, before)
    facts = measure_again(facts, trained.unreadable)
    rules = [rule for rule in chosen_rules(settings.values) if {RunFacts, Recipe} & {*rule.needs().values()}]
    verdict = judge([facts, found, final], settings, rules=rules, data_root=Path(facts.root))
    return Result(
        subject=str(data), verdict=verdict, data=facts, run=found, recipe=final.model_dump(mode="json"),
        environment=environment(), folder=trained.run_folder, pictures=pictures,
    )  # fmt: skip
