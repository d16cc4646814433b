"""The truth that receptive fields are held against: the gradient of single outputs, by brute force."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from snellen.network.field_mixing import next_field
from snellen.network.flops import operator_name
from snellen.network.receptive_field import Field, image_field, in_lines

Hull = tuple[float, float]
"""The first and the last input pixel that is reached, along one axis."""


class _Follower(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[int, tuple[Tensor, Field | None]] = {}

    def field_of(self, tensor: Tensor) -> Field | None:
        return self.fields.get(id(tensor), (tensor, None))[1]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        known = [(t, f) for t in tree_iter((args, kwargs)) if isinstance(t, Tensor) and (f := self.field_of(t))]
        result = func(*args, **kwargs)
        outputs = [t for t in tree_iter(result) if isinstance(t, Tensor)]
        for index, out in enumerate(outputs if known else ()):
            name = operator_name(func)
            field = next_field(func, name, args, kwargs, known, out, index, self.field_of)
            self.fields[id(out)] = out, field
        return result


def told_field(model: nn.Module, shape: tuple[int, ...]) -> Field | None:
    """What the rules say of the model's output, without a value computed."""
    model = copy.deepcopy(model).to("meta").eval()
    image = torch.empty(shape, device="meta")
    follower = _Follower()
    follower.fields[id(image)] = image, image_field(shape)
    with torch.no_grad(), follower:
        output = model(image)
    field = follower.field_of(output)
    return field and in_lines(field)


def reached_pixels(model: nn.Module, shape: tuple[int, int, int, int], places: Sequence[tuple[int, int]]) -> list[
    tuple[Hull, Hull] | None
]:  # fmt: skip
    """Rows and columns of the input that the gradient of the output at each of `places` reaches; None for nothing.

    The model must be linear with positive weights, or gradients may cancel. One copy of the image for each place, so
    that one backward pass answers for all.
    """
    image = torch.ones((len(places), *shape[1:]), dtype=torch.float64, requires_grad=True)
    out = model.double()(image)
    total = torch.stack([out[n, :, i, j].sum() for n, (i, j) in enumerate(places)]).sum()
    (gradient,) = torch.autograd.grad(total, image)
    hulls: list[tuple[Hull, Hull] | None] = []
    for one in gradient.abs().sum(1):
        # What a sample weighs next to an exact hit is rounding.
        rows, columns = torch.nonzero(one > one.max() * 1e-12, as_tuple=True)
        found = len(rows) > 0
        hulls.append(((int(rows.min()), int(rows.max())), (int(columns.min()), int(columns.max()))) if found else None)
    return hulls
