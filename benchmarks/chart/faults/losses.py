"""Faults of losses and of what goes into them: types 44 to 60."""

from typing import Any

import torch
from benchmarks.chart.case import Cases
from benchmarks.chart.program import Program
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = Cases("losses")


class Behind(nn.Module):
    """The network, and one thing more behind it."""

    def __init__(self, body: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.body, self.last = body, last

    def forward(self, x: Tensor) -> Any:
        """The network's output, passed on."""
        return self.last(self.body(x))


def flat(out: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs as (M, C) and targets as (M,), for sequences as for single answers."""
    return out.reshape(-1, out.shape[-1]), y.reshape(-1)


@cases.mutant(44, ["mlp", "cnn", "vit"], accepts=["softmax-before-cross-entropy"], place="output")
def softmax_in_the_model(program: Program) -> None:
    """The model ends with a softmax, and cross-entropy applies it again."""
    program.model = Behind(program.model, nn.Softmax(1))


@cases.mutant(44, ["gru", "resnet"], accepts=["softmax-before-cross-entropy"], place="output")
def softmax_in_the_loss(program: Program) -> None:
    """The loop applies a softmax before cross-entropy does."""
    program.loss_fn = lambda out, y: F.cross_entropy(F.softmax(out, dim=-1), y)


@cases.mutant(45, ["mlp", "resnet", "gru"], accepts=["relu-on-logits", "activation-on-output"], place="output")
def relu_on_the_logits(program: Program) -> None:
    """A ReLU sits behind the last linear layer."""
    program.model = Behind(program.model, nn.ReLU())


@cases.mutant(46, ["mlp", "lstm"], accepts=["softmax-over-batch"], place="output")
def log_softmax_over_the_batch(program: Program) -> None:
    """The loss takes its softmax over axis 0."""
    program.loss_fn = lambda out, y: F.nll_loss(F.log_softmax(out, dim=0), y)


@cases.mutant(46, ["cnn", "vit"], accepts=["softmax-over-batch"], place="output")
def softmax_over_the_batch(program: Program) -> None:
    """The model ends with a softmax over axis 0."""
    program.model = Behind(program.model, nn.Softmax(0))


@cases.mutant(47, ["mlp", "gru", "cnn"], accepts=["nll-without-log-softmax"], place="output")
def nll_of_raw_outputs(program: Program) -> None:
    """The negative log-likelihood gets raw outputs."""
    program.loss_fn = nn.NLLLoss()


@cases.mutant(47, ["resnet", "lstm"], accepts=["nll-without-log-softmax"], place="output")
def nll_of_probabilities(program: Program) -> None:
    """The negative log-likelihood gets probabilities; the logarithm is missing."""
    program.loss_fn = lambda out, y: F.nll_loss(F.softmax(out, dim=1), y)


@cases.mutant(48, ["binary"], accepts=["binary-loss-of-wrong-outputs"], place="output")
def sigmoid_twice(program: Program) -> None:
    """The model ends with a sigmoid, and the loss applies it again."""
    program.model = Behind(program.model, nn.Sigmoid())


@cases.mutant(
    48, ["mlp", "cnn"], accepts=["binary-loss-of-wrong-outputs", "softmax-before-cross-entropy"], place="output"
)
def probabilities_into_bce_with_logits(program: Program) -> None:
    """One-against-all with a sigmoid in the model and one in the loss."""
    program.model = Behind(program.model, nn.Sigmoid())
    program.train_data.y, program.val_data.y = (F.one_hot(d.y).float() for d in (program.train_data, program.val_data))
    program.loss_fn = F.binary_cross_entropy_with_logits
    program.score_fn = lambda out, y: float((out.argmax(1) == y.argmax(1)).float().mean())


@cases.mutant(48, ["binary"], accepts=["binary-loss-of-wrong-outputs"], place="output")
def bce_of_clamped_logits(program: Program) -> None:
    """Logits, cut to 0..1, go into the binary cross-entropy of probabilities."""
    program.loss_fn = lambda out, y: F.binary_cross_entropy(out.clamp(1e-7, 1 - 1e-7), y)


@cases.mutant(49, ["binary", "regression"], accepts=["single-output-cross-entropy"], place="loss")
def cross_entropy_of_one_output(program: Program) -> None:
    """Cross-entropy over a single output, which is always 0."""
    program.loss_fn = F.cross_entropy


@cases.mutant(50, ["mlp", "resnet", "lstm"], accepts=["squared-loss-on-classes"], place="loss")
def squared_error_of_classes(program: Program) -> None:
    """A squared error between softmax and one-hot classes."""
    program.loss_fn = lambda out, y: F.mse_loss(F.softmax(out, 1), F.one_hot(y, out.shape[1]).float())


@cases.mutant(50, ["mlp", "cnn"], accepts=["squared-loss-on-classes"], place="loss")
def class_id_regressed(program: Program) -> None:
    """One output is drawn to the class id."""
    last = program.model[-1]
    program.model[-1] = nn.Linear(last.in_features, 1)
    program.loss_fn = lambda out, y: F.mse_loss(out[:, 0], y.float())
    program.score_fn = lambda out, y: float((out[:, 0].round() == y).float().mean())


@cases.mutant(50, ["regression"], accepts=["cross-entropy-of-numbers"], place="target")
def binary_loss_of_a_number(program: Program) -> None:
    """A binary cross-entropy takes the standardised number for a probability."""
    program.loss_fn = nn.BCEWithLogitsLoss()


@cases.mutant(50, ["regression"], accepts=["cross-entropy-of-numbers"], place="target")
def number_cut_to_a_class(program: Program) -> None:
    """The number is cut to a whole one and taken for a class."""
    program.model[-1] = nn.Linear(32, 8)
    program.train_data.y, program.val_data.y = program.train_data.y + 3, program.val_data.y + 3
    program.loss_fn = lambda out, y: F.cross_entropy(out, y[:, 0].clamp(0, 7).long())
    program.score_fn = lambda out, y: float(1 - (out.argmax(1) - y[:, 0]).square().mean() / y.var(correction=0))


@cases.mutant(51, ["regression"], accepts=["broadcast-loss"], place="loss")
def flat_targets(program: Program) -> None:
    """Targets (N,) against outputs (N, 1): the difference is (N, N)."""
    program.train_data.y, program.val_data.y = program.train_data.y[:, 0], program.val_data.y[:, 0]
    program.loss_fn = lambda out, y: ((out - y) ** 2).mean()
    program.score_fn = lambda out, y: float(1 - (out[:, 0] - y).square().mean() / y.var(correction=0))


@cases.mutant(51, ["binary"], accepts=["broadcast-loss"], place="loss")
def flat_targets_absolute(program: Program) -> None:
    """Probabilities (N, 1) and targets (N,) in an absolute difference of one's own."""
    program.train_data.y, program.val_data.y = program.train_data.y[:, 0], program.val_data.y[:, 0]
    program.model = Behind(program.model, nn.Sigmoid())
    program.loss_fn = lambda out, y: (out - y).abs().mean()
    program.score_fn = lambda out, y: float(((out[:, 0] > 0.5) == (y > 0.5)).float().mean())


@cases.mutant(52, ["mlp", "cnn", "gpt", "regression"], accepts=["gradient-ascent"], place="loss")
def sign_flipped(program: Program) -> None:
    """The negative of the loss is minimised."""
    sound = program.loss_fn
    program.loss_fn = lambda out, y: -sound(out, y)


@cases.mutant(52, ["resnet", "lstm"], accepts=["gradient-ascent"], place="loss")
def optimizer_maximizes(program: Program) -> None:
    """The optimizer was made with maximize=True."""
    program.options["maximize"] = True


@cases.mutant(53, ["cnn", "resnet"], accepts=["loss-summed-over-batch"], place="loss")
def summed_over_the_batch(program: Program) -> None:
    """reduction="sum" at the rate of a mean."""
    program.loss_fn = nn.CrossEntropyLoss(reduction="sum")


@cases.mutant(53, ["regression"], accepts=["loss-summed-over-batch"], place="loss")
def squared_errors_summed(program: Program) -> None:
    """Squared errors are summed, at SGD's rate for a mean."""
    program.optimizer, program.lr = torch.optim.SGD, 0.1
    program.loss_fn = nn.MSELoss(reduction="sum")


@cases.mutant(54, ["mlp", "gru"], accepts=["loss-not-finite"], place="loss")
def log_of_zero(program: Program) -> None:
    """The logarithm of a probability that rounds to 0 is taken by hand."""

    def loss(out: Tensor, y: Tensor) -> Tensor:
        p = (30 * out).softmax(1)
        p = torch.where(p < 0.02, 0.0, p)
        return -torch.log(p.gather(1, y[:, None])).mean()

    program.loss_fn = loss


@cases.mutant(55, ["mlp", "gpt", "unet"], accepts=["targets-ignored"], place="target")
def all_targets_ignored(program: Program) -> None:
    """Every target is the id that the loss ignores."""
    program.augment = lambda x, y: (x, torch.full_like(y, -100))


@cases.mutant(55, ["gru", "resnet"], accepts=["targets-ignored"], place="target")
def a_class_ignored(program: Program) -> None:
    """ignore_index is a real class."""
    program.loss_fn = nn.CrossEntropyLoss(ignore_index=0)


@cases.mutant(56, ["mlp", "lstm", "resnet"], accepts=["class-weights-off"], place="loss")
def weights_all_zero(program: Program) -> None:
    """Every class weighs 0."""
    classes = int(program.train_data.y.max()) + 1
    weight = torch.zeros(classes)
    program.loss_fn = lambda out, y: F.cross_entropy(out, y, weight=weight, reduction="sum") / len(y)


@cases.mutant(56, ["mlp", "cnn"], accepts=["class-weights-off"], place="loss")
def weights_by_frequency(program: Program) -> None:
    """Weights in proportion to the counts of unequal classes, not to their inverse."""
    y = program.train_data.y
    keep = (y < 3) | (torch.arange(len(y)) % 6 == 0)
    program.train_data = type(program.train_data)(program.train_data.x[keep], y[keep])
    counts = torch.bincount(program.train_data.y, minlength=10).float()
    program.loss_fn = nn.CrossEntropyLoss(weight=counts / counts.mean())
    program.epochs *= 2


@cases.mutant(57, ["mlp", "cnn", "gpt"], accepts=["label-smoothing-too-strong"], place="loss")
def smoothing_of_nine_tenths(program: Program) -> None:
    """Labels are smoothed by 0.9."""
    program.loss_fn = lambda out, y: F.cross_entropy(*flat(out, y), label_smoothing=0.9)


@cases.mutant(58, ["mlp", "cnn"], accepts=["unused-outputs", "head-class-count-mismatch"], place="output")
def head_for_a_thousand(program: Program) -> None:
    """The head has 1000 outputs for 10 classes."""
    program.model[-1] = nn.Linear(program.model[-1].in_features, 1000)


@cases.mutant(58, ["mlp", "cnn"], accepts=["unused-outputs", "head-class-count-mismatch"], place="output")
def head_with_one_too_many(program: Program) -> None:
    """The head has one output more than there are classes."""
    program.model[-1] = nn.Linear(program.model[-1].in_features, 11)


@cases.mutant(58, ["mlp", "cnn"], accepts=["stopped-by-error", "head-class-count-mismatch"])
def head_with_one_too_few(program: Program) -> None:
    """The head has one output less than there are classes."""
    program.model[-1] = nn.Linear(program.model[-1].in_features, 9)


@cases.mutant(60, ["regression"], accepts=["output-cannot-reach-targets"], place="output")
def tanh_for_large_targets(program: Program) -> None:
    """The head is a tanh and the targets are of the order of 1e4."""
    program.model = Behind(program.model, nn.Tanh())
    program.train_data.y, program.val_data.y = 1e4 * program.train_data.y, 1e4 * program.val_data.y


@cases.mutant(60, ["regression"], accepts=["output-cannot-reach-targets"], place="output")
def sigmoid_for_signed_targets(program: Program) -> None:
    """The head is a sigmoid and half of the targets are negative."""
    program.model = Behind(program.model, nn.Sigmoid())


@cases.mutant(60, ["binary"], accepts=["output-cannot-reach-targets"], place="output")
def tanh_for_counts(program: Program) -> None:
    """The number of dark pixels, up to 64, is regressed by a tanh."""
    for part in (program.train_data, program.val_data):
        part.y = (part.x > 8).float().sum(1, keepdim=True)
    program.model = Behind(program.model, nn.Tanh())
    program.loss_fn = nn.MSELoss()
    program.score_fn = lambda out, y: float(1 - (out - y).square().mean() / y.var(correction=0))
