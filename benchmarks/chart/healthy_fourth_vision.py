"""More networks for small images, by a fourth author, without any threshold. See `healthy_fourth.py`."""

import copy
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, school, some
from benchmarks.chart.healthy_fourth_images import block
from benchmarks.chart.second import SecondCases, accuracy, digits, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


@cases.recipe("mil", 0.8)
def bags_with_attention(harness: Harness, seed: int) -> float:
    """Multiple instances: is there a nine among eight digits? Gated attention over instances, one bag per step."""
    x, y, vx, vy = digits(image=False)

    def bag(pool: Tensor, kinds: Tensor) -> tuple[Tensor, Tensor]:
        want = int(torch.randint(2, ()))
        rows = torch.randperm(len(pool))[:60]
        rows = rows[kinds[rows] != 9][: 8 - want]
        nines = (kinds == 9).nonzero().flatten()
        rows = torch.cat([rows, nines[torch.randint(len(nines), (want,))]])
        return pool[rows], torch.tensor(float(want))

    class Pool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = nn.Sequential(nn.Linear(64, 48), nn.ReLU())
            self.v, self.u, self.w = nn.Linear(48, 24), nn.Linear(48, 24), nn.Linear(24, 1)
            self.head = nn.Linear(48, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.f(x)
            a = self.w(self.v(h).tanh() * self.u(h).sigmoid()).softmax(0)
            return self.head((a * h).sum(0)).squeeze()

    model = Pool()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-4)

    def compute(i: int) -> Any:
        a, b = bag(x, y)
        out = model(a)
        return {"loss": F.binary_cross_entropy_with_logits(out, b), "inputs": a, "targets": b, "outputs": out}

    march(harness, model, optimizer, compute, 900)
    with torch.no_grad():
        tests = [bag(vx, vy) for _ in range(200)]
        return sum(float((model(a) > 0) == (b > 0.5)) for a, b in tests) / 200


@cases.recipe("mlp", 0.85)
def highways_closed_at_first(harness: Harness, seed: int) -> float:
    """Eight highway layers whose gates start closed (bias -2); Xavier's weights, momentum, batches of 25."""

    class Highway(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.h, self.t = nn.Linear(40, 40), nn.Linear(40, 40)
            nn.init.constant_(self.t.bias, -2.0)

        def forward(self, x: Tensor) -> Tensor:
            t = self.t(x).sigmoid()
            return t * self.h(x).relu() + (1 - t) * x

    model = nn.Sequential(nn.Linear(64, 40), *(Highway() for _ in range(8)), nn.Linear(40, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    split = digits("standard", image=False, count=1200)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=7, size=25)


@cases.recipe("vit", 0.75)
def convolutional_stem_then_attention(harness: Harness, seed: int) -> float:
    """A compact transformer: convolutional tokens, learned positions, weighted pooling over the sequence."""

    class Compact(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
            self.place = nn.Parameter(torch.zeros(1, 16, 32))
            nn.init.trunc_normal_(self.place, std=0.2)
            layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True)
            self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.norm, self.weigh, self.head = nn.LayerNorm(32), nn.Linear(32, 1), nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            h = self.norm(self.body(self.stem(x).flatten(2).mT + self.place))
            return self.head((self.weigh(h).softmax(1) * h).sum(1))

    model = Compact()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.1)
    return school(harness, model, optimizer, loss_fn, digits("standard", count=900), epochs=5, tell="pair")


@cases.recipe("cnn", 0.85)
def single_images_and_groups(harness: Harness, seed: int) -> float:
    """Batches of one with GroupNorm and momentum 0.9 at a rate of 1e-3, two passes over 500 digits."""
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.GroupNorm(4, 16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.GroupNorm(4, 32), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    return school(
        harness, model, optimizer, nn.CrossEntropyLoss(), digits("unit", count=900), epochs=2, size=1
    )  # fmt: skip


@cases.recipe("ensemble", 0.9)
def snapshots_of_cycles(harness: Harness, seed: int) -> float:
    """Snapshot ensemble: the rate falls from 0.2 to 0 by cosine three times, a copy is kept each time, all vote."""
    x, y, vx, vy = digits("standard", image=False)
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * (i % 100) / 100))))
    )
    kept: list[nn.Module] = []

    def compute(i: int) -> Tensor:
        a, b = some(40, x, y)
        return F.cross_entropy(model(a), b)

    def keep(i: int) -> None:
        if i % 100 == 99:
            kept.append(copy.deepcopy(model).eval())

    march(harness, model, optimizer, compute, 300, after=keep, scheduler=scheduler)
    with torch.no_grad():
        return accuracy(torch.stack([m(vx).softmax(1) for m in kept]).mean(0), vy)


@cases.recipe("cnn", 0.8)
def two_digits_and_two_heads(harness: Harness, seed: int) -> float:
    """House numbers: two digits side by side, one trunk, a head for each place; both must be right."""
    x, y, vx, vy = digits()

    def pairs(a: Tensor, b: Tensor, count: int) -> tuple[Tensor, Tensor]:
        i, j = torch.randint(len(a), (2, count), generator=torch.Generator().manual_seed(count))
        return torch.cat([a[i], a[j]], 3), torch.stack([b[i], b[j]], 1)

    (px, py), (tx, ty) = pairs(x, y, 1200), pairs(vx, vy, 300)
    model = nn.Sequential(
        block(1, 16), nn.MaxPool2d(2), block(16, 24), nn.Flatten(), nn.Linear(768, 64), nn.ReLU(),
        nn.Linear(64, 20), nn.Unflatten(1, (10, 2)),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return school(
        harness, model, optimizer, nn.CrossEntropyLoss(), (px, py, tx, ty), epochs=4, size=32,
        score=lambda o, t: float((o.argmax(1) == t).all(1).float().mean()),
    )  # fmt: skip


@cases.recipe("cnn", 0.8)
def turned_filters_share_weights(harness: Harness, seed: int) -> float:
    """Group convolution over quarter turns: each filter is used four times turned, the maximum of the turns is kept."""

    class Turning(nn.Module):
        def __init__(self, into: int, out: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(out, into, 3, 3))
            nn.init.kaiming_uniform_(self.weight, a=5**0.5)

        def forward(self, x: Tensor) -> Tensor:
            turned = torch.cat([self.weight.rot90(k, (2, 3)) for k in range(4)])
            return F.conv2d(x, turned, padding=1).unflatten(1, (4, -1)).max(1).values

    x, y, vx, vy = signs(count=600)
    split = x - 0.3, y, vx - 0.3, vy
    model = nn.Sequential(
        Turning(3, 8), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), Turning(8, 16), nn.BatchNorm2d(16), nn.ReLU(),
        nn.MaxPool2d(2), Turning(16, 24), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=8e-3)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=4, size=25, tell="pair")
