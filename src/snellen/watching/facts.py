"""What is known of a training run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import polars as pl

from snellen.facts import Facts, Schema, table

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
        "weight_norm, grad_norm, update_ratio, zero_fraction, saturation, output_std, nonfinite; eps_kept,"
        " rounded_away, clip_kept (see observers.optimizer_state), live_graphs, marked_graphs, graph_nodes (graphs),"
        " backwards, loss_weight (accumulation); of layer output, where"
        " it is one number per sample: target_dependence, the share of dloss/doutput that is no linear function of the"
        " outputs alone, and target_seen, the output at which that function is 0. At steps 0, 1, 2, 4, 8, 16 and the"
        " first sampled one from 32, 64, ... on, of layers with weights: rms of the output, input_rms,"
        " and spread, the share of rms that differs between samples (0..1);"
        " of any layer also zero_fraction, saturation and dead_units (share of units that gave only 0) of activations"
        " called as functions. Of attention: attention_entropy over ln of the keys allowed (0..1), score_spread (std of"
        " the scores of a query), score_scale (factor on q k; null: not a constant), future_mass and padding_mass"
        " (share of the weights on later keys, on padding), padding_share (what even weights would put there). Of"
        " batch norm: variance, the median over channels of what it divides by. Of a block with attention and an"
        " activation: through_cosine of its input and output. Of one with two convolutions that keeps the shape:"
        " through_maps, the same without the mean of each channel. Of a fused projection NAME[q], [k], [v]:"
        " part_grad_norm."
        " Of layer output: accuracy of the steps since the row before, by targets and highest outputs."
        " Of layer target: shifted_input, the share of targets that are the next input",
    ),
    "value": (pl.Float64(), ""),
}

MODULES: Schema = {
    "name": (pl.String(), "dotted; the first of its names"),
    "kind": (pl.String(), "class name; of an operator called as a function, its name: aten.round"),
    "order": (pl.Int64(), "of its first call in the first forward pass with gradients; null when it was not called"),
    "calls": (pl.Int64(), "calls in that pass"),
    "input_shape": (pl.List(pl.Int64()), "of the first tensor it was given, at that first call"),
    "output_shape": (pl.List(pl.Int64()), "of the first tensor it gave"),
    "parameters": (pl.Int64(), "numbers in parameters of its own, not those of its children"),
    "trainable": (pl.Boolean(), "one of them asks for a gradient; null when it has none"),
    "training": (pl.Boolean(), "its own mode at that call"),
    "settings": (pl.String(), "JSON: p, momentum, eps, num_features, normalized_shape, kernel_size, padding_idx, ..."),
    "same_as": (pl.List(pl.String()), "further names under which the very same module is registered"),
    "chained": (pl.Boolean(), "called more than once, each time with what it gave the time before"),
    "same_input": (pl.Boolean(), "registered under several names and called more than once with the very same tensor"),
    "default_start": (
        pl.Boolean(),
        "its weight follows torch's default initialisation, U(-1/sqrt(fan_in), 1/sqrt(fan_in)); null for other kinds",
    ),
}

EVENTS: Schema = {
    "step": (pl.Int64(), "null: before the first step"),
    "kind": (pl.String(), "kebab-case; `watching.recorder` lists the kinds"),
    "layer": (pl.String(), "where it has one"),
    "message": (pl.String(), "one sentence"),
    "value": (pl.Float64(), "the number that goes with it"),
}

CALLS: Schema = {
    "optimizer": (pl.Int64(), "index of the watched optimizer that ended the sequence with its step"),
    "sequence": (
        pl.String(),
        "what happened since that optimizer's last step, in order, repeats once: zero_grad, forward, backward,"
        " unscale, clip, step, scheduler, scaler_update, recorded (the loop reported the step)",
    ),
    "first_step": (pl.Int64(), "0-based step at which the sequence was first seen"),
    "steps": (pl.Int64(), "how many steps had it"),
}

FORWARDS: Schema = {
    "phase": (
        pl.String(),
        "training (gradients were on and backward reached the output), validation (they were off), or unused (they were"
        " on and no backward came: validation without no_grad, or an output that was detached)",
    ),
    "training_mode": (pl.Boolean(), "module.training of the whole model at the call"),
    "first_step": (pl.Int64(), "step after which the first of them came"),
    "calls": (pl.Int64(), "number of forward passes"),
}

BATCHES: Schema = {
    "step": (pl.Int64(), "0-based; a validation batch bears the step it came after"),
    "phase": (pl.String(), "training or validation"),
    "role": (pl.String(), "input, target or output"),
    "name": (pl.String(), "key or position in a nest of tensors; empty for a single tensor"),
    "dtype": (pl.String(), "as torch writes it, without `torch.`"),
    "shape": (pl.List(pl.Int64()), ""),
    "minimum": (pl.Float64(), "over finite values, as the other numbers"),
    "maximum": (pl.Float64(), ""),
    "mean": (pl.Float64(), ""),
    "std": (pl.Float64(), "population standard deviation"),
    "zero_share": (pl.Float64(), "share of exact zeros, 0..1"),
    "nonfinite": (pl.Int64(), "number of NaN and infinite values"),
    "whole": (pl.Boolean(), "every value is a whole number"),
    "distinct_rows": (pl.Float64(), "share of the samples (first axis) that differ from all earlier ones, 0..1"),
    "made_by": (pl.String(), "of outputs: autograd's operator that made it, as softmax, addmm; null without a graph"),
    "negative_share": (pl.Float64(), "share below 0, 0..1"),
    "row_sum_off": (pl.Float64(), "of outputs: largest |sum over axis 1 - 1|; null with fewer than 2 columns"),
    "column_sum_off": (pl.Float64(), "of outputs: largest |sum over axis 0 - 1|; null with fewer than 2 columns"),
    "log_row_sum_off": (
        pl.Float64(),
        "of outputs none of which is above 0: largest |sum over axis 1 of their exponentials - 1|",
    ),
    "log_column_sum_off": (pl.Float64(), "the same over axis 0"),
    "nonfinite_at": (pl.List(pl.Int64()), "first samples (at most 5) that hold NaN or infinity"),
    "wrapped": (pl.Float64(), "of byte images: roughness saved when the circle of 256 values is cut elsewhere, 0..1"),
    "interleaved": (
        pl.Float64(),
        "of images: saving in the difference of neighbours when read as pixels after pixels; below 0 for planes",
    ),
    "trailing": (
        pl.Float64(),
        "of targets (N, T): share of positions in runs of one id that fill the rows' ends, 0..1",
    ),
    "trailing_value": (pl.Int64(), "that id; null when there is none"),
}

CLASSES: Schema = {
    "phase": (pl.String(), "training or validation"),
    "class_id": (pl.Int64(), "-1: ids below 0; the number of classes: ids of that and above"),
    "targets": (pl.Int64(), "how often it was the target"),
    "predicted": (pl.Int64(), "how often it was the highest output; over the last quarter of the steps seen"),
    "recent_targets": (pl.Int64(), "targets over that same last quarter"),
}

GROUPS: Schema = {
    "optimizer": (pl.Int64(), "index of the watched optimizer"),
    "kind": (pl.String(), "class name of the optimizer"),
    "group": (pl.Int64(), ""),
    "parameters": (pl.Int64(), "numbers (elements) it holds"),
    "tensors": (pl.List(pl.String()), "names of them; ? for one that is not in the model"),
    "options": (pl.String(), "JSON of the options at the first step: lr, weight_decay, momentum, betas, eps, ..."),
}

PARAMETERS: Schema = {
    "name": (pl.String(), "dotted"),
    "layer": (pl.String(), "class name of the module that owns it"),
    "shape": (pl.List(pl.Int64()), ""),
    "trainable": (pl.Boolean(), "requires_grad when the watch began"),
    "optimizers": (pl.Int64(), "how many places in the watched optimizers hold it"),
    "called": (pl.Boolean(), "its module took part in a forward pass with gradients"),
    "ran": (pl.Boolean(), "its module took part in any forward pass of the first steps, with gradients or without"),
    "start_norm": (pl.Float64(), "L2, before the first step"),
    "end_norm": (pl.Float64(), "L2, at the last look"),
    "start_std": (pl.Float64(), ""),
    "moved": (pl.Boolean(), "its norm changed"),
    "equal_rows": (pl.Boolean(), "all rows (axis 0) were equal at the start; null for one row"),
}

TRIALS: Schema = {
    "trial": (pl.String(), "kebab-case name of the experiment; `snellen.experiments` lists them"),
    "layer": (pl.String(), "where it has one"),
    "step": (pl.Int64(), "step at which it ran; 0 is before any update"),
    "setting": (pl.Float64(), "what was varied: a learning rate, a factor, a count of steps; null where nothing was"),
    "value": (pl.Float64(), "what was measured; null when the experiment could not be made"),
    "expected": (pl.Float64(), "what a sound program gives; null where there is no number"),
    "detail": (pl.String(), "one clause for people"),
}

MEASURES: Schema = {
    "measure": (pl.String(), "kebab-case; `watching.observers.sample_measures` and `.detection_measures` list them"),
    "phase": (pl.String(), "training or validation; null where both are compared or neither is meant"),
    "index": (pl.Int64(), "channel, class or level it speaks of; null: the whole"),
    "step": (pl.Int64(), "0-based step at which it was first seen; null where it is over the whole run"),
    "value": (pl.Float64(), "the number"),
    "of": (pl.Float64(), "how many were looked at, or the number that `value` is to be held against"),
    "detail": (pl.String(), "one clause for people; where the worst of it is"),
}


@dataclass(frozen=True, kw_only=True)
class RunFacts(Facts):
    """Tables of a training run, complete or not."""

    TABLES: ClassVar[Mapping[str, Schema]] = {
        "steps": STEPS,
        "epochs": EPOCHS,
        "signals": SIGNALS,
        "events": EVENTS,
        "calls": CALLS,
        "forwards": FORWARDS,
        "batches": BATCHES,
        "classes": CLASSES,
        "groups": GROUPS,
        "parameters": PARAMETERS,
        "trials": TRIALS,
        "modules": MODULES,
        "measures": MEASURES,
    }

    steps: pl.DataFrame
    epochs: pl.DataFrame
    signals: pl.DataFrame
    events: pl.DataFrame
    calls: pl.DataFrame = field(default_factory=lambda: table(CALLS))
    forwards: pl.DataFrame = field(default_factory=lambda: table(FORWARDS))
    batches: pl.DataFrame = field(default_factory=lambda: table(BATCHES))
    classes: pl.DataFrame = field(default_factory=lambda: table(CLASSES))
    groups: pl.DataFrame = field(default_factory=lambda: table(GROUPS))
    parameters: pl.DataFrame = field(default_factory=lambda: table(PARAMETERS))
    trials: pl.DataFrame = field(default_factory=lambda: table(TRIALS))
    measures: pl.DataFrame = field(default_factory=lambda: table(MEASURES))
    modules: pl.DataFrame = field(default_factory=lambda: table(MODULES))
    task: str = ""
    """classification or detection; "" when not known."""
    loss_kind: str = ""
    """cross-entropy, focal, ...; "" when not known."""
    num_classes: int | None = None
    metric_name: str = ""
    loss_form: dict[str, Any] = field(default_factory=dict)
    """The loss recognised from its value, outputs and targets; keys as in `watching.loss_fit.fit`. Of name "zero" or
    "nan" where it was always that; of name "" with `part` (mse, l1, smooth-l1), `target`, `rest` (largest share of what
    is left), `output` and `against` where a distance is the larger part of a sum; empty when none fits or outputs and
    targets were not given."""
    loss_operators: list[str] = field(default_factory=list)
    """Autograd's names of what made the loss of the samples and of what made its input: ctcloss, logsoftmax. Empty
    where the loss was told as a number or has several terms."""
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
