"""Faults of the shape of a network: maps pooled to one cell, bottlenecks of one number."""

from benchmarks.chart.case import Cases
from benchmarks.chart.program import Program
from torch import nn

cases = Cases("architecture")

COLLAPSED = {"map-of-one-cell", "feature-map-collapsed"}
NARROW = {"one-number-bottleneck", "cannot-overfit-one-batch"}


@cases.mutant(77, ["cnn"], accepts=COLLAPSED, place="4")
def pooled_before_the_last_convolutions(program: Program) -> None:
    """Global pooling stands before the last convolutions, not behind them."""
    program.model.insert(3, nn.AdaptiveAvgPool2d(1))
    program.model[4] = nn.Conv2d(16, 32, 3, padding=1, bias=False)


@cases.mutant(77, ["cnn"], accepts=COLLAPSED)
def stem_of_large_images(program: Program) -> None:
    """A stem of stride 8 in all, made for large images, on images of 8 pixels."""
    program.model.insert(1, nn.MaxPool2d(4, 4))
    program.model[0] = nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False)


@cases.mutant(77, ["resnet"], accepts=COLLAPSED, place="layer")
def strides_of_a_large_network(program: Program) -> None:
    """A stem that divides the side by 16, as for large photographs, on small images."""
    program.model.stem.append(nn.AvgPool2d(16))


@cases.mutant(78, ["mlp"], accepts=NARROW, place="2")
def hidden_layer_of_one_unit(program: Program) -> None:
    """The second hidden layer has one unit."""
    first, last = program.model[0], program.model[-1]
    program.model[2] = nn.Linear(first.out_features, 1)
    program.model[4] = nn.Linear(1, last.out_features)


@cases.mutant(78, ["cnn", "resnet"], accepts=NARROW)
def head_through_one_unit(program: Program) -> None:
    """The head goes through one unit."""
    head = program.model[-1] if isinstance(program.model, nn.Sequential) else program.model.fc
    narrow = nn.Sequential(nn.Linear(head.in_features, 1), nn.Linear(1, head.out_features))
    if isinstance(program.model, nn.Sequential):
        program.model[-1] = narrow
    else:
        program.model.fc = narrow
