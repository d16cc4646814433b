"""Faults of the samples: 79 to 84, 88, 90 to 94, and a restated one of each kind that people ask about."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from benchmarks.chart import data, networks
from benchmarks.chart.case import Cases, Harness
from benchmarks.chart.program import Data, Program
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = Cases("data")

SCALE = ("input-scale-off", "initial-loss-off", "lr-too-high")
UNRELATED = ("labels-carry-no-information", "rows-under-two-labels")


def _then(program: Program, change: Callable[[Tensor], Tensor]) -> None:
    """Change what the network gets, in training and validation."""
    before, before_val = program.prepare, program.prepare_val
    program.prepare = lambda x: change(before(x))
    program.prepare_val = (lambda x: change(before_val(x))) if before_val else None


@cases.mutant(
    79, ["mlp", "cnn", "resnet", "regression"], accepts=["input-scale-off", "initial-loss-off"], place="input"
)
def inputs_of_thousands(program: Program) -> None:
    """Inputs are the normalised ones times 4000 and 9000 more."""
    _then(program, lambda x: x * 4000 + 9000)


@cases.mutant(79, ["resnet", "unet"], accepts=["input-scale-off", "initial-loss-off"], place="input")
def pixels_of_0_to_255(program: Program) -> None:
    """Pixels go in as they are stored, 0..255."""
    program.prepare = Tensor.float


@cases.mutant(80, ["mlp", "cnn", "vit"], accepts=["input-normalized-twice", "input-scale-off"], place="input")
def digits_normalised_twice(program: Program) -> None:
    """Mean and deviation of the raw pixels are taken out a second time."""
    _then(program, data.normalise_digits)


@cases.mutant(80, ["resnet", "unet"], accepts=["input-normalized-twice", "input-scale-off"], place="input")
def pixels_divided_twice(program: Program) -> None:
    """Pixels are divided by 255 in the dataset and in the loop, then normalised by ImageNet's mean and deviation."""
    program.prepare = lambda x: (x.float() / 255 / 255 - 0.45) / 0.225


@cases.mutant(81, ["mlp", "cnn"], accepts=["train-val-inputs-differ"], place="validation|input")
def validation_not_normalised(program: Program) -> None:
    """Validation inputs are the raw ones."""
    prepare = program.prepare
    program.prepare_val = lambda x: prepare(x) * data.DIGITS_STD + data.DIGITS_MEAN


@cases.mutant(81, ["resnet", "unet"], accepts=["train-val-inputs-differ"], place="validation|input")
def validation_channels_reversed(program: Program) -> None:
    """A warm training set, and validation that reads blue first."""
    tint = torch.tensor([1.2, 0.9, 0.5]).view(1, 3, 1, 1)
    prepare = program.prepare
    program.train_data.x, program.val_data.x = program.train_data.x * tint, program.val_data.x * tint
    program.prepare_val = lambda x: prepare(x.flip(1))


@cases.mutant(82, ["mlp", "cnn", "gru"], accepts=["constant-input", "input-not-used"])
def blank_input(program: Program) -> None:
    """A mask that is all zero wipes the input."""
    _then(program, lambda x: x * 0)


@cases.mutant(83, ["mlp", "cnn", "resnet", "gru"], accepts=UNRELATED, place="target")
def labels_shuffled(program: Program) -> None:
    """The labels were shuffled once, the inputs were not."""
    y = program.train_data.y
    program.train_data.y = y[torch.randperm(len(y))]


@cases.mutant(84, ["mlp", "cnn", "resnet", "vit"], accepts=["noisy-labels"], place="target")
def labels_30_percent_random(program: Program) -> None:
    """Three in ten labels are drawn at random."""
    y = program.train_data.y
    program.train_data.y = torch.where(torch.rand(len(y)) < 0.3, torch.randint(0, int(y.max()) + 1, y.shape), y)


@cases.mutant(88, ["mlp", "cnn", "resnet"], accepts=["too-few-samples", "overfitting"])
def most_data_removed(program: Program) -> None:
    """The list of files was cut: one batch and a half is left, and it is trained on for as many steps."""
    count = len(program.train_data)
    program.train_data = Data(program.train_data.x[:48], program.train_data.y[:48])
    program.batch_size = 16
    program.epochs = max(program.epochs * count // 48 // 3, 20)


@cases.mutant(90, ["mlp", "cnn", "resnet"], accepts=UNRELATED, place="target")
def labels_in_file_order(program: Program) -> None:
    """Inputs are shuffled each epoch; labels come from a list that is not."""
    loader = program.loader

    def misaligned() -> Iterator[tuple[Tensor, Any]]:
        labels = program.train_data.y.split(program.batch_size)
        for (x, _), y in zip(loader(), labels, strict=False):
            yield x, y

    program.loader = misaligned  # type: ignore[method-assign]


@cases.mutant(91, ["mlp", "resnet"], accepts=["constant-input", "repeated-rows", "rows-under-two-labels"])
def dataset_returns_one_sample(program: Program) -> None:
    """A closure keeps the last index: every item of a batch is the same input, with the label of its own index."""
    loader = program.loader

    def same() -> Iterator[tuple[Tensor, Any]]:
        for x, y in loader():
            yield x[-1:].expand_as(x).clone(), y

    program.loader = same  # type: ignore[method-assign]


@cases.mutant(91, ["cnn", "gru"], accepts=["repeated-rows", "rows-under-two-labels", "constant-input"])
def index_divided(program: Program) -> None:
    """`index // 256` instead of `index % 256`: the whole dataset is four samples."""
    loader, few = program.loader, program.train_data.x[:4]

    def wrong() -> Iterator[tuple[Tensor, Any]]:
        for _, y in loader():
            yield program.prepare(few[torch.randint(0, 4, (len(y),))]), y

    program.loader = wrong  # type: ignore[method-assign]


def _by_worker(program: Program, workers: int, change: Callable[[Tensor, np.random.Generator], Tensor]) -> None:
    """Augment by one generator per batch, of which `workers` batches in a row have the same state."""
    number = iter(range(1 << 30))

    def augment(x: Tensor, y: Any) -> tuple[Tensor, Any]:
        return change(x, np.random.default_rng(next(number) // workers)), y

    program.augment = augment


@cases.mutant(92, ["mlp", "cnn", "resnet"], accepts=["augmentation-repeats"], place="input")
def workers_draw_the_same_noise(program: Program) -> None:
    """Two workers with one state of NumPy's generator add the same noise."""
    _by_worker(program, 2, lambda x, r: x + 0.5 * torch.tensor(r.standard_normal(x.shape), dtype=x.dtype))


@cases.mutant(92, ["resnet", "unet"], accepts=["augmentation-repeats"], place="input")
def workers_cut_the_same_holes(program: Program) -> None:
    """Four workers blank the same half of the image."""

    def cut(x: Tensor, r: np.random.Generator) -> Tensor:
        x, side = x.clone(), x.shape[-1]
        for image in x:
            row, column = r.integers(0, side // 2, 2)
            image[:, row : row + side // 2, column : column + side // 2] = -2
        return x

    _by_worker(program, 4, cut)


@cases.mutant(93, ["mlp", "cnn", "gru"], accepts=["validation-rows-in-training"], place="validation|input")
def half_of_validation_in_training(program: Program) -> None:
    """The split was drawn with repeats: half of the validation rows are training rows, too."""
    taken = torch.randperm(len(program.val_data))[: len(program.val_data) // 2]
    x, y = program.val_data[taken]
    program.train_data = Data(torch.cat([program.train_data.x, x]), torch.cat([program.train_data.y, y]))


@cases.mutant(93, ["mlp", "resnet"], accepts=["validation-rows-in-training"], place="validation|input")
def validation_is_training(program: Program) -> None:
    """Both loaders read the same folder."""
    program.val_data = Data(program.train_data.x[:256].clone(), program.train_data.y[:256].clone())


@cases.restated("mlp", number=79, accepts=SCALE, place="input")
def images_not_divided(harness: Harness, seed: int) -> float:
    """Images are read with NumPy and turned to tensors by hand; nobody divides by 255, and SGD gives NaN."""
    train, val = data.digits()
    train, val = Data(train.x * 16, train.y), Data(val.x * 16, val.y)
    return _fit(harness, networks.mlp(), train, val, lr=0.05, optimizer=torch.optim.SGD)


@cases.restated("mlp", number=90, accepts=UNRELATED, place="target")
def sorted_file_list(harness: Harness, seed: int) -> float:
    """`os.listdir` gave the images in another order than the rows of the label file."""
    train, val = data.digits()
    order = np.argsort([f"{i}.png" for i in range(len(train))])
    return _fit(harness, networks.mlp(), Data(train.x[order], train.y), val)


@cases.restated("mlp", number=93, accepts=["validation-rows-in-training"], place="validation|input")
def oversampled_before_the_split(harness: Harness, seed: int) -> float:
    """Rare classes were copied until all had the same number, and only then the rows were split."""
    train, val = data.digits()
    x, y = torch.cat([train.x, val.x]), torch.cat([train.y, val.y])
    extra = torch.cat([(y == c).nonzero()[:, 0][:30].repeat(8) for c in range(3)])
    x, y = torch.cat([x, x[extra]]), torch.cat([y, y[extra]])
    order = torch.randperm(len(x))
    x, y = x[order], y[order]
    return _fit(harness, networks.mlp(), Data(x[:1400], y[:1400]), Data(x[1400:], y[1400:]))


def _fit(
    harness: Harness,
    model: nn.Module,
    train: Data,
    val: Data,
    *,
    lr: float = 2e-3,
    epochs: int = 4,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
) -> float:
    """A plain loop over digits."""
    optim = optimizer(model.parameters(), lr=lr)
    harness.begin(model, optim, loss_fn=F.cross_entropy)
    report: Mapping[str, float] = {}
    for _ in range(epochs):
        model.train()
        losses = []
        for rows in torch.randperm(len(train)).split(32):
            x, y = train[rows]
            optim.zero_grad()
            out = model(x)
            loss = F.cross_entropy(out, y)
            loss.backward()
            optim.step()
            losses.append(loss.item())
            harness.step(loss=loss.detach(), inputs=x, targets=y, outputs=out)
        model.eval()
        with torch.no_grad():
            out = torch.cat([model(part) for part in val.x.split(100)])
            score = float((out.argmax(1) == val.y).float().mean())
            report = {"loss": float(F.cross_entropy(out, val.y)), "accuracy": score}
        harness.epoch(train={"loss": float(np.mean(losses))}, val=report)
    return report["accuracy"]
