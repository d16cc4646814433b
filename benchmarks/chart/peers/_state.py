"""Running a tool's own step on a model without leaving a trace, for tools that take a step themselves."""

import contextlib
import copy
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Gradients, buffers, weights and random numbers are afterwards what they were."""
    grads = [(p, None if p.grad is None else p.grad.clone()) for p in model.parameters()]
    state = copy.deepcopy(model.state_dict())
    rng = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(rng)
        model.load_state_dict(state)
        for p, grad in grads:
            p.grad = grad
