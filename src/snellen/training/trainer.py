"""The training loop: one place, top to bottom, that can be killed at any step and go on bit for bit."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.data import DataLoader

from snellen.data.facts import DataFacts
from snellen.environment import environment
from snellen.facts import table
from snellen.files import to_json, write_text, written_whole
from snellen.models import create
from snellen.progress import Progress, silent
from snellen.training import checkpoint
from snellen.training.distributed import gather_objects, sum_over_ranks, synchronise_batchnorm
from snellen.training.ema import AveragedWeights
from snellen.training.prepare import build_model
from snellen.training.recipe import Recipe
from snellen.training.run_folder import (
    RunError,
    RunFolder,
    keep_steps_before,
    read_model,
    refuse_changed_data,
    refuse_overwriting,
    write_model,
)
from snellen.training.samples import Batch, Samples, collate, epoch_batches
from snellen.training.schedules import schedule_of
from snellen.training.splits import SamplesError, split_examples
from snellen.training.stopping import asked_to_stop
from snellen.training.tasks import task_of
from snellen.training.tasks.base import LossFunction, forward
from snellen.training.watching import Watcher, WatcherFactory
from snellen.watching.facts import EPOCHS

CHECKPOINT_FORMAT = 1


@dataclass(frozen=True)
class Trained:
    """What `train` returns; the model carries the best epoch's weights, on the CPU, in eval mode."""

    model: nn.Module
    run_folder: Path
    recipe: Recipe
    class_names: list[str]
    epochs: pl.DataFrame
    """One row an epoch, columns of `snellen.watching.facts.EPOCHS`."""
    best_epoch: int | None
    stop_reason: str
    """finished, early-stopping, interrupted, or diverged."""
    ledger: pl.DataFrame
    """Every image: used where, or left out why; columns of `snellen.training.samples.LEDGER`."""
    unreadable: Mapping[str, str]
    """Image -> why it could no longer be read when it was to be trained on; it was left out."""


@dataclass
class Position:
    """Where a run stands; all that a checkpoint holds besides weights and generators."""

    epoch: int = 0
    batch: int = 0
    """Next batch of the epoch."""
    step: int = 0
    """Next optimizer step."""
    sums: dict[str, float] = field(default_factory=lambda: {"loss": 0.0, "batches": 0.0, "images": 0.0, "correct": 0.0})
    """Over the epoch's batches so far."""
    epoch_seconds: float = 0.0
    best: float | None = None
    best_epoch: int | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Finished epochs."""


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
    """One run: what is built once, the loop, and saving."""

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
        self.resumed = resume and folder.last.is_file()
        self.accelerator = Accelerator(mixed_precision=_precision(recipe), cpu=not torch.cuda.is_available())
        self.device = self.accelerator.device
        self.world, self.rank, self.main = (
            self.accelerator.num_processes,
            self.accelerator.process_index,
            self.accelerator.is_main_process,
        )
        split = split_examples(data, recipe.seed)
        root = Path(data.root)
        self.train_set = Samples(root, split.train, recipe, augment=True, tell=self._tell("read training images"))
        self.val_set = Samples(root, split.val, recipe, augment=False, tell=self._tell("read validation images"))
        mine = {**self.train_set.unreadable, **self.val_set.unreadable}
        # What one process cannot read none may use, or they would cut different batches.
        self.unreadable = {image: why for part in gather_objects(mine) for image, why in part.items()}
        self.train_set.leave_out(self.unreadable)
        self.val_set.leave_out(self.unreadable)
        self.split = split.without(self.unreadable)
        if self.resumed:
            refuse_changed_data(folder, self.split.ledger, self.split.class_names)

        torch.manual_seed(recipe.seed)
        np.random.seed(recipe.seed)
        self.model, self.anchors = self._build(data, model)
        self.task = task_of(recipe, self.split, self.model)
        if self.world > 1:
            synchronise_batchnorm(self.model)
        # Along channels-last memory a CNN trains a third faster, on CPU and GPU alike.
        self.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = make_optimizer(self.model, recipe)
        self.watcher: Watcher | None = recorder_factory(self.model, optimizer) if recorder_factory else None
        self.net, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        self.average = AveragedWeights(self.model, recipe.ema_decay) if recipe.ema_decay else None
        self.mean = torch.tensor(recipe.mean, device=self.device).view(1, 3, 1, 1) * 255
        self.std = torch.tensor(recipe.std, device=self.device).view(1, 3, 1, 1) * 255
        self.at = Position()
        self.stop_asked = False
        self.saved_at = time.monotonic()

    def train(self) -> Trained:
        """Start or resume, run the epochs, return the best weights."""
        if self.watcher is not None:
            self.watcher.start(
                task=self.recipe.task,
                num_classes=len(self.split.class_names),
                loss_kind=self.task.loss_kind if self.loss is None else getattr(self.loss, "__name__", "custom"),
                initial_loss_expected=self.task.initial_loss_expected if self.loss is None else None,
                metric_name=self.task.metric_name,
                baseline_metric=self.task.baseline_metric,
            )
        if self.resumed:
            self._restore()
        elif self.main:
            self._write_header()
        self.accelerator.wait_for_everyone()
        reason = "finished"
        with asked_to_stop(self._ask_to_stop):
            while self.at.epoch < self.recipe.epochs:
                if stopped := self._epoch():
                    reason = stopped
                    break
                if self._patience_is_out():
                    reason = "early-stopping"
                    break
            # Asked for in the last step or validation of the run: the caller must not go on as if nothing had been.
            if reason == "finished" and any(gather_objects(self.stop_asked)):
                reason = "interrupted"
        if reason == "interrupted":
            self._save()
        if self.watcher is not None:
            self.watcher.finish(reason)
        return self._result(reason)

    def _epoch(self) -> str | None:
        """The rest of the current epoch and its validation; a reason when the run must stop."""
        began = time.monotonic() - self.at.epoch_seconds
        batches = epoch_batches(len(self.train_set), self.recipe.batch_size, self.recipe.seed, self.at.epoch)
        self.net.train()
        waited = time.monotonic()
        for rows, batch in self._batches(batches[self.at.batch :]):
            stopped = self._step(batch, len(rows), len(batches), waited)
            self.at.epoch_seconds = time.monotonic() - began
            if stopped:
                return stopped
            waited = time.monotonic()
        val_loss, metric = self._validate()
        sums = self.at.sums
        row = {
            "epoch": self.at.epoch,
            "train_loss": sums["loss"] / max(sums["batches"], 1),
            "val_loss": val_loss,
            "metric": metric,
            "train_metric": sums["correct"] / sums["images"] if self.recipe.task == "classification" else None,
            "seconds": time.monotonic() - began,
        }
        if self.watcher is not None:
            self.watcher.epoch(**row)  # type: ignore[arg-type]
        self.at.rows.append(row)
        merit = metric if metric is not None else -val_loss
        better = math.isfinite(merit) and (self.at.best is None or merit > self.at.best)
        if better:
            self.at.best, self.at.best_epoch = merit, self.at.epoch
        self.at = Position(
            epoch=self.at.epoch + 1,
            step=self.at.step,
            best=self.at.best,
            best_epoch=self.at.best_epoch,
            rows=self.at.rows,
        )
        if better and self.main:
            weights = self.average.values if self.average else self.model.state_dict()
            state = {"format": CHECKPOINT_FORMAT, "model": weights, "epoch": row["epoch"], "metric": metric}
            checkpoint.save_atomically(state, self.folder.best)
        self._save()
        return None

    def _step(self, part: Batch, size: int, batches: int, waited: float) -> str | None:
        """One optimizer step on this process's part of a batch of `size` images."""
        began = time.monotonic()
        recipe = self.recipe
        lr = schedule_of(recipe, batches).at(self.at.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        part = part.to(self.device)
        targets = self.task.targets(part)
        outputs = forward(self.net, self.model, self._normalised(part.images), targets)
        batch = self.task.loss(outputs, targets, self.loss)
        # Every process divides by the count of the whole batch, so the sum of their losses is the batch's loss.
        due = self.main and time.monotonic() - self.saved_at >= recipe.checkpoint_seconds
        counted = [batch.counts.get(name, 0.0) for name in ("correct", "targets", "positives")]
        shared = [*counted, float(due), float(self.stop_asked)]
        weights = torch.stack([term.weight.detach().to(torch.float64) for term in batch.terms.values()])
        everything = sum_over_ranks(torch.cat([weights, weights.new_tensor(shared)]))
        totals = everything[: len(weights)].clamp(min=1).to(torch.float32)
        correct, objects, positives, save_now, stop_now = everything[len(weights) :].tolist()
        mine = torch.stack([t.total for t in batch.terms.values()]).div(totals).sum()
        self.accelerator.backward(mine * self.world)  # DDP averages gradients over processes; we want their sum
        loss = float(sum_over_ranks(mine.detach()))
        limit = recipe.clip_norm or None
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), limit or math.inf)
        self.optimizer.step()
        skipped = bool(self.accelerator.optimizer_step_was_skipped)
        if self.watcher is not None:
            detection = recipe.task == "detection"
            self.watcher.step(
                loss=loss,
                epoch=self.at.epoch,
                batch_size=size,
                targets=int(objects) if detection else None,
                positives=int(positives) if detection else None,
                grad_norm=float(norm) if norm is not None else None,
                clip_limit=limit,
                seconds=time.monotonic() - waited,
                data_seconds=began - waited,
                skipped=skipped,
                labels=None if detection else targets,
                wanted=targets,
            )
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.model, self.at.step)
        if self.main:
            line = {"step": self.at.step, "epoch": self.at.epoch, "loss": loss, "lr": lr, "batch_size": size}
            with self.folder.steps.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        self.at.batch += 1
        self.at.step += 1
        for name, value in (("loss", loss), ("batches", 1), ("images", size), ("correct", correct)):
            self.at.sums[name] += value
        if not math.isfinite(loss):
            return "diverged"
        if save_now:
            self._save()
        try:
            self.progress("train", self.at.step, recipe.epochs * batches, f"epoch {self.at.epoch + 1}, loss {loss:.3f}")
        except KeyboardInterrupt:
            self.stop_asked = True
        return "interrupted" if stop_now else None

    @torch.no_grad()
    def _validate(self) -> tuple[float, float | None]:
        """Validation loss (same normalisation as in training) and metric, of the averaged weights if there are any."""
        kept = None
        if self.average is not None:
            kept = {k: v.clone() for k, v in self.model.state_dict().items()}
            self.model.load_state_dict(self.average.values)
        self.model.eval()
        mine = np.arange(len(self.val_set))[self.rank :: self.world]
        totals: dict[str, list[float]] = {}
        judged: list[Any] = []
        size = max(1, 2 * self.recipe.batch_size)
        for begin in range(0, len(mine), size):
            rows = mine[begin : begin + size]
            batch = collate([self.val_set[int(i)] for i in rows]).to(self.device)
            targets = self.task.targets(batch)
            with self.accelerator.autocast():
                outputs = forward(self.model, self.model, self._normalised(batch.images), targets)
            for name, term in self.task.loss(outputs, targets, self.loss).terms.items():
                entry = totals.setdefault(name, [0.0, 0.0])
                entry[0] += float(term.total)
                entry[1] += float(term.weight)
            judged += self.task.judgeable(outputs, targets, [self.split.val[int(i)].image for i in rows])
        if kept is not None:
            self.model.load_state_dict(kept)
        gathered = gather_objects((totals, judged))
        names = {name for part, _ in gathered for name in part}
        loss = 0.0
        for name in sorted(names):
            parts = [part[name] for part, _ in gathered if name in part]
            loss += sum(p[0] for p in parts) / max(1.0, sum(p[1] for p in parts))
        return loss, self.task.metric([item for _, part in gathered for item in part])

    def _batches(self, batches: Sequence[Any]) -> Iterator[tuple[Any, Batch]]:
        """Each batch's rows (of all processes) and this process's part of it, loaded."""
        self.train_set.epoch = self.at.epoch
        parts = [[int(i) for i in rows[self.rank :: self.world]] for rows in batches]
        if any(not part for part in parts):
            raise RunError(f"batches of {self.recipe.batch_size} images cannot be shared by {self.world} processes")
        loader = DataLoader(
            self.train_set,
            batch_sampler=parts,
            num_workers=self.recipe.workers,
            collate_fn=collate,
            generator=torch.Generator(),
        )
        try:
            yield from zip(batches, loader, strict=True)
        except SamplesError as error:
            # A loading process hands its error on within a traceback; the last line is ours.
            told = str(error).strip().splitlines()[-1].rpartition("SamplesError: ")[2]
            raise SamplesError(f"{told}; restore it and go on with --resume, or start a new run without it") from error

    def _normalised(self, images: Tensor) -> Tensor:
        x = (images.float() - self.mean) / self.std
        return x.contiguous(memory_format=torch.channels_last)

    def _build(self, data: DataFacts, model: nn.Module | None) -> tuple[nn.Module, Any]:
        if model is not None:
            return model, getattr(model, "anchor_sides", None)
        if not self.resumed:
            built = build_model(data, self.recipe, self.split)
            return built, getattr(built, "anchor_sides", None)
        anchors = read_model(self.folder)[2]
        built = create(
            self.recipe.model,
            task=self.recipe.task,
            num_classes=len(self.split.class_names),
            image_size=self.recipe.image_size,
            anchors=anchors,
        )
        return built, anchors

    def _write_header(self) -> None:
        self.folder.path.mkdir(parents=True, exist_ok=True)
        write_text(self.folder.recipe, self.recipe.to_toml(), durable=True)
        write_model(self.folder, self.split.class_names, self.anchors)
        here = {"device": str(self.device), "threads": str(torch.get_num_threads()), "processes": str(self.world)}
        write_text(self.folder.environment, to_json({**environment(), **here}))
        with written_whole(self.folder.ledger) as temporary:
            self.split.ledger.write_parquet(temporary)
        self.folder.steps.write_text("", encoding="utf-8")

    def _save(self) -> None:
        randoms = gather_objects(checkpoint.random_states())
        if self.main:
            scaler = self.accelerator.scaler
            state = {
                "format": CHECKPOINT_FORMAT,
                "world": self.world,
                "position": vars(self.at),
                "model": self.model.state_dict(),
                "average": self.average.values if self.average else None,
                "optimizer": self.optimizer.state_dict(),
                "scaler": scaler.state_dict() if scaler is not None else None,
                "random": randoms,
                "watcher": self.watcher.state_dict() if self.watcher is not None else None,
            }
            checkpoint.save_atomically(state, self.folder.last)
        self.saved_at = time.monotonic()
        self.accelerator.wait_for_everyone()

    def _restore(self) -> None:
        state = checkpoint.load(self.folder.last)
        if state.get("format") != CHECKPOINT_FORMAT:
            raise RunError(
                f"{self.folder.last}: format {state.get('format')!r}, this version reads {CHECKPOINT_FORMAT}"
            )
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.values = {k: v.to(self.device) for k, v in state["average"].items()}
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.watcher is not None and state["watcher"] is not None:
            self.watcher.load_state_dict(state["watcher"])
        self.at = Position(**state["position"])
        if state["world"] == self.world:
            checkpoint.restore_random_states(state["random"][self.rank])
        if self.main:
            keep_steps_before(self.folder.steps, self.at.step)

    def _result(self, reason: str) -> Trained:
        if self.at.best_epoch is not None:
            self.model.load_state_dict(checkpoint.load(self.folder.best)["model"])
        return Trained(
            model=self.model.to("cpu").eval(),
            run_folder=self.folder.path,
            recipe=self.recipe,
            class_names=self.split.class_names,
            epochs=table(EPOCHS, self.at.rows),
            best_epoch=self.at.best_epoch,
            stop_reason=reason,
            ledger=self.split.ledger,
            unreadable=self.unreadable,
        )

    def _patience_is_out(self) -> bool:
        since = self.at.epoch - 1 - (self.at.best_epoch if self.at.best_epoch is not None else -1)
        return self.recipe.patience > 0 and since >= self.recipe.patience

    def _ask_to_stop(self) -> None:
        self.stop_asked = True

    def _tell(self, stage: str) -> Callable[[int, int], None]:
        return lambda done, total: self.progress(stage, done, total)


def make_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """The recipe's optimizer; weight decay on tensors of two or more dimensions, none on norms and biases."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    if recipe.optimizer == "sgd":
        return SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    return AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999))


def _precision(recipe: Recipe) -> str:
    if not recipe.amp or not torch.cuda.is_available():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
