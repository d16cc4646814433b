"""Motion, depth and mended pictures, by a fourth author, without any threshold. See `healthy_fourth.py`."""

from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, school, some
from benchmarks.chart.healthy_fourth_scenes import cbr
from benchmarks.chart.second import SecondCases, explained, signs
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


@cache
def textures(size: int = 16, count: int = 500) -> Tensor:
    """Grey pieces (N, 1, size, size) in 0..1 of a photograph at a quarter of its size."""
    image = torch.tensor(load_sample_image("china.jpg").mean(2), dtype=torch.float32)[None, None] / 255
    image = F.avg_pool2d(image, 4)[0, 0]
    draw = np.random.default_rng(44)
    at = (draw.uniform(0, 1, (count, 2)) * (np.array(image.shape) - size)).astype(int)
    return torch.stack([image[r : r + size, c : c + size] for r, c in at])[:, None]


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
