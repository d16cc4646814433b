"""Faults of labels, of values in the data, of metrics and of what is kept: types 85 to 87, 95 to 98 and 100."""

from typing import Any

import torch
from benchmarks.chart import data
from benchmarks.chart.case import Cases
from benchmarks.chart.program import Program
from torch import Tensor, nn

cases = Cases("labels")


@cases.mutant(85, ["mlp", "gru", "unet", "binary"], accepts=["one-class-targets"], place="target")
def labels_all_one_class(program: Program) -> None:
    """Every label is read as 0."""
    program.train_data.y = torch.zeros_like(program.train_data.y)


@cases.mutant(86, ["mlp", "binary"], accepts=["majority-predicted"], place="target")
def ninety_nine_to_one(program: Program) -> None:
    """98 to 99 of 100 samples are of one class, and the others look alike."""
    draw = torch.Generator().manual_seed(program.seed)
    for part in (program.train_data, program.val_data):
        rare = torch.rand(len(part.y), generator=draw) < 0.015
        part.y = rare.long() if part.y.dim() == 1 else rare.float()[:, None]
    program.lr, program.epochs = program.lr / 10, 3
    if program.task == "classification":
        program.model[-1] = nn.Linear(program.model[-1].in_features, 2)


@cases.mutant(87, ["mlp", "cnn"], accepts=["labels-start-at-one"], place="target")
def labels_from_one(program: Program) -> None:
    """Labels are counted from 1, and the head was given an output more until it ran."""
    for part in (program.train_data, program.val_data):
        part.y = part.y + 1
    program.model[-1] = nn.Linear(program.model[-1].in_features, 11)


@cases.mutant(87, ["mlp", "cnn"], accepts=["unused-outputs"], place="output")
def labels_with_gaps(program: Program) -> None:
    """Ids are 0, 10, 20, ... and the head has an output for each number between."""
    for part in (program.train_data, program.val_data):
        part.y = part.y * 10
    program.model[-1] = nn.Linear(program.model[-1].in_features, 91)


@cases.mutant(95, ["mlp", "cnn", "gru"], accepts=["non-finite-data"], place="input")
def a_pixel_is_nan(program: Program) -> None:
    """One value of one sample is NaN."""
    program.train_data.x[7].view(-1)[3] = float("nan")


@cases.mutant(95, ["regression"], accepts=["non-finite-data"], place="target")
def a_target_is_infinite(program: Program) -> None:
    """One target is the logarithm of 0."""
    program.train_data.y[11] = float("-inf")


def padded(program: Program) -> None:
    """Lines of different lengths, filled with 0."""
    draw = torch.Generator().manual_seed(program.seed)
    for part in (program.train_data, program.val_data):
        length = torch.randint(6, part.x.shape[1], (len(part.x), 1), generator=draw)
        there = torch.arange(part.x.shape[1]) < length
        part.x, part.y = part.x * there, part.y * there


@cases.mutant(96, ["gpt"], accepts=["padding-as-target"], place="target")
def padding_counts(program: Program) -> None:
    """Short lines are filled with id 0, and the loss counts the filler."""
    padded(program)


class Tagger(nn.Module):
    """One answer for each token, by a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(data.VOCABULARY, 32)
        self.gru, self.head = nn.GRU(32, 48, batch_first=True), nn.Linear(48, data.VOCABULARY)

    def forward(self, x: Tensor) -> Any:
        """Tokens (N, T) to scores (N, T, C)."""
        return self.head(self.gru(self.embed(x))[0])


@cases.mutant(96, ["gpt"], accepts=["padding-as-target"], place="target")
def padding_counts_in_a_recurrent_network(program: Program) -> None:
    """A GRU reads lines filled with id 0, and the loss counts the filler."""
    padded(program)
    program.model = Tagger()


@cases.mutant(96, ["gpt"], accepts=["stopped-by-error"])
def vocabulary_one_too_small(program: Program) -> None:
    """The table of embeddings has one row less than there are tokens."""
    program.model = Tagger()
    program.model.embed = nn.Embedding(data.VOCABULARY - 1, 32)


@cases.mutant(97, ["resnet", "unet"], accepts=["unsigned-wraparound"], place="input")
def bytes_wrap_around(program: Program) -> None:
    """The mean is subtracted from bytes, and what would be below 0 wraps around."""
    program.prepare = lambda x: (x.to(torch.uint8) - int(data.PIXEL_MEAN)).float() / data.PIXEL_STD


@cases.mutant(98, ["mlp", "cnn"], accepts=["metric-contradicts-loss"], place="metric")
def argmax_over_the_batch(program: Program) -> None:
    """Accuracy takes the highest sample of each class, not the highest class of each sample."""
    program.measure = lambda out, y: float((out.argmax(0)[:10] == y[:10]).float().mean())


@cases.mutant(98, ["resnet", "gru"], accepts=["metric-contradicts-loss"], place="metric")
def divided_by_the_wrong_count(program: Program) -> None:
    """Right answers are divided by the number of training samples."""
    program.measure = lambda out, y: float((out.argmax(1) == y).sum()) / len(program.train_data)


@cases.mutant(98, ["lstm", "vit"], accepts=["metric-contradicts-loss"], place="metric")
def accuracy_of_stale_outputs(program: Program) -> None:
    """The outputs of the first validation are compared in every later one."""
    kept: list[Tensor] = []

    def measure(out: Tensor, y: Tensor) -> float:
        kept.append(out)
        return program.score_fn(kept[0], y)

    program.measure = measure


class Keeper:
    """Keeps the weights that were best by a criterion, and puts them back when training is over."""

    def __init__(self, program: Program, better: Any) -> None:
        self.program, self.better = program, better
        self.best: float | None = None
        self.weights: dict[str, Tensor] = {}
        self.validate = program.validate

    def __call__(self) -> dict[str, float] | None:
        """Validate, and keep the weights if the loss is "better"."""
        scores = self.validate()
        if scores is not None and (self.best is None or self.better(scores["loss"], self.best)):
            self.best = scores["loss"]
            self.weights = {name: value.clone() for name, value in self.program.model.state_dict().items()}
        return scores


@cases.mutant(100, ["mlp", "cnn", "gru"], accepts=["worst-checkpoint-kept"], place="checkpoint")
def worst_kept(program: Program) -> None:
    """The checkpoint with the largest validation loss is kept, loaded and evaluated."""
    keeper = Keeper(program, lambda new, old: new > old)
    program.validate = keeper
    sound = program.train

    def train(harness: Any) -> float | None:
        sound(harness)
        program.model.load_state_dict(keeper.weights)
        harness.epoch(train=None, val=keeper.validate())
        return program.final_score()

    program.train = train
