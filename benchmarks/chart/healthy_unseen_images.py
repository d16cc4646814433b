"""Images among the healthy recipes on which NO threshold is ever set; see `healthy_unseen.py`."""

import math

import torch
from benchmarks.chart import data, networks
from benchmarks.chart.case import Cases, Harness
from benchmarks.chart.healthy_unseen import fit, shapes
from benchmarks.chart.subjects import accuracy, r_squared
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = Cases("unseen")


class Separable(nn.Module):
    """Depthwise and pointwise convolutions with ReLU6, as in MobileNet."""

    def __init__(self) -> None:
        super().__init__()

        def block(before: int, after: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False), nn.BatchNorm2d(before), nn.ReLU6(),
                nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU6(),
            )  # fmt: skip

        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.body = nn.Sequential(block(16, 32, 2), block(32, 32, 1), block(32, 48, 2))
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(48, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3)."""
        return self.head(self.body(self.stem(x)).mean((2, 3)))


@cases.healthy_loop("cnn")
def separable_rmsprop(harness: Harness, seed: int) -> float | None:
    """Separable convolutions, RMSprop with momentum, exponential decay."""
    model = Separable()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=4e-3, momentum=0.9, alpha=0.9, eps=1e-3)
    return fit(harness, model, shapes(), optimizer, epochs=6, scheduler=lr_scheduler.ExponentialLR(optimizer, 0.9))


class Dense(nn.Module):
    """Layers that see the outputs of all layers before them, squeezed and excited."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, 1, 1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(16 + 12 * i), nn.ReLU(), nn.Conv2d(16 + 12 * i, 12, 3, 1, 1, bias=False))
            for i in range(3)
        )
        self.squeeze = nn.Sequential(nn.Linear(52, 8), nn.ReLU(), nn.Linear(8, 52), nn.Sigmoid())
        self.head = nn.Linear(52, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3)."""
        x = F.avg_pool2d(self.first(x), 2)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        x = x * self.squeeze(x.mean((2, 3)))[..., None, None]
        return self.head(x.amax((2, 3)))


@cases.healthy_loop("cnn")
def dense_squeeze(harness: Harness, seed: int) -> float | None:
    """Dense connections with squeeze-and-excitation, Adam."""
    model = Dense()
    return fit(harness, model, shapes(), torch.optim.Adam(model.parameters(), lr=4e-3), epochs=5)


class NextBlock(nn.Module):
    """A ConvNeXt block with a layer scale of 1e-6 and stochastic depth."""

    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.depth = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 1e-6))
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        out = self.down(F.gelu(self.up(self.norm(self.depth(x).permute(0, 2, 3, 1)))))
        out = (self.scale * out).permute(0, 3, 1, 2)
        if self.training:
            keep = (torch.rand(len(x), 1, 1, 1) > self.drop).float()
            out = out * keep / (1 - self.drop)
        return x + out


@cases.healthy_loop("cnn")
def convnext_layer_scale(harness: Harness, seed: int) -> float | None:
    """ConvNeXt blocks that begin as almost nothing, AdamW, warm-up and cosine."""
    model = nn.Sequential(
        nn.Conv2d(3, 24, 2, 2), nn.GroupNorm(1, 24), NextBlock(24, 0.0), NextBlock(24, 0.1), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.LayerNorm(24), nn.Linear(24, 3),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3, weight_decay=0.05)
    schedule = lr_scheduler.LambdaLR(
        optimizer, lambda i: min(i / 10, 1.0) * 0.5 * (1 + math.cos(math.pi * min(i / 128, 1)))
    )
    return fit(harness, model, shapes(), optimizer, epochs=8, scheduler=schedule, per_step=True)


@cases.healthy_loop("cnn")
def instance_norm_flips(harness: Harness, seed: int) -> float | None:
    """Instance norm, random flips and erased squares, SGD with a polynomial schedule."""
    model = networks.cnn(lambda c: nn.InstanceNorm2d(c, affine=True), 3, 3)

    def spoil(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x).clone()
        x[:, :, :4, :4] *= (torch.rand(len(x), 1, 1, 1) < 0.7).float()
        return x, y

    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    schedule = lr_scheduler.PolynomialLR(optimizer, 96, power=0.9)
    return fit(harness, model, shapes(), optimizer, epochs=6, scheduler=schedule, per_step=True, spoil=spoil)


@cases.healthy_loop("cnn")
def cutmix_soft_targets(harness: Harness, seed: int) -> float | None:
    """CutMix with probabilities as targets, weight-standardised convolutions."""

    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            w = self.weight
            w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
            return F.conv2d(x, w, self.bias, self.stride, self.padding)

    model = nn.Sequential(
        Standardised(3, 16, 3, 1, 1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2), Standardised(16, 32, 3, 1, 1),
        nn.GroupNorm(4, 32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 3),
    )  # fmt: skip
    x, y, x_val, y_val = shapes()

    def spoil(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        other, cut = torch.randperm(len(a)), int(torch.randint(2, 8, ()))
        a = a.clone()
        a[:, :, :cut, :cut] = a[other][:, :, :cut, :cut]
        share = cut * cut / 256
        return a, (1 - share) * b + share * b[other]

    return fit(
        harness, model, (x, F.one_hot(y, 3).float(), x_val, F.one_hot(y_val, 3).float()),
        torch.optim.Adam(model.parameters(), lr=5e-3), spoil=spoil, epochs=8,
        score=lambda out, t: accuracy(out, t.argmax(1)),
    )  # fmt: skip


@cases.healthy_loop("mixer")
def mlp_mixer(harness: Harness, seed: int) -> float | None:
    """Tokens are mixed by an MLP along the token axis; batches of 24, AdamW, clipped at 0.5."""

    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter = nn.Conv2d(3, 32, 4, 4)
            self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(5))
            self.tokens = nn.ModuleList(
                nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)) for _ in range(2)
            )
            self.channels = nn.ModuleList(
                nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(2)
            )
            self.head = nn.Linear(32, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.enter(x).flatten(2).transpose(1, 2)
            for i in range(2):
                h = h + self.tokens[i](self.norms[2 * i](h).transpose(1, 2)).transpose(1, 2)
                h = h + self.channels[i](self.norms[2 * i + 1](h))
            return self.head(self.norms[4](h).mean(1))

    model = Mixer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    return fit(
        harness, model, shapes(), optimizer, size=24, epochs=6,
        before_step=lambda: nn.utils.clip_grad_norm_(model.parameters(), 0.5) and None,
    )  # fmt: skip


@cases.healthy_loop("fcn")
def one_class_masks(harness: Harness, seed: int) -> float | None:
    """Foreground masks with one output channel, BCE plus Dice, transposed convolution."""
    train, val = data.masks()
    x, x_val = train.x / 255, val.x / 255
    y, y_val = ((part.y > 0).float()[:, None] for part in (train, val))
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3, 1, 1), nn.BatchNorm2d(24),
        nn.ReLU(), nn.ConvTranspose2d(24, 12, 2, 2), nn.ReLU(), nn.Conv2d(12, 1, 3, 1, 1),
    )  # fmt: skip

    def loss_fn(out: Tensor, t: Tensor) -> Tensor:
        p = out.sigmoid()
        dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
        return F.binary_cross_entropy_with_logits(out, t) + dice

    return fit(
        harness, model, (x, y, x_val, y_val), torch.optim.Adam(model.parameters(), lr=3e-3), loss_fn=loss_fn,
        score=lambda out, t: float(((out > 0) & (t > 0)).sum() / ((out > 0) | (t > 0)).sum().clamp(min=1)),
        epochs=8, size=16, metric="iou",
    )  # fmt: skip


@cases.healthy_loop("regressor")
def keypoint_regression(harness: Harness, seed: int) -> float | None:
    """The centre of a shape as two numbers in 0..1 by sigmoid outputs."""
    train, val = data.boxes()
    keep = [[i for i, t in enumerate(part.y) if len(t["boxes"]) == 1] for part in (train, val)]
    x, x_val = (part.x[rows] / 127.5 - 1 for part, rows in zip((train, val), keep, strict=True))
    y, y_val = (
        torch.stack([(part.y[i]["boxes"][0, :2] + part.y[i]["boxes"][0, 2:]) / 64 for i in rows])
        for part, rows in zip((train, val), keep, strict=True)
    )
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1), nn.BatchNorm2d(24),
        nn.ReLU(), nn.Flatten(), nn.Linear(24 * 64, 32), nn.ReLU(), nn.Linear(32, 2), nn.Sigmoid(),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(
        harness, model, (x, y, x_val, y_val), optimizer, loss_fn=nn.MSELoss(), score=r_squared, epochs=15, size=16,
        metric="r2",
    )  # fmt: skip


@cases.healthy_loop("cnn")
def gradual_unfreezing(harness: Harness, seed: int) -> float | None:
    """The head learns for two epochs, then the body is unfrozen and joins the optimizer as a second group."""
    x, y, x_val, y_val = shapes()
    model = networks.cnn(nn.BatchNorm2d, 3, 3)
    warm = torch.optim.Adam(model.parameters(), lr=3e-3)
    for rows in torch.randperm(len(x)).split(64):
        warm.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        warm.step()
    model[-1] = nn.Linear(32, 3)
    for p in model[:-1].parameters():
        p.requires_grad_(False)
    optimizer = torch.optim.Adam(model[-1].parameters(), lr=1e-2)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    value = 0.0
    for epoch in range(6):
        model.train()
        if epoch == 2:
            for p in model[:-1].parameters():
                p.requires_grad_(True)
            optimizer.add_param_group({"params": list(model[:-1].parameters()), "lr": 2e-3})
        for rows in torch.randperm(len(x)).split(32):
            out = model(x[rows])
            loss = F.cross_entropy(out, y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(x_val)
        value = accuracy(out, y_val)
        harness.epoch(val={"loss": float(F.cross_entropy(out, y_val)), "accuracy": value})
    return value
