"""The smallest faults, as an example of how they are written."""

from benchmarks.chart.case import Cases
from benchmarks.chart.program import Program
from torch import nn

cases = Cases("example")


@cases.mutant(1, ["mlp", "gpt"], accepts=["gradients-not-cleared"])
def no_zero_grad(program: Program) -> None:
    """Nobody clears the gradients."""
    program.zero_grad = program.nothing


@cases.mutant(61, ["mlp", "cnn"], accepts=["dead-relu"], place={"mlp": "3", "cnn": "5"})
def bias_of_minus_20(program: Program) -> None:
    """The bias before the second ReLU is -20, so that it passes nothing."""
    layers = [m for m in program.model if isinstance(m, nn.Linear | nn.BatchNorm2d)]
    nn.init.constant_(layers[1].bias, -20.0)
