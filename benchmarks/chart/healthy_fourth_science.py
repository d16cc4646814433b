"""Equations, fields and pictures, by a fourth author, without any threshold. See `healthy_fourth.py`."""

from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, some
from benchmarks.chart.second import SecondCases, dense, explained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


def rough_image(size: int = 20) -> tuple[Tensor, Tensor]:
    """Coordinates (N, 2) in -1..1 and grey values (N, 1) of a pattern of waves and a disc."""
    grid = torch.cartesian_prod(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size))
    waves = (8 * grid[:, 0]).sin() * (6 * grid[:, 1]).cos() * 0.4 + 0.5
    return grid, torch.where(grid.norm(dim=1) < 0.4, 1 - waves, waves)[:, None]


@cases.recipe("pinn", 0.9)
def poisson_on_a_square(harness: Harness, seed: int) -> float:
    """-Laplace u = f on a square with u = 0 on the edge built in: Adam first, then 12 steps of LBFGS."""
    net = dense(2, 24, 24, 1, act=nn.Tanh)

    def u(p: Tensor) -> Tensor:
        return (p * (1 - p)).prod(1, keepdim=True) * 16 * net(p)

    def residual(p: Tensor) -> Tensor:
        p = p.requires_grad_(True)
        (g,) = torch.autograd.grad(u(p).sum(), p, create_graph=True)
        laplace: Any = sum(torch.autograd.grad(g[:, k].sum(), p, create_graph=True)[0][:, k] for k in range(2))
        return (laplace / 20 + (torch.pi * p).sin().prod(1)).square().mean()

    adam = torch.optim.Adam(net.parameters(), lr=4e-3)
    lbfgs = torch.optim.LBFGS(net.parameters(), max_iter=5, line_search_fn="strong_wolfe")
    harness.begin(net, [adam, lbfgs])
    for _ in range(150):
        adam.zero_grad()
        loss = residual(torch.rand(128, 2))
        loss.backward()
        adam.step()
        harness.step(loss=loss)
    fixed = torch.rand(256, 2)

    def closure() -> Tensor:
        lbfgs.zero_grad()
        loss = residual(fixed.clone())
        loss.backward()
        return loss

    for _ in range(12):
        harness.step(loss=lbfgs.step(closure))
    p = torch.rand(500, 2)
    return explained(u(p).detach()[:, 0] * torch.pi**2 / 10, (torch.pi * p).sin().prod(1))


@cases.recipe("operator", 0.9)
def integrals_of_functions(harness: Harness, seed: int) -> float:
    """DeepONet: branch of 20 samples of a function, trunk of a place, their product is the integral up to there."""
    t = torch.linspace(0, 1, 20)
    coefficients = torch.randn(700, 5) / (1 + torch.arange(5))
    waves = torch.stack([((k + 0.5) * torch.pi * t).cos() for k in range(5)])
    sums = torch.stack([((k + 0.5) * torch.pi * t).sin() / ((k + 0.5) * torch.pi) for k in range(5)])
    f, goal = coefficients @ waves, (coefficients @ sums) * 2
    branch, trunk = dense(20, 64, 32), dense(1, 64, 32, act=nn.Tanh)
    model = nn.ModuleDict({"branch": branch, "trunk": trunk})
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 150, 0.5)

    def compute(i: int) -> Any:
        a, b = some(32, f[:500], goal[:500])
        return {"loss": F.mse_loss(branch(a) @ trunk(t[:, None]).T, b), "inputs": a, "targets": b}

    march(harness, model, optimizer, compute, 400, scheduler=scheduler)
    return explained((branch(f[500:]) @ trunk(t[:, None]).T).detach().flatten(), goal[500:].flatten())


@cases.recipe("ode", 0.8)
def foxes_and_hares_by_euler(harness: Harness, seed: int) -> float:
    """A neural ODE: Euler steps of a small field are fitted to logs of Lotka and Volterra's animals."""

    def step(s: Tensor) -> Tensor:
        a, b = s.exp().unbind(-1)
        return s + 0.05 * torch.stack([1.1 - 0.9 * b, 0.8 * a - 1.0], -1)

    state = torch.randn(300, 2) * 0.4
    path = [state]
    for _ in range(60):
        state = step(state)
        path.append(state)
    path_t = torch.stack(path[::6], 1)
    field = dense(2, 48, 48, 2, act=nn.Tanh)
    optimizer = torch.optim.Adam(field.parameters(), lr=5e-3)

    def roll(s: Tensor) -> Tensor:
        out = []
        for _ in range(10):
            s = s + 0.3 * field(s)
            out.append(s)
        return torch.stack(out, 1)

    def compute(i: int) -> Any:
        (a,) = some(48, path_t[:240])
        out = roll(a[:, 0])
        return {"loss": F.smooth_l1_loss(out, a[:, 1:]), "inputs": a[:, 0], "targets": a[:, 1:], "outputs": out}

    march(harness, field, optimizer, compute, 300, clip=1.0)
    with torch.no_grad():
        return explained(roll(path_t[240:, 0]).flatten(0, 1), path_t[240:, 1:].flatten(0, 1))


@cases.recipe("discovery", 0.9)
def terms_of_an_equation(harness: Harness, seed: int) -> float:
    """SINDy: the slopes of a pendulum from 8 candidate terms, L1 in the loss, small ones set to 0 and held there."""
    s = torch.rand(400, 2) * 4 - 2
    slope = torch.stack([s[:, 1], -s[:, 0] - 0.3 * s[:, 1] + 0.5 * s[:, 0] ** 3], 1) + 0.05 * torch.randn(400, 2)
    q, p = s.unbind(1)
    terms = torch.stack([torch.ones(400), q, p, q * q, q * p, p * p, q**3, p**3], 1)

    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c = nn.Parameter(0.1 * torch.randn(8, 2))
            self.register_buffer("mask", torch.ones(8, 2))

        def forward(self, x: Tensor) -> Tensor:
            return x @ (self.c * self.mask)

    model = Sparse()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)

    def prune(i: int) -> None:
        if i in (200, 300, 400):
            model.mask.copy_((model.c.detach().abs() > 0.1).float())

    def compute(i: int) -> Tensor:
        return F.mse_loss(model(terms), slope) + 1e-3 * (model.c * model.mask).abs().sum()

    march(harness, model, optimizer, compute, 500, after=prune)
    return explained(model(terms).detach(), slope) if 4 <= int(model.mask.sum()) <= 7 else 0.0


@cases.recipe("field", 0.9)
def distance_with_unit_slope(harness: Harness, seed: int) -> float:
    """A signed distance field from points on a star-like curve: zero there, unit slope (eikonal), normals."""
    t = torch.rand(400) * 2 * torch.pi
    radius = 0.6 + 0.15 * (3 * t).cos()
    curve = torch.stack([radius * t.cos(), radius * t.sin()], 1)
    net = dense(2, 48, 48, 1, act=nn.Softplus)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)

    def compute(i: int) -> Tensor:
        (on,), off = some(64, curve), torch.rand(64, 2) * 2 - 1
        both = torch.cat([on, off]).requires_grad_(True)
        d = net(both * 3)
        (slope,) = torch.autograd.grad(d.sum(), both, create_graph=True)
        outwards = 1 - F.cosine_similarity(slope[:64], F.normalize(on, dim=1)).mean()
        return d[:64].abs().mean() + 0.1 * (slope.norm(dim=1) - 1).square().mean() + 0.1 * outwards

    march(harness, net, optimizer, compute, 400)
    p = torch.rand(1000, 2) * 2 - 1
    inside = p.norm(dim=1) < 0.6 + 0.15 * (3 * torch.atan2(p[:, 1], p[:, 0])).cos()
    return float(((net(p * 3)[:, 0] < 0) == inside).float().mean())


@cases.recipe("field", 0.8)
def waves_before_the_network(harness: Harness, seed: int) -> float:
    """Fourier features from a fixed random matrix in a buffer; a ReLU network; all pixels in each step, PSNR logged."""
    grid, grey = rough_image()

    class Waves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("b", 4 * torch.randn(2, 32))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([(x @ self.b).sin(), (x @ self.b).cos()], 1)

    model = nn.Sequential(Waves(), *dense(64, 64, 64, 1), nn.Sigmoid())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer, loss_fn=F.mse_loss)
    for i in range(250):
        out = model(grid)
        loss = F.mse_loss(out, grey)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=grid, targets=grey, outputs=out)
        if i % 50 == 49:
            harness.epoch(train={"loss": loss.item(), "psnr": float(-10 * np.log10(loss.item()))})
    return explained(out.detach(), grey)
