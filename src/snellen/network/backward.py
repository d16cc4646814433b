"""The cost of gradients that no closed form tells: user-written autograd functions, checkpointed parts."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from snellen.network.flops import MACS, operator_name


def custom_functions(outputs: Iterable[Tensor]) -> list[str]:
    """Names of the user-written `autograd.Function`s that gradients of `outputs` run through, sorted."""
    waiting = [t.grad_fn for t in outputs if t.grad_fn is not None]
    seen = set(waiting)
    found: set[str] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            # Operators that libraries add have generated functions: GeneratedBackwardFor_torchvision_nms_default.
            name = node.name().removesuffix("Backward").removesuffix("_default")
            added = name.removeprefix("GeneratedBackwardFor_")
            if added == name or added.replace("_", ".", 1) in MACS:
                found.add(added)
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return sorted(found)


def counted_backward(outputs: Sequence[Tensor], model: nn.Module) -> int:
    """Multiply-adds of a backward pass that is run, from `outputs` to every trainable parameter of `model`.

    Whatever the functions' own backward raises passes through.
    """
    wanted = [p for p in model.parameters() if p.requires_grad]
    ends = [t for t in outputs if t.requires_grad]
    counter = _Counter()
    with counter:
        torch.autograd.grad(ends, wanted, [torch.empty_like(t) for t in ends], allow_unused=True)
    return counter.macs


class _Counter(TorchDispatchMode):
    """Adds up the multiply-adds of everything that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = operator_name(func)
        if name == "aten.convolution_backward":
            grad, x, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
            positions = prod((x if transposed else grad).shape[2:])
            self.macs += int(x.shape[0] * positions * weight.numel()) * sum(wanted[:2])
        elif name.startswith("aten._scaled_dot_product") and name.endswith("_backward"):
            query, key, value = args[1], args[2], args[3]
            pairs = query.numel() // query.shape[-1] * key.shape[-2]
            self.macs += int(pairs * (3 * query.shape[-1] + 2 * value.shape[-1]))
        elif name == "torchvision._deform_conv2d_backward":
            grad, weight = args[0], args[2]
            # One product for input, offsets and mask together, one for the weight.
            self.macs += 2 * int(grad.shape[0] * prod(grad.shape[2:]) * weight.numel())
        elif name in MACS:
            self.macs += MACS[name](args, kwargs or {}, out)
        return out
