"""Graphs that are cut, that reach nothing, or that never end."""

from collections.abc import Callable
from typing import Any

import torch
from benchmarks.chart.case import Cases
from benchmarks.chart.program import Program
from benchmarks.chart.subjects import SUBJECTS
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = Cases("graph")


class Apply(nn.Module):
    """A function as a layer."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        """Whatever the function gives."""
        return self.call(x)


def insert(program: Program, call: Callable[[Tensor], Tensor]) -> None:
    """Put `call` behind the middle of a network."""
    model = program.model
    if isinstance(model, nn.Sequential):
        layers = list(model)
        place = 2 if len(layers) < 8 else 6
        layers[place - 1] = nn.Sequential(layers[place - 1], Apply(call))
        program.model = nn.Sequential(*layers)
        return
    name = next(n for n in ("layer2", "blocks", "rnn") if hasattr(model, n))
    part = getattr(model, name)
    if name == "rnn":
        part.register_forward_hook(lambda m, i, o: (call(o[0]), o[1]))
    else:
        setattr(model, name, nn.Sequential(part, Apply(call)))


PLACES = {"mlp": "0.", "cnn": "0.|1.|3.|4.", "resnet": "layer2|stem|layer1", "vit": "patches|blocks|cls|position"}


@cases.mutant(
    27, ["mlp", "cnn", "resnet", "vit", "gru"], accepts=["layer-without-gradient"], place=PLACES | {"gru": "rnn"}
)
def detach_in_the_middle(program: Program) -> None:
    """The features are detached behind the middle of the network."""
    insert(program, lambda x: x.detach())


@cases.mutant(27, ["mlp", "resnet"], accepts=["layer-without-gradient"], place=PLACES)
def through_numpy(program: Program) -> None:
    """The features take a way through numpy."""
    insert(program, lambda x: torch.from_numpy(x.detach().numpy().copy()))


@cases.mutant(28, ["mlp", "cnn", "regression"], accepts=["loss-without-graph", "no-backward"])
def loss_made_anew(program: Program) -> None:
    """The loss is made a new tensor with requires_grad set, because backward had complained."""
    inner = program.loss_fn
    program.loss_fn = lambda out, y: torch.tensor(inner(out, y).item(), requires_grad=torch.is_grad_enabled())
    program.reported = lambda: program.loss


@cases.mutant(28, ["gru", "vit"], accepts=["loss-without-graph", "no-backward"])
def loss_data_wrapped(program: Program) -> None:
    """`loss.data` is differentiated; the loop logs a number."""
    inner = program.loss_fn
    program.loss_fn = lambda out, y: inner(out, y).data.requires_grad_(torch.is_grad_enabled())


@cases.mutant(29, ["mlp", "resnet", "gru"], accepts=["forward-without-grad"])
def forward_under_no_grad(program: Program) -> None:
    """The network runs under no_grad in training."""

    def forward() -> None:
        with torch.no_grad():
            program.outputs = program.model(program.inputs)
        program.loss = program.loss_fn(program.outputs.requires_grad_(), program.targets)

    program.forward = forward


@cases.mutant(
    30,
    ["mlp", "cnn", "vit"],
    accepts=["gradient-always-zero", "layer-without-gradient", "step-function-in-forward"],
    place=PLACES,
)
def rounded_features(program: Program) -> None:
    """The features are rounded, whose derivative is 0 everywhere."""
    insert(program, torch.round)


@cases.mutant(
    30,
    ["mlp", "resnet"],
    accepts=["layer-without-gradient", "gradient-always-zero", "step-function-in-forward"],
    place=PLACES,
)
def comparison_in_the_path(program: Program) -> None:
    """The features are compared with 0 and turned into numbers again."""
    insert(program, lambda x: (x > 0).float())


class WithBranch(nn.Module):
    """A network and an auxiliary head that forward forgets."""

    def __init__(self, inner: nn.Module, features: int) -> None:
        super().__init__()
        self.inner = inner
        self.aux = nn.Sequential(nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        """What `inner` gives."""
        return self.inner(x)


@cases.mutant(31, ["mlp", "cnn", "gru"], accepts=["parameters-never-used"], place="aux")
def unused_branch(program: Program) -> None:
    """An auxiliary head is built and never called."""
    program.model = WithBranch(program.model, 64)


class Listed(nn.Module):
    """Hidden layers in a Python list."""

    def __init__(self, features: int, width: int, outputs: int, depth: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(features, width), nn.Linear(width, outputs)
        self.hidden = [nn.Linear(width, width) for _ in range(depth)]

    def forward(self, x: Tensor) -> Tensor:
        """(N, features) -> (N, outputs)."""
        x = F.relu(self.stem(x))
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.head(x)


@cases.mutant(32, ["mlp", "binary", "regression"], accepts=["unregistered-layers"], place="hidden")
def layers_in_a_list(program: Program) -> None:
    """The hidden layers stand in a Python list."""
    first, last = program.model[0], program.model[-1]
    program.model = Listed(first.in_features, 48, last.out_features, 3)


class Scaled(nn.Module):
    """A network with a learnt scale that is a plain tensor."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.gain = torch.ones(64, requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 64) -> what `inner` gives."""
        return self.inner(x * self.gain)


@cases.mutant(32, ["mlp", "binary"], accepts=["unregistered-layers"], place="gain")
def plain_tensor(program: Program) -> None:
    """A learnt scale is a tensor and no nn.Parameter."""
    program.model = Scaled(program.model)


@cases.mutant(34, ["mlp", "cnn", "gpt"], accepts=["graph-grows"])
def total_of_losses(program: Program) -> None:
    """`total += loss` keeps the graph of every step."""
    total: list[Any] = [0.0]
    step = program.step

    def stepped() -> None:
        step()
        total[0] = total[0] + program.loss

    program.step = stepped


@cases.mutant(34, ["vit", "regression"], accepts=["graph-grows"])
def outputs_kept(program: Program) -> None:
    """Outputs are kept for a score over the whole run, with their graph."""
    kept: list[Any] = []
    step = program.step

    def stepped() -> None:
        step()
        kept.append(program.outputs)

    program.step = stepped
    program.kept = kept


class Memory(nn.Module):
    """A running mean of the features, carried from batch to batch with its graph."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(features, 24), nn.Linear(24, classes)
        self.mean = torch.zeros(24)

    def forward(self, x: Tensor) -> Tensor:
        """(N, features) or (N, T, features) -> (N, classes)."""
        h = F.relu(self.stem(x))
        h = h.mean(1) if h.dim() == 3 else h
        if torch.is_grad_enabled():
            self.mean = 0.9 * self.mean + 0.1 * h.mean(0)
        return self.head(h + self.mean.detach() if not torch.is_grad_enabled() else h + self.mean)


@cases.restated("gru", number=33, accepts=["graph-grows"])
def memory_of_series_carried(harness: Any, seed: int) -> float:
    """A memory is carried from batch to batch, and retain_graph=True silenced the error."""
    return carried(harness, SUBJECTS["gru"](seed), Memory(2, 4))


@cases.restated("mlp", number=33, accepts=["graph-grows"])
def memory_of_digits_carried(harness: Any, seed: int) -> float:
    """The same in a network for digits."""
    return carried(harness, SUBJECTS["mlp"](seed), Memory(64, 10))


def carried(harness: Any, program: Program, model: nn.Module) -> float:
    """Two epochs with retain_graph; more take too long, which is the fault."""
    program.model = model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for epoch in range(2):
        program.epoch_number = epoch
        for x, y in program.loader():
            optimizer.zero_grad()
            out = model(x)
            loss = F.cross_entropy(out, y)
            loss.backward(retain_graph=True)
            optimizer.step()
            harness.step(loss=loss.item(), inputs=x, targets=y, outputs=out)
        harness.epoch(train={"loss": loss.item()})
    return float(program.final_score() or 0.0)
