"""Optimizers by name, with weight decay where it belongs and a rate for each part of the network."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.nn import Parameter
from torch.optim import SGD, Adadelta, Adagrad, Adam, AdamW, Optimizer, RMSprop

from snellen.training.recipe import Recipe
from snellen.training.transfer import Transfer, transfer_of

SCALE = "lr_scale"
"""Key of a parameter group: factor of its learning rate on that of the run."""
UNDECAYED = ("pos_embed", "cls_token", "dist_token", "reg_token", "class_token", "pos_embedding", "position_bias")
"""Ends, or words, of the names of parameters that are places or tokens, not weights of a sum of features."""


def make_optimizer(model: nn.Module, recipe: Recipe, transfer: Transfer | None = None) -> Optimizer:
    """The recipe's optimizer of the parameters of `model` that are trained; freezes what the recipe freezes.

    Raises UseError when nothing is left to train.
    """
    return build_optimizer(parameter_groups(model, recipe, transfer or transfer_of(model, recipe)), recipe)


def build_optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> Optimizer:
    """The recipe's optimizer of `groups`, as `parameter_groups` gives them."""
    momentum = recipe.momentum
    kinds: dict[str, Any] = {
        # Nesterov 1983 as in Sutskever 2013, section 2.
        "sgd": lambda: SGD(groups, lr=recipe.lr, momentum=momentum, nesterov=momentum > 0),
        # Kingma and Ba 2015 (arXiv:1412.6980), algorithm 1; Loshchilov 2019 (arXiv:1711.05101), algorithm 2.
        "adam": lambda: Adam(groups, lr=recipe.lr, betas=(momentum, 0.999)),
        "adamw": lambda: AdamW(groups, lr=recipe.lr, betas=(momentum, 0.999)),
        # Hinton 2012, lecture 6e; Duchi 2011; Zeiler 2012 (arXiv:1212.5701), algorithm 1.
        "rmsprop": lambda: RMSprop(groups, lr=recipe.lr, momentum=momentum),
        "adagrad": lambda: Adagrad(groups, lr=recipe.lr),
        "adadelta": lambda: Adadelta(groups, lr=recipe.lr, rho=momentum),
    }
    optimizer: Optimizer = kinds[recipe.optimizer]()
    return optimizer


def parameter_groups(model: nn.Module, recipe: Recipe, transfer: Transfer) -> list[dict[str, Any]]:
    """Groups of one weight decay and one rate each, decayed ones first, full rates first.

    No decay: what has one dimension (norms, biases), embeddings, places and tokens, and what the network itself names
    in `no_weight_decay()`, as timm's do.
    """
    spared = set(_undecayed(model))
    parts: dict[tuple[float, bool], list[Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            parts.setdefault((transfer.scale(parameter), id(parameter) in spared), []).append(parameter)
    return [
        {
            "params": parts[scale, plain],
            "weight_decay": 0.0 if plain else recipe.weight_decay,
            **({} if scale == 1 else {SCALE: scale, "lr": recipe.lr * scale}),
        }
        for scale, plain in sorted(parts, key=lambda part: (-part[0], part[1]))
    ]


def set_rate(optimizer: Any, rate: float) -> None:
    """Give every group its share of `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(SCALE, 1.0)


def _undecayed(model: nn.Module) -> Iterable[int]:
    named = getattr(model, "no_weight_decay", None)
    own = set(named()) if callable(named) else set()
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            yield from (id(p) for p in module.parameters())
    for name, parameter in model.named_parameters():
        if parameter.ndim <= 1 or name in own or any(word in name.rsplit(".", 1)[-1] for word in UNDECAYED):
            yield id(parameter)
