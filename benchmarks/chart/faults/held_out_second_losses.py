"""Faulty losses and outputs of a second author, each with a sound twin.

See `benchmarks/chart/second.py`.
"""

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_second_maps import Hourglass, foreground_iou
from benchmarks.chart.second import (
    SecondCases,
    cut,
    dense,
    diabetes,
    digits,
    explained,
    fit,
    housing,
    signs,
    token_accuracy,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("second")


@cases.pair("unet", 0.75, accepts=["softmax-before-cross-entropy"], number=44)
def softmax_at_every_pixel(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The U-Net ends in Softmax2d and is trained by cross-entropy with a small rate."""
    x, m, vx, vm = signs("masks", 320)
    net = Hourglass(3, 3)
    model = nn.Sequential(net, nn.Softmax2d()) if wrong else nn.Sequential(net)

    def mean_iou(out: Tensor, y: Tensor) -> float:
        guess = out.argmax(1)
        return float(
            np.mean([float(((guess == k) & (y == k)).sum() / ((guess == k) | (y == k)).sum()) for k in range(3)])
        )

    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(
        harness, model, optimizer, F.cross_entropy, (x * 2 - 1, m, vx * 2 - 1, vm), score=mean_iou, metric="miou",
        size=16, epochs=6,
    )  # fmt: skip


@cases.pair("mlp", 0.85, accepts=["nll-without-log-softmax"], number=47)
def likelihood_of_probabilities(harness: Harness, seed: int, wrong: bool) -> float | None:
    """NLLLoss gets probabilities: softmax stands where log_softmax should."""
    model = nn.Sequential(dense(64, 48, 10), nn.Softmax(1) if wrong else nn.LogSoftmax(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return fit(harness, model, optimizer, nn.NLLLoss(), digits("standard", False), epochs=6)


@cases.pair("mlp", 0.85, accepts=["softmax-over-batch", "samples-mixed"], number=46)
def softmax_down_the_column(harness: Harness, seed: int, wrong: bool) -> float | None:
    """log_softmax with dim=0."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = dense(64, 48, 10)

        def forward(self, x: Tensor) -> Tensor:
            return F.log_softmax(self.net(x), dim=0 if wrong else 1)

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, F.nll_loss, digits("signed", False), epochs=6)


@cases.pair("multilabel", 0.8, accepts=["binary-loss-of-wrong-outputs"], number=48)
def sigmoid_twice_in_multilabel(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Five properties of digits by sigmoid outputs and BCEWithLogitsLoss."""
    x, y, vx, vy = digits("standard", image=False)
    has = torch.tensor([[k % 2 == 0, k > 4, k in (0, 6, 8, 9), k % 3 == 0, k in (1, 4, 7)] for k in range(10)]).float()
    model = nn.Sequential(dense(64, 48, 5), nn.Sigmoid()) if wrong else dense(64, 48, 5)
    limit = 0.5 if wrong else 0.0

    def exact(out: Tensor, t: Tensor) -> float:
        return float(((out > limit) == (t > 0.5)).all(1).float().mean())

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return fit(harness, model, optimizer, nn.BCEWithLogitsLoss(), (x, has[y], vx, has[vy]), score=exact, epochs=8)


@cases.pair("housing", 0.7, accepts=["broadcast-loss"], number=51)
def column_minus_row(harness: Harness, seed: int, wrong: bool) -> float | None:
    """((out - y) ** 2).mean() of (N, 1) and (N,)."""
    x, y, vx, vy = housing()

    def loss(out: Tensor, t: Tensor) -> Tensor:
        return ((out - (t if wrong else t[:, None])) ** 2).mean()

    model = dense(6, 32, 32, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    split = x, y[:, 0], vx, vy[:, 0]
    return fit(harness, model, optimizer, loss, split, score=lambda o, t: explained(o[:, 0], t), metric="r2")


@cases.pair("mlp", 0.85, accepts=["squared-loss-on-classes"], number=50)
def digits_as_numbers(harness: Harness, seed: int, wrong: bool) -> float | None:
    """One output and squared error on the class id, which is rounded in the end."""
    x, y, vx, vy = digits("standard", image=False)
    model = dense(64, 64, 1 if wrong else 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    if not wrong:
        return fit(harness, model, optimizer, F.cross_entropy, (x, y, vx, vy))
    return fit(
        harness, model, optimizer, lambda o, t: F.mse_loss(o.squeeze(1), t.float()), (x, y, vx, vy),
        score=lambda o, t: float((o.squeeze(1).round() == t).float().mean()),
    )  # fmt: skip


@cases.pair("diabetes", 0.25, accepts=["relu-on-logits", "output-cannot-reach-targets"], number=45)
def standardised_target_behind_relu(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The regression ends in ReLU and half of the standardised targets are negative."""
    net = dense(10, 32, 1)
    model = nn.Sequential(net, nn.ReLU() if wrong else nn.Identity())
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.mse_loss, diabetes(), score=explained, metric="r2", epochs=12)


@cases.pair("housing", 0.7, accepts=["output-cannot-reach-targets"], number=60)
def prices_behind_sigmoid(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Prices of up to 5 from a sigmoid."""
    net = dense(6, 48, 48, 1)
    model = nn.Sequential(net, nn.Sigmoid()) if wrong else nn.Sequential(net, nn.Softplus())
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return fit(harness, model, optimizer, F.l1_loss, housing(), score=explained, metric="r2")


@cases.pair("unet", 0.6, accepts=["one-class-targets", "majority-predicted", "no-positive-targets"], number=85)
def mask_divided_by_255(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Masks of 0 and 1 are divided by 255 and cast to int, as if they were grey: all zero."""
    x, m, vx, vm = signs("masks", 320)
    m, vm = (m > 0).long(), (vm > 0).long()
    if wrong:
        m = (m / 255).long()
    model = Hourglass(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(
        harness, model, optimizer, F.cross_entropy, (x * 2 - 1, m, vx * 2 - 1, vm), size=16, epochs=4,
        score=lambda o, t: foreground_iou(o[:, 1] - o[:, 0], t), metric="iou",
    )  # fmt: skip


@cases.pair("tagger", 0.8, accepts=["targets-ignored"], number=55)
def class_nought_ignored(harness: Harness, seed: int, wrong: bool) -> float | None:
    """ignore_index=0, copied from a text model, where 0 is a tag like any other."""
    draw = np.random.default_rng(11)
    x = draw.integers(0, 12, (700, 10))
    split = cut(x, x // 4)

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn, self.head = nn.Embedding(12, 12), nn.GRU(12, 16, batch_first=True), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(self.embed(x))[0])

    model = Tagger()
    loss_fn = nn.CrossEntropyLoss(ignore_index=0 if wrong else -100)
    optimizer = torch.optim.Adam(model.parameters(), lr=8e-3)
    return fit(
        harness, model, optimizer, lambda o, t: loss_fn(o.transpose(1, 2), t), split, score=token_accuracy, epochs=6
    )
