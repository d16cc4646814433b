"""Dropping biases that a BatchNorm takes away."""

from collections.abc import Sequence

import torch
from torch import nn

from snellen.network.pairs import Pair
from snellen.network.rewrites.modules import copied, layer_and_norm


def drop_bias_before_norm(model: nn.Module, pairs: Sequence[Pair]) -> nn.Module:
    """A copy of `model` without the biases of the given layers, each of which feeds one BatchNorm and nothing else.

    Equal while training and while testing. A batch's mean holds the bias, so normalising takes it away (Ioffe & Szegedy
    2015, sec. 3.2); the running mean, which testing uses, holds it too, and has it subtracted here. All other weights
    get the same updates, as the bias itself gets a gradient of zero. Rounding aside this is exact for any optimizer
    that leaves a weight without gradient as it is; weight decay on the biases moves them, and testing follows with the
    delay of the running mean, which the copy does not have. A BatchNorm that is kept in evaluation mode while training
    learns with the bias; there only the outputs at the start are the same.

    Raises:
        RewriteError: A name is not in the model, or a pair is not a plain weight layer and a BatchNorm.
    """
    new = copied(model)
    for pair in pairs:
        layer, norm = layer_and_norm(new, pair)
        bias = layer._parameters.get("bias")
        if bias is None:
            continue
        if norm.running_mean is not None:
            with torch.no_grad():
                norm.running_mean -= bias.detach().to(norm.running_mean.dtype)
        layer.register_parameter("bias", None)
    return new
