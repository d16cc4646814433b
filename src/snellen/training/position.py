"""Where a run stands, and what it leaves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from torch import nn

from snellen.training.recipe import Recipe


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

    @property
    def epochs_without_better(self) -> int:
        """Since the best one, or since the start."""
        return self.epoch - 1 - (self.best_epoch if self.best_epoch is not None else -1)

    def after_epoch(self) -> "Position":
        """The start of the next epoch."""
        return Position(self.epoch + 1, step=self.step, best=self.best, best_epoch=self.best_epoch, rows=self.rows)
