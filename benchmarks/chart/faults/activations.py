"""Faults of what flows through the layers: dead, saturated, exploding, dropped, normalised wrongly, rounded."""

import torch
from benchmarks.chart.case import Cases
from benchmarks.chart.networks import mlp
from benchmarks.chart.program import Program
from torch import Tensor, nn

cases = Cases("activations")

DEAD = {"dead-relu"}
STATISTICS = {"running-statistics-unusable"}


@cases.mutant(35, ["mlp", "binary"], accepts={"vanishing-gradient"}, place={"mlp": "0", "binary": "0"})
def deep_sigmoid_stack(program: Program) -> None:
    """Eight layers with sigmoid between them, plain SGD."""
    outputs = program.model[-1].out_features
    program.model = mlp(64, 32, outputs, depth=8, act=nn.Sigmoid)
    program.optimizer, program.lr = torch.optim.SGD, 0.05


@cases.mutant(35, ["regression", "mlp"], accepts={"vanishing-gradient"})
def deep_saturated_tanh(program: Program) -> None:
    """Ten layers whose tanh are driven into saturation by a bias of 4."""
    first, last = program.model[0], program.model[-1]
    program.model = mlp(first.in_features, 32, last.out_features, depth=10, act=nn.Tanh)
    for module in program.model[:-1]:
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.bias, 4.0)
    program.optimizer, program.lr = torch.optim.SGD, 0.01


class Unrolled(nn.Module):
    """A plain recurrent network with ReLU that reads its sequence several times over."""

    def __init__(self, features: int, classes: int, width: int = 32, times: int = 4) -> None:
        super().__init__()
        self.rnn, self.head = nn.RNN(features, width, batch_first=True, nonlinearity="relu"), nn.Linear(width, classes)
        self.times = times
        nn.init.eye_(self.rnn.weight_hh_l0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, features) -> (N, classes)."""
        return self.head(self.rnn(x.repeat(1, self.times, 1))[0][:, -1])


@cases.mutant(36, ["gru", "lstm"], accepts={"exploding-gradient"})
def long_sequence_without_clip(program: Program) -> None:
    """A plain recurrent network that starts at the identity, over a long sequence, and no clipping."""
    program.model = Unrolled(2, 4)
    program.clip_norm = None
    program.optimizer, program.lr = torch.optim.SGD, 0.01


@cases.mutant(61, ["binary", "regression"], accepts=DEAD, place={"binary": "3", "regression": "1"})
def hidden_bias_of_minus_20(program: Program) -> None:
    """A hidden layer's bias starts at -20."""
    layers = [m for m in program.model if isinstance(m, nn.Linear)]
    nn.init.constant_(layers[-2].bias, -20.0)


class Functional(nn.Module):
    """The same network with relu called as a function."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = nn.ModuleList(m for m in layers if isinstance(m, nn.Linear))

    def forward(self, x: Tensor) -> Tensor:
        """(N, F) -> (N, C)."""
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


@cases.mutant(61, ["mlp", "binary"], accepts=DEAD)
def dead_function(program: Program) -> None:
    """A hidden layer's bias starts at -30, and relu is called as a function."""
    program.model = Functional(program.model)
    nn.init.constant_(program.model.layers[1].bias, -30.0)


@cases.mutant(62, ["mlp", "binary"], accepts={"dead-relu", "lr-too-high", "lr-jump"})
def one_giant_step(program: Program) -> None:
    """A schedule that multiplies the learning rate by 3000 in one step kills the hidden units."""
    program.optimizer, program.lr = torch.optim.SGD, 0.05
    program.scheduler = lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda i: 3000.0 if i == 40 else 1.0)


@cases.mutant(63, ["mlp", "cnn", "binary"], accepts={"dropout-drops-most", "dropout-too-high"})
def dropout_95(program: Program) -> None:
    """Dropout of 0.95 before the head."""
    program.model.insert(len(program.model) - 1, nn.Dropout(0.95))


@cases.mutant(63, ["vit", "gpt"], accepts={"dropout-drops-most", "dropout-too-high"}, place="drop")
def keep_probability_as_drop(program: Program) -> None:
    """The probability to keep, 0.9, is given as the one to drop."""
    for block in program.model.blocks:
        block.drop.p = 0.9


@cases.mutant(65, ["cnn", "resnet", "unet"], accepts={"batchnorm-few-samples", "batchnorm-tiny-batch"})
def batches_of_two(program: Program) -> None:
    """Batch norm is trained on two samples at a time."""
    program.batch_size, program.epochs = 2, 1
    program.scheduler = None  # Made for fewer steps.
    program.lr /= 4


@cases.mutant(65, ["cnn", "resnet"], accepts={"batchnorm-few-samples", "batchnorm-tiny-batch"})
def micro_batches_of_two(program: Program) -> None:
    """Gradients of 16 micro-batches of two add up; batch norm sees each alone."""
    program.batch_size, program.accumulate, program.epochs = 2, 16, 1


def norms(program: Program) -> list[nn.BatchNorm2d]:
    """The batch norm layers of the model."""
    return [m for m in program.model.modules() if isinstance(m, nn.BatchNorm2d)]


@cases.mutant(66, ["cnn", "resnet", "unet"], accepts=STATISTICS)
def momentum_0(program: Program) -> None:
    """The running statistics never move."""
    for norm in norms(program):
        norm.momentum = 0.0


@cases.mutant(66, ["cnn", "unet"], accepts=STATISTICS)
def momentum_of_keras(program: Program) -> None:
    """momentum=0.99, as Keras counts it."""
    for norm in norms(program):
        norm.momentum = 0.99


@cases.mutant(66, ["cnn", "resnet"], accepts=STATISTICS)
def eps_of_10(program: Program) -> None:
    """eps and momentum are confounded, and eps is far above every variance."""
    for norm in norms(program):
        norm.eps = 10.0


@cases.mutant(68, ["cnn", "resnet", "vit"], accepts={"validation-in-train-mode"})
def eval_forgotten(program: Program) -> None:
    """model.eval() is never called before validation."""
    program.eval_mode = program.nothing


class Rounded(nn.Module):
    """Rounds to a grid, as deployment will."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> the same, rounded to quarters."""
        return (x * 4).round() / 4


@cases.mutant(30, ["mlp", "cnn", "binary"], accepts={"step-function-in-forward", "gradient-always-zero"})
def rounded_in_the_middle(program: Program) -> None:
    """Activations are rounded before the last layers."""
    program.model.insert(len(program.model) - 1, Rounded())
