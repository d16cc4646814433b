"""The training loop: one place, top to bottom, that can be killed at any step and go on bit for bit."""

import math
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from snellen.data.facts import DataFacts
from snellen.facts import table
from snellen.progress import Progress, silent
from snellen.training import checkpoint, sharding
from snellen.training.audience import Audience
from snellen.training.averaging import average_of, carried, is_averaged
from snellen.training.distributed import gather_objects, sum_over_ranks, synchronise_batchnorm
from snellen.training.engine import Normaliser, compiled, make_accelerator
from snellen.training.gradients import COUNTED, Gradients
from snellen.training.loading import Loaded, load
from snellen.training.loggers import check_loggers
from snellen.training.multi_scale import resized, side_of_step
from snellen.training.optimizers import make_optimizer, set_rate
from snellen.training.position import Position, Trained
from snellen.training.prepare import build_model, built_again, read_material
from snellen.training.recipe import Recipe
from snellen.training.run_folder import RunFolder, refuse_changed_data, refuse_overwriting
from snellen.training.saving import Saver
from snellen.training.schedules import Plateau, Schedule, schedule_of
from snellen.training.snapshots import keep_snapshot
from snellen.training.stopping import asked_to_stop
from snellen.training.swa import StochasticAverage, has_batchnorm, renew_batchnorm
from snellen.training.tasks import task_of
from snellen.training.tasks.base import LossFunction, forward_arguments
from snellen.training.transfer import transfer_of
from snellen.training.validation import validate
from snellen.training.watching import WatcherFactory
from snellen.watching.facts import EPOCHS

__all__ = ["Trained", "make_optimizer", "train"]


def train(
    data: DataFacts,
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    progress: Progress = silent,
    recorder_factory: WatcherFactory | None = None,
    model: nn.Module | None = None,
    loss: LossFunction | None = None,
) -> Trained:
    """Train `recipe` on `data` and keep the run in the folder `out`.

    Seeds the global generators of torch, numpy and random. Started by torchrun, the processes share every batch and
    compute what one process would. Ctrl-C (or SIGTERM) finishes the step, saves, and returns "interrupted".

    Args:
        data: Facts of the dataset; only usable images and boxes are trained on, the rest stand in the ledger.
        recipe: What to do; see `default_recipe`.
        out: Run folder; must not hold a run unless `resume`.
        resume: Go on from `out/checkpoints/last.pt` with the very next step; starts anew when there is none yet.
        progress: Told after every step.
        recorder_factory: Makes what watches the run from the model and its optimizer.
        model: Trained in place of the recipe's network; same outputs.
        loss: Used in place of the task's loss.

    Raises:
        UseError: Dataset, recipe or run folder cannot be used.
    """
    recipe = Recipe.build(recipe.model_dump())
    run = _Run(data, recipe, RunFolder(out), resume, progress, recorder_factory, model, loss)
    return run.train()


class _Run:
    """One run: what is built once, and the loop."""

    def __init__(
        self,
        data: DataFacts,
        recipe: Recipe,
        folder: RunFolder,
        resume: bool,
        progress: Progress,
        recorder_factory: WatcherFactory | None,
        model: nn.Module | None,
        loss: LossFunction | None,
    ) -> None:
        self.recipe, self.folder, self.progress, self.loss = recipe, folder, progress, loss
        refuse_overwriting(folder, recipe, resume)
        check_loggers(recipe)
        self.resumed = resume and folder.last.is_file()
        self.accelerator = make_accelerator(recipe)
        self.device, self.main = self.accelerator.device, self.accelerator.is_main_process
        self.world, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        self.material = read_material(data, recipe, progress)
        self.split = self.material.split
        if self.resumed:
            refuse_changed_data(folder, self.split.ledger, self.split.class_names)
        torch.manual_seed(recipe.seed)
        np.random.seed(recipe.seed)
        self.model, self.anchors = self._build(data, model)
        self.task = task_of(recipe, self.split, self.model, self.material.train, self.material.val)
        if self.world > 1:
            synchronise_batchnorm(self.model)
        self.normalise = Normaliser(recipe, self.device)
        self.model.to(self.device, memory_format=self.normalise.format)  # type: ignore[call-overload]
        if recipe.compile:
            compiled(self.model, self._remark)
        self.transfer = transfer_of(self.model, recipe)
        optimizer = make_optimizer(self.model, recipe, self.transfer)
        watcher = recorder_factory(self.model, optimizer) if recorder_factory else None
        self.audience = Audience(folder, recipe, self.task, watcher, self.main)
        # Sharding takes the network apart; what is handed out in the end is whole.
        self.whole = deepcopy(self.model) if recipe.sharded else self.model
        self.net, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        self.gradients = Gradients(self.net, self.model, self.task, self.accelerator, loss)
        self.average = average_of(recipe, self.model)
        gamma = schedule_of(recipe, 1).decay
        self.plateau = Plateau(gamma, recipe.plateau_patience) if recipe.schedule == "plateau" else None
        self.saver = Saver(folder, self.accelerator, self.model, self.optimizer, self.average, self.plateau, watcher)
        self.at = Position()
        self.stop_asked = False

    def train(self) -> Trained:
        """Start or resume, run the epochs, return the best weights."""
        self.audience.start(self.split, self.loss)
        if self.resumed:
            self.at = self.saver.restore()
        elif self.main:
            self.saver.header(self.recipe, self.split, self.anchors)
        self.accelerator.wait_for_everyone()
        self.audience.open_loggers(self.at.step)
        reason = "finished"
        with asked_to_stop(self._ask_to_stop):
            while self.at.epoch < self.recipe.epochs:
                if stopped := self._epoch():
                    reason = stopped
                    break
                if 0 < self.recipe.patience <= self.at.epochs_without_better:
                    reason = "early-stopping"
                    break
            # Asked for in the last step or validation of the run: the caller must not go on as if nothing had been.
            if reason == "finished" and any(gather_objects(self.stop_asked)):
                reason = "interrupted"
        if reason == "interrupted":
            self.saver.last(self.at)
        self.audience.finish(reason)
        return self._result(reason)

    def _epoch(self) -> str | None:
        """The rest of the current epoch and its validation; a reason when the run must stop."""
        began = time.monotonic() - self.at.epoch_seconds
        batches = self.material.train.batches(self.at.epoch)
        schedule = schedule_of(self.recipe, len(batches))
        self.material.train.epoch = self.at.epoch
        self._train_mode()
        waited = time.monotonic()
        for loaded in load(self.material.train, self.recipe, batches[self.at.batch :], self.rank, self.world):
            stopped = self._step(loaded, schedule, waited)
            self.at.epoch_seconds = time.monotonic() - began
            if stopped:
                return stopped
            waited = time.monotonic()
        if self.average is not None and is_averaged(self.recipe, self.at.epoch):
            self.average.after_epoch(self.model)
        with carried(self.model, self.average):
            self._renew_statistics(batches)
            val_loss, metric = self._validate()
            merit = metric if metric is not None else -val_loss
            if math.isfinite(merit) and (self.at.best is None or merit > self.at.best):
                self.at.best, self.at.best_epoch = merit, self.at.epoch
                self.saver.best(self.at.epoch, metric)
        if self.plateau is not None:
            self.plateau.tell(merit)
        sums = self.at.sums
        row = {
            "epoch": self.at.epoch,
            "train_loss": sums["loss"] / max(sums["batches"], 1),
            "val_loss": val_loss,
            "metric": metric,
            "train_metric": sums["correct"] / sums["images"] if self.recipe.task == "classification" else None,
            "seconds": time.monotonic() - began,
        }
        self.audience.epoch(row, self.at.step - 1)
        self.at.rows.append(row)
        self.at = self.at.after_epoch()
        self.saver.last(self.at)
        return None

    def _step(self, loaded: Loaded, schedule: Schedule, waited: float) -> str | None:
        """One optimizer step on this process's part of a batch."""
        began = time.monotonic()
        recipe, size = self.recipe, loaded.size
        rate = self._rate(schedule)
        set_rate(self.optimizer, rate)
        side = side_of_step(recipe, self.at.epoch, self.at.batch)
        prepared = []
        for part in loaded.parts:
            at_size = resized(part.to(self.device), side)
            prepared.append((self.normalise(at_size.images), self.task.targets(at_size)))
        loss, mine = self.gradients.add(prepared)
        due = self.main and time.monotonic() - self.saver.saved_at >= recipe.checkpoint_seconds
        shared = torch.stack([loss, *loss.new_tensor([*mine, float(due), float(self.stop_asked)])])
        value, *counted, save_now, stop_now = sum_over_ranks(shared).tolist()
        counts = dict(zip(COUNTED, counted, strict=True))
        limit = recipe.clip_norm or None
        norm = self.gradients.clip(limit)
        self.optimizer.step()
        self.audience.step(
            self.at,
            loss=value,
            rate=rate,
            size=size,
            counts=counts,
            wanted=prepared[-1][1],
            grad_norm=sharding.norm_of(norm) if norm is not None else None,
            clip_limit=limit,
            seconds=time.monotonic() - waited,
            data_seconds=began - waited,
            skipped=bool(self.accelerator.optimizer_step_was_skipped),
        )
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.after_step(self.model, self.at.step)
        self.at.batch += 1
        self.at.step += 1
        for name, more in (("loss", value), ("batches", 1), ("images", size), ("correct", counts["correct"])):
            self.at.sums[name] += more
        if not math.isfinite(value):
            return "diverged"
        keep_snapshot(self.folder, recipe, schedule, self.at.step, self.model, self.main)
        if save_now:
            self.saver.last(self.at)
        self._tell_step(schedule.total_steps, value)
        return "interrupted" if stop_now else None

    def _rate(self, schedule: Schedule) -> float:
        if self.recipe.swa_lr and is_averaged(self.recipe, self.at.epoch):
            return self.recipe.swa_lr
        return schedule.at(self.at.step) * (self.plateau.factor if self.plateau else 1.0)

    def _train_mode(self) -> None:
        self.net.train()
        self.transfer.hold()

    def _renew_statistics(self, batches: Any) -> None:
        """Those of averaged weights, on the images of the epoch as they were trained on."""
        average = self.average
        if not isinstance(average, StochasticAverage) or not average.values or not has_batchnorm(self.model):
            return
        self._train_mode()
        loader = load(self.material.train, self.recipe, batches, self.rank, self.world)
        parts = (part.to(self.device) for loaded in loader for part in loaded.parts)
        inputs = (forward_arguments(self.model, self.normalise(p.images), self.task.targets(p)) for p in parts)
        renew_batchnorm(self.model, inputs)

    def _validate(self) -> tuple[float, float | None]:
        images = [e.image for e in self.split.val]
        return validate(
            self.model, self.task, self.material.val, images, self.recipe, self.accelerator, self.normalise, self.loss
        )

    def _tell_step(self, steps: int, loss: float) -> None:
        try:
            self.progress("train", self.at.step, steps, f"epoch {self.at.epoch + 1}, loss {loss:.3f}")
        except KeyboardInterrupt:
            self.stop_asked = True

    def _build(self, data: DataFacts, model: nn.Module | None) -> tuple[nn.Module, Any]:
        """The network and its anchors."""
        if model is None and self.resumed:
            return built_again(self.folder, self.recipe, len(self.split.class_names))
        built = model if model is not None else build_model(data, self.recipe, self.split, self._remark)
        return built, getattr(built, "anchor_sides", None)

    def _result(self, reason: str) -> Trained:
        whole = self.whole
        vars(whole).pop("forward", None)  # what precision and compilation put in its place
        if self.at.best_epoch is not None:
            whole.load_state_dict(checkpoint.load(self.folder.best)["model"])
        return Trained(
            model=whole.to("cpu").eval(),
            run_folder=self.folder.path,
            recipe=self.recipe,
            class_names=self.split.class_names,
            epochs=table(EPOCHS, self.at.rows),
            best_epoch=self.at.best_epoch,
            stop_reason=reason,
            ledger=self.split.ledger,
            unreadable=self.material.unreadable,
        )

    def _ask_to_stop(self) -> None:
        self.stop_asked = True

    def _remark(self, text: str) -> None:
        """Say something of the run once, on its way."""
        if self.main:
            self.progress(text, 1, 1)
