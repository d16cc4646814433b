"""Short real trainings on scikit-learn's digits: healthy ones of many kinds, and one with each fault.

Each network is examined before it is trained, and its facts are judged beside those of the run, as the exam does.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from snellen.facts import Facts
from snellen.network.examine import examine
from snellen.network.facts import NetworkFacts
from snellen.watching.facts import RunFacts
from snellen.watching.recorder import Recorder

Make = Callable[[Path], list[Facts]]
LOG10 = math.log(10)


@cache
def digits() -> tuple[Tensor, Tensor]:
    x, y = load_digits(return_X_y=True)
    return torch.tensor((x - 4.884) / 6.017, dtype=torch.float32), torch.tensor(y)


def batches(steps: int, size: int = 32, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    x, y = digits()
    pick = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(x), (size,), generator=pick)
        yield x[rows], y[rows]


def mlp(width: int = 64, act: type[nn.Module] = nn.ReLU, depth: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(64, width), act()]
    for _ in range(depth):
        layers += [nn.Linear(width, width), act()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def cnn(norm: Callable[[int], nn.Module]) -> nn.Sequential:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), norm(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), norm(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


class Block(nn.Module):
    def __init__(self, width: int, zero: bool = False) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        if zero:
            nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


def resnet(zero: bool = False) -> nn.Sequential:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), Block(16, zero), Block(16, zero),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


class Vit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        self.place = nn.Parameter(torch.zeros(8, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x.view(-1, 8, 8)) + self.place).mean(1))


class Gru(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(8, 48, batch_first=True), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x.view(-1, 8, 8))[0][:, -1])


class Cut(nn.Module):
    """Layers before `.detach()` learn nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Sequential(nn.Linear(64, 64), nn.ReLU()), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x).detach())


def look(model: nn.Module, features: int = 64, task: str = "classification") -> NetworkFacts:
    return examine(model, (1, features), task=task)


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    steps: int = 60,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    sign: float = 1.0,
    clip: float | None = None,
    accumulate: int = 1,
    schedule: Callable[[int], float] | None = None,
    spoil: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    before: Callable[[int], None] | None = None,
    clear: bool = True,
    erase: bool = False,
    backward: bool = True,
    step: bool = True,
    grad: bool = True,
    expected: float | None = LOG10,
    kind: str = "cross-entropy",
    task: str | None = None,
    size: int = 32,
    epochs: int = 1,
) -> list[Facts]:
    """A loop as people write it, with the faults people make."""
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule) if schedule else None
    every = max(steps // epochs, 1)
    task = task or ("classification" if kind == "cross-entropy" else "")
    looked = look(model, task=task)
    with Recorder(model, optimizer, every=10) as recorder:
        recorder.start(
            task=task, num_classes=10, loss_kind=kind, initial_loss_expected=expected,
            metric_name="accuracy", baseline_metric=0.101,
        )  # fmt: skip
        done: list[float] = []
        source = batches(steps * accumulate, size)
        for number in range(steps):
            if before:
                before(number)
            if clear:
                optimizer.zero_grad()
            total = 0.0
            for _ in range(accumulate):
                x, y = next(source)
                x, y = spoil(x, y) if spoil else (x, y)
                with torch.set_grad_enabled(grad):
                    value = sign * loss(model(x), y) / accumulate
                if backward and grad:
                    value.backward()
                total += value.item()
            norm = float(nn.utils.clip_grad_norm_(model.parameters(), clip)) if clip else None
            if erase:
                optimizer.zero_grad()
            if step:
                optimizer.step()
            done.append(total)
            recorder.step(
                loss=total, epoch=number // every, batch_size=len(x) * accumulate, grad_norm=norm, clip_limit=clip,
                labels=y if y.dim() == 1 and not y.is_floating_point() else None,
            )  # fmt: skip
            if scheduler:
                scheduler.step()
            if (number + 1) % every == 0:
                recorder.epoch(epoch=number // every, train_loss=float(np.mean(done[-every:])))
    return [looked, recorder.facts()]


SEED = 1


def seeded(make: Callable[[], list[Facts]]) -> Make:
    def run(_: Path) -> list[Facts]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return make()

    return run


def sgd(model: nn.Module, lr: float, **more: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, **more)


def with_sgd(model: nn.Module, lr: float, momentum: float = 0.9, decay: float = 0.0, **more: Any) -> list[Facts]:
    return train(model, sgd(model, lr, momentum=momentum, weight_decay=decay), **more)


def regression() -> list[Facts]:
    data, target = load_diabetes(return_X_y=True)
    x, y = torch.tensor(data / data.std(0), dtype=torch.float32), torch.tensor(target, dtype=torch.float32)[:, None]
    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    looked = look(model, 10, "regression")
    with Recorder(model, optimizer) as recorder:
        recorder.start(task="regression", loss_kind="mse")
        for i in range(120):
            rows = slice(32 * i % 400, 32 * i % 400 + 32)
            value = F.mse_loss(model(x[rows]), y[rows])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            recorder.step(loss=value.item())
    return [looked, recorder.facts()]


def frozen() -> list[Facts]:
    model = mlp()
    for p in model[:-1].parameters():
        p.requires_grad_(False)
    return train(model, torch.optim.Adam(model[-1].parameters(), lr=3e-3))


def autoencoder() -> list[Facts]:
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 64), nn.Sigmoid())
    return train(
        model, loss=lambda out, x: F.mse_loss(out, x), spoil=lambda x, y: ((x + 1) / 4, (x + 1) / 4),
        kind="mse", expected=None, steps=120,
    )  # fmt: skip


def gan() -> list[Facts]:
    generator = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64))
    judge = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    first = torch.optim.Adam(judge.parameters(), lr=2e-3, betas=(0.5, 0.999))
    second = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    looked = look(judge, task="")
    with Recorder(judge, first) as recorder:
        for x, _ in batches(120):
            ones, fake = torch.ones(32, 1), generator(torch.randn(32, 8))
            value = F.binary_cross_entropy_with_logits(judge(x), ones)
            value = value + F.binary_cross_entropy_with_logits(judge(fake.detach()), 0 * ones)
            first.zero_grad()
            value.backward()
            first.step()
            recorder.step(loss=value.item())
            other = F.binary_cross_entropy_with_logits(judge(fake), ones)
            second.zero_grad()
            other.backward()
            second.step()
    return [looked, recorder.facts()]


def two_optimizers() -> list[Facts]:
    model = mlp()
    stem, head = sgd(model[:-1], 0.1), torch.optim.Adam(model[-1].parameters(), lr=3e-3)
    looked = look(model)
    with Recorder(model, head) as recorder:
        recorder.start(task="classification", num_classes=10, loss_kind="cross-entropy", initial_loss_expected=LOG10)
        for x, y in batches(60):
            value = F.cross_entropy(model(x), y)
            stem.zero_grad(), head.zero_grad()
            value.backward()
            stem.step(), head.step()
            recorder.step(loss=value.item())
    return [looked, recorder.facts()]


def decay_groups() -> list[Facts]:
    model = Vit()
    plain = [p for p in model.parameters() if p.dim() < 2]
    rest = [p for p in model.parameters() if p.dim() >= 2]
    groups = [{"params": rest, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    return train(model, torch.optim.AdamW(groups, lr=1e-3), steps=80)


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.kind, self.bright = (
            nn.Sequential(nn.Linear(64, 64), nn.ReLU()),
            nn.Linear(64, 10),
            nn.Linear(64, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        features = self.stem(x)
        return torch.cat([self.kind(features), self.bright(features)], 1)


def multi_task() -> list[Facts]:
    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out[:, :10], y) + 0.1 * F.mse_loss(out[:, 10], y.float() / 10)

    return train(TwoHeads(), loss=loss, expected=None, kind="")


def validated() -> list[Facts]:
    """Forward passes in eval mode under no_grad between epochs, as in every real loop."""
    model = nn.Sequential(*list(mlp())[:2], nn.Dropout(0.5), nn.Linear(64, 10))

    def before(number: int) -> None:
        if number and number % 20 == 0:
            model.eval()
            with torch.no_grad():
                model(digits()[0][:64])
            model.train()

    return train(model, before=before, steps=80)


def sorted_by_class(steps: int = 60, **more: Any) -> list[Facts]:
    """Every image once, in the order of the classes, as an unshuffled loader of class folders gives them."""
    x, y = digits()
    order = y.argsort(stable=True)
    rows = iter(order.repeat(-(-32 * steps // len(y))).split(32))

    def spoil(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        now = next(rows)
        return x[now], y[now]

    return train(mlp(), spoil=spoil, steps=steps, **more)


def balanced() -> list[Facts]:
    """Four images of each of eight classes per batch, as metric learning draws them."""
    x, y = digits()

    def spoil(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.cat([(y == c).nonzero()[torch.randint(170, (4,)), 0] for c in torch.randperm(10)[:8]])
        return x[rows], y[rows]

    return train(mlp(), spoil=spoil)


def broadcast(**more: Any) -> list[Facts]:
    """(N, 1) predictions against (N,) targets, the difference squared by hand."""
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return (out - y.float()).square().mean()

    return train(model, loss=loss, kind="mse", expected=None, **more)


def one_number(target: Callable[[Tensor], Tensor]) -> list[Facts]:
    """(N,) predictions against (N,) targets."""
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0))
    return train(model, loss=lambda out, y: (out - target(y.float())).square().mean(), kind="mse", expected=None)


def stale_head() -> list[Facts]:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    model[-1] = nn.Linear(64, 10)
    return train(model, optimizer)


def forgot_train() -> list[Facts]:
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))

    def before(number: int) -> None:
        if number == 20:
            model.eval()

    return train(model, before=before)


def dead_at_start() -> list[Facts]:
    model = mlp()
    nn.init.constant_(model[2].bias, -20.0)
    return train(model, sgd(model, 0.01))


def wide_init() -> list[Facts]:
    model = mlp(depth=0)
    nn.init.normal_(model[-1].weight, std=5.0)
    return train(model)


def sigmoid_stack() -> list[Facts]:
    model = mlp(width=32, act=nn.Sigmoid, depth=6)
    return train(model, sgd(model, 0.05), steps=80)


def shuffled_labels() -> list[Facts]:
    def spoil(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x, torch.randint(10, y.shape)

    model = mlp()
    return train(model, sgd(model, 0.01), spoil=spoil, steps=150, epochs=3)


def told(**columns: Any) -> list[Facts]:
    """A healthy run that reports other numbers of itself: what a detector's or an fp16 loop would tell."""
    steps = columns.pop("steps", 60)
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    looked = look(model)
    with Recorder(model, optimizer) as recorder:
        for number, (x, y) in enumerate(batches(steps)):
            value = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            more = {k: v(number) if callable(v) else v for k, v in columns.items()}
            recorder.step(loss=value.item(), **more)
    return [looked, recorder.facts()]


def memorised() -> list[Facts]:
    """Forty images, no regularisation, a third of the training labels wrong: validation turns early."""
    x, y = digits()
    noisy = torch.where(torch.arange(40) % 3 == 0, (y[:40] + 1) % 10, y[:40])
    model = mlp(width=128)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    looked = look(model)
    with Recorder(model, optimizer) as recorder:
        for epoch in range(40):
            for part in range(2):
                rows = slice(20 * part, 20 * part + 20)
                value = F.cross_entropy(model(x[rows]), noisy[rows])
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                recorder.step(loss=value.item(), epoch=epoch)
            with torch.no_grad():
                held = F.cross_entropy(model(x[1000:1200]), y[1000:1200]).item()
            recorder.epoch(epoch=epoch, train_loss=value.item(), val_loss=held)
    return [looked, recorder.facts()]


def other_labels_in_validation() -> list[Facts]:
    """Validation labels are off by one: training is well, the metric stays below chance."""
    x, y = digits()
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    looked = look(model)
    with Recorder(model, optimizer) as recorder:
        recorder.start(task="classification", loss_kind="cross-entropy", metric_name="accuracy", baseline_metric=0.101)
        for epoch in range(5):
            for a, b in batches(30, seed=epoch):
                value = F.cross_entropy(model(a), b)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
                recorder.step(loss=value.item(), epoch=epoch)
            with torch.no_grad():
                right = (model(x).argmax(1) == (y + 1) % 10).float().mean().item()
            recorder.epoch(epoch=epoch, train_loss=value.item(), metric=right)
    return [looked, recorder.facts()]


def cosine(steps: int) -> Callable[[int], float]:
    return lambda i: min(i / 10, 0.5 * (1 + math.cos(math.pi * i / steps)))


def no_move() -> list[Facts]:
    """bfloat16 weights and a rate below their resolution."""
    model = mlp().bfloat16()
    return train(model, sgd(model, 1e-7), spoil=lambda x, y: (x.bfloat16(), y))


CLEAN: dict[str, Make] = {
    "digits MLP": seeded(lambda: train(mlp())),
    "CNN with batch norm, SGD momentum": seeded(lambda: with_sgd(cnn(nn.BatchNorm2d), 0.05, decay=5e-4, steps=80)),
    "CNN with group norm": seeded(lambda: train(cnn(lambda c: nn.GroupNorm(4, c)), steps=80)),
    "ResNet": seeded(lambda: with_sgd(resnet(), 0.1, decay=1e-4)),
    "ResNet with zero-init residual": seeded(lambda: with_sgd(resnet(zero=True), 0.1, decay=1e-4)),
    "transformer": seeded(lambda: train(Vit(), steps=80)),
    "transformer, AdamW with decay groups": seeded(decay_groups),
    "GRU": seeded(lambda: train(Gru(), steps=80)),
    "regression on a raw target": seeded(regression),
    "frozen backbone and head": seeded(frozen),
    "tanh MLP": seeded(lambda: train(mlp(act=nn.Tanh), steps=80)),
    "accumulation and clip 1.0": seeded(lambda: train(mlp(), accumulate=4, clip=1.0)),
    "warm-up from 0 and cosine to 0": seeded(lambda: train(mlp(), schedule=cosine(80), steps=80)),
    "long warm-up, stopped in it": seeded(lambda: train(mlp(), schedule=lambda i: i / 1000, steps=30)),
    "label smoothing": seeded(lambda: train(mlp(), loss=lambda a, b: F.cross_entropy(a, b, label_smoothing=0.1))),
    "dropout 0.5 and validation": seeded(validated),
    "autoencoder": seeded(autoencoder),
    "GAN, recorder on the discriminator": seeded(gan),
    "two optimizers, recorder on one": seeded(two_optimizers),
    "multi-task": seeded(multi_task),
    "ten steps": seeded(lambda: train(mlp(), steps=10, size=8)),
    "three steps": seeded(lambda: train(mlp(), steps=3)),
    "fine-tuning with a tiny rate, 20 steps": seeded(lambda: train(mlp(), steps=20, schedule=lambda i: 1e-3)),
    "three epochs": seeded(lambda: train(mlp(), steps=90, epochs=3)),
    "four images of each class": seeded(balanced),
    "squared loss, one number": seeded(lambda: one_number(lambda y: y)),
    "squared loss, one constant target as in LSGAN": seeded(lambda: one_number(torch.ones_like)),
    "SGD with rate 0.2": seeded(lambda: with_sgd(mlp(), 0.2, momentum=0.0)),
}

SICK: dict[str, Make] = {
    "loss-not-finite": seeded(
        lambda: train(mlp(), loss=lambda a, b: F.nll_loss(torch.log(F.softmax(a, 1) - 0.02), b), steps=150)
    ),
    "lr-too-high": seeded(lambda: with_sgd(mlp(), 10.0, momentum=0.0)),
    "lr-too-low": seeded(lambda: with_sgd(mlp(), 1e-7, momentum=0.0)),
    "lr-zero": seeded(lambda: train(mlp(), schedule=lambda i: 0.0)),
    "gradients-not-cleared": seeded(lambda: with_sgd(mlp(), 0.1, clear=False)),
    "gradients-erased": seeded(lambda: train(mlp(), erase=True)),
    "no-backward": seeded(lambda: train(mlp(), backward=False)),
    "forward-without-grad": seeded(lambda: train(mlp(), grad=False)),
    "optimizer-never-steps": seeded(lambda: train(mlp(), step=False)),
    "weights-unchanged": seeded(no_move),
    "parameters-missing-from-optimizer": seeded(stale_head),
    "layer-without-gradient": seeded(lambda: train(Cut())),
    "model-in-eval-mode": seeded(forgot_train),
    "softmax-before-cross-entropy": seeded(lambda: train(nn.Sequential(mlp(), nn.Softmax(1)))),
    "softmax-over-batch": seeded(lambda: train(nn.Sequential(mlp(), nn.Softmax(0)))),
    "relu-on-logits": seeded(lambda: train(nn.Sequential(mlp(), nn.ReLU()))),
    "initial-loss-off": seeded(lambda: train(mlp(), spoil=lambda x, y: (100 * x + 300, y))),
    "dead-relu": seeded(dead_at_start),
    "vanishing-gradient": seeded(sigmoid_stack),
    "clipping-dominates": seeded(lambda: with_sgd(mlp(), 0.1, clip=1e-5)),
    "weight-decay-dominates": seeded(lambda: with_sgd(mlp(), 0.1, momentum=0.0, decay=2.0)),
    "no-positive-targets": seeded(lambda: told(targets=90, positives=0)),
    "negative-loss": seeded(lambda: with_sgd(mlp(), 0.01, sign=-1.0)),
    "constant-input": seeded(lambda: train(mlp(), spoil=lambda x, y: (torch.zeros_like(x), y))),
    "class-pure-batches": seeded(sorted_by_class),
    "broadcast-loss": seeded(broadcast),
    "loss-flat": seeded(shuffled_labels),
    "overfitting": seeded(memorised),
    "below-baseline": seeded(other_labels_in_validation),
    "data-loading-bound": seeded(lambda: told(seconds=2.0, data_seconds=1.4)),
    "scaler-skips": seeded(lambda: told(skipped=lambda i: i % 4 == 0)),
}

ALSO: dict[str, set[str]] = {"parameters-missing-from-optimizer": {"optimizer-holds-stale-tensors"}}

__all__ = ["ALSO", "CLEAN", "SICK", "RunFacts"]
