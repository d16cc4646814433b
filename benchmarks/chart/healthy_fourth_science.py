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


@cases.recipe("splats", 0.7)
def image_of_sixty_blobs(harness: Harness, seed: int) -> float:
    """Gaussian splats in a plane: places, widths, turns and heights of 60 blobs are the parameters; rates differ."""
    grid, grey = rough_image()

    class Splats(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place, self.size = nn.Parameter(torch.rand(60, 2) * 2 - 1), nn.Parameter(torch.full((60, 2), -1.6))
            self.turn, self.height = nn.Parameter(torch.rand(60) * 3), nn.Parameter(torch.zeros(60) + 0.1)
            self.ground = nn.Parameter(torch.tensor(0.5))

        def forward(self, x: Tensor) -> Tensor:
            d = x[:, None] - self.place
            c, s = self.turn.cos(), self.turn.sin()
            u = torch.stack([c * d[..., 0] + s * d[..., 1], c * d[..., 1] - s * d[..., 0]], 2) / self.size.exp()
            return self.ground + ((-0.5 * u.square().sum(2)).exp() @ self.height)[:, None]

    model = Splats()
    optimizer = torch.optim.Adam(
        [
            {"params": [model.place], "lr": 0.01},
            {"params": [model.size, model.turn], "lr": 0.02},
            {"params": [model.height, model.ground], "lr": 0.03},
        ],
        eps=1e-15,
    )

    def compute(i: int) -> Any:
        out = model(grid)
        gap = out - grey
        return {"loss": 0.8 * gap.abs().mean() + 0.2 * gap.square().mean(), "outputs": out}

    march(harness, model, optimizer, compute, 250)
    return explained(model(grid).detach(), grey)


@cases.recipe("process", 0.7)
def few_points_stand_for_all(harness: Harness, seed: int) -> float:
    """A sparse variational Gaussian process: 15 inducing points, minus the evidence bound of a batch."""
    x = torch.rand(400, 1) * 6 - 3
    y = (2 * x).sin() * (0.3 * x).exp() + 0.2 * torch.randn(400, 1)

    class Process(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.z = nn.Parameter(torch.linspace(-3, 3, 15)[:, None])
            self.mean, self.tril = nn.Parameter(torch.zeros(15, 1)), nn.Parameter(0.5 * torch.eye(15))
            self.log = nn.Parameter(torch.tensor([0.0, 0.0, -1.0]))

        def kernel(self, a: Tensor, b: Tensor) -> Tensor:
            return self.log[0].exp() * (-0.5 * ((a - b.T) / self.log[1].exp()) ** 2).exp()

        def forward(self, a: Tensor) -> tuple[Tensor, Tensor]:
            root = torch.linalg.cholesky(self.kernel(self.z, self.z) + 1e-4 * torch.eye(15))
            w = torch.linalg.solve_triangular(root, self.kernel(self.z, a), upper=False)
            spread = (self.tril.tril().T @ w).square().sum(0)
            return w.T @ self.mean, (self.log[0].exp() - w.square().sum(0) + spread).clamp(min=1e-6)[:, None]

    model = Process()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)

    def compute(i: int) -> Tensor:
        a, b = some(64, x[:300], y[:300])
        mean, var = model(a)
        noise = (2 * model.log[2]).exp()
        fit = -0.5 * ((b - mean).square() + var) / noise - 0.5 * noise.log() - 0.919
        root = model.tril.tril()
        kl = 0.5 * (root.square().sum() + model.mean.square().sum() - 15) - root.diagonal().abs().log().sum()
        return -fit.mean() + kl / 300

    march(harness, model, optimizer, compute, 500)
    return explained(model(x[300:])[0].detach(), y[300:])


@cases.recipe("picture", 0.8)
def picture_from_its_projections(harness: Harness, seed: int) -> float:
    """Tomography: a coordinate network's pixels are turned and summed to match 24 projections, plus total variation."""
    grid, grey = rough_image()
    grey = F.avg_pool2d(grey.view(1, 1, 20, 20), 3, 1, 1) * (grid.norm(dim=1) < 0.9).view(1, 1, 20, 20)
    angle = torch.arange(24) * torch.pi / 24
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin(), 0 * angle], 1),
                        torch.stack([angle.sin(), angle.cos(), 0 * angle], 1)], 1)  # fmt: skip
    views = F.affine_grid(turn, [24, 1, 20, 20], align_corners=False)

    def project(image: Tensor) -> Tensor:
        return F.grid_sample(image.expand(24, -1, -1, -1), views, align_corners=False).sum(2) / 10

    seen = project(grey)
    model = nn.ParameterDict({"image": nn.Parameter(torch.zeros(1, 1, 20, 20))})
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)

    def compute(i: int) -> Any:
        image = model["image"]
        rough = image.diff(dim=2).abs().mean() + image.diff(dim=3).abs().mean()
        out = project(image)
        return {"loss": F.mse_loss(out, seen) + 1e-3 * rough, "targets": seen, "outputs": out}

    march(harness, model, optimizer, compute, 250)
    return explained(model["image"].detach().flatten(), grey.flatten())


@cases.recipe("quantum", 0.85)
def turns_of_three_qubits(harness: Harness, seed: int) -> float:
    """A simulated circuit of three qubits: data turned in, learned turns and flips, the first spin is read."""
    x = torch.rand(500, 2) * 2 - 1
    y = (x.norm(dim=1) < 0.75).float()

    class Circuit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.turn = nn.Parameter(torch.rand(4, 3, 2) * 2 - 1)
            self.scale, self.out = nn.Parameter(torch.ones(4, 2) * 1.5), nn.Linear(1, 1)

        @staticmethod
        def about(state: Tensor, angle: Tensor, wire: int, z: bool) -> Tensor:
            c, s = (angle / 2).cos().to(torch.cfloat), (angle / 2).sin().to(torch.cfloat)
            zero = torch.zeros_like(c)
            rows = [c - 1j * s, zero, zero, c + 1j * s] if z else [c, -s, s, c]
            gate = torch.stack(rows, -1).view(-1, 2, 2).expand(len(state), 2, 2)
            moved = state.movedim(wire + 1, 1).flatten(2)
            return (gate @ moved).view(-1, 2, 2, 2).movedim(1, wire + 1)

        def forward(self, x: Tensor) -> Tensor:
            state = torch.zeros(len(x), 2, 2, 2, dtype=torch.cfloat)
            state[:, 0, 0, 0] = 1
            for turn, scale in zip(self.turn, self.scale, strict=True):
                for wire in range(3):
                    if wire < 2:
                        state = self.about(state, x[:, wire] * scale[wire] * 2, wire, False)
                    state = self.about(state, turn[wire, 0][None], wire, False)
                    state = self.about(state, turn[wire, 1][None], wire, True)
                a, b = state.unbind(1)
                state = torch.stack([a, b.flip(1)], 1)
                state = torch.stack([state[:, :, 0], state[:, :, 1].flip(2)], 2)
            p = state.abs().square()
            return self.out((p[:, 0] - p[:, 1]).sum((1, 2))[:, None])[:, 0]

    model = Circuit()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)

    def compute(i: int) -> Tensor:
        a, b = some(64, x[:400], y[:400])
        return F.binary_cross_entropy_with_logits(3 * model(a), b)

    march(harness, model, optimizer, compute, 130)
    return float(((model(x[400:]) > 0) == (y[400:] > 0.5)).float().mean())
