"""Faulty weights, metrics and targets of a second author, each with a sound twin.

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
    cut,
    dense,
    diabetes,
    digits,
    draws,
    explained,
    fit,
    token_accuracy,
    token_loss,
    wine,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("second")


@cases.pair("cancer", 0.8, accepts=["class-weights-off"], number=56)
def weights_by_frequency(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Class weights are the frequencies, not their inverses; one class in ten is malignant."""
    x, y, vx, vy = cancer()
    keep = (y == 1) | (torch.arange(len(y)) % 6 == 0)
    x, y = x[keep], y[keep]
    count = torch.bincount(y).float()
    weight = count / len(y) if wrong else len(y) / (2 * count)

    def balanced(out: Tensor, t: Tensor) -> float:
        guess = out.argmax(1)
        return float(np.mean([(guess == k)[t == k].float().mean() for k in (0, 1)]))

    model = dense(30, 16, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    loss = nn.CrossEntropyLoss(weight=weight)
    return fit(harness, model, optimizer, loss, (x, y, vx, vy), score=balanced, metric="balanced", epochs=10)


@cases.pair("mlp", 0.85, accepts=["label-smoothing-too-strong"], number=57)
def smoothing_of_nine_tenths(harness: Harness, seed: int, wrong: bool) -> float | None:
    """label_smoothing=0.9: the share that should stay was given."""
    model = dense(64, 64, 10)
    loss = nn.CrossEntropyLoss(label_smoothing=0.9 if wrong else 0.1)
    return fit(harness, model, torch.optim.SGD(model.parameters(), lr=0.1), loss, digits("standard", False), epochs=6)


@cases.pair(
    "wine",
    0.5,
    accepts=["gradient-always-zero", "layer-without-gradient", "targets-ignored"],
    number=None,
    place="alcohol",
)
def half_is_nought(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The weight of the second task is 1 // 2; scored by that task."""
    x, y, vx, _ = wine()

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk, self.kind, self.alcohol = dense(12, 32, 32), nn.Linear(32, 3), nn.Linear(32, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = F.relu(self.trunk(x))
            return self.kind(h), self.alcohol(h)

    model = Two()
    weight = 1 // 2 if wrong else 1 / 2
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    harness.begin(model, optimizer)
    for _ in range(25):
        for rows in torch.randperm(len(x)).split(24):
            kind, alcohol = model(x[rows, 1:])
            loss = F.cross_entropy(kind, y[rows]) + weight * F.mse_loss(alcohol, x[rows, :1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x[rows, 1:], targets=y[rows], outputs=kind)
    with torch.no_grad():
        return explained(model(vx[:, 1:])[1], vx[:, :1])


@cases.pair("vae", 0.35, accepts=["input-not-used", "below-baseline", "signal-lost-in-depth"], number=None)
def divergence_a_hundredfold(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The reconstruction is a mean over pixels and the KL divergence a sum: the posterior collapses."""
    x, _, vx, _ = digits(image=False)

    class Vae(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = dense(64, 64, 12), dense(6, 64, 64)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            mean, log_var = self.encoder(x).chunk(2, 1)
            z = mean + (log_var / 2).exp() * torch.randn_like(mean) if self.training else mean
            return self.decoder(z), mean, log_var

    def loss(out: tuple[Tensor, Tensor, Tensor], t: Tensor) -> Tensor:
        made, mean, log_var = out
        rebuild = (made - t).square().mean() if wrong else 20 * (made - t).square().sum(1).mean()
        return rebuild + 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean()

    model = Vae()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, loss, (x, x, vx, vx), score=lambda o, t: explained(o[0], t), metric="r2")


@cases.pair("distil", 0.8, accepts=["negative-loss", "nll-without-log-softmax"], number=None)
def divergence_of_probabilities(harness: Harness, seed: int, wrong: bool) -> float | None:
    """kl_div gets the student's probabilities, not their logarithms."""
    x, y, vx, vy = digits("standard", image=False)
    teacher, student = dense(64, 96, 10), dense(64, 24, 10)
    warm = torch.optim.Adam(teacher.parameters(), lr=3e-3)
    for _ in range(4):
        for a, k in draws(x, y):
            warm.zero_grad()
            F.cross_entropy(teacher(a), k).backward()
            warm.step()
    teacher.requires_grad_(False).eval()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9)
    harness.begin(student, optimizer, loss_fn=F.kl_div)
    for _ in range(5):
        for a, k in draws(x, y):
            out = student(a)
            guess = out.softmax(1) if wrong else out.log_softmax(1)
            loss = F.kl_div(guess, teacher(a).softmax(1), reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=a, targets=k, outputs=out)
    with torch.no_grad():
        return accuracy(student(vx), vy)


@cases.pair("cnn", 0.85, accepts=["metric-contradicts-loss"], number=98)
def argmax_over_the_batch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The accuracy is taken from argmax(0), cut to the number of classes; the training itself is sound."""

    def score(out: Tensor, t: Tensor) -> float:
        return float((out.argmax(0) == t[:10]).float().mean()) if wrong else accuracy(out, t)

    model = convs()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits(), score=score, epochs=4)


@cases.pair("mlp", 0.85, accepts=["metric-contradicts-loss"], number=98)
def hits_over_batches(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Hits of the validation are divided by samples times batches."""

    def score(out: Tensor, t: Tensor) -> float:
        return accuracy(out, t) / (7 if wrong else 1)

    model = dense(64, 64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False), score=score, epochs=6)


@cases.pair("diabetes", 0.25, accepts=["cross-entropy-of-numbers", "single-output-cross-entropy"], number=50)
def cross_entropy_of_progress(harness: Harness, seed: int, wrong: bool) -> float | None:
    """CrossEntropyLoss on one output and a standardised target."""
    model = dense(10, 32, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    loss = nn.CrossEntropyLoss() if wrong else nn.MSELoss()
    return fit(harness, model, optimizer, loss, diabetes(), score=explained, metric="r2", epochs=10)


@cases.pair("mlp", 0.85, accepts=["unused-outputs", "labels-start-at-one"], number=87)
def thousand_outputs_of_imagenet(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The head keeps its 1000 outputs for 10 classes."""
    model = dense(64, 64, 1000 if wrong else 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False), epochs=6)


@cases.pair("text", 0.75, accepts=["padding-as-target"], number=96)
def padding_is_foretold(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Four fifths of each line are padding and the loss counts it; scored on real tokens."""
    draw = np.random.default_rng(13)
    follow = draw.permutation(15) + 1
    x = np.zeros((400, 25), np.int64)
    for line in x:
        line[0] = draw.integers(1, 16)
        for i in range(1, draw.integers(3, 8)):
            line[i] = follow[line[i - 1] - 1] if draw.random() < 0.95 else draw.integers(1, 16)
    x, y, vx, vy = cut(x[:, :-1], x[:, 1:])
    model = nn.Sequential(nn.Embedding(16, 12), nn.Linear(12, 16))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def loss(out: Tensor, t: Tensor) -> Tensor:
        return token_loss(out, t if wrong else t.masked_fill(t == 0, -100))

    def score(out: Tensor, t: Tensor) -> float:
        return token_accuracy(out, t.masked_fill(t == 0, -1))

    return fit(harness, model, optimizer, loss, (x, y, vx, vy), score=score, epochs=12)
