"""Image classifiers of a second author, on which NO threshold is ever set.

See `healthy_second.py`.
"""

import math

import torch
import torchvision
from benchmarks.chart.case import Harness
from benchmarks.chart.second import SecondCases, convs, dense, digits, fit, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = SecondCases("second")


class Standardised(nn.Conv2d):
    """A convolution whose kernels have mean 0 and deviation 1."""

    def forward(self, x: Tensor) -> Tensor:
        """As nn.Conv2d."""
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        w = w / (w.flatten(1).std(1).view(-1, 1, 1, 1) + 1e-5)
        return F.conv2d(x, w, self.bias, self.stride, self.padding)


@cases.recipe("cnn", 0.85)
def standardised_kernels(harness: Harness, seed: int) -> float | None:
    """Weight standardisation with group norm, batches of 6."""
    model = nn.Sequential(
        Standardised(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2),
        Standardised(16, 32, 3, padding=1), nn.GroupNorm(8, 32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return fit(harness, model, optimizer, F.cross_entropy, digits("signed", count=1000), size=6, epochs=2)


@cases.recipe("cnn", 0.85)
def no_norm_and_zero_start(harness: Harness, seed: int) -> float | None:
    """Fixup-like: residual blocks without norms whose last convolution and whose head start at 0."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(24, 24, 3, padding=1), nn.Conv2d(24, 24, 3, padding=1)
            self.scale = nn.Parameter(torch.ones(1))
            nn.init.zeros_(self.b.weight)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x + self.scale * self.b(F.relu(self.a(x))))

    head = nn.Linear(24, 10)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    model = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(), Block(), nn.MaxPool2d(2), Block(), Block(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), head,
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = lr_scheduler.CosineAnnealingLR(optimizer, 6)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard"), scheduler=schedule, epochs=6)


def split_signs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Signs with pixels standardised by constants."""
    x, y, vx, vy = signs()
    return (x - 0.3) / 0.15, y, (vx - 0.3) / 0.15, vy


@cases.recipe("senet", 0.8)
def squeeze_and_excite(harness: Harness, seed: int) -> float | None:
    """Squeeze-and-excitation, hard-swish, depthwise convolutions, RMSprop, smoothing 0.1."""

    class Excite(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.down, self.up = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x * F.hardsigmoid(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))

    def stage(into: int, out: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(into, into, 3, 2, 1, groups=into, bias=False), nn.BatchNorm2d(into), nn.Hardswish(), Excite(into),
            nn.Conv2d(into, out, 1, bias=False), nn.BatchNorm2d(out),
        )  # fmt: skip

    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Hardswish(), stage(16, 24), nn.Hardswish(),
        stage(24, 48), nn.Flatten(), nn.Dropout(0.2), nn.Linear(48 * 25, 4),
    )  # fmt: skip
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.9, momentum=0.5)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    return fit(harness, model, optimizer, loss, split_signs(), epochs=8)


@cases.recipe("convmixer", 0.8)
def patches_and_depthwise(harness: Harness, seed: int) -> float | None:
    """ConvMixer: GELU before batch norm, residual depthwise convolutions."""

    class Residual(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return x + self.inner(x)

    def layer() -> list[nn.Module]:
        deep = nn.Sequential(nn.Conv2d(32, 32, 5, padding=2, groups=32), nn.GELU(), nn.BatchNorm2d(32))
        return [Residual(deep), nn.Conv2d(32, 32, 1), nn.GELU(), nn.BatchNorm2d(32)]

    stem = [nn.Conv2d(3, 32, 2, 2), nn.GELU(), nn.BatchNorm2d(32)]
    model = nn.Sequential(*stem, *layer(), *layer(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.05)
    schedule = lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=8 * 15)
    return fit(harness, model, optimizer, F.cross_entropy, split_signs(), scheduler=schedule, per="batch")


@cases.recipe("densenet", 0.8)
def dense_connections(harness: Harness, seed: int) -> float | None:
    """Every layer sees all earlier ones; pre-activation batch norm; average pooling; dropout2d."""

    class Dense(nn.Module):
        def __init__(self, into: int) -> None:
            super().__init__()
            self.norm, self.conv = nn.BatchNorm2d(into), nn.Conv2d(into, 12, 3, padding=1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, self.conv(F.relu(self.norm(x)))], 1)

    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), Dense(16), Dense(28), nn.AvgPool2d(2), Dense(40), Dense(52), nn.Dropout2d(0.1),
        nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, 4),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)
    schedule = lr_scheduler.MultiStepLR(optimizer, [5, 7], 0.2)
    return fit(harness, model, optimizer, F.cross_entropy, split_signs(), scheduler=schedule)


class Attend(nn.Module):
    """Pre-norm block around torch's own attention, with stochastic depth."""

    def __init__(self, width: int, drop: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.norm2, self.drop = nn.LayerNorm(width), nn.LayerNorm(width), drop
        self.attend = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = dense(width, 2 * width, width, act=nn.GELU)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) to the same."""
        h = self.norm1(x)
        x = x + torchvision.ops.stochastic_depth(
            self.attend(h, h, h, need_weights=False)[0], self.drop, "row", self.training
        )
        return x + torchvision.ops.stochastic_depth(self.mlp(self.norm2(x)), self.drop, "row", self.training)


@cases.recipe("vit", 0.75)
def patches_with_dropped_paths(harness: Harness, seed: int) -> float | None:
    """ViT with a class token, stochastic depth, a layer scale in the head, warm-up and cosine, clip 1."""

    class Vit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.token = nn.Conv2d(1, 48, 2, 2), nn.Parameter(torch.zeros(1, 1, 48))
            self.place = nn.Parameter(torch.randn(1, 17, 48) * 0.02)
            self.blocks, self.norm = nn.Sequential(Attend(48, 0.1), Attend(48, 0.1)), nn.LayerNorm(48)
            self.head = nn.Linear(48, 10)

        def forward(self, x: Tensor) -> Tensor:
            h = self.patch(x).flatten(2).transpose(1, 2)
            h = torch.cat([self.token.expand(len(h), -1, -1), h], 1) + self.place
            return self.head(self.norm(self.blocks(h))[:, 0])

    model = Vit()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1, betas=(0.9, 0.98))
    total = 33 * 7
    schedule = lr_scheduler.LambdaLR(
        optimizer, lambda i: (i + 1) / 25 if i < 25 else 0.5 * (1 + math.cos(math.pi * (i - 25) / (total - 25)))
    )
    return fit(
        harness, model, optimizer, F.cross_entropy, digits("standard"), scheduler=schedule, per="batch", epochs=7,
        clip=lambda: nn.utils.clip_grad_norm_(model.parameters(), 1.0),
    )  # fmt: skip


@cases.recipe("mixer", 0.8)
def gated_mixer(harness: Harness, seed: int) -> float | None:
    """gMLP: spatial gating that starts as the identity, no attention."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.into, self.out = nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(48, 32)
            self.gate_norm, self.space = nn.LayerNorm(48), nn.Conv1d(16, 16, 1)
            nn.init.zeros_(self.space.weight)
            nn.init.ones_(self.space.bias)

        def forward(self, x: Tensor) -> Tensor:
            u, v = F.gelu(self.into(self.norm(x))).chunk(2, -1)
            return x + self.out(u * self.space(self.gate_norm(v)))

    class Gmlp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.blocks = nn.Linear(4, 32), nn.Sequential(Gated(), Gated(), Gated())
            self.head = nn.Linear(32, 10)

        def forward(self, x: Tensor) -> Tensor:
            h = F.unfold(x, 2, stride=2).transpose(1, 2)
            return self.head(self.blocks(self.patch(h)).mean(1))

    model = Gmlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard"), epochs=7)


@cases.recipe("cnn", 0.8)
def cut_and_pasted(harness: Harness, seed: int) -> float | None:
    """CutMix with a loss of two weighted terms, plus shifts of the image by a pixel."""
    model = convs(3, 4, norm=nn.InstanceNorm2d)

    def paste(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = x.roll((int(torch.randint(-1, 2, ())), int(torch.randint(-1, 2, ()))), (2, 3)).clone()
        targets = F.one_hot(y, 4).float()
        if torch.rand(()) < 0.4:
            other, edge = torch.randperm(len(x)), int(torch.randint(3, 8, ()))
            x[:, :, :edge, :edge] = x[other, :, :edge, :edge]
            share = edge**2 / 400
            targets = (1 - share) * targets + share * targets[other]
        return x, targets

    def soft(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out, y)

    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3)
    return fit(harness, model, optimizer, soft, split_signs(), before=paste, epochs=10)
