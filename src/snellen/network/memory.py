"""What training keeps in memory."""

from math import prod
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from snellen.network.facts import NetworkFacts

OPTIMIZER_STATE = {"sgd": 0, "momentum": 1, "rmsprop": 1, "adagrad": 1, "adam": 2, "adamw": 2, "nadam": 2}
"""Floats of state per trainable parameter."""


class SavedForBackward:
    """Context in which every tensor that autograd keeps is noted, once per storage, without weights and inputs."""

    def __init__(self, not_counted: list[Tensor]) -> None:
        self._seen = {t.untyped_storage()._cdata for t in not_counted}
        self._kept: list[Any] = []
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda t: t)
        self.bytes = 0

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen and not isinstance(tensor, nn.Parameter):
            self._seen.add(storage._cdata)
            # A storage that dies could hand its address to the next one, which would then go uncounted.
            self._kept.append(storage)
            self.bytes += storage.nbytes()
        return tensor

    def __enter__(self) -> "SavedForBackward":
        self._hooks.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.__exit__(kind, value, trace)


def training_memory(facts: NetworkFacts, batch_size: int, optimizer: str = "adamw", amp: bool = False) -> int:
    """Bytes that a training step holds at the start of backward.

    Weights and their gradients, the optimizer's state, and the activations saved for `batch_size` images of the
    examined size; with `amp` activations are half, weights and state stay float32. Workspace of kernels is not in it.

    Raises:
        ValueError: Unknown optimizer, or a batch size below 1.
    """
    if optimizer not in OPTIMIZER_STATE:
        raise ValueError(f"optimizer {optimizer!r}: expected one of {', '.join(OPTIMIZER_STATE)}")
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size}: expected at least 1")
    learnt = 4 * facts.trainable_params
    activations = facts.training_bytes_per_image * batch_size
    image = 4 * prod(facts.input_shape[1:]) * batch_size
    return (
        facts.weight_bytes
        + learnt
        + OPTIMIZER_STATE[optimizer] * learnt
        + image
        + (activations // 2 if amp else activations)
    )
