"""What autograd keeps in memory between forward and backward."""

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn


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

    def overridden(self) -> bool:
        """Whether hooks within the model, those of a checkpointed part above all, keep the tensors instead."""
        top = torch._C._autograd._top_saved_tensors_default_hooks(False)
        return top is not None and top[0] != self._pack

    def __enter__(self) -> "SavedForBackward":
        self._hooks.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.__exit__(kind, value, trace)
