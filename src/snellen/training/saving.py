"""A run on disk: its header, its checkpoints, and going on from them."""

import time
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from snellen.environment import environment
from snellen.files import to_json, write_text, written_whole
from snellen.training import checkpoint, sharding
from snellen.training.averaging import Average
from snellen.training.distributed import gather_objects
from snellen.training.position import Position
from snellen.training.recipe import Recipe
from snellen.training.run_folder import RunError, RunFolder, keep_steps_before, write_model
from snellen.training.schedules import Plateau
from snellen.training.splits import Split
from snellen.training.watching import Watcher

CHECKPOINT_FORMAT = 2


class Saver:
    """Writes and reads the checkpoints of one run; the first process writes, all of them read."""

    def __init__(
        self,
        folder: RunFolder,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: Any,
        average: Average | None,
        plateau: Plateau | None,
        watcher: Watcher | None,
    ) -> None:
        self.folder, self.accelerator, self.watcher = folder, accelerator, watcher
        self.model, self.optimizer, self.average, self.plateau = model, optimizer, average, plateau
        self.saved_at = time.monotonic()

    def header(self, recipe: Recipe, split: Split, anchors: Any) -> None:
        """Write what stands in the run folder before the first step."""
        folder = self.folder
        folder.path.mkdir(parents=True, exist_ok=True)
        write_text(folder.recipe, recipe.to_toml(), durable=True)
        write_model(folder, split.class_names, anchors)
        here = {
            "device": str(self.accelerator.device), "threads": str(torch.get_num_threads()),
            "processes": str(self.accelerator.num_processes),
        }  # fmt: skip
        write_text(folder.environment, to_json({**environment(), **here}))
        with written_whole(folder.ledger) as temporary:
            split.ledger.write_parquet(temporary)
        folder.steps.write_text("", encoding="utf-8")

    def best(self, epoch: int, metric: float | None) -> None:
        """Keep the weights that the model has now as those of the best epoch."""
        weights = sharding.whole_state(self.model)
        if self.accelerator.is_main_process:
            state = {"format": CHECKPOINT_FORMAT, "model": weights, "epoch": epoch, "metric": metric}
            checkpoint.save_atomically(state, self.folder.best)

    def last(self, at: Position) -> None:
        """Write all that the run needs to go on."""
        randoms = gather_objects(checkpoint.random_states())
        weights, optimizer = sharding.whole_state(self.model), sharding.whole_optimizer_state(self.optimizer)
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = {
                "format": CHECKPOINT_FORMAT,
                "world": self.accelerator.num_processes,
                "position": vars(at),
                "model": weights,
                "average": self.average.state_dict() if self.average else None,
                "plateau": self.plateau.state_dict() if self.plateau else None,
                "optimizer": optimizer,
                "scaler": scaler.state_dict() if scaler is not None else None,
                "random": randoms,
                "watcher": self.watcher.state_dict() if self.watcher is not None else None,
            }
            checkpoint.save_atomically(state, self.folder.last)
        self.saved_at = time.monotonic()
        self.accelerator.wait_for_everyone()

    def restore(self) -> Position:
        """Put everything back as the last checkpoint has it, and return where the run stood."""
        state = checkpoint.load(self.folder.last)
        if state.get("format") != CHECKPOINT_FORMAT:
            raise RunError(
                f"{self.folder.last}: format {state.get('format')!r}, this version reads {CHECKPOINT_FORMAT}"
            )
        accelerator = self.accelerator
        sharding.load_whole_state(self.model, state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"], accelerator.device)
        if self.plateau is not None:
            self.plateau.load_state_dict(state["plateau"])
        sharding.load_whole_optimizer_state(self.optimizer, state["optimizer"])
        if accelerator.scaler is not None and state["scaler"] is not None:
            accelerator.scaler.load_state_dict(state["scaler"])
        if self.watcher is not None and state["watcher"] is not None:
            self.watcher.load_state_dict(state["watcher"])
        if state["world"] == accelerator.num_processes:
            checkpoint.restore_random_states(state["random"][accelerator.process_index])
        at = Position(**state["position"])
        if accelerator.is_main_process:
            keep_steps_before(self.folder.steps, at.step)
        return at
