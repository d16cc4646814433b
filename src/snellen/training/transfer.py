"""What of a network is trained, and how fast: frozen parts, last layers, rates that fall towards the input.

The table of the transfer recipes, by how much data there is and how like it is to what the weights were learned from:
little and alike: the head; little and unlike: discriminative; much and alike: last layers; much and unlike: all, or
discriminative.

Howard and Ruder 2018, "Universal Language Model Fine-tuning" (arXiv:1801.06146), section 3.2: discriminative rates.
"""

from dataclasses import dataclass

from torch import nn
from torch.nn import Parameter

from snellen.errors import UseError
from snellen.training.layers import LAST, head_of, layers_of, parts_named
from snellen.training.recipe import Recipe


@dataclass(frozen=True)
class Transfer:
    """A recipe's choice, applied to a model: `requires_grad` is set, and `scale` says the rates."""

    frozen: tuple[nn.Module, ...]
    """Modules of which no parameter is trained; their norms keep their statistics, too."""
    scales: dict[int, float]
    """id of a parameter -> factor on the learning rate; 1 for those that are not named."""

    def hold(self) -> None:
        """Put the frozen modules in eval mode: call it after `model.train()`."""
        for module in self.frozen:
            module.eval()

    def scale(self, parameter: Parameter) -> float:
        """Factor on the learning rate of `parameter`."""
        return self.scales.get(id(parameter), 1.0)


def transfer_of(model: nn.Module, recipe: Recipe) -> Transfer:
    """Freeze what `recipe` freezes of `model`. Raises UseError when nothing is left to train, or a name is unknown."""
    parameters = list(model.parameters())
    trained = {id(p) for p in parameters if p.requires_grad}
    scales: dict[int, float] = {}
    if recipe.transfer == "head":
        trained &= {id(p) for p in head_of(model)}
    elif recipe.transfer == "last-layers":
        layers = layers_of(model)
        last = layers[-max(1, round(LAST * len(layers))) :]
        trained &= {id(p) for layer in last for p in layer.parameters} | {id(p) for p in head_of(model)}
    elif recipe.transfer == "discriminative":
        # eq. of section 3.2: the rate of layer l - 1 is that of layer l times the factor; the head has the full rate.
        head = {id(p) for p in head_of(model)}
        body = [layer for layer in layers_of(model) if any(id(p) not in head for p in layer.parameters)]
        for back, layer in enumerate(reversed(body), 1):
            scales |= {id(p): recipe.layer_decay**back for p in layer.parameters if id(p) not in head}
    for part in parts_named(model, recipe.freeze):
        trained -= {id(p) for p in part.parameters()}
    if not trained:
        raise UseError(f"transfer={recipe.transfer!r}, freeze={list(recipe.freeze)}: nothing of the network is trained")
    for p in parameters:
        p.requires_grad_(id(p) in trained)
    if recipe.transfer in ("all", "discriminative") and not recipe.freeze:
        return Transfer((), scales)
    return Transfer(tuple(m for m in model.modules() if _is_frozen(m)), scales)


def _is_frozen(module: nn.Module) -> bool:
    found = list(module.parameters())
    return bool(found) and not any(p.requires_grad for p in found)
