"""Which parameters the gradient reaches, which the optimizer holds, and what a step takes of memory."""

import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from snellen.experiments.modes import in_mode
from snellen.experiments.nest import tensors
from snellen.experiments.subject import CannotRunError, Row, Subject


def gradient_reach(subject: Subject) -> Iterator[Row]:
    """`gradient-reach`: one row per trainable parameter with the gradient's norm after one backward, null for none.

    The detail says whether the parameter's module ran in the forward pass ("called") or not ("not called").
    """
    called: set[str] = set()
    names = {id(m): name for name, m in subject.model.named_modules()}

    def ran(module: nn.Module, inputs: Any) -> None:
        called.add(names[id(module)])

    handles = [m.register_forward_pre_hook(ran) for m in subject.model.modules()]
    try:
        with in_mode(subject.model, True), torch.enable_grad():
            subject.model.zero_grad(set_to_none=True)
            loss = subject.loss()
            if not loss.requires_grad:
                raise CannotRunError("the loss has no gradient")
            loss.backward()
    finally:
        for handle in handles:
            handle.remove()
    for name, p in subject.model.named_parameters():
        if p.requires_grad:
            norm = None if p.grad is None else float(p.grad.detach().float().norm())
            ran_in = "called" if name.rpartition(".")[0] in called else "not called"
            yield subject.row("gradient-reach", norm, layer=name, detail=ran_in)


def optimizer_coverage(subject: Subject) -> Iterator[Row]:
    """`optimizer-coverage`: share of the trainable numbers (0..1) that the optimizer holds; sound is 1."""
    if subject.optimizer is None:
        yield subject.row("optimizer-coverage", None, detail="no optimizer was given")
        return
    held = {id(p) for g in subject.optimizer.param_groups for p in g["params"]}
    trainable = {id(p): p for p in subject.model.parameters() if p.requires_grad}
    total = sum(p.numel() for p in trainable.values())
    covered = sum(p.numel() for key, p in trainable.items() if key in held)
    detail = f"{covered:,} of {total:,} trainable numbers"
    yield subject.row("optimizer-coverage", covered / total if total else None, expected=1.0, detail=detail)


def memory(subject: Subject) -> Iterator[Row]:
    """`memory`: bytes of one training step at this batch size (`setting`), against what the device has (`expected`).

    Foretold without running it: weights, gradients, optimizer state and what autograd keeps, see `network.budget`.
    `expected` is null on a processor.
    """
    from snellen.network.budget import OPTIMIZER_STATE, training_memory
    from snellen.network.examine import examine

    kind = type(subject.optimizer).__name__.lower() if subject.optimizer is not None else "adamw"
    if kind == "sgd" and any(g.get("momentum") for g in subject.optimizer.param_groups):  # type: ignore[union-attr]
        kind = "momentum"
    if not isinstance(subject.inputs, torch.Tensor):
        raise CannotRunError("the memory is foretold for inputs of one tensor")
    try:
        facts = examine(subject.model, tuple(subject.inputs.shape))
    except Exception as error:
        raise CannotRunError(f"the network cannot be examined: {type(error).__name__}") from error
    taken = training_memory(facts, subject.count, kind if kind in OPTIMIZER_STATE else "adamw")
    device = next((t.device for t in tensors(subject.inputs)), torch.device("cpu"))
    there = float(torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else None
    detail = f"one training step with {kind}, foretold"
    yield subject.row("memory", float(taken), expected=there, setting=float(subject.count), detail=detail)


def group_rows(subject: Subject) -> list[Row]:
    """Rows of `watching.facts.GROUPS` of the optimizer."""
    if subject.optimizer is None:
        return []
    names = {id(p): name for name, p in subject.model.named_parameters()}
    plain = (bool, int, float, str, type(None), tuple, list)
    return [
        {
            "optimizer": 0,
            "kind": type(subject.optimizer).__name__,
            "group": i,
            "parameters": sum(p.numel() for p in g["params"]),
            "tensors": [names.get(id(p), "?") for p in g["params"]],
            "options": json.dumps({k: v for k, v in g.items() if k != "params" and isinstance(v, plain)}),
        }
        for i, g in enumerate(subject.optimizer.param_groups)
    ]


def parameter_rows(subject: Subject, reach: list[Row]) -> list[Row]:
    """Rows of `watching.facts.PARAMETERS`, before any step."""
    places: dict[int, int] = {}
    if subject.optimizer is not None:
        for p in (p for g in subject.optimizer.param_groups for p in g["params"]):
            places[id(p)] = places.get(id(p), 0) + 1
    owners = {name: type(m).__name__ for name, m in subject.model.named_modules()}
    called = {r["layer"]: r["detail"] == "called" for r in reach}
    found: list[Row] = []
    for name, p in subject.model.named_parameters():
        if isinstance(p, nn.parameter.UninitializedParameter):
            continue
        value = p.detach()
        rows = value.reshape(len(value), -1) if value.dim() and len(value) > 1 else None
        found.append(
            {
                "name": name,
                "layer": owners.get(name.rpartition(".")[0], ""),
                "shape": list(p.shape),
                "trainable": p.requires_grad,
                "optimizers": places.get(id(p), 0),
                "called": called.get(name),
                "start_norm": float(value.float().norm()),
                "start_std": float(value.float().std(correction=0)) if value.numel() else None,
                "equal_rows": bool((rows == rows[:1]).all()) if rows is not None else None,
            }
        )
    return found
