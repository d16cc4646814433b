"""What is known of a network before it is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import polars as pl

from snellen.facts import Facts, Schema, table
from snellen.network.budget import largest_batch, training_memory
from snellen.network.field_facts import FIELD_COLUMNS, ReceptiveField, receptive_field_of

LAYERS: Schema = {
    "layer": (pl.String(), "dotted module name of a leaf module, or of the module that called the operator"),
    "kind": (pl.String(), "module class (Conv2d) or operator (aten.matmul)"),
    "depth": (pl.Int64(), "dots in the name + 1"),
    "order": (pl.Int64(), "position in the forward pass, 0-based; null when never called"),
    "calls": (pl.Int64(), "times called in one forward pass; 0: registered but unused"),
    "input_shape": (pl.List(pl.Int64()), "first tensor input, batch first"),
    "output_shape": (pl.List(pl.Int64()), "first tensor output"),
    "params": (pl.Int64(), "own parameters; a shared one is counted at its first owner"),
    "trainable_params": (pl.Int64(), "those with requires_grad"),
    "macs": (pl.Int64(), "multiply-adds of one forward pass at the examined input; 1 MAC = 2 FLOPs"),
    "flops": (pl.Int64(), "2 x macs; element-wise operations are counted apart"),
    "elementwise": (pl.Int64(), "element-wise operations: norm, activation, pooling, add"),
    "backward_macs": (pl.Int64(), "multiply-adds of the backward pass, those of recomputed checkpoints included"),
    "activation_bytes": (pl.Int64(), "bytes of the outputs"),
    **FIELD_COLUMNS,
    "kernel": (pl.List(pl.Int64()), "kernel size of a convolution or pooling"),
    "step": (pl.List(pl.Int64()), "stride of this convolution or pooling alone, per axis; null elsewhere"),
    "dilation": (pl.List(pl.Int64()), "dilation of a convolution or pooling, per axis; null elsewhere"),
    "groups": (pl.Int64(), "groups of a convolution"),
    "heads": (pl.Int64(), "heads of nn.MultiheadAttention; null elsewhere"),
    "has_bias": (pl.Boolean(), "a bias parameter exists; null where the kind has none"),
    "dropout": (pl.Float64(), "drop probability of a dropout layer; null elsewhere"),
    "next_kind": (pl.String(), "kind of the only consumer of the output; null when several or none"),
}

OPERATORS: Schema = {
    "layer": (pl.String(), "`layer` of the row in `layers` that it is charged to"),
    "kind": (pl.String(), "`kind` of that row"),
    "operator": (pl.String(), "operator below autograd (aten.convolution)"),
    "calls": (pl.Int64(), "calls in one forward pass"),
    "macs": (pl.Int64(), "multiply-adds of all calls"),
    "inputs": (pl.Int64(), "elements of the first tensor read, summed over the calls"),
    "outputs": (pl.Int64(), "elements of the first tensor written, likewise"),
}

EDGES: Schema = {
    "source": (pl.String(), "`layer` of the row whose output is read"),
    "source_kind": (pl.String(), "its `kind`"),
    "source_call": (pl.Int64(), "which of its calls, from 1"),
    "target": (pl.String(), "`layer` of the row that reads it"),
    "target_kind": (pl.String(), "its `kind`"),
    "target_call": (pl.Int64(), "which of its calls, from 1"),
}
"""Who reads whose output, one row per pair of calls. Views hand their source on; outputs of modules that have both
children and parameters of their own are not followed, so a missing edge proves nothing."""

PARAMETERS: Schema = {
    "parameter": (pl.String(), "dotted name"),
    "layer": (pl.String(), "its module"),
    "shape": (pl.List(pl.Int64()), ""),
    "numel": (pl.Int64(), ""),
    "trainable": (pl.Boolean(), "requires_grad"),
    "used": (pl.Boolean(), "its module ran in the forward pass"),
    "mean": (pl.Float64(), "null on meta tensors"),
    "std": (pl.Float64(), "null on meta tensors"),
    "fan_in": (pl.Int64(), "inputs per output unit; null for vectors"),
    "identical_rows": (pl.Boolean(), "all output units start with the same weights: symmetry is not broken"),
    "finite": (pl.Boolean(), "no NaN or infinity"),
}

LEVELS: Schema = {
    "level": (pl.Int64(), "0 is the finest"),
    "layer": (pl.String(), "the module whose output feeds the head"),
    "stride": (pl.Float64(), "input pixels per cell"),
    "rf": (pl.Float64(), "receptive field of one cell, input pixels (the smaller side)"),
    "effective_height": (pl.Float64(), "rows that hold 95 % of what sways the central cell; null: not measured"),
    "effective_width": (pl.Float64(), "columns of it"),
    "cells": (pl.Int64(), "height x width of the map"),
    "anchors": (pl.List(pl.Float64()), "anchor sides as w1, h1, w2, h2 ..., input pixels; empty when anchor-free"),
}

EFFECTIVE: Schema = {
    "layer": (pl.String(), "the layer whose central output was followed back to the image"),
    "height": (pl.Float64(), "rows of the least box around the centre of mass that holds 95 %, input pixels"),
    "width": (pl.Float64(), "columns of it"),
    "centre_row": (pl.Float64(), "row of the centre of mass; the first pixel's middle is 0"),
    "centre_column": (pl.Float64(), "column of it"),
    "heat_rows": (pl.Int64(), "rows of `heat`, spread evenly over the input"),
    "heat_columns": (pl.Int64(), "columns of it"),
    "heat": (pl.List(pl.Float64()), "share of each cell in what sways the output, row by row; sums to 1"),
}

TIMES: Schema = {
    "layer": (pl.String(), "a layer that ran"),
    "kind": (pl.String(), "its class"),
    "calls": (pl.Int64(), "calls in one forward pass"),
    "seconds": (pl.Float64(), "wall seconds of all calls, without what ran inside of it"),
}

CONVENTION = "1 MAC = one multiply-add = 2 FLOPs; element-wise operations are counted apart"
"""What the numbers of every table mean, told beside them."""


@dataclass(frozen=True, kw_only=True)
class NetworkFacts(Facts):
    """Tables of a network at one input size."""

    TABLES: ClassVar[Mapping[str, Schema]] = {
        "layers": LAYERS,
        "operators": OPERATORS,
        "edges": EDGES,
        "parameters": PARAMETERS,
        "levels": LEVELS,
        "effective": EFFECTIVE,
        "times": TIMES,
    }

    name: str
    task: str
    """classification or detection; "" when not known."""
    input_shape: list[int]
    """N, C, H, W of the examined input."""
    layers: pl.DataFrame
    operators: pl.DataFrame
    edges: pl.DataFrame
    parameters: pl.DataFrame
    levels: pl.DataFrame
    """The maps a detector predicts on; empty for other networks."""
    effective: pl.DataFrame = field(default_factory=lambda: table(EFFECTIVE))
    """Effective receptive fields; empty unless measured."""
    times: pl.DataFrame = field(default_factory=lambda: table(TIMES))
    """Seconds of each layer on this machine; empty unless measured."""
    num_outputs: int | None = None
    """Classes the head can tell apart (background not counted); None when not known."""
    total_params: int = 0
    trainable_params: int = 0
    macs: int = 0
    """Multiply-adds of one forward pass; a lower bound when `uncounted_operators` is not empty."""
    backward_macs: int = 0
    """Multiply-adds of the gradients of all trainable parameters."""
    weight_bytes: int = 0
    training_bytes_per_image: int = 0
    """Activations that autograd keeps for one image."""
    unregistered: list[str] | None = None
    """Paths of modules or parameters reachable through plain Python containers, invisible to `.parameters()`."""
    uncounted_operators: list[str] | None = None
    """Operators that ran and whose cost is not counted."""
    output_activation: str | None = None
    """Kind of the last layer when it is a softmax, sigmoid or ReLU; None when the head emits raw values."""

    assumptions: list[str] | None = None
    """What the pass rests on besides shapes: bounds on proposals, branches taken, values run for real."""
    seconds_per_pass: float | None = None
    """Wall seconds of a forward pass of the examined input, without gradients; None: not measured."""
    timed_on: str | None = None
    """Processor, threads and number of passes of that measurement."""
    convention: str = CONVENTION

    @property
    def params(self) -> int:
        """Parameters, shared ones counted once."""
        return self.total_params

    @property
    def flops(self) -> int:
        """Floating-point operations of the multiply-adds of one forward pass: two each."""
        return 2 * self.macs

    def training_memory(self, batch_size: int, optimizer: str = "adamw", amp: bool = False) -> int:
        """Bytes that a training step holds at the start of backward; see `snellen.network.budget`."""
        return training_memory(self, batch_size, optimizer, amp)

    def largest_batch(self, memory: int, optimizer: str = "adamw", amp: bool = False) -> int:
        """Images per training step that `memory` bytes hold; 0 when not one does."""
        return largest_batch(self, memory, optimizer, amp)

    def receptive_field(self, layer: str) -> tuple[float, float] | None:
        """Height and width, in input pixels, that one output of `layer` sees; inf when global, None when unknown.

        Raises KeyError for a layer that is not in the table.
        """
        field = self.field_of(layer)
        return None if field is None else field.size

    def field_of(self, layer: str) -> ReceptiveField | None:
        """All that is known of what the outputs of `layer` see: strict and local size, stride, places; None: unknown.

        Raises KeyError for a layer that is not in the table.
        """
        rows = self.layers.filter(self.layers["layer"] == layer)
        if rows.is_empty():
            raise KeyError(layer)
        return receptive_field_of(rows.row(-1, named=True))
