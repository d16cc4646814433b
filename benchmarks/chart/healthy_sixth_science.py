"""Equations, fields and forms, by a sixth author, without any threshold. See `healthy_sixth.py`."""

import math

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_sixth import course, iterate, pick
from benchmarks.chart.second import SecondCases, cut, dense, explained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("sixth")


@cases.recipe("physics", 0.8)
def cooling_with_an_unknown_rate(harness: Harness, seed: int) -> float:
    """A physics-informed net: eight noisy temperatures, the law of cooling at 100 times, its rate is a parameter."""
    at = torch.linspace(0, 3, 8)[:, None]
    seen = 0.2 + 0.8 * (-1.3 * at).exp() + 0.01 * torch.randn(8, 1)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.rate = dense(1, 32, 32, 1, act=nn.Tanh), nn.Parameter(torch.tensor(0.5))

        def forward(self, t: Tensor) -> Tensor:
            return self.body(t)

    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)

    def compute(i: int) -> Tensor:
        t = (3 * torch.rand(100, 1)).requires_grad_()
        u = net(t)
        (slope,) = torch.autograd.grad(u.sum(), t, create_graph=True)
        return 10 * F.mse_loss(net(at), seen) + (slope + net.rate * (u - 0.2)).square().mean()

    iterate(harness, net, optimizer, compute, 700)
    t = torch.linspace(0, 3, 100)[:, None]
    return explained(net(t), 0.2 + 0.8 * (-1.3 * t).exp()) - abs(float(net.rate) - 1.3)


@cases.recipe("physics", 0.9)
def wave_on_a_string(harness: Harness, seed: int) -> float:
    """u_tt = u_xx with fixed ends: ends and start are penalties with weights, second derivatives twice, Adam, step."""
    net = dense(2, 40, 40, 1, act=nn.Tanh)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 300, gamma=0.4)

    def compute(i: int) -> Tensor:
        p = torch.rand(128, 2, requires_grad=True)
        u = net(p)
        (g,) = torch.autograd.grad(u.sum(), p, create_graph=True)
        u_xx = torch.autograd.grad(g[:, 0].sum(), p, create_graph=True)[0][:, 0]
        u_tt = torch.autograd.grad(g[:, 1].sum(), p, create_graph=True)[0][:, 1]
        x = torch.rand(40, 1)
        start = torch.cat([x, torch.zeros(40, 1)], 1).requires_grad_()
        u0 = net(start)
        (g0,) = torch.autograd.grad(u0.sum(), start, create_graph=True)
        ends = torch.cat([torch.cat([torch.full((20, 1), e), torch.rand(20, 1)], 1) for e in (0.0, 1.0)])
        first = F.mse_loss(u0, (math.pi * x).sin()) + g0[:, 1].square().mean() * 0.1
        return 0.02 * (u_tt - u_xx).square().mean() + first + net(ends).square().mean()

    iterate(harness, net, optimizer, compute, 800, scheduler=scheduler)
    p = torch.rand(500, 2)
    goal = (math.pi * p[:, :1]).sin() * (math.pi * p[:, 1:]).cos()
    with torch.no_grad():
        return explained(net(p), goal)


@cases.recipe("regression", 0.9)
def emulator_of_a_simulation(harness: Harness, seed: int) -> float:
    """Range and height of throws with drag from a slow simulation, logs standardised, SiLU, AdamW."""
    draw = np.random.default_rng(77)
    speed, angle, drag = draw.uniform(5, 40, 2000), draw.uniform(0.3, 1.3, 2000), draw.uniform(0.005, 0.05, 2000)
    place, v, best = np.zeros((2000, 2)), np.stack([speed * np.cos(angle), speed * np.sin(angle)], 1), np.zeros(2000)
    flying = np.ones(2000, bool)
    while flying.any():
        pull = -drag[:, None] * np.linalg.norm(v, axis=1, keepdims=True) * v - np.array([0, 9.8])
        place = np.where(flying[:, None], place + 0.02 * v, place)
        v = v + 0.02 * pull
        best, flying = np.maximum(best, place[:, 1]), flying & (place[:, 1] >= 0)
    goal = np.log(np.stack([place[:, 0], best], 1))
    x = np.stack([speed, angle, drag], 1)
    x, goal = (x - x.mean(0)) / x.std(0), (goal - goal.mean(0)) / goal.std(0)
    model = dense(3, 64, 64, 2, act=nn.SiLU)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.85)
    return course(
        harness, model, optimizer, nn.MSELoss(), cut(x, goal), epochs=10, size=50, scheduler=scheduler,
        score=explained, key=None,
    )  # fmt: skip


@cases.recipe("field", 0.85)
def forms_have_their_codes(harness: Harness, seed: int) -> float:
    """DeepSDF: 24 ellipses, each with a code learned along; distances of at most 0.5 by L1, codes are kept short."""
    size, move = 0.3 + 0.4 * torch.rand(24, 2), 0.4 * torch.rand(24, 2) - 0.2

    def distance(k: Tensor, p: Tensor) -> Tensor:
        return (((p - move[k]) / size[k]).norm(dim=1, keepdim=True) - 1) * size[k].amin(1, keepdim=True)

    class Forms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.codes, self.body = nn.Embedding(24, 8), dense(10, 64, 64, 1)
            nn.init.normal_(self.codes.weight, std=0.1)

        def forward(self, k: Tensor, p: Tensor) -> Tensor:
            return self.body(torch.cat([self.codes(k), p], 1)).tanh()

    model = Forms()
    optimizer = torch.optim.Adam([{"params": model.body.parameters(), "lr": 2e-3},
                                  {"params": model.codes.parameters(), "lr": 5e-3}])  # fmt: skip

    def compute(i: int) -> Tensor:
        k, p = torch.randint(24, (256,)), 2 * torch.rand(256, 2) - 1
        goal, out = distance(k, p).clamp(-0.5, 0.5), model(k, p)
        return F.l1_loss(out, goal) + 1e-4 * model.codes(k).square().sum(1).mean()

    iterate(harness, model, optimizer, compute, 600)
    k, p = torch.randint(24, (1000,)), 2 * torch.rand(1000, 2) - 1
    with torch.no_grad():
        return float(((model(k, p) < 0) == (distance(k, p) < 0)).float().mean())


@cases.recipe("field", 0.85)
def picture_in_a_grid_of_features(harness: Harness, seed: int) -> float:
    """Two learned grids are read between their points, a small MLP makes grey values; random points of a smooth map."""

    def value(p: Tensor) -> Tensor:
        x, y = p[:, :1], p[:, 1:]
        return 0.5 + 0.25 * (5 * x + 2 * (3 * y).sin()).sin() + 0.25 * (-4 * (x**2 + y**2)).exp()

    class Grids(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.grids = nn.ParameterList(1e-2 * torch.randn(1, 4, s, s) for s in (6, 14))
            self.top = dense(8, 32, 1)

        def forward(self, p: Tensor) -> Tensor:
            at = p.view(1, -1, 1, 2)
            parts = [F.grid_sample(g, at, align_corners=True)[0, :, :, 0].T for g in self.grids]
            return self.top(torch.cat(parts, 1))

    model = Grids()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, betas=(0.9, 0.99), eps=1e-15)

    def compute(i: int) -> dict[str, Tensor]:
        p = 2 * torch.rand(256, 2) - 1
        goal, out = value(p), model(p)
        return {"loss": F.mse_loss(out, goal), "inputs": p, "targets": goal, "outputs": out}

    iterate(harness, model, optimizer, compute, 350)
    p = 2 * torch.rand(1000, 2) - 1
    with torch.no_grad():
        return explained(model(p), value(p))


@cases.recipe("regression", 0.8)
def velocity_from_pictures_of_smoke(harness: Harness, seed: int) -> float:
    """Two pictures of smoke, the second moved by up to 1.5 pixels: dx and dy from correlations of learned features."""

    def frames(count: int) -> tuple[Tensor, Tensor]:
        smoke = F.avg_pool2d(torch.rand(count, 1, 26, 26), 5, 1)
        smoke = (smoke - smoke.mean((1, 2, 3), keepdim=True)) / smoke.std((1, 2, 3), keepdim=True)
        move = 3 * torch.rand(count, 2) - 1.5
        base = torch.eye(2, 3).expand(count, 2, 3).clone()
        here = F.grid_sample(smoke, F.affine_grid(base, [count, 1, 22, 22], align_corners=False), align_corners=False)
        base[:, :, 2] = -2 * move / 22
        there = F.grid_sample(smoke, F.affine_grid(base, [count, 1, 22, 22], align_corners=False), align_corners=False)
        return torch.cat([here, there], 1)[:, :, 3:19, 3:19], move

    (x, y), (vx, vy) = frames(1500), frames(200)
    x, vx = x.contiguous(), vx.contiguous()

    class Correlated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 10, 3, padding=1), nn.ReLU(), nn.Conv2d(10, 10, 3, padding=1))
            self.top = dense(25, 64, 2)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.body(x[:, :1]), F.pad(self.body(x[:, 1:]), (2, 2, 2, 2))
            shifts = [(a * b[:, :, r : r + 16, c : c + 16]).mean((1, 2, 3)) for r in range(5) for c in range(5)]
            return self.top(torch.stack(shifts, 1))

    model = Correlated()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def compute(i: int) -> dict[str, Tensor]:
        a, b = pick(16, x, y)
        out = model(a)
        return {"loss": F.smooth_l1_loss(out, b), "inputs": a, "targets": b, "outputs": out}

    iterate(harness, model, optimizer, compute, 220)
    with torch.no_grad():
        return explained(model(vx), vy)
