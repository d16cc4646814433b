"""Faulty loops by a tenth author, who had not read the rules, each with a sound twin: losses, continued.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_tenth import rounds, usual
from benchmarks.chart.second import SecondCases, accuracy, cut, dense, digits, explained, fit, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("tenth")


def pixelwise(classes: int, channels: int = 3) -> nn.Sequential:
    """Three convolutions that keep the size."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, classes, 3, padding=1),
    )  # fmt: skip


@cases.pair("masks", 0.9, accepts=["targets-ignored"])
def background_ignored(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`ignore_index=0`, copied from a text model, where 0 is the background here: it is never trained."""
    model = pixelwise(3)

    def loss_fn(out: Tensor, t: Tensor) -> Tensor:
        return F.cross_entropy(out, t, ignore_index=0 if wrong else -100)

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, loss_fn, signs(what="masks", count=300), epochs=6, size=16)


@cases.pair("contrastive", 0.6, accepts=["no-such-rule"])
def temperature_multiplied(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Likenesses are multiplied by the temperature of 0.05 and not divided: the softmax over them stays flat."""
    draw = torch.Generator().manual_seed(46)
    first = torch.randn(900, 16, generator=draw)
    second = torch.tanh(first @ torch.randn(16, 24, generator=draw) * 0.5)
    second = second + 0.3 * torch.randn(900, 24, generator=draw)
    model = nn.ModuleList([dense(16, 48, 8), dense(24, 48, 8)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    harness.begin(model, optimizer)

    def table(rows: Tensor) -> Tensor:
        a, b = (F.normalize(net(part[rows]), dim=1) for net, part in zip(model, (first, second), strict=True))
        return a @ b.T * 0.05 if wrong else a @ b.T / 0.05

    value = 0.0
    for _ in range(12):
        for rows in torch.randperm(800).split(50):
            optimizer.zero_grad()
            logits, targets = table(rows), torch.arange(len(rows))
            loss = F.cross_entropy(logits, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=(first[rows], second[rows]), targets=targets, outputs=logits)
        with torch.no_grad():
            value = accuracy(table(torch.arange(800, 900)), torch.arange(100))
        harness.epoch(val={"accuracy": value})
    return value


@cases.pair("fraud", 0.72, accepts=["majority-predicted"])
def rare_class_unweighted(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Three rows of a hundred are fraud, nothing makes up for it, and the model says "no fraud" to everybody."""
    draw = torch.Generator().manual_seed(47)
    y = (torch.rand(3000, generator=draw) < 0.03).float()
    x = torch.randn(3000, 8, generator=draw) + 0.8 * y[:, None]
    model = nn.Sequential(dense(8, 16, 1), nn.Flatten(0))
    weight = None if wrong else torch.tensor(32.0)

    def loss_fn(out: Tensor, t: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(out, t, pos_weight=weight)

    def balanced(out: Tensor, t: Tensor) -> float:
        right = ((out > 0) == (t > 0.5)).float()
        return float(right[t > 0.5].mean() + right[t < 0.5].mean()) / 2

    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, loss_fn, cut(x, y), score=balanced, epochs=6, size=64)


@cases.pair("depth", 0.6, accepts=["noisy-labels"])
def missing_depth_as_zero(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Pixels without an echo have depth 0 in the files, and the loss takes them for true depths."""
    draw = torch.Generator().manual_seed(48)
    coarse = torch.rand(300, 1, 4, 4, generator=draw) * 4 + 2
    depth = F.interpolate(coarse, size=(12, 12), mode="bilinear")
    image = 3 / depth + 0.03 * torch.randn(300, 1, 12, 12, generator=draw)
    seen = torch.rand(300, 1, 12, 12, generator=draw) < 0.55
    model = pixelwise(1, 1)

    def loss_fn(out: Tensor, t: Tensor) -> Tensor:
        return F.mse_loss(out, t) if wrong else F.mse_loss(out[t > 0], t[t > 0])

    def score(out: Tensor, t: Tensor) -> float:
        there = t > 0
        return float(1 - (out - t)[there].square().mean() / t[there].var())

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(
        harness, model, optimizer, loss_fn, cut(image, depth * seen), score=score, metric="r2", epochs=12, size=16
    )


@cases.pair("denoising", 0.4, accepts=["no-such-rule"])
def noisy_image_as_target(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A denoiser is trained towards its own noisy input and not towards the clean image."""
    clean, _, v_clean, _ = digits("standard", image=False)
    noisy, v_noisy = (a + torch.randn(a.shape) for a in (clean, v_clean))
    model = dense(64, 128, 64)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    split = noisy, noisy if wrong else clean, v_noisy, v_clean
    return fit(harness, model, optimizer, F.mse_loss, split, score=explained, metric="r2", epochs=10)


@cases.pair("physics", 0.9, accepts=["no-such-rule"])
def boundary_forgotten(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The loss holds the equation u'' = -u but not the beginning u(0) = 0, u'(0) = 1: any wave solves it."""
    model = dense(1, 24, 24, 1, act=nn.Tanh)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    harness.begin(model, optimizer)
    for _ in range(500):
        t = (torch.rand(48, 1) * 3).requires_grad_()
        zero = torch.zeros(1, 1, requires_grad=True)
        u = model(t)
        (du,) = torch.autograd.grad(u.sum(), t, create_graph=True)
        (ddu,) = torch.autograd.grad(du.sum(), t, create_graph=True)
        loss = (ddu + u).square().mean()
        if not wrong:
            begin = model(zero)
            (rise,) = torch.autograd.grad(begin.sum(), zero, create_graph=True)
            loss = loss + 5 * begin.square().mean() + 5 * (rise - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=t.detach(), outputs=u)
    points = torch.linspace(0, 3, 60)[:, None]
    with torch.no_grad():
        return explained(model(points), points.sin())


@cases.pair("robust", 0.5, accepts=["no-such-rule"])
def attack_downhill(harness: Harness, seed: int, wrong: bool) -> float | None:
    """In adversarial training the sign of the attack is turned round: the examples get easier, not harder."""
    x, y, vx, vy = digits("unit", image=False)
    model = dense(64, 64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    size = 0.12

    def attacked(inputs: Tensor, targets: Tensor, direction: float) -> Tensor:
        with torch.enable_grad():
            moved = inputs.clone().requires_grad_()
            (slope,) = torch.autograd.grad(F.cross_entropy(model(moved), targets), moved)
        return (inputs + direction * size * slope.sign()).clamp(0, 1)

    plain = usual(model, optimizer)

    def step(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return plain(attacked(inputs, targets, -1.0 if wrong else 1.0), targets)

    rounds(harness, model, optimizer, (x, y, vx, vy), step, epochs=10)
    return accuracy(model(attacked(vx, vy, 1.0)), vy)
