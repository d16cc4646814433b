"""What several run rules compute from the table of steps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from snellen.watching.facts import RunFacts


def event(run: RunFacts, kind: str) -> Mapping[str, Any] | None:
    """The first event of that kind, or None."""
    rows = run.events.filter(pl.col("kind") == kind).head(1).to_dicts()
    return rows[0] if rows else None


def losses(run: RunFacts) -> np.ndarray:
    """Loss per step, float64 (steps,); may hold NaN."""
    return run.steps["loss"].to_numpy()


def first_loss(run: RunFacts) -> float:
    """Loss of the first step, before any update; NaN when there is none."""
    return float(run.steps["loss"][0]) if run.steps.height else float("nan")


def late_loss(run: RunFacts) -> float:
    """Median loss of the last fifth of the steps, at least three; NaN when one of them is."""
    return float(np.median(losses(run)[-max(run.steps.height // 5, 3) :]))


def fall(run: RunFacts) -> float:
    """1 - median of the last fifth / median of the first fifth (at least 3 steps each); NaN below 10 steps.

    NaN too when the first median is not positive: then a ratio says nothing.
    """
    values = losses(run)
    n = max(len(values) // 5, 3)
    if len(values) < 10 or not np.isfinite(values).all():
        return float("nan")
    head = float(np.median(values[:n]))
    return 1 - float(np.median(values[-n:])) / head if head > 0 else float("nan")


def warming_up(run: RunFacts) -> bool:
    """Whether the learning rate only rose, in the last quarter of the steps too: the run ended inside its warm-up."""
    rates = run.steps["lr"].drop_nulls().to_numpy()
    late = rates[-len(rates) // 4 - 1] if len(rates) > 1 else 0.0
    return len(rates) > 1 and bool((np.diff(rates) >= 0).all() and rates[-1] > late)


def ratios(run: RunFacts) -> np.ndarray:
    """Sampled update ratios ||dW|| / ||W||, finite ones only."""
    values = run.steps["update_ratio"].drop_nulls().to_numpy()
    return values[np.isfinite(values)]


def cross_entropy(run: RunFacts) -> bool:
    """Whether the loss is softmax cross-entropy: recognised by value, or as the loop told it."""
    name = run.loss_form.get("name", "")
    if name not in ("", "zero", "nan"):
        return bool(name == "cross-entropy" and run.loss_form.get("before") != "log")
    return run.loss_kind.replace("_", "-").startswith("cross-entropy")


def signal(run: RunFacts, name: str) -> pl.DataFrame:
    """Rows of one signal, in order of step."""
    return run.signals.filter(pl.col("signal") == name)


def accuracies(run: RunFacts) -> np.ndarray:
    """Accuracy of the training batches, counted anew from their outputs and targets, in order of step, 0..1."""
    return signal(run, "accuracy").filter(pl.col("layer") == "output")["value"].to_numpy()


def weight_norms(run: RunFacts) -> pl.DataFrame:
    """Norm of all weights together (column `weight`) by `step`, in order."""
    return signal(run, "weight_norm").group_by("step").agg(weight=(pl.col("value") ** 2).sum().sqrt()).sort("step")


def top_rate(run: RunFacts) -> float:
    """Highest learning rate of the run; NaN when it was not recorded."""
    rates = run.steps["lr"].drop_nulls().to_numpy()
    return float(rates.max()) if len(rates) else float("nan")
