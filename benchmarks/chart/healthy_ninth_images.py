"""Small networks on pictures of one's own, by a ninth author, who had not read the rules, without any threshold.

See `healthy_ninth.py`.
"""

from collections import OrderedDict

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_ninth import Net, evaluate, f1, train_model
from benchmarks.chart.second import SecondCases, Split, accuracy, convs, cut, digits, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import WeightedRandomSampler

cases = SecondCases("ninth")


def garments(count: int = 1400, size: int = 16) -> Split:
    """Grey pictures (N, 1, size, size) of 0..1 of a shirt, trousers, a dress, a shoe, a bag or a pullover."""
    draw = np.random.default_rng(901)
    rows, cols = np.mgrid[:size, :size]
    kinds = draw.integers(0, 6, count)
    images = np.abs(draw.normal(0, 0.06, (count, 1, size, size)))
    for i, kind in enumerate(kinds):
        half = size / 2 * draw.uniform(0.75, 1.0)
        u = (cols - size / 2 + 0.5 - draw.uniform(-1.5, 1.5)) / half
        v = (rows - size / 2 + 0.5 - draw.uniform(-1.5, 1.5)) / half
        a = np.abs(u)
        forms = (
            (a < 0.45) & (np.abs(v) < 0.85) | (a < 0.9) & (v > -0.85) & (v < -0.3),
            (a > 0.1) & (a < 0.5) & (np.abs(v) < 0.9) | (a < 0.5) & (v > -0.9) & (v < -0.55),
            (a < 0.2 + 0.3 * (v + 0.9)) & (np.abs(v) < 0.9),
            (v > 0.1) & (v < 0.6) & (a < 0.9) | (u < -0.2) & (u > -0.9) & (np.abs(v) < 0.6),
            (a < 0.8) & (v > -0.1) & (v < 0.8) | (np.abs(np.hypot(u, v + 0.1) - 0.5) < 0.12) & (v < 0),
            (a < 0.45) & (np.abs(v) < 0.85) | (a > 0.55) & (a < 0.95) & (v > -0.85) & (v < 0.7),
        )
        cloth = draw.uniform(0.35, 0.9) * (1 + 0.2 * np.sin(draw.uniform(0.5, 2) * rows))
        images[i, 0] += forms[kind] * cloth
    return cut(images.clip(0, 1), kinds)


def land(count: int = 900, size: int = 20) -> Split:
    """Colour tiles (N, 3, size, size) of 0..1 seen from above: field, forest, water, town or sand."""
    draw = np.random.default_rng(902)
    rows, cols = np.mgrid[:size, :size]
    kinds = draw.integers(0, 5, count)
    base = np.array([[0.45, 0.5, 0.3], [0.3, 0.4, 0.28], [0.3, 0.38, 0.5], [0.45, 0.43, 0.42], [0.6, 0.53, 0.4]])
    images = np.zeros((count, 3, size, size))
    for i, kind in enumerate(kinds):
        turn = draw.uniform(0, np.pi)
        along = cols * np.cos(turn) + rows * np.sin(turn)
        coarse = np.kron(draw.normal(0, 1, (size // 4, size // 4)), np.ones((4, 4)))
        pattern = (
            np.sin(along * draw.uniform(1.0, 1.6)) * 0.7,
            draw.normal(0, 1, (size, size)),
            0.3 * np.sin(along * 0.3) + draw.normal(0, 0.2, (size, size)),
            coarse,
            np.sin(along * 0.5 + np.sin(rows * 0.4)) * 0.5,
        )[kind]
        images[i] = base[kind][:, None, None] + draw.normal(0, 0.08, (3, 1, 1)) + 0.12 * pattern
    images += draw.normal(0, 0.04, images.shape)
    return cut(images.clip(0, 1), kinds)


def faces(count: int = 800, size: int = 20) -> Split:
    """Colour pictures (N, 3, size, size) of heads with pointed ears (0) or round ones (1)."""
    draw = np.random.default_rng(903)
    rows, cols = np.mgrid[:size, :size]
    kinds = draw.integers(0, 2, count)
    images = draw.uniform(0, 0.6, (count, 3, 1, 1)) + draw.normal(0, 0.05, (count, 3, size, size))
    for i, kind in enumerate(kinds):
        r, x, y = draw.uniform(4.5, 6.5), size / 2 + draw.uniform(-2, 2), size / 2 + 1.5 + draw.uniform(-1.5, 1.5)
        head = np.hypot(cols - x, rows - y) < r
        ears = np.zeros_like(head)
        for side in (-1, 1):
            dx, dy = cols - (x + side * 0.75 * r), rows - (y - 0.85 * r)
            pointed = (np.abs(dx) < (dy + 0.6 * r) * 0.6) & (np.abs(dy) < 0.6 * r)
            ears |= pointed if kind == 0 else np.hypot(dx, dy) < 0.45 * r
        images[i][:, head | ears] += draw.uniform(0.2, 0.5, (3, 1))
        for side in (-1, 1):
            images[i][:, np.hypot(cols - x - side * 0.4 * r, rows - y + 0.2 * r) < 1.0] = 0.05
    return cut(images.clip(0, 1), kinds)


def castings(count: int = 1200, size: int = 20, share: float = 0.15) -> Split:
    """Brushed metal (N, 1, size, size) of 0..1; 1 has a scratch or a dent, which `share` of the parts have."""
    draw = np.random.default_rng(904)
    rows, cols = np.mgrid[:size, :size]
    bad = (draw.uniform(0, 1, count) < share).astype(np.int64)
    images = 0.5 + 0.06 * draw.normal(0, 1, (count, 1, size, 1)) + 0.04 * draw.normal(0, 1, (count, 1, size, size))
    for i in np.flatnonzero(bad):
        x, y, turn = draw.uniform(5, size - 5), draw.uniform(5, size - 5), draw.uniform(0, np.pi)
        along = (cols - x) * np.cos(turn) + (rows - y) * np.sin(turn)
        across = (rows - y) * np.cos(turn) - (cols - x) * np.sin(turn)
        if draw.random() < 0.5:
            images[i, 0] += 0.35 * ((np.abs(across) < 0.8) & (np.abs(along) < 5))
        else:
            images[i, 0] -= 0.35 * (np.hypot(along, across) < draw.uniform(1.8, 3))
    return cut(images.clip(0, 1), bad)


def flip(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Half of the pictures from left to right."""
    return torch.where((torch.rand(len(x)) < 0.5)[:, None, None, None], x.flip(3), x), y


def shift(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A crop of the padded picture, two pixels either way."""
    side, padded = x.shape[-1], F.pad(x, [2] * 4)
    r, c = (int(v) for v in torch.randint(0, 5, (2,)))
    return padded[..., r : r + side, c : c + side], y


def normalised(split: Split) -> Split:
    """Channels by mean and deviation of the training pictures."""
    x, y, vx, vy = split
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
    return (x - mean) / std, y, (vx - mean) / std, vy


@cases.recipe("cnn", 0.85)
def garments_by_two_convolutions(harness: Harness, seed: int) -> float:
    """The Fashion-MNIST exercise: conv, pool, conv, pool, two linear layers, Adam at 1e-3, pixels of 0..1."""
    model = Net(side=16, classes=6)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return train_model(harness, model, optimizer, nn.CrossEntropyLoss(), garments(), epochs=5, train_metric=True)


@cases.recipe("cnn", 0.85)
def garments_with_flips_and_cosine(harness: Harness, seed: int) -> float:
    """Normalised pictures, crops, SGD with Nesterov, weight decay and a cosine to zero, best one kept."""
    model = convs(1, 6, width=12)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), normalised(garments()), epochs=6, size=64,
        scheduler=scheduler, change=shift, keep_best=True,
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def land_use_with_flips(harness: Harness, seed: int) -> float:
    """Five kinds of land from above: three blocks with batch norm, flips both ways, AdamW, plateau by the loss."""
    blocks: list[nn.Module] = []
    for into, out in ((3, 16), (16, 24), (24, 32)):
        blocks += [nn.Conv2d(into, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
        blocks += [nn.MaxPool2d(2)]
    model = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))

    def turn(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x, y = flip(x, y)
        return torch.where((torch.rand(len(x)) < 0.5)[:, None, None, None], x.flip(2), x), y

    optimizer = torch.optim.AdamW(model.parameters(), lr=1.5e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), normalised(land()), epochs=8, scheduler=scheduler,
        when="plateau", change=turn, drop_last=True,
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def pointed_or_round_ears(harness: Harness, seed: int) -> float:
    """The cats and dogs of everyone: one logit, RMSprop at 1e-3, dropout before the head, horizontal flips."""
    x, y, vx, vy = faces()
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(288, 64), nn.ReLU(), nn.Linear(64, 1),
    )  # fmt: skip
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    return train_model(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), (x, y.float()[:, None], vx, vy.float()[:, None]),
        epochs=10, size=20, change=flip, metric=lambda o, t: float(((o > 0) == (t > 0.5)).float().mean()),
    )  # fmt: skip


@cases.recipe("cnn", 0.75)
def scratched_parts_by_class_weights(harness: Harness, seed: int) -> float:
    """One part in seven has a defect: cross-entropy with weights by inverse frequency, F1 on validation."""
    x, y, vx, vy = castings()
    counts = y.bincount().float()
    criterion = nn.CrossEntropyLoss(weight=counts.sum() / (2 * counts))
    model = convs(1, 2, width=12)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return train_model(
        harness, model, optimizer, criterion, normalised((x, y, vx, vy)), epochs=6, change=flip, metric=f1, name="f1",
        keep_best=True,
    )  # fmt: skip


@cases.recipe("cnn", 0.75)
def scratched_parts_by_a_sampler(harness: Harness, seed: int) -> float:
    """The same parts drawn with a WeightedRandomSampler, so that batches are half and half; F1 on untouched data."""
    x, y, vx, vy = normalised(castings(share=0.2))
    weights = (1.0 / y.bincount().float())[y]
    sampler = WeightedRandomSampler(weights.tolist(), len(y))
    model = Net(1, 20, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), (x, y, vx, vy), epochs=6, metric=f1, name="f1",
        sampler=sampler, told="pair",
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def signs_by_a_vgg_in_steps(harness: Harness, seed: int) -> float:
    """A small VGG with batch norm, SGD in two milestones, L2, crops; the loop counts steps and validates each 40."""
    x, y, vx, vy = normalised(signs())
    layers: list[nn.Module] = []
    for into, out, pool in ((3, 16, False), (16, 16, True), (16, 32, False), (32, 32, True)):
        layers += [nn.Conv2d(into, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if pool else []
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(800, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [100, 160], gamma=0.1)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    step, value, recent = 0, 0.0, []
    while step < 200:
        for rows in torch.randperm(len(x)).split(32):
            model.train()
            a, b = shift(x[rows], y[rows])
            out = model(a)
            loss = F.cross_entropy(out, b)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
            harness.step(loss=loss.detach(), inputs=a, targets=b, outputs=out.detach())
            recent.append(loss.item())
            step += 1
            if step % 40 == 0:
                val_loss, value = evaluate(model, vx, vy, F.cross_entropy, accuracy)
                harness.epoch(train={"loss": float(np.mean(recent))}, val={"loss": val_loss, "accuracy": value})
                recent = []
    return value


@cases.recipe("cnn", 0.88)
def pictures_of_bytes_divided_in_forward(harness: Harness, seed: int) -> float:
    """Pictures stay uint8 until the batch, which is divided by 255; named layers in an OrderedDict; AdamW."""
    x, y, vx, vy = garments()
    x, vx = (x * 255).byte(), (vx * 255).byte()

    class Bytes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(
                OrderedDict(
                    conv1=nn.Conv2d(1, 16, 5, stride=2, padding=2), act1=nn.ReLU(),
                    conv2=nn.Conv2d(16, 32, 3, stride=2, padding=1), act2=nn.ReLU(),
                )
            )  # fmt: skip
            self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 6))

        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(self.features(x.float() / 255.0))

    model = Bytes()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.5e-3)
    return train_model(harness, model, optimizer, nn.CrossEntropyLoss(), (x, y, vx, vy), epochs=6)


@cases.recipe("cnn", 0.9)
def label_smoothing_and_one_cycle(harness: Harness, seed: int) -> float:
    """Digits with OneCycleLR per batch, label smoothing of 0.1, clipping at 1, batches of 64 without the rest."""
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.GELU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 48, 3, padding=1), nn.BatchNorm2d(48), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(48, 10),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=16 * 8)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(label_smoothing=0.1), digits("standard"), epochs=8, size=64,
        scheduler=scheduler, when="batch", clip=1.0, drop_last=True, val_criterion=nn.CrossEntropyLoss(),
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def tones_are_shaken(harness: Harness, seed: int) -> float:
    """Land use with colour jitter, small rotations of the batch's pictures and noise; group norm; Adam with decay."""

    def jitter(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = x * (1 + 0.1 * torch.randn(len(x), 1, 1, 1)) + 0.05 * torch.randn(len(x), 3, 1, 1)
        turn = 0.3 * torch.randn(len(x))
        rows = torch.stack([torch.stack([turn.cos(), -turn.sin(), 0 * turn], 1),
                            torch.stack([turn.sin(), turn.cos(), 0 * turn], 1)], 1)  # fmt: skip
        grid = F.affine_grid(rows, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False), y

    model = convs(3, 5, norm=lambda width: nn.GroupNorm(4, width))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-5)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), normalised(land(1100)), epochs=8, change=jitter,
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def several_marks_on_one_picture(harness: Harness, seed: int) -> float:
    """Multi-label: pictures glued of two garments carry both labels; a sigmoid per class, mean of right answers."""
    x, y, vx, vy = garments(1600)

    def glue(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        half = len(x) // 2
        labels = (F.one_hot(y[:half], 6) + F.one_hot(y[half : 2 * half], 6)).clamp(max=1).float()
        return torch.cat([x[:half], x[half : 2 * half]], 3), labels

    split = (*glue(x, y), *glue(vx, vy))
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 6),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return train_model(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), split, epochs=10, size=32,
        metric=lambda o, t: float(((o > 0) == (t > 0.5)).float().mean()),
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def brain_floats_on_garments(harness: Harness, seed: int) -> float:
    """Autocast with bfloat16, channels last, batches of 48, cosine with a short linear warm-up."""
    model = convs(1, 6).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=15)
    cool = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 95)
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cool], [15])
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), normalised(garments()), epochs=5, size=48,
        scheduler=scheduler, when="batch", cast=torch.bfloat16,
    )  # fmt: skip
