"""Faults of the first weights, and of weights shared or loaded by mistake."""

from collections.abc import Iterator

import torch
from benchmarks.chart.case import Cases
from benchmarks.chart.harness import Nothing
from benchmarks.chart.program import Program
from torch import Tensor, nn

cases = Cases("initialisation")

SCALE = {"initial-weights-off-scale", "initial-scale-off"}
SYMMETRY = {"symmetric-units", "symmetric-initialisation"}
LOADED = {"pretrained-not-loaded", "frozen-layers-partly-random"}
REPEATED = {"same-layer-repeated"}


def matrices(model: nn.Module) -> Iterator[Tensor]:
    """Weights of two and more axes, norms and embeddings aside."""
    for module in model.modules():
        if not isinstance(module, nn.Embedding):
            yield from (p for p in module._parameters.values() if p is not None and p.dim() > 1)


def scale(program: Program, factor: float) -> None:
    """Multiply every weight matrix."""
    with torch.no_grad():
        for weight in matrices(program.model):
            weight.mul_(factor)


@cases.mutant(37, ["mlp", "cnn", "gru", "regression"], accepts=SCALE)
def weights_50_times(program: Program) -> None:
    """Every weight matrix starts 50 times too large."""
    scale(program, 50.0)


@cases.mutant(37, ["mlp", "resnet", "binary"], accepts=SCALE)
def normal_with_std_1(program: Program) -> None:
    """Weights are drawn from N(0, 1) whatever the layer's width."""
    for weight in matrices(program.model):
        nn.init.normal_(weight)


@cases.mutant(37, ["mlp", "vit"], accepts=SCALE, place={"mlp": "4", "vit": "head"})
def head_100_times(program: Program) -> None:
    """The head starts 100 times too large."""
    head = program.model[-1] if isinstance(program.model, nn.Sequential) else program.model.head
    with torch.no_grad():
        head.weight.mul_(100.0)


@cases.mutant(39, ["mlp", "binary", "cnn"], accepts=SCALE)
def weights_a_thousandth(program: Program) -> None:
    """Every weight matrix starts a thousand times too small."""
    scale(program, 1e-3)


@cases.mutant(39, ["mlp", "gru"], accepts=SCALE)
def normal_with_std_1e_4(program: Program) -> None:
    """Weights are drawn from N(0, 1e-4)."""
    for weight in matrices(program.model):
        nn.init.normal_(weight, std=1e-4)


@cases.mutant(38, ["mlp", "cnn", "regression", "gru"], accepts=SYMMETRY)
def constant_weights(program: Program) -> None:
    """Every weight is 0.05."""
    for weight in matrices(program.model):
        nn.init.constant_(weight, 0.05)


@cases.mutant(38, ["mlp", "binary", "vit"], accepts=SYMMETRY)
def zero_weights(program: Program) -> None:
    """Every weight is 0."""
    for weight in matrices(program.model):
        nn.init.zeros_(weight)


@cases.mutant(38, ["mlp", "cnn"], accepts=SYMMETRY, place={"mlp": "2", "cnn": "3"})
def one_constant_layer(program: Program) -> None:
    """One layer in the middle starts with ones."""
    layers = [m for m in program.model if isinstance(m, nn.Linear | nn.Conv2d)]
    nn.init.ones_(layers[1].weight)


def pretrained(program: Program, epochs: int = 2) -> None:
    """Train the network for a while, so that its weights are those of a checkpoint."""
    epochs, program.epochs = program.epochs, epochs
    program.train(Nothing())
    program.epochs = epochs


def freeze(program: Program) -> list[nn.Module]:
    """Freeze all but the last layer of a sequential network, give that a new start, and return the frozen layers."""
    *body, head = program.model
    head.reset_parameters()
    for module in body:
        module.requires_grad_(False)
    return [m for m in body if isinstance(m, nn.Linear | nn.Conv2d)]


@cases.mutant(40, ["mlp", "cnn", "binary"], accepts=LOADED, place={"mlp": "2", "cnn": "6", "binary": "2"})
def initialised_after_loading(program: Program) -> None:
    """A layer of the loaded and frozen body is initialised again."""
    pretrained(program)
    freeze(program)[-1].reset_parameters()  # type: ignore[operator]


@cases.mutant(41, ["mlp", "cnn"], accepts=LOADED, place="0")
def half_of_the_keys_match(program: Program) -> None:
    """load_state_dict(strict=False) with keys of which only those of the later layers match."""
    fresh = {name: value.clone() for name, value in program.model.state_dict().items()}
    pretrained(program)
    state = {
        ("backbone." if name.startswith("0.") else "") + name: v.clone()
        for name, v in program.model.state_dict().items()
    }
    program.model.load_state_dict(fresh)
    program.model.load_state_dict(state, strict=False)
    freeze(program)


@cases.mutant(42, ["mlp", "binary"], accepts=REPEATED, place="2")
def list_times_n(program: Program) -> None:
    """Three hidden layers made as [layer] * 3."""
    first, act, hidden, _, head = program.model
    program.model = nn.Sequential(first, act, *[hidden, nn.ReLU()] * 3, head)


@cases.mutant(42, ["vit", "gpt"], accepts=REPEATED, place="blocks.0")
def one_block_in_every_place(program: Program) -> None:
    """The blocks of a transformer are one block."""
    block = program.model.blocks[0]
    program.model.blocks = nn.Sequential(*[block] * 3)


class Typo(nn.Module):
    """Meant: fc1, fc2, fc3."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3, self.head = layers

    def forward(self, x: Tensor) -> Tensor:
        """(N, F) -> (N, C)."""
        x = self.fc1(x).relu()
        x = self.fc2(x).relu()
        x = self.fc2(x).relu()
        return self.head(x)


@cases.mutant(42, ["mlp", "binary"], accepts=REPEATED | {"parameters-never-used"}, place="fc")
def name_typed_twice(program: Program) -> None:
    """fc2 is called where fc3 was meant."""
    first, _, hidden, _, head = program.model
    program.model = Typo([first, hidden, nn.Linear(hidden.in_features, hidden.out_features), head])


@cases.mutant(43, ["gpt"], accepts={"tie-broken"}, place="head")
def tied_by_a_copy(program: Program) -> None:
    """The head gets a copy of the embedding's weight, not the weight."""
    nn.init.normal_(program.model.embed.weight, std=0.05)
    program.model.head.weight = nn.Parameter(program.model.embed.weight.detach().clone())


@cases.mutant(43, ["gpt"], accepts={"tie-broken"}, place="head")
def tie_lost_by_assigning(program: Program) -> None:
    """A tied model is restored with assign=True from a checkpoint that holds the shared weight under both names."""
    model = program.model
    nn.init.normal_(model.embed.weight, std=0.05)
    model.head.weight = model.embed.weight
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
