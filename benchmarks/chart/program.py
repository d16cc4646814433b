"""A training program with parts that can be taken out, swapped and put in wrongly: what mutants change.

Read `Program.train` first: it is the loop that everybody writes. Each thing it does is a method or a field of its own.
A mutant assigns another to the instance:

    program.zero_grad = program.nothing            # a call that somebody forgot
    program.order = ("zero_grad", "learn", "step", "clip", "schedule")     # calls in another order
    program.lr *= 100                              # a number
    program.model[-1] = nn.Linear(64, 9)           # a part of the network
    program.loss_fn = lambda out, y: F.nll_loss(out, y)
    program.train_data.y = program.train_data.y + 1
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

ORDER = ("zero_grad", "learn", "unscale", "clip", "step", "schedule")
"""What happens in one step; `learn` is forward and backward of each micro-batch."""


def seed_everything(seed: int) -> None:
    """The three generators that programs draw from."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@dataclass
class Data:
    """Samples: `x` a tensor (N, ...); `y` a tensor (N, ...) or a list of N targets (detection)."""

    x: Tensor
    y: Any

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, Any]:
        """The samples `rows`, as a batch."""
        return self.x[rows], self.y[rows] if isinstance(self.y, Tensor) else [self.y[i] for i in rows.tolist()]


@dataclass(eq=False)
class Program:
    """A model, its data and its loop.

    The parts are used when `train` runs, so a mutant may change any of them before. What `train` makes itself
    (optimizers, scheduler) is made by `make_optimizers` and `make_scheduler`, which may be replaced too.
    """

    model: nn.Module
    train_data: Data
    val_data: Data
    loss_fn: Callable[[Any, Any], Tensor]
    """(outputs, targets) -> scalar."""
    score_fn: Callable[[Any, Any], float]
    """(outputs, targets) of the whole held-out set -> a number, higher is better."""
    lr: float = 1e-3
    optimizer: Callable[..., Optimizer] = torch.optim.Adam
    """Class of the optimizer."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the optimizer: weight_decay, momentum, betas, eps, ..."""
    epochs: int = 4
    val_loss_fn: Callable[[Any, Any], Tensor] | None = None
    """The loss of validation, a mean over samples; None: `loss_fn`."""
    batch_size: int = 32
    accumulate: int = 1
    """Micro-batches of `batch_size` per step; the loss of each is divided by it."""
    clip_norm: float | None = None
    scheduler: Callable[[Optimizer], Any] | None = None
    schedule_per: str = "step"
    """"step" or "epoch"."""
    precision: torch.dtype | None = None
    """Type of autocast; None: no mixed precision."""
    scaler: Any = None
    """A torch.amp.GradScaler, or None."""
    prepare: Callable[[Tensor], Tensor] = field(default=lambda x: x)
    """Raw inputs to what the network gets (normalisation), in training."""
    prepare_val: Callable[[Tensor], Tensor] | None = None
    """The same in validation; None: `prepare`."""
    augment: Callable[[Tensor, Any], tuple[Tensor, Any]] | None = None
    """Changes a training batch, after `prepare`."""
    shuffle: bool = True
    order: Sequence[str] = ORDER
    """Names of methods, called in this order at each step."""
    task: str = "classification"
    """classification, regression, segmentation, detection, language, generation; says how to read `y`."""
    seed: int = 0

    def train(self, harness: Any) -> float | None:
        """The loop. Returns the score of the trained model on the held-out data."""
        self.optimizers = self.make_optimizers()
        self.schedulers = [self.scheduler(o) for o in self.optimizers] if self.scheduler else []
        self.step_number = 0
        harness.begin(self.model, self.optimizers, loss_fn=self.loss_fn)
        for epoch in range(self.epochs):
            self.epoch_number = epoch
            self.train_mode()
            losses = []
            batches = iter(self.loader())
            while micro := [batch for _, batch in zip(range(self.accumulate), batches, strict=False)]:
                self.micro_batches = micro
                for call in self.order:
                    getattr(self, call)()
                losses.append(float(self.loss.detach()))
                harness.step(loss=self.reported(), inputs=self.inputs, targets=self.targets, outputs=self.outputs)
                self.step_number += 1
            if self.schedule_per == "epoch":
                for scheduler in self.schedulers:
                    scheduler.step()
            harness.epoch(train={"loss": float(np.mean(losses))}, val=self.validate())
        return self.final_score()

    # One step.

    def zero_grad(self) -> None:
        """Clear the gradients of the step before."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def learn(self) -> None:
        """Forward and backward of every micro-batch of the step."""
        for inputs, targets in self.micro_batches:
            self.inputs, self.targets = inputs, targets
            self.forward()
            self.backward()

    def forward(self) -> None:
        """Outputs and loss of the micro-batch."""
        with torch.autocast("cpu", dtype=self.precision or torch.bfloat16, enabled=self.precision is not None):
            self.outputs = self.model(self.inputs)
            self.loss = self.loss_fn(self.outputs, self.targets)

    def backward(self) -> None:
        """Gradients of the loss."""
        loss = self.loss / self.accumulate
        (self.scaler.scale(loss) if self.scaler else loss).backward()

    def unscale(self) -> None:
        """Take the scale of mixed precision out of the gradients before they are clipped."""
        if self.scaler and self.clip_norm:
            for optimizer in self.optimizers:
                self.scaler.unscale_(optimizer)

    def clip(self) -> None:
        """Bound the norm of the gradient."""
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)

    def step(self) -> None:
        """Update the weights."""
        for optimizer in self.optimizers:
            if self.scaler:
                self.scaler.step(optimizer)
            else:
                optimizer.step()
        if self.scaler:
            self.scaler.update()

    def schedule(self) -> None:
        """Set the learning rate of the next step, where that is done at every step."""
        if self.schedule_per == "step":
            for scheduler in self.schedulers:
                scheduler.step()

    def reported(self) -> Any:
        """What the loop tells of its loss."""
        return self.loss.detach()

    def nothing(self) -> None:
        """In place of a call that was forgotten."""

    # Around the steps.

    def make_optimizers(self) -> list[Optimizer]:
        """The optimizers; nearly always one."""
        return [self.optimizer(self.trained_parameters(), lr=self.lr, **self.options)]

    def trained_parameters(self) -> Iterable[Any]:
        """What the optimizer gets: parameters or groups of them."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def loader(self) -> Iterator[tuple[Tensor, Any]]:
        """The batches of one epoch, prepared and augmented."""
        for rows in self.batch_rows():
            x, y = self.train_data[rows]
            x = self.prepare(x)
            yield self.augment(x, y) if self.augment else (x, y)

    def batch_rows(self) -> Iterator[Tensor]:
        """Indices of the samples of each batch of one epoch; the last, incomplete batch is dropped."""
        pick = torch.Generator().manual_seed(1000 * self.seed + self.epoch_number)
        count = len(self.train_data)
        rows = torch.randperm(count, generator=pick) if self.shuffle else torch.arange(count)
        yield from rows.split(self.batch_size)[: count // self.batch_size]

    def train_mode(self) -> None:
        """At the start of each epoch."""
        self.model.train()

    def eval_mode(self) -> None:
        """Before validation."""
        self.model.eval()

    def validate(self) -> dict[str, float] | None:
        """Loss and score on the held-out data, as the loop reports them."""
        self.eval_mode()
        outputs, loss = [], []
        with torch.no_grad():
            for rows in torch.arange(len(self.val_data)).split(128):
                x, y = self.val_data[rows]
                out = self.predict((self.prepare_val or self.prepare)(x))
                loss.append(float((self.val_loss_fn or self.loss_fn)(out, y)) * len(rows))
                outputs.append(out)
        return {
            "loss": sum(loss) / len(self.val_data),
            "accuracy": self.measure(_join(outputs), self.val_data.y),
        }

    def predict(self, x: Tensor) -> Any:
        """Outputs for validation."""
        return self.model(x)

    def measure(self, outputs: Any, targets: Any) -> float:
        """The score as the loop computes it."""
        return self.score_fn(outputs, targets)

    def final_score(self) -> float | None:
        """The true score of the trained model, computed soundly, whatever the loop does."""
        self.model.eval()
        with torch.no_grad():
            parts = [
                self.model((self.prepare_val or self.prepare)(self.val_data[rows][0]))
                for rows in torch.arange(len(self.val_data)).split(128)
            ]
        score = float(self.score_fn(_join(parts), self.val_data.y))
        return score if np.isfinite(score) else None


def _join(parts: list[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    if isinstance(parts[0], dict):
        return {key: _join([part[key] for part in parts]) for key in parts[0]}
    return type(parts[0])(_join(list(group)) for group in zip(*parts, strict=True))
