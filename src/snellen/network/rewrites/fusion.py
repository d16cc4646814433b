"""Folding BatchNorm into the layer before it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from snellen.network.pairs import Pair
from snellen.network.rewrites.modules import RewriteError, behind, copied, layer_and_norm, replace


def fuse_batchnorm(model: nn.Module, pairs: Sequence[Pair]) -> nn.Module:
    """A copy of `model`, in evaluation mode, with each BatchNorm folded into the weight layer that alone feeds it.

    With g, b, m, v the norm's scale, shift, running mean and variance: W' = W g / sqrt(v + eps) per output channel and
    bias' = (bias - m) g / sqrt(v + eps) + b (Jacob et al. 2018, arXiv:1712.05877, eq. 14). The outputs in evaluation
    mode are the same up to rounding; computed in float64, rounded once. For inference only: training the copy is
    another thing, without batch statistics. An activation inside the norm (timm's BatchNormAct2d) stays in its place.

    Raises:
        RewriteError: A name is not in the model, a pair is not a plain weight layer and a BatchNorm, or the BatchNorm
            keeps no running statistics.
    """
    new = copied(model).eval()
    for pair in pairs:
        layer, norm = layer_and_norm(new, pair)
        if norm.running_mean is None or norm.running_var is None:
            raise RewriteError(f"{pair[1]} keeps no running statistics: there is nothing to fold")
        weight = layer._parameters["weight"]
        assert weight is not None  # A plain layer has one.
        scale = torch.rsqrt(norm.running_var.double() + norm.eps)
        if norm.affine:
            scale = scale * norm.weight.detach().double()
        bias = layer._parameters.get("bias")
        shift = -norm.running_mean.double() if bias is None else bias.detach().double() - norm.running_mean.double()
        shift = shift * scale
        if norm.affine:
            shift = shift + norm.bias.detach().double()
        fused = (weight.detach().double() * _per_output(layer, weight, scale)).to(weight.dtype)
        layer.register_parameter("weight", nn.Parameter(fused, requires_grad=weight.requires_grad))
        layer.register_parameter("bias", nn.Parameter(shift.to(weight.dtype), requires_grad=weight.requires_grad))
        replace(new, pair[1], behind(norm))
    return new


def _per_output(layer: nn.Module, weight: Tensor, scale: Tensor) -> Tensor:
    """`scale` of shape (outputs,), laid out to multiply `weight`."""
    tail = (1,) * (weight.dim() - 2)
    if not isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        return scale.view(-1, 1, *tail)
    # A transposed convolution's weight is (inputs, outputs / groups, ...), group after group along the inputs.
    groups: int = layer.groups
    per_group = scale.view(groups, 1, -1).expand(groups, weight.shape[0] // groups, -1)
    return per_group.reshape(weight.shape[0], weight.shape[1], *tail)
