"""The layers of any network, from its input to its output, and its head: what transfer recipes speak of."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn import Parameter

from snellen.errors import UseError

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
MOST = 0.5
"""A module that holds more than this share of all parameters is no layer; what it consists of is."""
LAST = 1 / 3
"""Of the layers, those that the transfer recipe "last-layers" trains; the head is one of them."""


@dataclass(frozen=True)
class Layer:
    """A part of a network with parameters of its own."""

    name: str
    """Dotted name of the module; of the module that owns them for parameters that stand alone, such as a token."""
    parameters: tuple[Parameter, ...]


def layers_of(model: nn.Module) -> list[Layer]:
    """The layers in the order they are defined in, which is that of the forward pass in timm, torchvision and here.

    A block of a residual network or transformer is one layer, a bare convolution with its norm two. Every parameter
    stands in exactly one of them. What a detector does behind its `backbone` is one layer, its head.
    """
    total = sum(p.numel() for p in model.parameters())
    seen: set[int] = set()
    found: list[Layer] = []

    def add(name: str, parameters: Sequence[Parameter]) -> None:
        new = tuple(p for p in parameters if id(p) not in seen)
        seen.update(map(id, new))
        if new:
            found.append(Layer(name, new))

    def visit(name: str, module: nn.Module) -> None:
        children = [(f"{name}.{n}" if name else n, child) for n, child in module.named_children()]
        add(name, list(module.parameters(recurse=False)))
        for child_name, child in children:
            size = sum(p.numel() for p in child.parameters())
            inner = list(child.children())
            grouping = isinstance(child, CONTAINERS) and (len(inner) > 4 or any(list(c.children()) for c in inner))
            if inner and (grouping or size > MOST * total):
                visit(child_name, child)
            else:
                add(child_name, list(child.parameters()))

    backbone = getattr(model, "backbone", None)
    if getattr(model, "task", None) == "detection" and isinstance(backbone, nn.Module):
        visit("backbone", backbone)
        add("head", list(model.parameters()))
        return found
    visit("", model)
    return found


def head_of(model: nn.Module) -> list[Parameter]:
    """The parameters that turn features into the answer: they have to be learned anew whatever the weights.

    A detector: everything outside its `backbone`. Else what timm names the classifier, or the last linear or
    convolution layer with one output a class, or the last layer.
    """
    if getattr(model, "task", None) == "detection" and isinstance(getattr(model, "backbone", None), nn.Module):
        inside = {id(p) for p in model.backbone.parameters()}  # type: ignore[union-attr]
        return [p for p in model.parameters() if id(p) not in inside]
    named = getattr(model, "get_classifier", None)
    if callable(named):
        heads = named()
        parts = heads if isinstance(heads, tuple) else (heads,)
        found = [p for part in parts if isinstance(part, nn.Module) for p in part.parameters()]
        if found:
            return found
    classes = getattr(model, "num_classes", None)
    fitting = [
        m
        for m in model.modules()
        if (isinstance(m, nn.Linear) and m.out_features == classes)
        or (isinstance(m, nn.Conv2d) and m.out_channels == classes)
    ]
    if fitting:
        return list(fitting[-1].parameters())
    layers = layers_of(model)
    return list(layers[-1].parameters) if layers else []


def parts_named(model: nn.Module, prefixes: Sequence[str]) -> list[nn.Module]:
    """The modules whose dotted names are, or lie under, one of `prefixes`. Raises UseError for one that names none."""
    known = [name for name, _ in model.named_modules() if name]
    out: list[nn.Module] = []
    for prefix in prefixes:
        under = [m for name, m in model.named_modules() if name == prefix or name.startswith(f"{prefix}.")]
        if not under:
            near = difflib.get_close_matches(prefix, known, n=1)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise UseError(f"freeze: no module is called {prefix!r}{hint}")
        out += under
    return out
