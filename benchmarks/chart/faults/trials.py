"""Faults that an experiment on the network shows: no nonlinearity, dropout in eval mode, mixed samples, too small."""

from benchmarks.chart.case import Cases
from benchmarks.chart.program import Program
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = Cases("trials")

LINEAR = {"linear-network", "missing-nonlinearity"}
MIXED = {"samples-mixed"}
SMALL = {"cannot-overfit-one-batch", "one-number-bottleneck"}


def _without(program: Program, kind: type[nn.Module]) -> None:
    for module in program.model.modules():
        for name, child in module.named_children():
            if isinstance(child, kind):
                setattr(module, name, nn.Identity())


@cases.mutant(59, ["mlp", "cnn", "resnet", "regression", "binary"], accepts=LINEAR)
def no_activations(program: Program) -> None:
    """The activations between the layers are gone."""
    _without(program, nn.ReLU)


class EvalDropout(nn.Module):
    """Dropout that nobody told about modes."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) -> the same, half of it 0."""
        return F.dropout(x, 0.5)


ALWAYS = {"evaluation-not-deterministic"}


@cases.mutant(64, ["mlp", "binary"], accepts=ALWAYS, place="4")
def dropout_as_a_function(program: Program) -> None:
    """F.dropout without `training=self.training` before the head."""
    program.model.insert(4, EvalDropout())


@cases.mutant(64, ["vit"], accepts=ALWAYS, place={"vit": "blocks.0.drop"})
def dropout_module_that_ignores_eval(program: Program) -> None:
    """A dropout module whose train mode was pinned, as wrappers around several models do."""
    for block in program.model.blocks:
        block.drop.p = 0.3
        block.drop.train(True)
        block.drop.train = lambda mode=True, drop=block.drop: drop


@cases.mutant(64, ["gru"], accepts=ALWAYS)
def dropout_on_the_recurrent_output(program: Program) -> None:
    """The last output of the recurrent layer goes through F.dropout in both modes."""
    program.model.head = nn.Sequential(EvalDropout(), program.model.head)


@cases.mutant(76, ["gru", "lstm"], accepts=MIXED)
def batch_first_forgotten(program: Program) -> None:
    """The recurrent layer takes (time, batch, features) and gets (batch, time, features)."""
    program.model.rnn.batch_first = False


class Viewed(nn.Module):
    """Swaps axes by `view`, which leaves the memory as it is."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, F) -> (N, F) with the values of other samples in it."""
        return x.contiguous().view(x.shape[1], x.shape[0]).t()


@cases.mutant(76, ["mlp", "regression"], accepts=MIXED)
def view_for_permute(program: Program) -> None:
    """A layer's output is viewed as (features, batch) and transposed, where nothing had to be done."""
    program.model.insert(2, Viewed())


class AttentionOverBatch(nn.Module):
    """A transformer layer that expects (time, batch, width)."""

    def __init__(self, inner: nn.Module, width: int) -> None:
        super().__init__()
        self.inner = inner
        self.layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D): attention runs over the samples."""
        return self.layer(self.inner(x))


@cases.mutant(76, ["vit"], accepts=MIXED)
def attention_over_the_batch(program: Program) -> None:
    """A transformer layer without batch_first=True after the blocks."""
    program.model.blocks = AttentionOverBatch(program.model.blocks, 32)


@cases.mutant(78, ["mlp", "cnn", "resnet"], accepts=SMALL)
def too_narrow(program: Program) -> None:
    """A layer of one unit through which everything has to pass."""
    if isinstance(program.model, nn.Sequential):
        last = program.model[-1]
        program.model[-1] = nn.Sequential(nn.Linear(last.in_features, 1), nn.Tanh(), nn.Linear(1, last.out_features))
    else:
        program.model.fc = nn.Sequential(nn.Linear(32, 1), nn.Tanh(), nn.Linear(1, 3))
