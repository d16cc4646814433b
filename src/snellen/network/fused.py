"""Attention on tensors without values, by the kernels that real tensors would meet."""

from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


def attention(*args: Any, **kwargs: Any) -> Tensor:
    """`scaled_dot_product_attention`; on meta tensors by a fused kernel where training would use one.

    PyTorch spells it out on the meta device, and then keeps the matrix of weights for backward, as no fused one does.
    """
    query, key, value = (*args, *(kwargs[n] for n in ("query", "key", "value")[len(args) :]))[:3]
    mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
    if (
        all(t.device.type == "meta" and t.dim() == 4 for t in (query, key, value))
        and query.shape[:2] == key.shape[:2]
        and query.shape[-1] == key.shape[-1] == value.shape[-1]
        and (mask is None or not mask.requires_grad)
    ):
        out: Tensor = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value)[0]
        return out
    return functional.scaled_dot_product_attention(*args, **kwargs)


def _twin(function: Any, **names: Any) -> Any:
    """A copy of a Python function that sees other values under some of its global names."""
    scope = {**function.__globals__, **names}
    twin = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, function.__closure__)
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin


# Within an overridden function no override is active, so that the attention inside would be missed.
_multi_head_attention = _twin(
    functional.multi_head_attention_forward, scaled_dot_product_attention=attention, has_torch_function=lambda _: False
)


class FusedAttention(TorchFunctionMode):
    """Context in which attention goes to fused kernels, called as a function or within `nn.MultiheadAttention`, and
    circular padding to one operator."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (functional.scaled_dot_product_attention, torch.ops.aten.scaled_dot_product_attention.default):
            return attention(*args, **kwargs)
        if func is functional.pad and "circular" in (*args[2:3], kwargs.get("mode")) and args[0].is_meta:
            # Spelled out as copies into an empty map, which hide what goes where; the shape and the shift are the same.
            return functional.pad(args[0], args[1] if len(args) > 1 else kwargs["pad"])
        if func is functional.multi_head_attention_forward:
            return _multi_head_attention(*args, **kwargs)
        return func(*args, **kwargs)
