"""`inspect`: examine a network before it is trained, alone or against a dataset."""

from pathlib import Path
from typing import TYPE_CHECKING

from snellen.environment import environment
from snellen.findings.engine import judge
from snellen.findings.settings import LoadedSettings, chosen_rules, load_settings
from snellen.findings.severity import Tier
from snellen.progress import Progress, silent
from snellen.result import Result

if TYPE_CHECKING:
    from torch import nn


def inspect(
    model: "str | nn.Module",
    *,
    input_size: int | None = None,
    data: str | Path | None = None,
    num_classes: int | None = None,
    settings: LoadedSettings | None = None,
    progress: Progress = silent,
) -> Result:
    """Examine `model`, a module or a name, at a square input of `input_size` pixels.

    With `data`, input size, class count and anchors are those a training on it would use, and the rules that join
    network and data run too. Without either, `input_size` is 224 and `num_classes` 1000. Raises UseError.
    """
    from snellen.data.examine import examine as examine_data
    from snellen.models.registry import create, task_of
    from snellen.network.examine import examine
    from snellen.training.prepare import class_names, model_for
    from snellen.training.recipe import default_recipe

    settings = settings or load_settings(Path.cwd())
    facts = examine_data(Path(data), tier=Tier.HEADERS, progress=progress) if data is not None else None
    name = model if isinstance(model, str) else type(model).__name__
    if isinstance(model, str):
        if facts is not None:
            recipe = default_recipe(facts, model=model, **({"image_size": input_size} if input_size else {}))
            network, size = model_for(facts, recipe), recipe.image_size
        else:
            size = input_size or 224
            network = create(model, task=task_of(model), num_classes=num_classes or 1000, image_size=size)
    else:
        network, size = model, input_size or 224
    task = facts.task if facts else str(getattr(network, "task", ""))
    found = examine(network, (1, 3, size, size), name=name, task=task)
    subjects = [f for f in (facts, found) if f is not None]
    rules = [rule for rule in chosen_rules(settings.values) if any(k.__name__ == "NetworkFacts" for k in rule.needs().values())]
    verdict = judge(subjects, settings, rules=rules, data_root=Path(facts.root) if facts else None)
    return Result(subject=name, verdict=verdict, data=facts, network=found, environment=environment())


__all__ = ["class_names", "inspect"]
