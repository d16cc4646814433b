"""The examiner of networks: one weightless pass, and a look at the weights themselves."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from snellen.facts import table
from snellen.network.facts import EDGES, LAYERS, LEVELS, OPERATORS, PARAMETERS, NetworkFacts
from snellen.network.field_facts import field_columns
from snellen.network.forward import run_forward
from snellen.network.parameters import parameter_rows
from snellen.network.shadow import unregistered_parts
from snellen.network.trace import Record, Trace, Tracer

OUTPUT_ACTIVATIONS = {
    "Softmax": "softmax", "Softmax2d": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid", "ReLU": "relu",
    "aten._softmax": "softmax", "aten._log_softmax": "log_softmax", "aten.sigmoid": "sigmoid", "aten.relu": "relu",
    "aten.sigmoid_": "sigmoid", "aten.relu_": "relu",
}  # fmt: skip
"""Kinds of a last layer that squash or cut the output."""


def examine(model: nn.Module, inputs: Any, *, name: str = "", task: str = "") -> NetworkFacts:
    """Measure a network at one input size. The model, its mode, hooks and the random generators stay as they are.

    Args:
        model: On any device, the meta device included; its weights are read for statistics, never copied.
        inputs: The shape of one input, batch first, as integers; or example inputs: a tensor, a tuple of positional
            arguments, or a dict of keyword arguments, nested as the model takes them. Values are looked at only
            where the forward pass depends on them, and then `assumptions` says so.
        name: What the facts call it; default: the class's name.
        task: classification or detection; default: the model's `task` attribute, or "".

    Raises:
        ExamineError: The model cannot be copied, or its forward pass fails on inputs of that shape.
    """
    model = getattr(model, "_orig_mod", model)
    done = run_forward(model, inputs, name=name or type(model).__name__)
    shadow, tracer, images = done.double, done.tracer, done.images
    trace = tracer.trace
    batch = int(images[0].shape[0]) if images[0].dim() > 3 else 1
    used = _usage(shadow, trace)
    layers = _layer_rows(trace, shadow, used)
    parameters = parameter_rows(model, lambda p: used.get(p, False))
    level_rows = _level_rows(model, trace, task)
    shape = [int(n) for n in images[0].shape]
    return NetworkFacts(
        name=name or type(model).__name__,
        task=task or str(getattr(model, "task", "") or ""),
        input_shape=shape if len(shape) != 3 else [1, *shape],
        layers=table(LAYERS, layers),
        operators=table(OPERATORS, _operator_rows(trace)),
        edges=table(EDGES, [dict(zip(EDGES, edge, strict=True)) for edge in trace.edges]),
        parameters=table(PARAMETERS, parameters),
        levels=table(LEVELS, level_rows),
        num_outputs=_num_outputs(model, trace),
        total_params=sum(r["numel"] for r in parameters),
        trainable_params=sum(r["numel"] for r in parameters if r["trainable"]),
        macs=sum(r.macs for r in trace.records.values()),
        backward_macs=done.backward_macs,
        weight_bytes=sum(p.numel() * p.element_size() for p in shadow.parameters()),
        training_bytes_per_image=(done.saved_bytes or sum(r["activation_bytes"] for r in layers)) // max(batch, 1),
        unregistered=unregistered_parts(model),
        uncounted_operators=sorted(trace.uncounted),
        output_activation=_output_activation(trace, tracer),
        assumptions=done.assumptions,
    )


def _operator_rows(trace: Trace) -> list[dict[str, Any]]:
    return [
        {
            "layer": record.layer, "kind": record.kind, "operator": name, "calls": tally.calls, "macs": tally.macs,
            "inputs": tally.inputs, "outputs": tally.outputs,
        }
        for record in trace.records.values()
        for name, tally in record.operators.items()
    ]  # fmt: skip


def _usage(shadow: nn.Module, trace: Trace) -> dict[str, bool]:
    """Parameter name -> whether it took part in the pass, even when its module was never called as such."""
    return {
        n: p.untyped_storage()._cdata in trace.used_storages for n, p in shadow.named_parameters(remove_duplicate=False)
    }


def _layer_rows(trace: Trace, shadow: nn.Module, used: Mapping[str, bool]) -> list[dict[str, Any]]:
    counted: set[int] = set()
    imaged = any(record.field is not None for record in trace.records.values())
    rows = []
    for record in trace.records.values():
        own = list(record.module.named_parameters(recurse=False)) if record.module is not None else []
        fresh = [p for _, p in own if id(p) not in counted]
        counted.update(id(p) for p in fresh)
        calls = record.calls
        if calls == 0 and any(used.get(f"{record.layer}.{n}" if record.layer else n, False) for n, _ in own):
            calls = 1  # Its owner used the weights without calling the module, as attention does with out_proj.
        rows.append(
            {
                "layer": record.layer,
                "kind": record.kind,
                "depth": record.layer.count(".") + 1,
                "order": record.order,
                "calls": calls,
                "input_shape": record.input_shape,
                "output_shape": record.output_shape,
                "params": sum(p.numel() for p in fresh),
                "trainable_params": sum(p.numel() for p in fresh if p.requires_grad),
                "macs": record.macs,
                "flops": 2 * record.macs,
                "elementwise": record.elementwise,
                "backward_macs": record.backward_macs,
                "activation_bytes": record.activation_bytes,
                **field_columns(record.field, imaged and record.order is not None),
                **_module_columns(record),
                "next_kind": next(iter(record.consumers)).split("\0")[1] if len(record.consumers) == 1 else None,
            }
        )
    rows.sort(key=lambda r: (r["order"] is None, r["order"] or 0))
    return rows


def _module_columns(record: Record) -> dict[str, Any]:
    module = record.module
    groups = getattr(module, "groups", None)
    has_bias: bool | None = None
    if module is not None and "bias" in module._parameters:
        has_bias = module._parameters["bias"] is not None
    return {
        "kernel": record.kernel or _per_axis(record, "kernel_size"),
        "step": record.step or _per_axis(record, "stride"),
        "dilation": record.dilation or _per_axis(record, "dilation"),
        "groups": groups if isinstance(groups, int) else None,
        "heads": module.num_heads if isinstance(module, nn.MultiheadAttention) else None,
        "has_bias": has_bias,
        "dropout": float(module.p) if isinstance(module, _DropoutNd) else None,
    }


def _per_axis(record: Record, name: str) -> list[int] | None:
    """A module's attribute such as kernel_size, one integer per axis; None where it is not of that form."""
    value = getattr(record.module, name, None)
    if isinstance(value, int):
        value = [value] * (1 if record.kind.endswith("1d") else 3 if record.kind.endswith("3d") else 2)
    if isinstance(value, (list, tuple)) and all(isinstance(n, int) for n in value):
        return [int(n) for n in value]
    return None


def _level_rows(model: nn.Module, trace: Trace, task: str) -> list[dict[str, Any]]:
    levels: Callable[[], Sequence[tuple[str, Sequence[float]]]] | None = getattr(model, "feature_levels", None)
    if not callable(levels):
        return []
    by_name = {r.layer: r for r in trace.records.values() if r.order is not None}
    rows = []
    for number, (layer, anchors) in enumerate(levels()):
        record = by_name.get(layer)
        if record is None:
            # The level's module is a container: its last part in the pass speaks for it.
            inside = [r for r in trace.records.values() if r.layer.startswith(f"{layer}.") and r.order is not None]
            record = max(inside, key=lambda r: r.order or 0, default=None)
        columns = field_columns(record.field if record else None, ran=False)
        sizes = record.output_shape[-2:] if record and record.output_shape else []
        side = min((v for v in (columns["rf_height"], columns["rf_width"]) if v is not None), default=None)
        rows.append(
            {
                "level": number,
                "layer": layer,
                "stride": columns["stride"],
                "rf": side,
                "cells": prod(sizes) if sizes else None,
                "anchors": [float(a) for a in anchors],
            }
        )
    return rows


def _num_outputs(model: nn.Module, trace: Trace) -> int | None:
    declared = getattr(model, "num_classes", None)
    if isinstance(declared, int):
        return declared
    called = [r for r in trace.records.values() if r.order is not None and r.macs]
    last = max(called, key=lambda r: r.order or 0, default=None)
    if last is not None and last.kind == "Linear" and last.output_shape and isinstance(trace.output, Tensor):
        return last.output_shape[-1]
    return None


def _output_activation(trace: Trace, tracer: Tracer) -> str | None:
    """The squashing kind that made the model's output, where the output is one tensor."""
    if not isinstance(trace.output, Tensor):
        return None
    maker = tracer.maker_of(trace.output)
    return OUTPUT_ACTIVATIONS.get(maker.kind) if maker is not None else None
