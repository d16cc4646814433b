"""`replay`: run again the step in which a watched run became non-finite, and say where it began."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snellen.errors import UseError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Replay:
    """What came of running the step again."""

    step: int
    """0-based."""
    reproduced: bool
    """Something became non-finite again."""
    layer: str
    """Dotted name of the module or parameter, or "input" or "loss"; empty when nothing was reproduced."""
    operator: str
    """As torch names it, such as aten.log; empty where no operator of the model or the loss made it."""
    message: str
    """One sentence."""

    def __str__(self) -> str:
        return f"step {self.step}: {self.message}"


def replay(run_dir: str | Path, model: "nn.Module | None" = None, loss_fn: Callable[..., Any] | None = None) -> Replay:
    """Run the captured step of `run_dir` again, from the same weights, batch and random numbers.

    Args:
        run_dir: Folder of a run that `snellen.watch` or the trainer wrote and that became non-finite.
        model: The model that was watched, of any weights; it is left as it was. Our own recipes build theirs.
        loss_fn: Called as loss_fn(outputs, targets); without it the gradients are sent back that the run's loss gave.

    Raises:
        UseError: Nothing was captured there, `model` is another one, or none is given and the run has no recipe.
    """
    from copy import deepcopy

    from snellen.watching.captured import Captured
    from snellen.watching.rerun import explain

    folder = Path(run_dir)
    captured = Captured.load(folder)
    verdict = explain(captured, _built(folder) if model is None else deepcopy(model), loss_fn)
    if verdict is None:
        what = "everything is finite when the step is run again"
        if captured.left_out:
            what += f"; its batch held {', '.join(sorted(set(captured.left_out)))}, which could not be kept"
        return Replay(captured.step, False, "", "", what)
    return Replay(captured.step, True, verdict.layer, verdict.operator, verdict.message)


def _built(folder: Path) -> "nn.Module":
    """The network of the recipe in `folder`, as it is built, with any weights."""
    from snellen.training.prepare import built_from
    from snellen.training.recipe import Recipe
    from snellen.training.run_folder import RunFolder, read_model

    run = RunFolder(folder)
    if not run.recipe.is_file():
        raise UseError(
            f"{folder}: a model of your own was watched here; replay it with "
            f"snellen.replay({str(folder)!r}, model, loss_fn)"
        )
    recipe = Recipe.from_toml(run.recipe)
    try:
        _, names, anchors = read_model(run)
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise UseError(f"{folder}: its model cannot be built again: {error}") from error
    return built_from(recipe, len(names), anchors)
