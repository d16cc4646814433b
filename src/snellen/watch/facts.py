"""What is known of a training run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

from snellen.facts import Facts, Schema

STEPS: Schema = {
    "step": (pl.Int64(), "0-based optimizer step"),
    "epoch": (pl.Int64(), "0-based"),
    "loss": (pl.Float64(), "training loss of the batch, before the update"),
    "lr": (pl.Float64(), "learning rate of the first parameter group at this step"),
    "grad_norm": (pl.Float64(), "global L2 norm before clipping; null when not taken"),
    "clip_limit": (pl.Float64(), "max norm in force; null without clipping"),
    "update_ratio": (pl.Float64(), "||dW|| / ||W|| over all trainable weights; null when not sampled"),
    "batch_size": (pl.Int64(), "images in the global batch"),
    "targets": (pl.Int64(), "objects in the batch; null in classification"),
    "positives": (pl.Int64(), "anchors matched to objects; null in classification"),
    "same_class": (
        pl.Float64(),
        "share of the batch's pairs of images with one class id; null when ids were not given",
    ),
    "training_mode": (pl.Boolean(), "the model was in train() mode at this step"),
    "grads_before_backward": (pl.Boolean(), "gradients of the step before were still there when backward began"),
    "seconds": (pl.Float64(), "wall time of the step"),
    "data_seconds": (pl.Float64(), "of which waiting for data"),
    "skipped": (pl.Boolean(), "the gradient scaler skipped the update"),
}

EPOCHS: Schema = {
    "epoch": (pl.Int64(), "0-based"),
    "train_loss": (pl.Float64(), "mean over the epoch's steps"),
    "val_loss": (pl.Float64(), "null when not evaluated"),
    "metric": (pl.Float64(), "validation metric, higher is better; null when not evaluated"),
    "train_metric": (pl.Float64(), "the same metric on training batches; null when not taken"),
    "seconds": (pl.Float64(), "wall time"),
}

SIGNALS: Schema = {
    "step": (pl.Int64(), ""),
    "layer": (pl.String(), "dotted module or parameter name"),
    "signal": (
        pl.String(),
        "weight_norm, grad_norm, update_ratio, zero_fraction, saturation, output_std, nonfinite; of layer output, where"
        " it is one number per sample: target_dependence, the share of dloss/doutput that is no linear function of the"
        " outputs alone, and target_seen, the output at which that function is 0",
    ),
    "value": (pl.Float64(), ""),
}

EVENTS: Schema = {
    "step": (pl.Int64(), "null: before the first step"),
    "kind": (pl.String(), "kebab-case; `watch.recorder` lists the kinds"),
    "layer": (pl.String(), "where it has one"),
    "message": (pl.String(), "one sentence"),
    "value": (pl.Float64(), "the number that goes with it"),
}


@dataclass(frozen=True, kw_only=True)
class RunFacts(Facts):
    """Tables of a training run, complete or not."""

    TABLES: ClassVar[Mapping[str, Schema]] = {"steps": STEPS, "epochs": EPOCHS, "signals": SIGNALS, "events": EVENTS}

    steps: pl.DataFrame
    epochs: pl.DataFrame
    signals: pl.DataFrame
    events: pl.DataFrame
    task: str = ""
    """classification or detection; "" when not known."""
    loss_kind: str = ""
    """cross-entropy, focal, ...; "" when not known."""
    num_classes: int | None = None
    metric_name: str = ""
    initial_loss_expected: float | None = None
    """What the loss should be before learning: ln C for cross-entropy; None when theory says nothing."""
    trainable_params: int = 0
    optimizer_params: int = 0
    """Trainable parameters that the optimizer holds."""
    optimizer: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    """Optimizer settings in force: lr, weight_decay, momentum, betas, ..."""
    missing_from_optimizer: list[str] = field(default_factory=list)
    without_gradient: list[str] = field(default_factory=list)
    """Trainable parameters whose gradient was None after the first backward."""
    output_range: list[float] = field(default_factory=list)
    """Minimum, maximum and mean row sum of the model's first outputs; empty when not taken."""
    baseline_metric: float | None = None
    """The metric of the best constant guess (majority share); None when not defined."""
    same_class: float | None = None
    """Share of all pairs of images seen with one class id, 0..1; what a batch drawn at random has on average."""
    finished: bool = True
    stop_reason: str = ""
