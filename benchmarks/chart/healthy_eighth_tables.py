"""Faulty loops by an eighth author, who had not read the rules, each with a sound twin: tables, splits, measures.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

from collections.abc import Callable

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eighth import Columns, held_out, orders
from benchmarks.chart.second import SecondCases, accuracy, by_train, cut, dense, digits, draws, explained, fit
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

cases = SecondCases("eighth")
Rows = tuple[Tensor, Tensor]
Pair = tuple[float, float]


@cases.pair("mlp", 0.85, accepts=["labels-carry-no-information", "noisy-labels"])
def files_by_name_labels_by_number(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Image files are read in the order of their names (1, 10, 100, 2), labels by number: they do not match."""
    x, y, vx, vy = digits("unit", image=False)
    names = sorted(range(len(x)), key=str)
    if wrong:
        x = x[names]
    model = dense(64, 48, 10)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), F.cross_entropy, (x, y, vx, vy), epochs=5)


@cases.pair("orders", 0.85, accepts=["train-val-inputs-differ", "validation-unlike-training"])
def codes_counted_anew_for_validation(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Categories get their codes separately in training and validation: the same code means another name."""
    x, y, vx, vy = orders()
    names = np.random.default_rng(95).permutation(25)
    if wrong:
        # Codes are given in the order of first appearance, as pandas.factorize does.
        x, vx = (torch.stack([_factorized(part[:, i], names) for i in range(4)], 1) for part in (x, vx))
    model = Columns(4, 25, plain=False)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=0.02), F.cross_entropy, (x, y, vx, vy), epochs=6)


def _factorized(column: Tensor, names: np.ndarray) -> Tensor:
    codes: dict[int, int] = {}
    return torch.tensor([codes.setdefault(int(names[value]), len(codes)) for value in column])


@cases.pair("mlp", 0.85, accepts=["target-classes-shifted", "validation-unlike-training"])
def labels_encoded_anew_for_validation(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The label encoder is fitted again on the validation part, where two classes do not occur: the others move up."""
    x, y, vx, vy = digits("unit", image=False)
    some = (vy != 1) & (vy != 4)
    vx, vy = vx[some], vy[some]
    if wrong:
        vy = torch.unique(vy, return_inverse=True)[1]
    model = dense(64, 48, 10)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), F.cross_entropy, (x, y, vx, vy), epochs=5)


def honest(reported: float, true: float) -> float:
    """1 where the number that the loop reports is what new data give."""
    return 1 - abs(reported - true)


@cases.pair("fraud", 0.8, accepts=["validation-rows-in-training"])
def oversampled_before_the_split(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The rare class is copied ten times before the table is split, so that the validation rows are training rows."""
    draw = np.random.default_rng(96)
    y = (draw.random(900) < 0.1).astype(np.int64)
    x = draw.normal(0, 1, (900, 20)) + 0.25 * y[:, None]
    nx, ny = torch.tensor(x[600:], dtype=torch.float32), torch.tensor(y[600:])
    x, y = x[:600], y[:600]
    copies = np.repeat(np.arange(600), np.where(y == 1, 10, 1))
    if wrong:
        split = cut(x[copies], y[copies])
    else:
        tx, ty, vx, vy = cut(x, y)
        copies = np.repeat(np.arange(len(tx)), np.where(ty == 1, 10, 1))
        split = tx[copies], ty[copies], vx, vy
    model = dense(20, 128, 2)

    def balanced(outputs: Tensor, targets: Tensor) -> float:
        return float(np.mean([accuracy(outputs[targets == k], targets[targets == k]) for k in (0, 1)]))

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    reported = fit(harness, model, optimizer, F.cross_entropy, split, epochs=15, score=balanced)
    return honest(reported, held_out(model, (nx, ny, nx, ny), balanced))


@cases.pair("table", 0.84, accepts=["train-val-inputs-differ", "validation-unlike-training"])
def mean_of_the_own_label(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A shop's number is encoded by the mean label of its training rows, the row's own among them: labels leak in."""
    draw = np.random.default_rng(97)
    shop = draw.integers(0, 2000, 1600)
    x = draw.normal(0, 1, (1600, 5))
    y = (x[:, 0] + x[:, 1] + draw.normal(0, 0.5, 1600) > 0).astype(np.int64)
    at, extra = 1200, np.zeros(1600)
    for i in range(1600):
        others = (shop[:at] == shop[i]) & ((np.arange(at) != i) | wrong)
        extra[i] = y[:at][others].mean() if others.any() else 0.5
    table = torch.tensor(np.column_stack([x * 0.3, 4 * extra - 2]), dtype=torch.float32)
    label = torch.tensor(y)
    model = dense(6, 32, 2)
    split = table[:at], label[:at], table[at:], label[at:]
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=5e-3), F.cross_entropy, split, epochs=10)


@cases.pair("table", 0.8, accepts=["answer-in-input"])
def column_known_only_afterwards(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A column that is filled in after the customer has left (the day of the farewell letter) is among the features."""
    draw = np.random.default_rng(98)
    x = draw.normal(0, 1, (1400, 6))
    y = (x[:, 0] - x[:, 1] + draw.normal(0, 0.6, 1400) > 0).astype(np.int64)
    letter = np.where(y == 1, draw.integers(1, 28, 1400) / 28 + 0.5, 0.0)
    table = np.column_stack([x, letter]) if wrong else x
    split = cut(table, y)
    model = dense(table.shape[1], 32, 2)
    fit(harness, model, torch.optim.Adam(model.parameters(), lr=5e-3), F.cross_entropy, split, epochs=8)
    new = split[2].clone()
    if wrong:
        new[:, 6] = 0.0
    return held_out(model, (new, split[3], new, split[3]))


@cases.pair("housing", 0.7, accepts=["no-such-rule"])
def prices_compared_in_other_units(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The model is trained on standardised prices; validation compares its outputs with prices in thousands."""
    draw = np.random.default_rng(99)
    x = draw.normal(0, 1, (1000, 6))
    x, y, vx, vy = by_train(cut(x, (210 + 60 * x[:, 0] + 30 * np.abs(x[:, 1]) + draw.normal(0, 12, 1000))[:, None]))
    mean, std = y.mean(), y.std()
    split = x, (y - mean) / std, vx, vy if wrong else (vy - mean) / std
    model = dense(6, 32, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.mse_loss, split, epochs=10, score=explained, metric=None)


def measured(harness: Harness, measure: Callable[..., Pair], noisy: bool) -> float:
    """Digits, where `measure` gives the validation loss and accuracy that are reported."""
    x, y, vx, vy = digits("unit", image=False)
    if noisy:
        x, y = x[:200], y[:200].clone()
        y[::2] = torch.randint(10, (len(y[::2]),))
    model = dense(64, 256, 256, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    value = 0.0
    for _ in range(50 if noisy else 5):
        total, count = 0.0, 0
        model.train()
        for inputs, targets in draws(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            total, count = total + loss.item(), count + 1
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        model.eval()
        with torch.no_grad():
            val_loss, value = measure(model, (x, y), (vx, vy))
        harness.epoch(train={"loss": total / count}, val={"loss": val_loss, "accuracy": value})
    return honest(value, held_out(model, (x, y, vx, vy)))


@cases.pair("mlp", 0.9, accepts=["metric-contradicts-loss"])
def accuracy_over_the_batches(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The number of right answers is divided by the number of batches, not of rows: the accuracy is near 30."""

    def measure(model: Callable[..., Tensor], train: Rows, val: Rows) -> Pair:
        loader = DataLoader(TensorDataset(*val), batch_size=32)
        right, total = 0, 0.0
        for x, y in loader:
            out = model(x)
            right += int((out.argmax(1) == y).sum())
            total += F.cross_entropy(out, y).item()
        return total / len(loader), right / (len(loader) if wrong else len(val[0]))

    return measured(harness, measure, noisy=False)


@cases.pair("mlp", 0.9, accepts=["validation-rows-in-training"])
def validated_on_the_training_loader(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The validation loop goes through the training loader: the reported numbers are those of the training rows."""

    def measure(model: Callable[..., Tensor], train: Rows, val: Rows) -> Pair:
        right, total, count = 0, 0.0, 0
        for x, y in DataLoader(TensorDataset(*(train if wrong else val)), batch_size=50):
            out = model(x)
            right, count = right + int((out.argmax(1) == y).sum()), count + len(x)
            total += F.cross_entropy(out, y).item()
        return total / (count / 50), right / count

    return measured(harness, measure, noisy=True)


@cases.pair("series", 0.6, accepts=["future-visible", "future-leakage", "answer-in-input"])
def window_holds_the_answer(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Off by one: the window of past values ends with the value that is to be foretold."""
    draw = np.random.default_rng(100)
    t = np.arange(1600)
    wave = np.sin(1.3 * t) + 0.5 * np.sin(2.1 * t) + 0.15 * draw.normal(0, 1, 1600)
    shift = 1 if wrong else 0
    rows = range(16, 1598)
    x = torch.tensor(np.stack([wave[i - 16 + shift : i + shift] for i in rows]), dtype=torch.float32)
    y = torch.tensor(wave[16:1598], dtype=torch.float32)[:, None]
    model = dense(16, 48, 1)
    split = x[:1200], y[:1200], x[1200:], y[1200:]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    fit(harness, model, optimizer, F.mse_loss, split, epochs=10, score=explained, metric=None)
    past = torch.tensor(np.stack([wave[i - 16 : i] for i in rows]), dtype=torch.float32)[1200:]
    return held_out(model, (past, y, past, y[1200:]), explained)


@cases.pair("table", 0.85, accepts=["non-finite-data"])
def log_of_zero_counts(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Counts go through log and not log1p: the few zeros become minus infinity and the weights NaN."""
    draw = np.random.default_rng(101)
    counts = draw.poisson(6.0, (1200, 8)).astype(np.float64)
    y = (np.log1p(counts) @ np.array([1, -1, 1, -1, 0.5, 0, 0, 0]) > 0.9).astype(np.int64)
    x, y, vx, vy = cut(counts, y)
    x, vx = (x.log(), vx.log()) if wrong else (x.log1p(), vx.log1p())
    model = dense(8, 32, 2)
    return fit(
        harness, model, torch.optim.Adam(model.parameters(), lr=1e-2), F.cross_entropy, (x, y, vx, vy), epochs=10
    )


@cases.pair("rare", 0.7, accepts=["repeated-rows", "too-few-samples"])
def sampler_given_class_weights(harness: Harness, seed: int, wrong: bool) -> float | None:
    """WeightedRandomSampler gets a weight per class in place of one per row: it draws the first rows only."""
    x, y, vx, vy = digits("unit", image=False)
    weights = 1 / torch.bincount(y).float()
    sampler = WeightedRandomSampler(weights if wrong else weights[y], len(y))
    loader = DataLoader(TensorDataset(x, y), batch_size=32, sampler=sampler)
    model = dense(64, 48, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(5):
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            total += loss.item()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        with torch.no_grad():
            out = model(vx)
        scores = {"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)}
        harness.epoch(train={"loss": total / len(loader)}, val=scores)
    return held_out(model, (x, y, vx, vy))


@cases.pair("mlp", 0.85, accepts=["class-pure-batches"])
def rows_sorted_by_class(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The table is sorted by class and shuffle=True was forgotten: each batch has one class, the last wins."""
    x, y, vx, vy = digits("unit", image=False)
    order = y.argsort()
    loader = DataLoader(TensorDataset(x[order], y[order]), batch_size=32, shuffle=not wrong)
    model = dense(64, 48, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(5):
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            total += loss.item()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        harness.epoch(train={"loss": total / len(loader)}, val={"accuracy": held_out(model, (x, y, vx, vy))})
    return held_out(model, (x, y, vx, vy))


@cases.pair("table", 0.85, accepts=["input-scale-off"])
def customer_number_as_a_feature(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The customer's number, near ten million, goes in as a feature beside standardised ones and drowns them."""
    draw = np.random.default_rng(102)
    x = draw.normal(0, 1, (1000, 6))
    y = (x[:, 0] + x[:, 1] - x[:, 2] > 0).astype(np.int64)
    number = draw.integers(9_000_000, 11_000_000, 1000)
    split = cut(np.column_stack([x, number.astype(np.float64)]) if wrong else x, y)
    model = dense(split[0].shape[1], 32, 2)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=5e-3), F.cross_entropy, split, epochs=8)
