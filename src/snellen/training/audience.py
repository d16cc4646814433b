"""Who is told how a run goes: its watcher, its loggers, and the line of each step in its folder."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from snellen.training.loggers import Logger, loggers_of
from snellen.training.position import Position
from snellen.training.recipe import Recipe
from snellen.training.run_folder import RunFolder
from snellen.training.splits import Split
from snellen.training.tasks.base import Task
from snellen.training.watching import Watcher


class Audience:
    """Everyone who hears of a run; of several processes each has its watcher, and the first one the rest."""

    def __init__(self, folder: RunFolder, recipe: Recipe, task: Task, watcher: Watcher | None, main: bool) -> None:
        self.folder, self.recipe, self.task, self.watcher, self.main = folder, recipe, task, watcher, main
        self.loggers: Sequence[Logger] = ()

    def start(self, split: Split, own_loss: Any) -> None:
        """Before the first step, and before a checkpoint is read."""
        if self.watcher is None:
            return
        self.watcher.start(
            task=self.recipe.task,
            num_classes=len(split.class_names),
            loss_kind=self.task.loss_kind if own_loss is None else getattr(own_loss, "__name__", "custom"),
            initial_loss_expected=self.task.initial_loss_expected if own_loss is None else None,
            metric_name=self.task.metric_name,
            baseline_metric=self.task.baseline_metric,
        )

    def open_loggers(self, first_step: int) -> None:
        """Once it is known at which step the run goes on."""
        self.loggers = loggers_of(self.recipe, self.folder.path, first_step) if self.main else ()

    def step(
        self, at: Position, *, loss: float, rate: float, size: int, counts: Mapping[str, float], wanted: Any,
        **known: Any,
    ) -> None:  # fmt: skip
        """Right after an optimizer step, before the gradients are cleared. `wanted`: the targets of the last part."""
        if self.watcher is not None:
            detection = self.recipe.task == "detection"
            self.watcher.step(
                loss=loss,
                epoch=at.epoch,
                batch_size=size,
                targets=int(counts["targets"]) if detection else None,
                positives=int(counts["positives"]) if detection else None,
                labels=_class_ids(wanted),
                wanted=wanted,
                **known,
            )
        if self.main:
            line = {"step": at.step, "epoch": at.epoch, "loss": loss, "lr": rate, "batch_size": size}
            with self.folder.steps.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        for logger in self.loggers:
            logger.log({"train/loss": loss, "train/lr": rate, "train/epoch": at.epoch}, at.step)

    def epoch(self, row: dict[str, Any], step: int) -> None:
        """After an epoch's validation; `row` as of `snellen.watching.facts.EPOCHS`, `step` the last one."""
        if self.watcher is not None:
            self.watcher.epoch(**row)
        told = {
            "train/epoch_loss": row["train_loss"], "train/epoch_metric": row["train_metric"],
            "val/loss": row["val_loss"], f"val/{self.task.metric_name}": row["metric"],
        }  # fmt: skip
        for logger in self.loggers:
            logger.log({name: float(value) for name, value in told.items() if value is not None}, step)

    def finish(self, reason: str) -> None:
        """After the last step."""
        if self.watcher is not None:
            self.watcher.finish(reason)
        for logger in self.loggers:
            logger.close(reason)


def _class_ids(targets: Any) -> Tensor | None:
    """One for each image, where that is what the targets are."""
    return targets if isinstance(targets, Tensor) and targets.ndim == 1 and not targets.is_floating_point() else None
