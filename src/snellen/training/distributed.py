"""Several processes as one: sums over ranks, and BatchNorm over the whole batch on any device."""

from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_nn
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.functional import batch_norm


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum of `values` over all processes; `values` itself when there is one."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def gather_objects(mine: Any) -> list[Any]:
    """One plain Python object of each process, in order of rank."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return [mine]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, mine)
    return found


def batch_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C), biased variance (C) and count (scalar) over batch, pixels and processes, with gradient.

    Two passes, mean first: the one-pass form E[x^2] - E[x]^2 loses digits.
    """
    dims = [d for d in range(x.dim()) if d != 1]
    count = x.new_tensor(float(x.numel() // x.shape[1]))
    dist.all_reduce(count)
    mean = dist_nn.all_reduce(x.sum(dims)) / count
    shape = [1, -1] + [1] * (x.dim() - 2)
    variance = dist_nn.all_reduce((x - mean.view(shape)).square().sum(dims)) / count
    return mean, variance, count


class SyncedBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the batches of all processes; `torch.nn.SyncBatchNorm` refuses to run on a CPU.

    Same parameters, buffers and evaluation as `nn.BatchNorm2d`, whose place it takes; any number of dimensions >= 2.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x_NC... -> same shape (Ioffe 2015, arXiv:1502.03167, algorithm 1)."""
        if not self.training:
            return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        mean, variance, count = batch_statistics(x)
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
                self.running_mean.lerp_(mean.detach(), share)
                self.running_var.lerp_(variance.detach() * count / (count - 1).clamp(min=1), share)
        shape = [1, -1] + [1] * (x.dim() - 2)
        out = (x - mean.view(shape)) * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out


class SyncedBatchNormAct(SyncedBatchNorm):
    """The same with timm's dropping and activation behind it (`timm.layers.BatchNormAct2d`)."""

    drop: nn.Module
    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """x_NCHW -> same shape."""
        out: Tensor = self.act(self.drop(super().forward(x)))
        return out


def synchronise_batchnorm(model: nn.Module) -> nn.Module:
    """Replace every BatchNorm of `model` in place; names in the state dict stay as they are."""
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and not isinstance(
            child, SyncedBatchNorm
        ):
            setattr(model, name, _synced(child))
        else:
            synchronise_batchnorm(child)
    return model


def _synced(norm: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) -> SyncedBatchNorm:
    with_act = isinstance(norm, BatchNormAct2d)
    kind = SyncedBatchNormAct if with_act else SyncedBatchNorm
    new = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    new.load_state_dict({k: v for k, v in norm.state_dict().items() if k in new.state_dict()})
    if with_act:
        new.drop, new.act = norm.drop, norm.act
    new.train(norm.training)
    return new
