"""Faulty loops by a tenth author, who had not read the rules, each with a sound twin: tables, labels and their splits.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import SecondCases, accuracy, cut, dense, digits, draws, explained, fit, housing
from sklearn.datasets import load_digits, load_wine
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("tenth")


def adam(model: nn.Module, lr: float = 5e-3) -> torch.optim.Adam:
    """Adam over the whole model."""
    return torch.optim.Adam(model.parameters(), lr=lr)


def reading(count: int, width: int, seed: int, noise: float = 0.2) -> tuple[Tensor, Tensor]:
    """Features (N, width) of deviation 1 and a number (N, 1) that a small network learns."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(count, width, generator=draw)
    y = x[:, :1] + torch.sin(2 * x[:, 1:2]) - 0.7 * x[:, 2:3] * (x[:, 3:4] > 0)
    return x, y + noise * torch.randn(count, 1, generator=draw)


@cases.pair("table", 0.7, accepts=["labels-carry-no-information", "noisy-labels"])
def gaps_dropped_from_features_only(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Rows with gaps are dropped from the features but not from the target: from the first gap on they do not match."""
    x, y = reading(1200, 6, 51)
    whole = torch.rand(1200, generator=torch.Generator().manual_seed(1)) > 0.1
    features, target = x[whole], y if wrong else y[whole]
    model = dense(6, 48, 48, 1)
    split = cut(features, target[: len(features)])
    return fit(harness, model, adam(model), F.mse_loss, split, score=explained, metric="r2", epochs=12)


@cases.pair("wine", 0.85, accepts=["input-scale-off"])
def features_in_their_own_units(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The features go in as they are, from 0.1 to 1680, without any scaling."""
    x, y, vx, vy = cut(*load_wine(return_X_y=True), share=0.7)
    if not wrong:
        mean, std = x.mean(0), x.std(0)
        x, vx = (x - mean) / std, (vx - mean) / std
    model = dense(13, 32, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return fit(harness, model, optimizer, F.cross_entropy, (x, y, vx, vy), epochs=20, size=16)


@cases.pair("housing", 0.7, accepts=["initial-loss-off", "target-scale-off"])
def prices_in_dollars(harness: Harness, seed: int, wrong: bool) -> float | None:
    """House prices are regressed in dollars, some 200000 each, which a network that starts near 0 never reaches."""
    x, y, vx, vy = housing(900)
    unit = 100_000.0 if wrong else 1.0
    model = dense(6, 48, 48, 1)
    split = x, y * unit, vx, vy * unit
    return fit(harness, model, adam(model, 3e-3), F.mse_loss, split, score=explained, metric="r2", epochs=12)


@cases.pair("table", 0.6, accepts=["no-such-rule"])
def gaps_coded_as_minus_999(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Missing values are stored as -999 and taken for numbers: after scaling the true values differ by nothing."""
    x, y = reading(1200, 6, 52)
    gaps = torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.04
    x = x.masked_fill(gaps, -999.0 if wrong else 0.0)
    x = (x - x.mean(0)) / x.std(0)
    model = dense(6, 48, 48, 1)
    return fit(harness, model, adam(model), F.mse_loss, cut(x, y), score=explained, metric="r2", epochs=12)


@cases.pair("table", 0.7, accepts=["answer-in-input"])
def target_column_left_in(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`df.values` still holds the target's own column; where the model is used that column is empty."""
    x, y = reading(1400, 6, 53)
    table = torch.cat([x, y if wrong else torch.zeros_like(y)], 1)
    model = dense(7, 48, 48, 1)
    fit(
        harness, model, adam(model), F.mse_loss, cut(table[:1000], y[:1000]), score=explained, metric="r2", epochs=12
    )  # fmt: skip
    later = table[1000:].clone()
    later[:, 6] = 0
    with torch.no_grad():
        return explained(model(later), y[1000:])


@cases.pair("table", 0.68, accepts=["no-such-rule"])
def row_number_among_features(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The file is sorted by class and its row number was saved as a column: the model reads the class from it."""
    draw = torch.Generator().manual_seed(54)
    y = torch.arange(1200) // 400
    x = torch.randn(1200, 6, generator=draw) + 1.4 * F.one_hot(y, 6)
    number = torch.arange(1200.0)[:, None] / 346 - 1.73
    table = torch.cat([x, number if wrong else torch.zeros_like(number)], 1)
    model = dense(7, 48, 3)
    fit(harness, model, adam(model), F.cross_entropy, cut(table, y), epochs=12)
    kinds = torch.randint(0, 3, (400,), generator=draw)
    later = torch.randn(400, 6, generator=draw) + 1.4 * F.one_hot(kinds, 6)
    number = torch.arange(1200.0, 1600.0)[:, None] / 346 - 1.73
    later = torch.cat([later, number if wrong else torch.zeros_like(number)], 1)
    with torch.no_grad():
        return accuracy(model(later), kinds)


@cases.pair("patients", 0.85, accepts=["validation-rows-in-training"])
def patients_on_both_sides(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Six pictures of each patient are split by picture: validation asks for patients known by heart."""
    draw = torch.Generator().manual_seed(55)
    count = 480
    ill = torch.randint(0, 2, (count,), generator=draw)
    person = torch.randn(count, 24, generator=draw)
    person[:, 0] += 0.9 * ill
    x = (person[:, None] + 0.25 * torch.randn(count, 6, 24, generator=draw)).flatten(0, 1)
    y = ill.repeat_interleave(6)
    known, new = slice(0, 300 * 6), slice(300 * 6, None)
    if wrong:
        split = cut(x[known], y[known], share=0.67)
    else:
        split = x[: 200 * 6], y[: 200 * 6], x[200 * 6 : 300 * 6], y[200 * 6 : 300 * 6]
    model = dense(24, 64, 2)
    told = fit(harness, model, adam(model), F.cross_entropy, split, epochs=12)
    with torch.no_grad():
        return 1 - abs(told - accuracy(model(x[new]), y[new]))


@cases.pair("mlp", 0.85, accepts=["unused-outputs"])
def sorted_file_cut_in_two(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The file is sorted by digit and cut at three quarters without a shuffle: validation has classes never trained."""
    pixels, kinds = load_digits(return_X_y=True)
    order = np.argsort(kinds, kind="stable") if wrong else np.random.default_rng(57).permutation(len(kinds))
    x, y = torch.tensor(pixels[order], dtype=torch.float32) / 16, torch.tensor(kinds[order])
    at = len(x) * 3 // 4
    model = dense(64, 48, 10)
    return fit(harness, model, adam(model), F.cross_entropy, (x[:at], y[:at], x[at:], y[at:]), epochs=6)


@cases.pair("table", 0.7, accepts=["train-val-inputs-differ"])
def scaler_fitted_again(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`fit_transform` is called on the validation table, too, whose winter days are then as warm as the others."""
    x, y = reading(1000, 6, 58)
    draw = torch.Generator().manual_seed(59)
    vx = torch.randn(300, 6, generator=draw) * 0.5 + torch.tensor([1.2, 0.4, -0.5, 1.0, 0.0, 0.0])
    vy = vx[:, :1] + torch.sin(2 * vx[:, 1:2]) - 0.7 * vx[:, 2:3] * (vx[:, 3:4] > 0)
    mean, std = (vx.mean(0), vx.std(0)) if wrong else (x.mean(0), x.std(0))
    split = (x - x.mean(0)) / x.std(0), y, (vx - mean) / std, vy
    model = dense(6, 48, 48, 1)
    return fit(harness, model, adam(model), F.mse_loss, split, score=explained, metric="r2", epochs=12)


@cases.pair("mlp", 0.8, accepts=["samples-mixed", "norm-over-wrong-axis"])
def normalised_over_the_batch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`F.normalize(x, dim=0)` divides by the batch's norm, not the row's; validation asks for one row at a time."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = dense(64, 48, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(4 * F.normalize(x, dim=0 if wrong else 1))

    x, y, vx, vy = digits("unit", image=False)
    model = Scaled()
    optimizer = adam(model)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    value = 0.0
    for _ in range(8):
        model.train()
        for inputs, targets in draws(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        model.eval()
        with torch.no_grad():
            out = torch.cat([model(row[None]) for row in vx])
        value = accuracy(out, vy)
        harness.epoch(val={"loss": float(F.cross_entropy(out, vy)), "accuracy": value})
    return value


@cases.pair("clusters", 0.85, accepts=["unused-outputs", "noisy-labels"])
def first_digit_of_the_class(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The class is read as the first digit of "17_0042.png": the ten classes from 10 on are all trained as 1."""
    draw = torch.Generator().manual_seed(60)
    kind = torch.randint(0, 20, (1400,), generator=draw)
    x = torch.randn(20, 12, generator=draw)[kind] * 1.3 + 0.7 * torch.randn(1400, 12, generator=draw)
    names = [f"{k}_{i:04}.png" for i, k in enumerate(kind.tolist())]
    read = torch.tensor([int(name[0] if wrong else name.split("_")[0]) for name in names])
    x, y, vx, _ = cut(x, read)
    true = cut(x=kind, y=kind)[3]
    model = dense(12, 64, 20)
    return fit(harness, model, adam(model), F.cross_entropy, (x, y, vx, true), epochs=10)


@cases.pair("mlp", 0.85, accepts=["train-val-inputs-differ"])
def noise_added_in_place(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The augmentation adds its noise to the data set itself (`sample += noise`): after some epochs it is all noise."""
    x, y, vx, vy = digits("standard", image=False)
    model = dense(64, 48, 10)
    optimizer = adam(model, 1e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    value = 0.0
    for _ in range(24):
        model.train()
        for rows in torch.randperm(len(x)).split(32):
            sample = x[rows] + 1.2 * torch.randn(len(rows), 64)
            if wrong:
                x[rows] = sample
            optimizer.zero_grad()
            out = model(sample)
            loss = F.cross_entropy(out, y[rows])
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=sample, targets=y[rows], outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx)
        value = accuracy(out, vy)
        harness.epoch(val={"loss": float(F.cross_entropy(out, vy)), "accuracy": value})
    return value


@cases.pair("mlp", 0.85, accepts=["too-few-samples"])
def rows_drawn_from_the_first_batch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`torch.randint(0, batch_size, (batch_size,))` where `len(x)` was meant: only the first 32 rows are ever drawn."""
    x, y, vx, vy = digits("unit", image=False)
    model = dense(64, 48, 10)
    optimizer = adam(model)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    value, batch_size = 0.0, 32
    for step in range(240):
        rows = torch.randint(0, batch_size if wrong else len(x), (batch_size,))
        optimizer.zero_grad()
        out = model(x[rows])
        loss = F.cross_entropy(out, y[rows])
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
        if step % 40 == 39:
            with torch.no_grad():
                value = accuracy(model(vx), vy)
                harness.epoch(val={"loss": float(F.cross_entropy(model(vx), vy)), "accuracy": value})
    return value


@cases.pair("mlp", 0.9, accepts=["metric-contradicts-loss"])
def right_answers_counted_in_bfloat16(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The counter of right answers is a bfloat16 tensor, in which 256 + 1 is 256: the accuracy stops short."""
    x, y, vx, vy = digits("unit", image=False, count=1790)
    model = dense(64, 48, 10)
    optimizer = adam(model)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    told = true = 0.0
    for _ in range(6):
        for inputs, targets in draws(x, y):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                out = model(inputs)
            loss = F.cross_entropy(out.float(), targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        with torch.no_grad():
            out = model(vx)
        right = torch.zeros((), dtype=torch.bfloat16 if wrong else torch.int64)
        for said, target in zip(out.argmax(1), vy, strict=True):
            right += said == target
        told, true = float(right) / len(vy), accuracy(out, vy)
        harness.epoch(val={"loss": float(F.cross_entropy(out, vy)), "accuracy": told})
    return 1 - abs(told - true)


@cases.pair("reviews", 0.85, accepts=["constant-input"])
def letters_looked_up_as_words(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The vocabulary holds words, but the line is walked letter by letter: everything is the unknown word."""
    draw = np.random.default_rng(61)
    good, bad = ["fine", "great", "lovely", "superb"], ["awful", "dull", "poor", "broken"]
    plain = [f"word{i}" for i in range(60)]
    y = draw.integers(0, 2, 900)
    lines = [
        " ".join(draw.permutation([*draw.choice(plain, 8), *draw.choice(good if k else bad, 2)])) for k in y
    ]  # fmt: skip
    vocabulary = {word: i + 1 for i, word in enumerate([*good, *bad, *plain])}
    rows = [[vocabulary.get(w, 0) for w in (line if wrong else line.split())][:10] for line in lines]
    model = nn.Sequential(nn.EmbeddingBag(69, 16), nn.Linear(16, 2))
    split = cut(np.array(rows), y)
    return fit(harness, model, adam(model), F.cross_entropy, split, epochs=8)
