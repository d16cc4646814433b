"""Classifiers of small images, by a fifth author, without any threshold. See `healthy_fifth.py`."""

from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fifth import _fabrics, course, fabrics, flipped, moved, normal
from benchmarks.chart.second import SecondCases, accuracy, binary_accuracy, cut, digits, explained, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = SecondCases("fifth")


def unit(into: int, out: int, stride: int = 1, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """A 3 x 3 convolution without bias, batch norm, activation."""
    return nn.Sequential(nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), act())


class Residual(nn.Module):
    """Two convolutions and a shortcut, as in ResNet-18."""

    def __init__(self, into: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.a = unit(into, out, stride)
        self.b = nn.Sequential(nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out))
        self.short = nn.Sequential()
        if stride != 1 or into != out:
            self.short = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """What comes in, changed."""
        return F.relu(self.b(self.a(x)) + self.short(x))


@cases.recipe("resnet", 0.85)
def residual_net_as_for_cifar(harness: Harness, seed: int) -> float:
    """A short ResNet, mirrored and moved images, SGD at 0.1 with momentum and decay 5e-4, cosine by epoch."""
    model = nn.Sequential(
        unit(3, 12), Residual(12, 12), Residual(12, 24, 2), Residual(24, 48, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 5),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=7)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), normal(fabrics()), epochs=7, size=64,
        scheduler=scheduler, augment=lambda x: moved(flipped(x)), train_metric=True,
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def cats_and_dogs(harness: Harness, seed: int) -> float:
    """Two kinds of pictures, three convolutions, one sigmoid unit and BCELoss, RMSprop at 1e-3, best weights kept."""
    x, y, vx, vy = signs(count=800)
    a, b = y < 2, vy < 2
    split = x[a], y[a].float()[:, None], vx[b], vy[b].float()[:, None]
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 1), nn.Sigmoid(),
    )  # fmt: skip
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)

    def right(p: Tensor, t: Tensor) -> float:
        return float(((p > 0.5) == (t > 0.5)).float().mean())

    return course(
        harness, model, optimizer, nn.BCELoss(), split, epochs=12, size=20, metric=right, best=True, train_metric=True
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def inverted_bottlenecks(harness: Harness, seed: int) -> float:
    """MobileNetV2-like: expand by 4, depthwise, project without activation, ReLU6; RMSprop, exponential decay."""

    class Inverted(nn.Module):
        def __init__(self, into: int, out: int, stride: int) -> None:
            super().__init__()
            wide = 4 * into
            self.keep = stride == 1 and into == out
            self.f = nn.Sequential(
                nn.Conv2d(into, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
                nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
                nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out),
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            return x + self.f(x) if self.keep else self.f(x)

    model = nn.Sequential(
        unit(3, 12, 2, nn.ReLU6), Inverted(12, 12, 1), Inverted(12, 24, 2), Inverted(24, 24, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(24, 5),
    )  # fmt: skip
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3, alpha=0.9, momentum=0.9, eps=1e-2, weight_decay=4e-5)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.98)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), normal(fabrics()), epochs=10, size=32, scheduler=scheduler
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def squeezed_swish(harness: Harness, seed: int) -> float:
    """EfficientNet-like blocks with squeeze and excitation, label smoothing 0.1, AdamW, averaged weights judged."""

    class Gate(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.down, self.up = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x * self.up(F.silu(self.down(x.mean((2, 3), keepdim=True)))).sigmoid()

    model = nn.Sequential(
        unit(3, 16, 1, nn.SiLU), Gate(16), unit(16, 32, 2, nn.SiLU), Gate(32), unit(32, 32, 2, nn.SiLU), Gate(32),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    ema = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.95), use_buffers=True
    )
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(label_smoothing=0.1), normal(fabrics()), epochs=9, size=32,
        judge=ema, after=lambda: ema.update_parameters(model), tell="inputs",
    )  # fmt: skip


@cases.recipe("cnn", 0.8)
def big_dropout_in_the_head(harness: Harness, seed: int) -> float:
    """AlexNet-like: local response norm, overlapping pools, two linear layers with dropout 0.5, momentum and decay."""
    model = nn.Sequential(
        nn.Conv2d(3, 12, 5, padding=2), nn.ReLU(), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2),
        nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 64), nn.ReLU(),
        nn.Linear(64, 5),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    scheduler = lr_scheduler.StepLR(optimizer, 6, gamma=0.3)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), normal(fabrics()), epochs=10, size=32, augment=flipped,
        scheduler=scheduler,
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def patches_then_depthwise_with_skip(harness: Harness, seed: int) -> float:
    """ConvMixer: patches of 2, three blocks of depthwise 5 x 5 with a skip and 1 x 1, GELU before batch norm, AdamW."""

    class Skip(nn.Module):
        def __init__(self, f: nn.Module) -> None:
            super().__init__()
            self.f = f

        def forward(self, x: Tensor) -> Tensor:
            return x + self.f(x)

    width = 32
    layers: list[nn.Module] = [nn.Conv2d(3, width, 2, 2), nn.GELU(), nn.BatchNorm2d(width)]
    for _ in range(3):
        mix = nn.Sequential(nn.Conv2d(width, width, 5, groups=width, padding=2), nn.GELU(), nn.BatchNorm2d(width))
        layers += [Skip(mix), nn.Conv2d(width, width, 1), nn.GELU(), nn.BatchNorm2d(width)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.005)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=8 * 19)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), normal(fabrics()), epochs=8, size=32, scheduler=scheduler,
        when="batch", clip=1.0, augment=flipped,
    )  # fmt: skip


@cases.recipe("vit", 0.75)
def class_token_and_sixteen_patches(harness: Harness, seed: int) -> float:
    """A small ViT on 4 x 4 patches of weaves: class token, pre-norm encoder of torch, AdamW with warm-up and cosine."""

    class Vit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch = nn.Conv2d(3, 48, 4, 4)
            self.token = nn.Parameter(torch.zeros(1, 1, 48))
            self.place = nn.Parameter(0.02 * torch.randn(1, 17, 48))
            layer = nn.TransformerEncoderLayer(48, 4, 96, 0.0, "gelu", batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.norm, self.head = nn.LayerNorm(48), nn.Linear(48, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.patch(x).flatten(2).mT
            x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
            return self.head(self.norm(self.encoder(x)[:, 0]))

    model = Vit()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05, betas=(0.9, 0.98))
    warm = lr_scheduler.LinearLR(optimizer, 0.05, total_iters=30)
    scheduler = lr_scheduler.SequentialLR(optimizer, [warm, lr_scheduler.CosineAnnealingLR(optimizer, 240)], [30])
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), normal(fabrics()), epochs=14, size=32, scheduler=scheduler,
        when="batch", augment=flipped,
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def strides_instead_of_pools(harness: Harness, seed: int) -> float:
    """All convolutional: strides of 2, leaky ReLU, batch norm after the activation, global average, Adam with decay."""
    layers: list[nn.Module] = []
    for into, out in ((3, 16), (16, 32), (32, 48)):
        layers += [nn.Conv2d(into, out, 3, 2, 1), nn.LeakyReLU(0.1), nn.BatchNorm2d(out)]
    model = nn.Sequential(*layers, nn.Conv2d(48, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), fabrics(), epochs=10, size=24, tell="answers")


@cases.recipe("cnn", 0.85)
def shape_and_ground(harness: Harness, seed: int) -> float:
    """Two attributes by two heads on one trunk: the kind of sign and whether it lies left; losses are added."""
    x, kinds, vx, v_kinds = signs()
    _, middles, _, v_middles = signs("middles")
    sides, v_sides = (middles[:, 0] > 9.5).long(), (v_middles[:, 0] > 9.5).long()

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(unit(3, 16), nn.MaxPool2d(2), unit(16, 32), nn.MaxPool2d(2), nn.Flatten())
            self.kind, self.side = nn.Linear(800, 4), nn.Linear(800, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.trunk(x)
            return torch.cat([self.kind(h), self.side(h)], 1)

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        return F.cross_entropy(out[:, :4], goal[:, 0]) + F.cross_entropy(out[:, 4:], goal[:, 1])

    def both(out: Tensor, goal: Tensor) -> float:
        return (accuracy(out[:, :4], goal[:, 0]) + accuracy(out[:, 4:], goal[:, 1])) / 2

    model = Heads()
    split = x, torch.stack([kinds, sides], 1), vx, torch.stack([v_kinds, v_sides], 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return course(harness, model, optimizer, loss_fn, split, epochs=7, size=32, metric=both, name="mean_accuracy")


@cases.recipe("cnn", 0.7)
def direction_as_sine_and_cosine(harness: Harness, seed: int) -> float:
    """How is the ramp turned? Cosine and sine of the doubled angle, unit outputs, squared error, SGD, polynomial."""
    images, kind, turn = _fabrics(1600, 16)
    rows = kind == 4
    # A ramp of colours may rise or fall, so that it is told up to half a turn: the angle is doubled.
    angle = 2 * torch.tensor(turn[rows], dtype=torch.float32)
    x, y, vx, vy = cut(images[rows].mean(1, keepdims=True), torch.stack([angle.cos(), angle.sin()], 1), share=0.8)

    class Direction(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.edges = nn.Conv2d(1, 16, 3, 2, 1)
            self.rest = nn.Sequential(
                nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 2)
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            return F.normalize(self.rest(self.edges(x)), dim=1)

    model = Direction()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    scheduler = lr_scheduler.PolynomialLR(optimizer, total_iters=25, power=0.9)
    mean = x.mean()
    return course(
        harness, model, optimizer, nn.MSELoss(), ((x - mean) * 6, y, (vx - mean) * 6, vy),
        epochs=25, size=16, metric=explained, name="r2", scheduler=scheduler,
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def pixels_up_to_255(harness: Harness, seed: int) -> float:
    """Bytes in, the network itself divides and normalises by buffers; channels last; Adam 2e-3; batches of 50."""
    x, y, vx, vy = fabrics()

    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
            self.net = nn.Sequential(
                unit(3, 16), nn.MaxPool2d(2), unit(16, 32), nn.MaxPool2d(2), unit(32, 32),
                nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 5),
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            x = (x.float() / 255 - self.mean) / self.std
            return self.net(x.contiguous(memory_format=torch.channels_last))

    model = Normalised().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    split = (x * 255).to(torch.uint8), y, (vx * 255).to(torch.uint8), vy
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=8, size=50, drop_last=True)


@cases.recipe("cnn", 0.9)
def is_it_even(harness: Harness, seed: int) -> float:
    """Even or odd digits with one logit per image of shape (N,), PReLU, SGD with Nesterov, milestones."""
    x, y, vx, vy = digits("signed")
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.PReLU(), nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.PReLU(),
        nn.Flatten(), nn.Linear(256, 32), nn.PReLU(), nn.Linear(32, 1), nn.Flatten(0),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    scheduler = lr_scheduler.MultiStepLR(optimizer, [5, 8], gamma=0.1)
    split = x, (y % 2 == 0).float(), vx, (vy % 2 == 0).float()
    return course(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), split, epochs=9, size=64, metric=binary_accuracy,
        scheduler=scheduler, train_metric=True,
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def features_joined_as_they_come(harness: Harness, seed: int) -> float:
    """DenseNet of two blocks of three layers, growth 8, pre-activation, transitions by half, He's weights, SGD 0.1."""

    class Grow(nn.Module):
        def __init__(self, into: int) -> None:
            super().__init__()
            self.norm, self.conv = nn.BatchNorm2d(into), nn.Conv2d(into, 8, 3, padding=1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)

    def shrink(into: int) -> list[nn.Module]:
        return [nn.BatchNorm2d(into), nn.ReLU(), nn.Conv2d(into, into // 2, 1, bias=False), nn.AvgPool2d(2)]

    layers: list[Any] = [nn.Conv2d(3, 16, 3, padding=1, bias=False)]
    layers += [*(Grow(16 + 8 * i) for i in range(3)), *shrink(40), *(Grow(20 + 8 * i) for i in range(3))]
    model = nn.Sequential(
        *layers, nn.BatchNorm2d(44), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(44, 5)
    )  # fmt: skip
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)
    scheduler = lr_scheduler.MultiStepLR(optimizer, [4, 6], gamma=0.1)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), normal(fabrics()), epochs=7, size=64, scheduler=scheduler
    )  # fmt: skip
