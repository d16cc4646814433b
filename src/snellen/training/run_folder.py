"""Where a run lies on disk, and what stands in it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from snellen.errors import UseError
from snellen.files import to_json, write_text
from snellen.training.recipe import Recipe


class RunError(UseError):
    """A run folder that cannot be written, resumed or read."""


@dataclass(frozen=True)
class RunFolder:
    """The parts of a run folder, by name."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The complete recipe."""
        return self.path / "recipe.toml"

    @property
    def model(self) -> Path:
        """What the network was built with besides the recipe: class names, anchors."""
        return self.path / "model.json"

    @property
    def environment(self) -> Path:
        """Versions, processor, platform."""
        return self.path / "environment.json"

    @property
    def steps(self) -> Path:
        """One JSON line for each optimizer step."""
        return self.path / "steps.jsonl"

    @property
    def ledger(self) -> Path:
        """Every image: used where, or left out why."""
        return self.path / "ledger.parquet"

    @property
    def last(self) -> Path:
        """The newest checkpoint: all that a run needs to go on."""
        return self.path / "checkpoints" / "last.pt"

    @property
    def best(self) -> Path:
        """The weights of the best epoch."""
        return self.path / "checkpoints" / "best.pt"

    @property
    def estimator(self) -> Path:
        """The fitted estimator of a classical run, which has no weights."""
        return self.path / "checkpoints" / "best.skops"


def write_model(folder: RunFolder, class_names: Sequence[str], anchors: Any) -> None:
    """Write `model.json`."""
    write_text(folder.model, to_json({"class_names": list(class_names), "anchors": anchors}), durable=True)


def read_model(folder: RunFolder) -> tuple[Recipe, list[str], Any]:
    """Recipe, class names and anchors of a run. Raises RunError or RecipeError."""
    recipe = Recipe.from_toml(folder.recipe)
    try:
        values = json.loads(folder.model.read_text(encoding="utf-8"))
        return recipe, [str(name) for name in values["class_names"]], values["anchors"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder.model}: not a model of a training run: {error}") from error


def keep_steps_before(path: Path, step: int) -> None:
    """Drop the lines of `steps.jsonl` from `step` on (they will be trained again), and a half-written last line."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            known = json.loads(line)["step"] < step
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            break
        kept.append(line + "\n")
    write_text(path, "".join(kept), durable=True)


def refuse_overwriting(folder: RunFolder, recipe: Recipe, resume: bool) -> None:
    """Raise RunError when `folder` holds a run that is not to be resumed, or that another recipe began."""
    if not folder.recipe.exists():
        return
    if not resume:
        raise RunError(f"{folder.path} holds a run already: resume it, or name another folder")
    was = Recipe.from_toml(folder.recipe).model_dump()
    now = recipe.model_dump()
    # These do not change what is computed.
    free = {"workers", "checkpoint_seconds", "patience", "loggers"}
    changed = [k for k in now if now[k] != was[k] and k not in free]
    if changed and folder.last.is_file():
        told = ", ".join(f"{k} {was[k]!r} -> {now[k]!r}" for k in changed)
        raise RunError(f"{folder.path}: the recipe differs from the one it was started with ({told}): use a new folder")


def refuse_changed_data(folder: RunFolder, ledger: pl.DataFrame, class_names: Sequence[str]) -> None:
    """Raise RunError when the run was begun with other images or classes: its next step would not be its own."""
    columns = ["image", "split", "objects"]
    try:
        began = pl.read_parquet(folder.ledger).filter("used").select(columns)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{folder.ledger}: not the ledger of a training run: {error}") from error
    now = ledger.filter("used").select(columns)
    missing, added = set(began.iter_rows()) - set(now.iter_rows()), set(now.iter_rows()) - set(began.iter_rows())
    if missing or added or read_model(folder)[1] != list(class_names):
        images = sorted({row[0] for row in missing | added})
        told = f"{len(images)} images differ, such as {images[0]}" if images else "the classes differ"
        raise RunError(
            f"{folder.path}: the dataset is not the one this run began with ({told}): restore it, or start a new run"
        )
