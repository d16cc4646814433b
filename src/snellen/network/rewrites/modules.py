"""What the rewrites share: finding layer and norm pairs, and putting modules into a copy."""

import copy
from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from snellen.errors import UseError
from snellen.network.pairs import Pair

PLAIN = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
"""Layers whose output is weight times input plus bias."""


class RewriteError(UseError):
    """A layer that cannot be rewritten as asked; the message names it and says why."""


def copied(model: nn.Module) -> nn.Module:
    """A deep copy; raises RewriteError when a part cannot be copied."""
    try:
        return copy.deepcopy(model)
    except Exception as error:
        # Any object may sit in a model, so any exception may come out of copying it.
        raise RewriteError(f"{type(model).__name__} cannot be copied: {type(error).__name__}: {error}") from error


def submodule(model: nn.Module, name: str) -> nn.Module:
    """The module called `name`; raises RewriteError when there is none."""
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise RewriteError(f"{type(model).__name__} has no layer {name!r}") from None


def layer_and_norm(model: nn.Module, pair: Pair) -> tuple[nn.Module, _BatchNorm]:
    """The two modules of a pair; raises RewriteError unless they are a plain weight layer and a BatchNorm.

    A subclass with a forward of its own may use its weight otherwise (weight standardisation does), and is refused, as
    are parametrised weights.
    """
    layer, norm = submodule(model, pair[0]), submodule(model, pair[1])
    if not isinstance(norm, _BatchNorm):
        raise RewriteError(f"{pair[1]} is a {type(norm).__name__}, not a BatchNorm")
    if not is_plain(layer):
        raise RewriteError(f"{pair[0]} is a {type(layer).__name__}, which may use its weight in its own way")
    return layer, norm


def is_plain(layer: nn.Module) -> bool:
    """Whether a layer computes what the class of PyTorch that it is, or derives from, computes."""
    base = next((c for c in PLAIN if isinstance(layer, c)), None)
    if base is None or "parametrizations" in layer._modules or layer._forward_pre_hooks or layer._forward_hooks:
        return False
    own = type(layer)
    return own.forward is base.forward and getattr(own, "_conv_forward", None) is getattr(base, "_conv_forward", None)


def behind(norm: nn.Module) -> nn.Module:
    """What a BatchNorm with its activation inside (timm's BatchNormAct2d) does after normalising, else an identity."""
    rest = [m for m in norm._modules.values() if m is not None and not isinstance(m, nn.Identity)]
    if not rest:
        return nn.Identity()
    return rest[0] if len(rest) == 1 else nn.Sequential(*rest)


def replace(model: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """Put `module` in the place of the one called `name`, under every name that it has; returns the model."""
    if not name:
        return module
    old = submodule(model, name)
    for parent in list(model.modules()):
        for child in [n for n, m in parent._modules.items() if m is old]:
            parent._modules[child] = module
    module.train(old.training)
    return model


def batchnorms(model: nn.Module, layers: Iterable[str] | None) -> list[tuple[str, _BatchNorm]]:
    """The named BatchNorm layers, or all; raises RewriteError when one is something else, or there is none."""
    if layers is None:
        found = [(n, m) for n, m in model.named_modules() if isinstance(m, _BatchNorm)]
        if not found:
            raise RewriteError(f"{type(model).__name__} has no BatchNorm")
        return found
    named = []
    for name in layers:
        norm = submodule(model, name)
        if not isinstance(norm, _BatchNorm):
            raise RewriteError(f"{name} is a {type(norm).__name__}, not a BatchNorm")
        named.append((name, norm))
    return named
