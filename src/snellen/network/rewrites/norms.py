"""Replacing BatchNorm by norms that do not depend on a small batch. Neither is equal to the network before."""

from collections.abc import Callable, Iterable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from snellen.network.rewrites.modules import batchnorms, behind, copied, replace


def batchnorm_to_groupnorm(model: nn.Module, layers: Iterable[str] | None = None, *, groups: int = 32) -> nn.Module:
    """A copy of `model` with GroupNorm in the place of the given BatchNorm layers, or of all.

    **Not equal**: the running statistics are gone, and each image is normalised by its own; a trained network has to be
    trained on. Scale and shift are kept. The number of groups is the largest divisor of the channels up to `groups`
    (32: Wu & He 2018, arXiv:1803.08494, sec. 4.1) that leaves two channels in each; 1 in place of BatchNorm1d.

    Raises:
        RewriteError: A name is not in the model or not a BatchNorm, or the model has none.
    """

    def make(norm: _BatchNorm) -> nn.Module:
        channels = norm.num_features
        # A group of one value, or one vector's few, would be normalised to a constant.
        most = 1 if isinstance(norm, nn.BatchNorm1d) else max(min(groups, channels // 2), 1)
        count = max(g for g in range(1, most + 1) if channels % g == 0)
        return nn.GroupNorm(count, channels, eps=norm.eps, affine=norm.affine)

    return _replaced(model, layers, make)


def batchnorm_to_syncbatchnorm(model: nn.Module, layers: Iterable[str] | None = None) -> nn.Module:
    """A copy of `model` with SyncBatchNorm in the place of the given BatchNorm layers, or of all.

    Equal in evaluation mode and in a single process; **not equal** while several processes train, which then share the
    statistics of their batches, as is the purpose. Weights and running statistics are kept.

    Raises:
        RewriteError: A name is not in the model or not a BatchNorm, or the model has none.
    """

    def make(norm: _BatchNorm) -> nn.Module:
        momentum: float | None = norm.momentum
        new = nn.SyncBatchNorm(norm.num_features, norm.eps, momentum, norm.affine, norm.track_running_stats)
        for name, value in norm._buffers.items():
            new._buffers[name] = value
        return new

    return _replaced(model, layers, make)


def _replaced(model: nn.Module, layers: Iterable[str] | None, make: Callable[[_BatchNorm], nn.Module]) -> nn.Module:
    new = copied(model)
    for name, norm in batchnorms(new, layers):
        made = make(norm)
        if norm.affine:
            # The copy's own parameters, so that sharing and requires_grad stay.
            made._parameters.update(weight=norm.weight, bias=norm.bias)
        rest = behind(norm)
        new = replace(new, name, made if isinstance(rest, nn.Identity) else nn.Sequential(made, rest))
    return new
