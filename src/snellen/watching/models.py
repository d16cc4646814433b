"""One watched model, or several under one roof."""

from collections.abc import Iterator, Mapping, Sequence

from torch import nn
from torch.optim import Optimizer

Models = nn.Module | Sequence[nn.Module] | Mapping[str, nn.Module]
Optimizers = Optimizer | Sequence[Optimizer] | Mapping[str, Optimizer]


class SeveralModels(nn.Module):
    """Models that are trained together, such as the two of a GAN; names of parameters begin with the model's.

    It is never called; whoever wants the calls hooks each of `roots`.
    """

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        super().__init__()
        # Not `add_module`: that refuses names with dots and names of attributes, and ours come from the user.
        self._modules.update(models)


def as_one(models: Models) -> nn.Module:
    """`models` as one module: itself, or several named by key or number.

    Raises:
        TypeError: Something in it is no module, or there is none.
    """
    if isinstance(models, nn.Module) and not isinstance(models, nn.ModuleList | nn.ModuleDict):
        return models
    named = dict(models.items()) if isinstance(models, Mapping | nn.ModuleDict) else dict(enumerate(models))
    if not named or not all(isinstance(m, nn.Module) for m in named.values()):
        raise TypeError("watch: `model` is a module, or a sequence or dict of modules")
    return next(iter(named.values())) if len(named) == 1 else SeveralModels({str(k): m for k, m in named.items()})


def as_list(optimizers: Optimizers) -> list[Optimizer]:
    """`optimizers` as a list, each freed of a wrapper such as Accelerate's.

    Raises:
        TypeError: Something in it is no optimizer, or there is none.
    """
    if isinstance(optimizers, Mapping):
        found = list(optimizers.values())
    else:
        found = list(optimizers) if isinstance(optimizers, Sequence) else [optimizers]
    inner = [getattr(o, "optimizer", o) for o in found]
    inner = [i if isinstance(i, Optimizer) else o for i, o in zip(inner, found, strict=True)]
    if not inner or not all(isinstance(o, Optimizer) for o in inner):
        raise TypeError("watch: `optimizer` is a torch optimizer, or a sequence or dict of them")
    return inner


def roots(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of each model in what `as_one` returned; the name of a single one is empty."""
    if isinstance(model, SeveralModels):
        yield from model._modules.items()  # type: ignore[misc]
    else:
        yield "", model
