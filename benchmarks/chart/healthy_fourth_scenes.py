"""Masks, boxes, points, depth and motion in tiny scenes, by a fourth author, without any threshold.

See `healthy_fourth.py`.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, school, some
from benchmarks.chart.second import SecondCases, explained, signs
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


def cbr(into: int, out: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(into, out, 3, stride, 1), nn.BatchNorm2d(out), nn.ReLU())


def iou_of(out: Tensor, goal: Tensor) -> float:
    """Of one logit map with a mask of 0 and 1."""
    a, b = out.squeeze(1) > 0, goal.squeeze(1) > 0.5
    return float((a & b).sum() / (a | b).sum().clamp(min=1))


def foreground() -> tuple[Tensor, ...]:
    """Colour images of 20 pixels and masks (N, 1, 20, 20) of 0 and 1."""
    x, y, vx, vy = signs("masks", count=400)
    return x, (y > 0).float()[:, None], vx, (vy > 0).float()[:, None]


@cache
def textures(size: int = 16, count: int = 500) -> Tensor:
    """Grey pieces (N, 1, size, size) in 0..1 of a photograph at a quarter of its size."""
    image = torch.tensor(load_sample_image("china.jpg").mean(2), dtype=torch.float32)[None, None] / 255
    image = F.avg_pool2d(image, 4)[0, 0]
    draw = np.random.default_rng(44)
    at = (draw.uniform(0, 1, (count, 2)) * (np.array(image.shape) - size)).astype(int)
    return torch.stack([image[r : r + size, c : c + size] for r, c in at])[:, None]


@cases.recipe("segmentation", 0.7)
def summed_over_pixels(harness: Harness, seed: int) -> float:
    """FCN of old: cross-entropy summed over all pixels and images, SGD at 2e-5 with momentum 0.95, bilinear growth."""
    x, y, vx, vy = signs("masks", count=480)
    body = nn.Sequential(cbr(3, 16), cbr(16, 32, 2), cbr(32, 32), nn.Conv2d(32, 3, 1))
    model = nn.Sequential(body, nn.Upsample(scale_factor=2, mode="bilinear"))

    def mean_iou(out: Tensor, goal: Tensor) -> float:
        p = out.argmax(1)
        each = [((p == k) & (goal == k)).sum() / ((p == k) | (goal == k)).sum().clamp(min=1) for k in range(3)]
        return float(torch.stack(each).mean())

    optimizer = torch.optim.SGD(model.parameters(), lr=2e-5, momentum=0.95)
    loss_fn = nn.CrossEntropyLoss(reduction="sum")
    return school(harness, model, optimizer, loss_fn, (x, y, vx, vy), epochs=8, size=12, score=mean_iou, key="miou")


@cases.recipe("segmentation", 0.75)
def borders_weigh_more(harness: Harness, seed: int) -> float:
    """A small U-Net with a map of weights that is 5 near borders, He's weights, momentum 0.9, batches of 8."""

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down1, self.down2 = cbr(3, 12), cbr(12, 24)
            self.up, self.top = nn.ConvTranspose2d(24, 12, 2, 2), cbr(24, 12)
            self.head = nn.Conv2d(12, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            a = self.down1(x)
            return self.head(self.top(torch.cat([a, self.up(self.down2(F.max_pool2d(a, 2)))], 1)))

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        edge = F.max_pool2d(goal, 3, 1, 1) + F.max_pool2d(-goal, 3, 1, 1)
        return F.binary_cross_entropy_with_logits(out, goal, 1 + 4 * edge)

    model = UNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return school(harness, model, optimizer, loss_fn, foreground(), epochs=5, size=8, score=iou_of, key="iou")


@cases.recipe("segmentation", 0.75)
def logarithm_of_overlap(harness: Harness, seed: int) -> float:
    """TernausNet's loss: cross-entropy minus the logarithm of the soft Jaccard index; it may be below 0 elsewhere."""

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        p = out.sigmoid()
        both, one = (p * goal).sum(), (p + goal).sum()
        return F.binary_cross_entropy_with_logits(out, goal) - ((both + 1e-7) / (one - both + 1e-7)).log()

    model = nn.Sequential(cbr(3, 16), cbr(16, 24, 2), cbr(24, 24), nn.ConvTranspose2d(24, 16, 2, 2), nn.ReLU(),
                          nn.Conv2d(16, 1, 3, padding=1))  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return school(harness, model, optimizer, loss_fn, foreground(), epochs=5, size=16, score=iou_of, key="iou")


@cases.recipe("segmentation", 0.75)
def hinge_of_lovasz(harness: Harness, seed: int) -> float:
    """Lovász hinge on logits after 40 steps of plain cross-entropy; dilated convolutions instead of pooling."""
    x, y, vx, vy = foreground()

    def lovasz(out: Tensor, goal: Tensor) -> Tensor:
        error, order = (1 - out * (2 * goal - 1)).sort(descending=True)
        hit = goal[order]
        jaccard = 1 - (hit.sum() - hit.cumsum(0)) / (hit.sum() + (1 - hit).cumsum(0))
        return (error.relu() * torch.cat([jaccard[:1], jaccard.diff()])).sum()

    layers: list[nn.Module] = [cbr(3, 12)]
    for d in (2, 4):
        layers += [nn.Conv2d(12, 12, 3, padding=d, dilation=d), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(12, 1, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)

    def compute(i: int) -> Any:
        a, b = some(12, x, y)
        out = model(a)
        easy = F.binary_cross_entropy_with_logits(out, b)
        loss = easy if i < 40 else torch.stack([lovasz(o.flatten(), g.flatten()) for o, g in zip(out, b)]).mean()  # noqa: B905
        return {"loss": loss, "inputs": a, "targets": b, "outputs": out}

    march(harness, model, optimizer, compute, 150)
    return iou_of(model.eval()(vx), vy)


@cases.recipe("segmentation", 0.4)
def edges_with_side_outputs(harness: Harness, seed: int) -> float:
    """Holistically nested edges: three side outputs and their mix, each by class-balanced cross-entropy."""
    x, y, vx, vy = foreground()
    edge, vedge = ((F.max_pool2d(m, 3, 1, 1) + F.max_pool2d(-m, 3, 1, 1)).clamp(0, 1) for m in (y, vy))

    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([cbr(3, 12), cbr(12, 16, 2), cbr(16, 24)])
            self.sides = nn.ModuleList(nn.Conv2d(c, 1, 1) for c in (12, 16, 24))
            self.mix = nn.Conv2d(3, 1, 1)
            nn.init.constant_(self.mix.weight, 1 / 3)

        def forward(self, x: Tensor) -> list[Tensor]:
            outs = []
            for part, side in zip(self.parts, self.sides, strict=True):
                x = part(x)
                outs.append(F.interpolate(side(x), 20, mode="bilinear"))
            return [*outs, self.mix(torch.cat(outs, 1))]

    def loss_fn(outs: list[Tensor], goal: Tensor) -> Tensor:
        share = 1 - goal.mean()
        weight = torch.where(goal > 0.5, share, 1 - share)
        return torch.stack([F.binary_cross_entropy_with_logits(o, goal, weight) for o in outs]).sum()

    model = Nested()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return school(
        harness, model, optimizer, loss_fn, (x, edge, vx, vedge), epochs=5, size=12, tell="loss", key="iou",
        score=lambda o, t: iou_of(o[-1], t),
    )  # fmt: skip


@cases.recipe("detector", 0.55)
def objects_as_points(harness: Harness, seed: int) -> float:
    """CenterNet: penalty-reduced focal loss on Gaussian peaks at half size, width by L1 times 0.1 at the peak only."""
    x, boxes, vx, vboxes = signs("boxes", count=480)
    grid = torch.arange(10.0)

    def peaks(b: Tensor) -> tuple[Tensor, Tensor]:
        middle = (b[:, :2] + b[:, 2:]) / 4 - 0.25
        cell = middle.round().clamp(0, 9)
        gap = (grid - cell[:, :1, None]) ** 2 + (grid[:, None] - cell[:, 1:, None]) ** 2
        return (-gap / 2).exp(), (b[:, 2] - b[:, 0]) / 2

    class Points(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(cbr(3, 16), cbr(16, 32, 2), cbr(32, 32))
            self.heat, self.wide = nn.Conv2d(32, 1, 1), nn.Conv2d(32, 1, 1)
            nn.init.constant_(self.heat.bias, -2.19)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.body(x)
            return self.heat(h)[:, 0], self.wide(h)[:, 0]

    def loss_fn(out: tuple[Tensor, Tensor], b: Tensor) -> Tensor:
        heat, width = peaks(b)
        p = out[0].sigmoid().clamp(1e-4, 1 - 1e-4)
        at = heat >= 0.999
        focal = torch.where(at, (1 - p) ** 2 * p.log(), (1 - heat) ** 4 * p**2 * (1 - p).log())
        return -focal.sum() / len(b) + 0.1 * F.l1_loss(out[1][at], width)

    def found(out: tuple[Tensor, Tensor], b: Tensor) -> float:
        heat, width = peaks(b)
        best, right = out[0].flatten(1).argmax(1), heat.flatten(1).argmax(1)
        near = ((best // 10 - right // 10).abs() <= 1) & ((best % 10 - right % 10).abs() <= 1)
        guess = out[1].flatten(1).gather(1, best[:, None])[:, 0]
        return float((near & ((guess - width).abs() < 1)).float().mean())

    model = Points()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    split = x, boxes, vx, vboxes
    return school(harness, model, optimizer, loss_fn, split, epochs=7, size=24, score=found, key="recall", tell="pair")


@cases.recipe("keypoints", 0.6)
def hourglasses_in_a_row(harness: Harness, seed: int) -> float:
    """Two stacked hourglasses, each with heat maps that are supervised; squared error summed over places."""
    x, middle, vx, vmiddle = signs("middles", count=400)
    grid = torch.arange(20.0)

    def heat(m: Tensor) -> Tensor:
        return (-((grid - m[:, :1, None]) ** 2 + (grid[:, None] - m[:, 1:, None]) ** 2) / 4.5).exp()

    class Stacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = cbr(3, 10)
            self.glasses = nn.ModuleList(nn.Sequential(cbr(10, 16, 2), nn.Upsample(scale_factor=2)) for _ in range(2))
            self.feats = nn.ModuleList(nn.Conv2d(16, 10, 1) for _ in range(2))
            self.maps, self.back = nn.ModuleList(nn.Conv2d(10, 1, 1) for _ in range(2)), nn.Conv2d(1, 10, 1)

        def forward(self, x: Tensor) -> Tensor:
            x, outs = self.stem(x), []
            for glass, feat, to_map in zip(self.glasses, self.feats, self.maps, strict=True):
                f = feat(glass(x)).relu() + x
                outs.append(to_map(f))
                x = x + f + self.back(outs[-1]) if len(outs) < 2 else x
            return torch.cat(outs, 1)

    def loss_fn(out: Tensor, m: Tensor) -> Tensor:
        return (out - heat(m)[:, None]).square().sum((1, 2, 3)).mean()

    def near(out: Tensor, m: Tensor) -> float:
        at = out[:, -1].flatten(1).argmax(1)
        return float((torch.stack([at % 20, at // 20], 1) - m).norm(dim=1).le(2.5).float().mean())

    model = Stacked()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2.5e-3)
    split = x, middle, vx, vmiddle
    return school(harness, model, optimizer, loss_fn, split, epochs=6, size=12, score=near, key="pck", percent=True)


@cases.recipe("keypoints", 0.7)
def corners_by_wing_loss(harness: Harness, seed: int) -> float:
    """Four numbers in pixels (two corners) straight from a linear layer, wing loss with w = 5 and eps = 1."""

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        gap = (out - goal).abs()
        offset = 5 - 5 * float(np.log(1 + 5 / 1.0))
        return torch.where(gap < 5, 5 * torch.log1p(gap), gap - offset).sum(1).mean()

    model = nn.Sequential(
        cbr(3, 16), nn.MaxPool2d(2), cbr(16, 24), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(600, 64), nn.ReLU(),
        nn.Linear(64, 4),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    split = signs("boxes", count=500)
    return school(harness, model, optimizer, loss_fn, split, epochs=8, size=20, score=explained, key=None)


@cases.recipe("flow", 0.5)
def motion_without_labels(harness: Harness, seed: int) -> float:
    """Unsupervised flow: costs of 25 shifts in, the second frame is warped by the answer, Charbonnier error."""
    pieces = textures(24)
    draw = torch.Generator().manual_seed(5)
    shift = torch.randint(-2, 3, (len(pieces), 2), generator=draw)
    first = pieces[..., 4:20, 4:20]
    moved = [p[:, 4 + dy : 20 + dy, 4 + dx : 20 + dx] for p, (dx, dy) in zip(pieces, shift.tolist(), strict=True)]
    frames = torch.cat([first, torch.stack(moved)], 1)
    places = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
    model = nn.Sequential(nn.BatchNorm1d(25), nn.Linear(25, 48), nn.ReLU(), nn.Linear(48, 2))

    def costs(a: Tensor) -> Tensor:
        inner = a[:, 0, 2:14, 2:14]
        each = [(inner - a[:, 1, 2 + dy : 14 + dy, 2 + dx : 14 + dx]).abs().mean((1, 2)) for dy, dx in places]
        return torch.stack(each, 1).clamp(min=1e-4).log()

    base = F.affine_grid(torch.eye(2, 3)[None], [1, 1, 16, 16], align_corners=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def compute(i: int) -> Any:
        (a,) = some(32, frames[:400])
        flow = model(costs(a))
        warped = F.grid_sample(a[:, 1:], base + flow[:, None, None] / 8, align_corners=False)
        gap = (warped - a[:, :1])[..., 3:13, 3:13]
        return {"loss": (gap.square() + 1e-3).sqrt().mean() + 1e-4 * flow.square().mean(), "inputs": a}

    march(harness, model, optimizer, compute, 300)
    with torch.no_grad():
        return explained(-model.eval()(costs(frames[400:])), shift[400:].float())


@cases.recipe("depth", 0.6)
def depth_up_to_scale(harness: Harness, seed: int) -> float:
    """Depth from shading: log depth, the scale-invariant loss (squares minus half the squared mean)."""
    draw = torch.Generator().manual_seed(8)
    slope = torch.rand(400, 2, 1, 1, generator=draw) * 2 - 1
    grid = torch.linspace(-1, 1, 16)
    plane = slope[:, :1] * grid[None, None, None] + slope[:, 1:] * grid[None, None, :, None]
    depth = 2.0 + 0.7 * plane + 0.3 * (3 * plane).sin()
    image = 1 / depth + 0.03 * torch.randn(400, 1, 16, 16, generator=draw)
    model = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.ELU(), nn.Conv2d(16, 16, 3, padding=1), nn.ELU(),
                          nn.Conv2d(16, 1, 3, padding=1))  # fmt: skip

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        d = out - goal.log()
        return d.square().mean() - 0.5 * d.mean((1, 2, 3)).square().mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    split = image[:300], depth[:300], image[300:], depth[300:]
    return school(
        harness, model, optimizer, loss_fn, split, epochs=6, size=10, key=None,
        score=lambda o, t: explained(o - o.mean((2, 3), True), t.log() - t.log().mean((2, 3), True)),
    )  # fmt: skip


@cases.recipe("stereo", 0.6)
def disparity_by_a_volume(harness: Harness, seed: int) -> float:
    """Stereo: features of both views, a volume over five shifts, soft argmin, smooth L1 in pixels."""
    pieces = textures(24)
    draw = torch.Generator().manual_seed(6)
    gap = torch.randint(0, 5, (len(pieces),), generator=draw)
    left = pieces[..., 4:20, 4:20]
    right = torch.stack([p[:, 4:20, 4 + d : 20 + d] for p, d in zip(pieces, gap.tolist(), strict=True)])
    net = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 8, 3, padding=1))
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)

    def read(a: Tensor, b: Tensor) -> Tensor:
        fa, fb = net(a), net(b)
        cost = [(fa[..., 4:12] - fb[..., 4 - d : 12 - d]).abs().mean((1, 2, 3)) for d in range(5)]
        return ((-8 * torch.stack(cost, 1)).softmax(1) * torch.arange(5.0)).sum(1)

    def compute(i: int) -> Any:
        a, b, d = some(24, left[:400], right[:400], gap[:400])
        out = read(a, b)
        return {"loss": F.smooth_l1_loss(out, d.float()), "inputs": (a, b), "targets": d.float(), "outputs": out}

    march(harness, net, optimizer, compute, 200)
    with torch.no_grad():
        return explained(read(left[400:], right[400:]), gap[400:].float())


@cases.recipe("inpainting", 0.4)
def hole_is_filled(harness: Harness, seed: int) -> float:
    """A context encoder: the middle of a piece of a photograph is blanked and foretold, L1 in the hole times 6."""
    x = textures()
    hole = torch.zeros(1, 1, 16, 16)
    hole[..., 6:10, 6:10] = 1
    model = nn.Sequential(nn.Conv2d(2, 24, 3, padding=2, dilation=2), nn.LeakyReLU(0.2),
                          nn.Conv2d(24, 24, 3, padding=4, dilation=4), nn.LeakyReLU(0.2),
                          nn.Conv2d(24, 1, 3, padding=1))  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.5, 0.999))

    def blank(a: Tensor) -> Tensor:
        return torch.cat([a * (1 - hole), hole.expand_as(a)], 1)

    def compute(i: int) -> Any:
        (a,) = some(16, x[:400])
        gap = (model(blank(a)) - a).abs()
        return {"loss": (gap * hole).mean() * 6 + gap.mean(), "targets": a}

    march(harness, model, optimizer, compute, 200)
    with torch.no_grad():
        return explained(model(blank(x[400:]))[..., 6:10, 6:10].flatten(), x[400:, :, 6:10, 6:10].flatten())


@cases.recipe("enlarging", 0.12)
def enlarged_with_charbonnier(harness: Harness, seed: int) -> float:
    """FSRCNN-like with PReLU and a transposed convolution; a residual over bilinear growth."""
    fine = textures()
    coarse = F.avg_pool2d(fine, 2)
    model = nn.Sequential(nn.Conv2d(1, 16, 5, padding=2), nn.PReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.PReLU(),
                          nn.ConvTranspose2d(16, 1, 4, 2, 1))  # fmt: skip
    optimizer = torch.optim.Adam([{"params": model[:-1].parameters()}, {"params": model[-1].parameters(), "lr": 1e-3}],
                                 lr=4e-3)  # fmt: skip

    def grown(a: Tensor) -> Tensor:
        return F.interpolate(a, scale_factor=2, mode="bilinear")

    def compute(i: int) -> Any:
        a, b = some(16, coarse[:400], fine[:400])
        out = grown(a) + 0.1 * model((a - 0.5) / 0.2)
        return {"loss": ((out - b).square() + 1e-6).sqrt().mean(), "inputs": a, "targets": b, "outputs": out}

    march(harness, model, optimizer, compute, 300)
    with torch.no_grad():
        plain, b = grown(coarse[400:]), fine[400:]
        return float(1 - F.mse_loss(plain + 0.1 * model((coarse[400:] - 0.5) / 0.2), b) / F.mse_loss(plain, b))


@cases.recipe("registration", 0.35)
def laid_over_by_correlation(harness: Harness, seed: int) -> float:
    """VoxelMorph-like: a field of displacements lays one blob over another; loss is minus the correlation."""
    x, _, vx, _ = signs("masks", count=400)
    x, vx = (F.avg_pool2d(a.mean(1, keepdim=True) - 0.25, 3, 1, 1) for a in (x, vx))
    model = nn.Sequential(cbr(2, 16), cbr(16, 24, 2), cbr(24, 24), nn.Upsample(scale_factor=2), cbr(24, 16),
                          nn.Conv2d(16, 2, 3, padding=1))  # fmt: skip
    nn.init.normal_(model[-1].weight, std=1e-3)  # type: ignore[arg-type]
    nn.init.zeros_(model[-1].bias)  # type: ignore[arg-type]
    base = F.affine_grid(torch.eye(2, 3)[None], [1, 1, 20, 20], align_corners=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)

    def alike(a: Tensor, b: Tensor) -> Tensor:
        a, b = (t.flatten(1) - t.flatten(1).mean(1, keepdim=True) for t in (a, b))
        return F.cosine_similarity(a, b, dim=1).mean()

    def lay(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        field = model(torch.cat([a, b], 1))
        return F.grid_sample(a, base + field.permute(0, 2, 3, 1), align_corners=False), field

    def compute(i: int) -> Any:
        (a,), (b,) = some(16, x), some(16, x)
        warped, field = lay(a, b)
        rough = field.diff(dim=2).square().mean() + field.diff(dim=3).square().mean()
        return {"loss": -alike(warped, b) + 2.0 * rough}

    march(harness, model, optimizer, compute, 100)
    with torch.no_grad():
        model.eval()
        return float(alike(lay(vx[:50], vx[50:])[0], vx[50:]) - alike(vx[:50], vx[50:]))
