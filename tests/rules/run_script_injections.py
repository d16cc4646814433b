"""Short watched trainings with faults as they stood in scripts of strangers, each beside a sound twin."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import snellen
from snellen.facts import Facts
from tests.rules.run_data_injections import parts, seeded
from tests.rules.run_injections import batches, mlp

Make = Callable[[Path], list[Facts]]
Told = Callable[[int, float], dict[str, float]]


def turns(rows: int, size: int, epochs: int) -> Iterator[tuple[int, Tensor]]:
    """Number of the epoch, and the rows of each batch in random order."""
    for epoch in range(epochs):
        for part in torch.randperm(rows).split(size):
            yield epoch, part


def trained(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    *,
    rate: float = 3e-3,
    size: int = 20,
    epochs: int = 8,
    trials: bool = True,
    told: Told | None = None,
    train: bool = False,
) -> list[Facts]:
    """Adam on all of `x` and `y`; `told(epoch, loss)` is the metric of each epoch, of training or of validation."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    with snellen.watch(model, optimizer, trials=trials) as watch:
        for epoch in range(epochs):
            for _, rows in turns(len(x), size, 1):
                optimizer.zero_grad()
                out = model(x[rows])
                loss = loss_of(out, y[rows])
                loss.backward()
                optimizer.step()
                watch.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
            if told:
                value = told(epoch, loss.item())
                if train:
                    watch.epoch(train={"loss": loss.item(), **value})
                else:
                    watch.epoch(val=value)
    return [watch.facts()]


def on_digits(told: Told, train: bool = False) -> list[Facts]:
    """An MLP that learns the digits, whatever its loop says of it."""
    x, y, vx, _ = parts()
    model = mlp()

    def look(epoch: int, loss: float) -> dict[str, float]:
        with torch.no_grad():
            model(vx)
        return told(epoch, loss)

    return trained(model, x, y, F.cross_entropy, told=look, train=train, size=32, epochs=6)


def penalised(factor: float) -> list[Facts]:
    """The squares of all weights are added to the loss by hand."""
    model = mlp()
    x, y, _, _ = parts()

    def loss(out: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(out, target) + factor * sum((p**2).sum() for p in model.parameters())

    return trained(model, x, y, loss, size=32, epochs=6)


def relabelled(share: float) -> list[Facts]:
    """That share of the labels is another class's; a wide network learns all of them by heart."""
    x, y, _, _ = parts()
    wrong = torch.rand(len(y)) < share
    y = torch.where(wrong, (y + torch.randint(1, 10, y.shape)) % 10, y)
    model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))
    return trained(model, x, y, F.cross_entropy, size=32, epochs=40, trials=False)


def taught(shuffle: bool) -> list[Facts]:
    """A student gets the shares of a teacher's classes, of its own rows or of others."""
    x, y, vx, vy = parts()
    shares = F.one_hot(y, 10) * 0.9 + 0.01
    shares = shares[torch.randperm(len(x))] if shuffle else shares
    model = mlp()

    def right(epoch: int, loss: float) -> dict[str, float]:
        with torch.no_grad():
            return {"accuracy": (model(vx).argmax(1) == vy).float().mean().item()}

    def loss(out: Tensor, given: Tensor) -> Tensor:
        return F.kl_div(F.log_softmax(out / 2, 1), given, reduction="batchmean") * 4

    return trained(model, x, shares, loss, size=32, epochs=6, told=right)


def frozen_part() -> list[Facts]:
    """The backbone was put in eval() for good; the container around it never was."""
    x, y, vx, vy = parts()
    backbone = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()).requires_grad_(False).eval()
    nn.init.normal_(backbone[0].weight, std=0.2)
    model = nn.Sequential()
    model.add_module("backbone", backbone)
    model.add_module("head", nn.Linear(64, 10))

    def right(epoch: int, loss: float) -> dict[str, float]:
        with torch.no_grad():
            return {"accuracy": (model(vx).argmax(1) == vy).float().mean().item()}

    return trained(model, x, y, F.cross_entropy, size=32, epochs=6, told=right)


class Reader(nn.Module):
    """Columns of a digit as time steps of a GRU, which gives (T, N, C) as CTC wants it."""

    def __init__(self, view: bool) -> None:
        super().__init__()
        self.rnn, self.head, self.view = nn.GRU(8, 32), nn.Linear(32, 11), view

    def forward(self, x: Tensor) -> Tensor:
        columns = x.view(8, len(x), 8) if self.view else x.view(len(x), 8, 8).permute(2, 0, 1)
        return self.head(self.rnn(columns)[0]).log_softmax(2)


def read(view: bool) -> list[Facts]:
    x, y, _, _ = parts()

    def ctc(out: Tensor, target: Tensor) -> Tensor:
        ones = torch.ones(len(target), dtype=torch.long)
        return F.ctc_loss(out, target[:, None], ones * out.shape[0], ones)

    return trained(Reader(view), x, y + 1, ctc, size=32, epochs=3)


class Patches(nn.Module):
    """The 16 patches of a digit, cut by reshaping, attend to each other."""

    def __init__(self, places: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 32)
        self.place = nn.Parameter(torch.randn(16, 32) * (1.0 if places else 0.0), requires_grad=places)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        cut = x.view(-1, 4, 2, 4, 2).permute(0, 1, 3, 2, 4).reshape(len(x), 16, 4)
        return self.head(self.layer(self.embed(cut) + self.place).mean(1))


class Series(nn.Module):
    """Places of a series attend to each other."""

    def __init__(self, places: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(2, 32)
        self.place = nn.Parameter(torch.randn(24, 32) * (1.0 if places else 0.0), requires_grad=places)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
        self.head = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x) + self.place).mean(1))


def attended(places: bool, series: bool = False) -> list[Facts]:
    if series:
        y = torch.randint(2, (600,))
        way = torch.arange(24) / 24 * torch.where(y == 0, 1.0, -1.0)[:, None]
        start = torch.rand(600, 1) + (y[:, None] == 1)  # both ways have the same places
        x = torch.stack([start + way, torch.ones(600, 24)], 2) + 0.05 * torch.randn(600, 24, 2)
        return trained(Series(places), x, y, F.cross_entropy, size=32, epochs=6)
    x, y, _, _ = parts()
    return trained(Patches(places), x.view(-1, 1, 8, 8), y, F.cross_entropy, size=32, epochs=3)


def cleaned(wrap: bool) -> list[Facts]:
    """What noise is in a picture, as the difference of two bytes or of two numbers."""
    clean = torch.randint(60, 190, (160, 1, 1, 1)) + torch.linspace(-30, 30, 16).expand(160, 3, 16, 16)
    noisy = (clean + 25 * torch.randn(clean.shape)).clamp(0, 255)
    a, b = noisy.to(torch.uint8), clean.to(torch.uint8)
    noise = (a - b).float() if wrap else a.float() - b.float()
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1))
    return trained(model, a.float() / 255, noise / 255, F.mse_loss, trials=False)


class Corners(nn.Module):
    """Centre and sides in shares of the image, given as corners."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 4), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        centre, sides = self.body(x).split(2, 1)
        return torch.cat([centre - sides / 2, centre + sides / 2], 1)


def scenes(count: int = 300) -> tuple[Tensor, Tensor]:
    """Pictures (N, 1, 16, 16) with a bright rectangle, and its corners in pixels."""
    sides = torch.randint(3, 8, (count, 2))
    first = (torch.rand(count, 2) * (17 - sides)).long()
    boxes = torch.cat([first, first + sides], 1)
    x = 0.1 * torch.rand(count, 1, 16, 16)
    for number, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        x[number, 0, y1:y2, x1:x2] += 1
    return x, boxes.float()


def cornered(sides: bool) -> list[Facts]:
    """The network gives corners; the targets are some, or a corner and sides."""
    x, boxes = scenes()
    given = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1) if sides else boxes
    return trained(Corners(), x, given / 16, F.l1_loss)


def mapped(lost: bool, classes: int = 3) -> list[Facts]:
    """A map of the centres of each class; with `lost` no label was understood."""
    x, boxes = scenes()
    y = torch.zeros(len(x), classes, 4, 4)
    centre = ((boxes[:, :2] + boxes[:, 2:]) / 8).long().clamp(max=3)
    if not lost:
        y[torch.arange(len(x)), torch.arange(len(x)) % classes, centre[:, 1], centre[:, 0]] = 1
        x = x * (1 + torch.arange(len(x)) % classes)[:, None, None, None]
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, classes, 1)
    )

    def focal(out: Tensor, target: Tensor) -> Tensor:
        p = out.sigmoid()
        each = target * (1 - p) ** 2 * F.softplus(-out) + (1 - target) * p**2 * F.softplus(out)
        return each.sum() / target.sum().clamp(min=1)

    return trained(model, x, y, focal)


def with_prior(bias: float) -> list[Facts]:
    """A head that begins with the share of a rare class."""
    x, boxes = scenes()
    cell = ((boxes[:, :2] + boxes[:, 2:]) / 8).long().clamp(max=3)
    y = torch.zeros(len(x), 4, 4)
    y[torch.arange(len(x)), cell[:, 1], cell[:, 0]] = 1
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 1, 1),
        nn.Flatten(0, 1),
    )
    nn.init.constant_(model[4].bias, bias)
    with torch.no_grad():
        model[4].weight.mul_(0.05)
    return trained(model, x, y, F.binary_cross_entropy_with_logits, epochs=12)


class Adapted(nn.Module):
    """Queries of a layer and of an adapter beside it; the keys are wide, as those of a trained network."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(4, 32), nn.Parameter(torch.randn(16, 32))
        self.q, self.k, self.v = (nn.Linear(32, 32) for _ in range(3))
        self.down, self.up = nn.Linear(32, 4, bias=False), nn.Linear(4, 32, bias=False)
        self.head = nn.Linear(32, 10)
        nn.init.normal_(self.q.weight, std=0.4)
        nn.init.normal_(self.k.weight, std=0.4)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x.view(-1, 16, 4)) + self.place
        q = self.q(h) + self.up(self.down(h)) * 4.0
        return self.head((h + F.scaled_dot_product_attention(q, self.k(h), self.v(h))).mean(1))


def adapted() -> list[Facts]:
    x, y, _, _ = parts()
    return trained(Adapted(), x, y, F.cross_entropy, size=32, epochs=3, trials=False)


def jolted(times: float) -> list[Facts]:
    """One batch has targets `times` as large; the next thirty undo what it did."""
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    weights = torch.randn(8, 1) / 4
    with snellen.watch(model, optimizer, trials=False) as watch:
        for step in range(240):
            x = torch.randn(64, 8)
            y = x @ weights * (times if step == 120 else 1.0) + 0.1 * torch.randn(64, 1)
            loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss=loss, inputs=x, targets=y)
    return [watch.facts()]


def killed(rate: float) -> list[Facts]:
    """Steps of SGD, of which none moves the weights by a tenth; one of them kills a hidden layer."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    weights = torch.randn(16, 1)
    with snellen.watch(model, optimizer, trials=False) as watch:
        for _ in range(120):
            x = torch.rand(32, 16)
            y = x @ weights + 1
            loss = F.smooth_l1_loss(model(x), y, beta=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss=loss, inputs=x, targets=y)
    return [watch.facts()]


def decayed(per_step: bool) -> list[Facts]:
    """The rate is multiplied by 0.5 after each epoch, or after each step."""
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    with snellen.watch(model, optimizer, trials=False) as watch:
        for number, (x, y) in enumerate(batches(120)):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            watch.step(loss=loss, inputs=x, targets=y)
            if per_step or number % 20 == 19:
                scheduler.step()
            if number % 20 == 19:
                watch.epoch(train={"loss": loss.item()})
    return [watch.facts()]


def rising(name: str) -> Told:
    return lambda epoch, loss: {name: 1 - 0.5 ** (epoch + 1)}


def zeros(name: str, until: int = 100) -> Told:
    return lambda epoch, loss: {name: 0.0 if epoch < until else 0.5}


SICK: dict[str, Make] = {
    "metric-stays-zero": seeded(lambda: on_digits(zeros("mAP50"))),
}

MORE: dict[str, tuple[str, Make]] = {
    "a penalty by hand": ("weight-decay-dominates", seeded(lambda: penalised(1.0))),
    "wrong labels learned by heart": ("noisy-labels", seeded(lambda: relabelled(0.3))),
    "shares of other rows": ("labels-carry-no-information", seeded(lambda: taught(shuffle=True))),
    "time first, and the samples are mixed": ("samples-mixed", seeded(lambda: read(view=True))),
    "patches by reshaping without places": ("token-order-ignored", seeded(lambda: attended(places=False))),
    "a series without places": ("token-order-ignored", seeded(lambda: attended(places=False, series=True))),
    "noise as a difference of bytes": ("unsigned-wraparound", seeded(lambda: cleaned(wrap=True))),
    "corners asked for as sides": ("target-boxes-as-sides", seeded(lambda: cornered(sides=True))),
    "no label was understood": ("no-positive-targets", seeded(lambda: mapped(lost=True))),
    "accuracy of training over a wrong axis": (
        "metric-contradicts-loss",
        seeded(lambda: on_digits(lambda epoch, loss: {"accuracy": 0.1 + epoch / 100}, train=True)),
    ),
    "a step kills a layer": ("lr-too-high", seeded(lambda: killed(0.7))),
    "the rate falls with every step": ("lr-decays-too-fast", seeded(lambda: decayed(per_step=True))),
}
"""Rules that are injected elsewhere, from another side."""

ALSO: dict[str, set[str]] = {}

CLEAN: dict[str, Make] = {
    "a metric of 0 in the first epochs": seeded(lambda: on_digits(zeros("mAP50", until=3))),
    "an error of 0": seeded(lambda: on_digits(zeros("calibration_error"))),
    "accuracy of training": seeded(lambda: on_digits(rising("accuracy"), train=True)),
    "a small penalty by hand": seeded(lambda: penalised(1e-5)),
    "labels learned by heart": seeded(lambda: relabelled(0.0)),
    "shares of a teacher": seeded(lambda: taught(shuffle=False)),
    "a backbone in eval for good": seeded(frozen_part),
    "time first": seeded(lambda: read(view=False)),
    "patches by reshaping": seeded(lambda: attended(places=True)),
    "a series": seeded(lambda: attended(places=True, series=True)),
    "noise": seeded(lambda: cleaned(wrap=False)),
    "corners": seeded(lambda: cornered(sides=False)),
    "maps of centres": seeded(lambda: mapped(lost=False)),
    "a head with a prior": seeded(lambda: with_prior(-math.log(99))),
    "an adapter beside queries": seeded(adapted),
    "one hard batch": seeded(lambda: jolted(6.0)),
    "no step kills a layer": seeded(lambda: killed(0.02)),
    "the rate falls with every epoch": seeded(lambda: decayed(per_step=False)),
}
