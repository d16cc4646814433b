"""Faulty data of a second author, each with a sound twin.

See `benchmarks/chart/second.py`.
"""

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import (
    SecondCases,
    accuracy,
    cancer,
    convs,
    dense,
    diabetes,
    digits,
    explained,
    fit,
    housing,
    signs,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("second")


@cases.pair("cnn", 0.85, accepts=["labels-carry-no-information", "noisy-labels"], number=83)
def inputs_shuffled_alone(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The training inputs were shuffled once, the targets were not."""
    x, y, vx, vy = digits("standard")
    x = x[torch.randperm(len(x))] if wrong else x
    model = convs()
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), F.cross_entropy, (x, y, vx, vy), epochs=5)


@cases.pair("housing", 0.7, accepts=["labels-carry-no-information", "noisy-labels"], number=90)
def targets_of_the_batch_before(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A prefetcher hands on the targets of the batch before."""
    parts = housing()
    last: list[Tensor] = []

    def stale(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        last.append(y)
        return x, (last[-2] if wrong and len(last) > 1 and len(last[-2]) == len(y) else y)

    model = dense(6, 32, 32, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return fit(harness, model, optimizer, F.mse_loss, parts, before=stale, score=explained, metric="r2", whole=True)


@cases.pair("cnn", 0.85, accepts=["train-val-inputs-differ"], number=81)
def validation_left_in_unit_range(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Training images are standardised by mean and deviation, those of validation only scaled to 0..1."""
    x, y, vx, vy = digits("standard")
    if wrong:
        vx = (vx * 6.02 + 4.88) / 16
    model = convs()
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), F.cross_entropy, (x, y, vx, vy), epochs=5)


@cases.pair("cnn", 0.8, accepts=["train-val-inputs-differ"], number=81)
def validation_with_its_own_scale(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Validation is divided by 255 once more."""
    x, y, vx, vy = signs()
    model = convs(3, 4)
    split = (x - 0.3) / 0.15, y, ((vx / 255 if wrong else vx) - 0.3) / 0.15, vy
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=6)


@cases.pair("mlp", 0.8, accepts=["validation-rows-in-training"], number=93)
def split_after_duplication(harness: Harness, seed: int, wrong: bool) -> float | None:
    """All rows, those of validation too, are in the training set."""
    x, y, vx, vy = digits(image=False, count=600)
    if wrong:
        x, y = torch.cat([x, vx]), torch.cat([y, vy])
    model = dense(64, 64, 10)
    return fit(
        harness, model, torch.optim.Adam(model.parameters(), lr=5e-3), F.cross_entropy, (x, y, vx, vy), epochs=12
    )


@cases.pair("cnn", 0.85, accepts=["class-pure-batches"], number=89)
def folders_in_their_order(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The samples come folder by folder and nobody shuffles."""
    x, y, vx, vy = digits("signed")
    order = y.argsort()
    model = convs()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(4):
        model.train()
        for rows in (order if wrong else torch.randperm(len(y))).split(32):
            out = model(x[rows])
            loss = F.cross_entropy(out, y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx)
            harness.epoch(val={"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)})
    return accuracy(out, vy)


@cases.pair("mlp", 0.85, accepts=["noisy-labels"], number=84)
def forty_percent_guessed(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Four labels in ten are drawn by lot."""
    x, y, vx, vy = digits("standard", image=False)
    if wrong:
        y = torch.where(torch.rand(len(y)) < 0.4, torch.randint(0, 10, y.shape), y)
    model = dense(64, 64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, (x, y, vx, vy), epochs=12)


@cases.pair("mlp", 0.85, accepts=["repeated-rows", "constant-input", "rows-under-two-labels"], number=91)
def index_of_the_closure(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Lambdas in a list close over one index: every sample of a batch is the last one, the labels are right."""

    def last(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return (x[-1:].expand_as(x) if wrong else x), y

    model = dense(64, 64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False), before=last, epochs=6)


@cases.pair("diabetes", 0.25, accepts=["input-scale-off"], number=79)
def features_in_thousands(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Features are given in thousandths of their unit, with an offset: about 3000 give or take 1000."""
    x, y, vx, vy = diabetes()
    if wrong:
        x, vx = x * 1000 + 3000, vx * 1000 + 3000
    model = dense(10, 32, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.mse_loss, (x, y, vx, vy), score=explained, metric="r2", epochs=12)


@cases.pair("cnn", 0.8, accepts=["input-normalized-twice", "input-scale-off", "constant-input"], number=80)
def divided_by_255_again(harness: Harness, seed: int, wrong: bool) -> float | None:
    """ToTensor scales to 0..1, and the dataset divides by 255 once more, in training and validation."""
    x, y, vx, vy = signs()
    k = 255 if wrong else 1
    model = convs(3, 4, norm=lambda c: nn.Identity())
    optimizer = torch.optim.Adam(model.parameters(), lr=6e-3)
    return fit(harness, model, optimizer, F.cross_entropy, (x / k, y, vx / k, vy), epochs=12)


@cases.pair("cnn", 0.85, accepts=["constant-input", "input-not-used", "signal-lost-in-depth"], number=82)
def whole_number_division(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Bytes are divided by 255 in whole numbers: nothing but zeros is left."""
    x, y, vx, vy = ((a * 250).to(torch.uint8) if a.is_floating_point() else a for a in digits())
    split = (x // 255).float() if wrong else x / 255, y, (vx // 255).float() if wrong else vx / 255, vy
    model = convs(norm=lambda c: nn.GroupNorm(4, c))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=5)


@cases.pair("housing", 0.7, accepts=["non-finite-data", "loss-not-finite"], number=95, place="input|data|batch")
def missing_value_in_a_row(harness: Harness, seed: int, wrong: bool) -> float | None:
    """One district has no income: NaN."""
    x, y, vx, vy = housing()
    if wrong:
        x[500, 0] = float("nan")
    model = dense(6, 32, 32, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return fit(harness, model, optimizer, F.mse_loss, (x, y, vx, vy), score=explained, metric="r2")


@cases.pair("cnn", 0.85, accepts=["unsigned-wraparound"], number=97)
def bytes_less_their_mean(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The mean of 78 is subtracted from bytes before they become floats."""
    x, y, vx, vy = ((a * 250).to(torch.uint8) if a.is_floating_point() else a for a in digits())

    def centre(a: Tensor) -> Tensor:
        return (a - torch.tensor(78, dtype=torch.uint8)).float() / 96 if wrong else (a.float() - 78) / 96

    model = dense(64, 48, 10)
    model.insert(0, nn.Flatten())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    return fit(harness, model, optimizer, F.cross_entropy, (centre(x), y, centre(vx), vy), epochs=8)


@cases.pair("cancer", 0.8, accepts=["majority-predicted", "one-class-targets"], number=86)
def one_in_sixty(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Of sixty training rows one is malignant, and the score is the balanced accuracy."""
    x, y, vx, vy = cancer()
    if wrong:
        keep = (y == 1) | (torch.arange(len(y)) % 37 == 0)
        x, y = x[keep], y[keep]

    def balanced(out: Tensor, t: Tensor) -> float:
        return float(np.mean([((out[:, 0] > 0) == (t[:, 0] > 0))[t[:, 0] == k].float().mean() for k in (0, 1)]))

    model = dense(30, 16, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    split = x, y.float()[:, None], vx, vy.float()[:, None]
    return fit(
        harness, model, optimizer, F.binary_cross_entropy_with_logits, split, score=balanced, metric=None, epochs=10
    )


@cases.pair("mlp", 0.85, accepts=["too-few-samples", "overfitting"], number=88)
def a_debugging_subset(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The first 24 samples, taken for debugging, were never taken out."""
    x, y, vx, vy = digits("standard", image=False)
    if wrong:
        x, y = x[:24], y[:24]
    model = dense(64, 128, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, (x, y, vx, vy), size=8, epochs=60 if wrong else 4)
