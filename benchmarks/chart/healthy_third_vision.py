"""Pictures, by a third author, on which NO threshold is ever set. See `healthy_third.py`."""

import itertools
import math
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_third import iterate, rows
from benchmarks.chart.second import SecondCases, accuracy, convs, dense, digits, fit, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

cases = SecondCases("third")


@cases.recipe("vgg", 0.85)
def plain_stack_without_norm(harness: Harness, seed: int) -> float:
    """Four convolutions in a row without any norm, He's initialisation, SGD with momentum and decay."""
    layers: list[nn.Module] = []
    for into, out in ((1, 16), (16, 16), (16, 32), (32, 32)):
        conv = nn.Conv2d(into, out, 3, padding=1)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)
        layers += [conv, nn.ReLU()] + ([nn.MaxPool2d(2)] if len(layers) == 2 else [])
    model = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-4)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", count=1000), epochs=6)


@cases.recipe("cnn", 0.85)
def frozen_batch_norm(harness: Harness, seed: int) -> float:
    """Fine-tuning with batch norms kept in eval mode, their scales and shifts without gradient, as detectors do."""
    x, y, vx, vy = digits("standard")
    model, low = convs(), y < 5
    early = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        part = rows(x[low], 32)
        loss = F.cross_entropy(model(x[low][part]), y[low][part])
        early.zero_grad()
        loss.backward()
        early.step()
    model[-1] = nn.Linear(128, 10)
    norms = [m for m in model if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(4):
        model.train()
        for norm in norms:
            norm.eval()
        for part in torch.randperm(len(x)).split(32):
            out = model(x[part])
            loss = F.cross_entropy(out, y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x[part], targets=y[part], outputs=out)
        model.eval()
        with torch.no_grad():
            harness.epoch(train={"loss": loss.item()}, val={"accuracy": accuracy(model(vx), vy)})
    return accuracy(model(vx), vy)


@cases.recipe("cnn", 0.75)
def images_grow(harness: Harness, seed: int) -> float:
    """Progressive resizing: 10, then 14, then 20 pixels, with one fully convolutional network."""
    x, y, vx, vy = signs(count=560)
    model = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(24, 48, 3),
        nn.BatchNorm2d(48), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(48, 4),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for size in (10, 10, 10, 14, 14, 20, 20):
        model.train()
        small, held = (F.interpolate(a, size=(size, size), mode="area") for a in (x, vx))
        total = 0.0
        for part in torch.randperm(len(x)).split(40):
            out = model(small[part])
            loss = F.cross_entropy(out, y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(part) / len(x)
            harness.step(loss=loss, inputs=small[part], targets=y[part], outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(held)
        harness.epoch(
            train={"loss": total}, val={"loss": F.cross_entropy(out, vy).item(), "accuracy": accuracy(out, vy)}
        )
    return accuracy(out, vy)


@cases.recipe("cnn", 0.8)
def hard_training_easy_validation(harness: Harness, seed: int) -> float:
    """Strong noise, erased corners and inverted contrast in training only: validation is far better than training."""

    def spoil(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = x + 0.7 * torch.randn_like(x)
        x[:, :, : int(torch.randint(1, 5, ())), :4] = 0
        return x * torch.empty(len(x), 1, 1, 1).uniform_(0.5, 1.5), y

    model = convs(width=16)
    return fit(
        harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), F.cross_entropy, digits("signed"), before=spoil
    )


@cases.recipe("cnn", 0.5)
def validated_on_harder_images(harness: Harness, seed: int) -> float:
    """Validation is of noisy, dimmed images that training never shows: a wide gap that is no fault of the loop."""
    x, y, vx, vy = digits("unit")
    noise = torch.randn(vx.shape, generator=torch.Generator().manual_seed(5))
    split = x, y, (0.7 * vx + 0.22 * noise), vy
    model = convs(norm=nn.InstanceNorm2d)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=2e-3), F.cross_entropy, split, epochs=6)


@cases.recipe("mlp", 0.75)
def a_third_of_labels_are_wrong(harness: Harness, seed: int) -> float:
    """Label noise on purpose: 30 % of training labels are drawn at random; validation is clean. Scored on clean."""
    x, y, vx, vy = digits("standard", image=False)
    wrong = torch.rand(len(y)) < 0.3
    y = torch.where(wrong, torch.randint(10, y.shape), y)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-3)
    return fit(harness, model, optimizer, F.cross_entropy, (x, y, vx, vy), epochs=6)


@cases.recipe("cnn", 0.8)
def classes_are_balanced_by_the_sampler(harness: Harness, seed: int) -> float:
    """Digits 5 to 9 are rare; a weighted sampler evens them out. The score is the mean recall of the ten."""
    x, y, vx, vy = digits("unit")
    kept = (y < 5) | (torch.rand(len(y), generator=torch.Generator().manual_seed(1)) < 0.15)
    x, y = x[kept], y[kept]
    weights = 1.0 / torch.bincount(y)[y]
    sampler = WeightedRandomSampler(weights.tolist(), len(y))
    loader = DataLoader(TensorDataset(x, y), batch_size=32, sampler=sampler, drop_last=True)
    model = convs()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    recall = 0.0
    for _ in range(7):
        model.train()
        for bx, by in loader:
            optimizer.zero_grad()
            out = model(bx)
            loss = F.cross_entropy(out, by)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=bx, targets=by, outputs=out)
        model.eval()
        with torch.no_grad():
            right = model(vx).argmax(1) == vy
        recall = sum(right[vy == c].float().mean().item() for c in range(10)) / 10
        harness.epoch(val={"accuracy": recall})
    return recall


@cases.recipe("cnn", 0.85)
def three_exits(harness: Harness, seed: int) -> float:
    """A classifier after each block; the losses are added with weights 0.3, 0.5 and 1. The last exit is scored."""

    class Exits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = (1, 12, 24, 32)
            self.blocks = nn.ModuleList(
                nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
                for a, b in itertools.pairwise(widths)
            )
            self.heads = nn.ModuleList(nn.Linear(b, 10) for b in widths[1:])

        def forward(self, x: Tensor) -> list[Tensor]:
            outs = []
            for block, head in zip(self.blocks, self.heads, strict=True):
                x = block(x)
                outs.append(head(x.amax((2, 3))))
            return outs

    def loss_fn(outs: list[Tensor], y: Tensor) -> Tensor:
        return sum(w * F.cross_entropy(o, y) for w, o in zip((0.3, 0.5, 1.0), outs, strict=True))  # type: ignore

    model = Exits()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return fit(
        harness, model, optimizer, loss_fn, digits("unit", count=1100), epochs=6, score=lambda o, t: accuracy(o[-1], t)
    )


@cases.recipe("vit", 0.75)
def sine_positions_and_mean_pooling(harness: Harness, seed: int) -> float:
    """A two-layer pre-norm transformer on 16 patches, fixed sine positions, mean pooling, warm-up of 20 steps."""
    where = torch.arange(16)[:, None] * torch.exp(-torch.arange(0, 32, 2) * math.log(1000) / 32)
    places = torch.cat([where.sin(), where.cos()], 1)

    class Vit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("places", places)
            self.patch = nn.Conv2d(1, 32, 2, 2)
            layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True)
            self.body = nn.TransformerEncoder(layer, 2, nn.LayerNorm(32), enable_nested_tensor=False)
            self.head = nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            tokens: Any = self.patch(x).flatten(2).transpose(1, 2) + self.places
            return self.head(self.body(tokens).mean(1))

    model = Vit()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, (i + 1) / 20))
    split = digits("signed", count=1100)
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=6, size=40, scheduler=warm, per="batch")


@cases.recipe("cnn", 0.6)
def how_far_was_it_turned(harness: Harness, seed: int) -> float:
    """The pretext task of rotations: each batch is turned by 0, 90, 180 and 270 degrees; labels are the turns."""
    x, _, vx, _ = digits("unit")

    def turned(a: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([a.rot90(k, (2, 3)) for k in range(4)]), torch.arange(4).repeat_interleave(len(a))

    model = convs(classes=4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)

    def compute(i: int) -> dict[str, Tensor]:
        inputs, targets = turned(x[rows(x, 16)])
        out = model(inputs)
        return {"loss": F.cross_entropy(out, targets), "inputs": inputs, "targets": targets, "outputs": out}

    iterate(harness, model, optimizer, compute, 180)
    model.eval()
    inputs, targets = turned(vx)
    return accuracy(model(inputs), targets)


@cases.recipe("cnn", 0.8)
def straightened_before_it_is_read(harness: Harness, seed: int) -> float:
    """A spatial transformer whose last layer starts as the identity, before a small network of two layers."""

    class Straight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.where = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 6))
            nn.init.zeros_(self.where[-1].weight)  # type: ignore[arg-type]
            self.where[-1].bias.data = torch.tensor([1.0, 0, 0, 0, 1, 0])
            self.read = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), dense(576, 64, 10))

        def forward(self, x: Tensor) -> Tensor:
            grid = F.affine_grid(self.where(x).view(-1, 2, 3), list(x.shape), align_corners=False)
            return self.read(F.grid_sample(x, grid, align_corners=False))

    model = Straight()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("unit"), epochs=6)
