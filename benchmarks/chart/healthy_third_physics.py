"""Equations, implicit layers, graphs and networks made by networks, by a third author, on which NO threshold is set.

See `healthy_third.py`.
"""

import math

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_third import iterate
from benchmarks.chart.second import SecondCases, cut, dense, digits, explained, fit
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("third")


def slope(u: Tensor, x: Tensor) -> Tensor:
    """du / dx, differentiable again."""
    return torch.autograd.grad(u.sum(), x, create_graph=True)[0]


@cases.recipe("pinn", 0.9)
def heat_by_its_equation(harness: Harness, seed: int) -> float:
    """A physics-informed network: u_t = 0.1 u_xx, sin(pi x) at first; losses of inner, first and edge points."""
    net = dense(2, 32, 32, 1, act=nn.Tanh)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)

    def compute(i: int) -> Tensor:
        x, t = torch.rand(64, 1, requires_grad=True), torch.rand(64, 1, requires_grad=True)
        u = net(torch.cat([x, t], 1))
        inner = (slope(u, t) - 0.1 * slope(slope(u, x), x)).square().mean()
        x0, t0 = torch.rand(32, 1), torch.rand(32, 1)
        first = (net(torch.cat([x0, 0 * t0], 1)) - (math.pi * x0).sin()).square().mean()
        edges = net(torch.cat([(x0 > 0.5).float(), t0], 1)).square().mean()
        return inner + 5 * first + 5 * edges

    iterate(harness, net, optimizer, compute, 200)
    x, t = torch.rand(300, 1), torch.rand(300, 1)
    true = (math.pi * x).sin() * (-0.1 * math.pi**2 * t).exp()
    return explained(net(torch.cat([x, t], 1)), true)


@cases.recipe("pinn", 0.9)
def least_energy(harness: Harness, seed: int) -> float:
    """Deep Ritz: the energy of -u'' = pi^2 sin(pi x) is minimised, a negative loss that ends near -2.5."""
    net = dense(1, 32, 32, 1, act=nn.Tanh)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)

    def u_of(x: Tensor) -> Tensor:
        return x * (1 - x) * net(x)

    def compute(i: int) -> Tensor:
        x = ((torch.arange(64) + torch.rand(64)) / 64)[:, None].requires_grad_(True)
        u = u_of(x)
        return (0.5 * slope(u, x) ** 2 - math.pi**2 * (math.pi * x).sin() * u).mean()

    iterate(harness, net, optimizer, compute, 250)
    x = torch.linspace(0, 1, 100)[:, None]
    return explained(u_of(x), (math.pi * x).sin())


@cases.recipe("pinn", 0.7)
def stiffness_is_found(harness: Harness, seed: int) -> float:
    """An inverse problem: u'' = -k u with k unknown, learned from noisy points at ten times the net's rate."""
    net, k = dense(1, 32, 32, 1, act=nn.Tanh), nn.Parameter(torch.tensor(1.0))
    holder = nn.ModuleDict({"net": net, "k": nn.ParameterList([k])})
    optimizer = torch.optim.Adam([{"params": net.parameters(), "lr": 4e-3}, {"params": [k], "lr": 4e-2}])
    x = torch.linspace(0, 3, 40)[:, None]
    y = torch.cos(2 * x) + 0.02 * torch.randn_like(x)

    def compute(i: int) -> Tensor:
        t = (3 * torch.rand(48, 1)).requires_grad_(True)
        u = net(t)
        return F.mse_loss(net(x), y) + 0.02 * (slope(slope(u, t), t) + k * u).square().mean()

    iterate(harness, holder, optimizer, compute, 350)
    return 1 - abs(float(k) - 4) / 3


@cases.recipe("hamiltonian", 0.85)
def energy_whose_slope_moves(harness: Harness, seed: int) -> float:
    """A Hamiltonian network: the outputs are derivatives of one scalar, so its last bias can never get a gradient."""
    z = 2 * torch.rand(600, 2) - 1
    z = 2.5 * z
    true = torch.stack([z[:, 1], -z[:, 0].sin()], 1)

    class Energy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 48), nn.Tanh(), nn.Linear(48, 1, bias=False))

        def forward(self, z: Tensor) -> Tensor:
            z = z.detach().requires_grad_(True)
            with torch.enable_grad():
                g = slope(self.net(z), z)
            return torch.stack([g[:, 1], -g[:, 0]], 1)

    model = Energy()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    split = z[:450], true[:450], z[450:], true[450:]
    return fit(harness, model, optimizer, nn.MSELoss(), split, epochs=18, score=explained, metric=None)


@cases.recipe("ode", 0.85)
def flow_by_runge_and_kutta(harness: Harness, seed: int) -> float:
    """A neural ODE written by hand: four-stage steps of a small field carry a spiral's points 10 steps ahead."""
    field = dense(2, 32, 2, act=nn.Tanh)
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-2)
    turn = torch.matrix_exp(0.15 * torch.tensor([[-0.15, 2.0], [-2.0, -0.15]]))

    def path(z: Tensor, truth: bool) -> Tensor:
        out = []
        for _ in range(8):
            if truth:
                z = z @ turn.T
            else:
                h = 0.15
                a = field(z)
                b = field(z + h / 2 * a)
                c = field(z + h / 2 * b)
                z = z + h / 6 * (a + 2 * b + 2 * c + field(z + h * c))
            out.append(z)
        return torch.stack(out, 1)

    def compute(i: int) -> dict[str, Tensor]:
        z = torch.randn(32, 2)
        goal, out = path(z, True), path(z, False)
        return {"loss": (out - goal).abs().mean(), "inputs": z, "targets": goal, "outputs": out}

    iterate(harness, field, optimizer, compute, 150)
    z = torch.randn(100, 2)
    with torch.no_grad():
        return explained(path(z, False), path(z, True))


@cases.recipe("deq", 0.85)
def fixed_point_layer(harness: Harness, seed: int) -> float:
    """A deep equilibrium layer: the fixed point is found without graph; a hook solves for its gradient."""

    class Equilibrium(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.u, self.w, self.head = nn.Linear(64, 48), nn.Linear(48, 48, bias=False), nn.Linear(48, 10)
            nn.init.normal_(self.w.weight, std=0.05)

        def step(self, z: Tensor, x: Tensor) -> Tensor:
            return torch.tanh(self.w(z) + self.u(x))

        def forward(self, x: Tensor) -> Tensor:
            z = torch.zeros(len(x), 48)
            with torch.no_grad():
                for _ in range(12):
                    z = self.step(z, x)
            z = self.step(z, x)
            if self.training and z.requires_grad:
                fixed = z.detach().requires_grad_(True)
                again = self.step(fixed, x.detach())

                def solve(g: Tensor) -> Tensor:
                    total = g
                    for _ in range(8):
                        total = torch.autograd.grad(again, fixed, total, retain_graph=True)[0] + g
                    return total

                z.register_hook(solve)
            return self.head(z)

    model = Equilibrium()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("unit", image=False), epochs=5)


@cases.recipe("hyper", 0.85)
def weights_from_a_network(harness: Harness, seed: int) -> float:
    """A hypernetwork: the weights of a 64-24-10 network come from learned codes; no layer of it is a module."""
    x, y, vx, vy = digits("standard", image=False)

    class Hyper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.codes, self.make = nn.Parameter(torch.randn(34, 8)), nn.Linear(8, 65)
            nn.init.normal_(self.make.weight, std=0.05)

        def forward(self, x: Tensor) -> Tensor:
            made = self.make(self.codes)
            h = F.relu(F.linear(x, made[:24, :64], made[:24, 64]))
            return F.linear(h, made[24:, :24], made[24:, 64])

    model = Hyper()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    return fit(harness, model, optimizer, F.cross_entropy, (x, y, vx, vy), epochs=8)


@cases.recipe("fno", 0.85)
def waves_by_their_spectrum(harness: Harness, seed: int) -> float:
    """A Fourier neural operator on a line with complex weights: from a first profile to that of the diffused one."""
    draw = np.random.default_rng(41)
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    k = np.arange(1, 7)
    c = draw.normal(size=(400, 2, 6)) / k
    basis = np.stack([np.sin(k[:, None] * t), np.cos(k[:, None] * t)])
    before = np.einsum("ncf,cft->nt", c, basis)
    after = np.einsum("ncf,cft->nt", c * np.exp(-0.08 * k**2), np.roll(basis, 4, axis=-1))
    split = cut(before[:, None], after[:, None])

    class Operator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lift, self.lower = nn.Conv1d(1, 16, 1), nn.Conv1d(16, 1, 1)
            self.skip = nn.Conv1d(16, 16, 1)
            self.modes = nn.Parameter(torch.randn(16, 16, 8, dtype=torch.cfloat) / 16)

        def forward(self, x: Tensor) -> Tensor:
            x = self.lift(x)
            f = torch.einsum("bix,iox->box", torch.fft.rfft(x)[..., :8], self.modes)
            return self.lower(F.gelu(torch.fft.irfft(f, n=48) + self.skip(x)))

    model = Operator()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def relative(out: Tensor, y: Tensor) -> Tensor:
        return ((out - y).flatten(1).norm(dim=1) / y.flatten(1).norm(dim=1)).mean()

    return fit(harness, model, optimizer, relative, split, epochs=12, size=20, score=explained, metric=None)


@cases.recipe("gnn", 0.7)
def graphs_with_or_without_triangles(harness: Harness, seed: int) -> float:
    """A graph isomorphism network on dense adjacency: how many triangles has each of many little graphs?"""
    draw = np.random.default_rng(43)
    upper = np.triu(draw.random((600, 10, 10)) < draw.uniform(0.15, 0.45, (600, 1, 1)), 1)
    adjacency = (upper | upper.transpose(0, 2, 1)).astype(np.float32)
    count = np.einsum("nij,njk,nki->n", adjacency, adjacency, adjacency) / 6
    split = cut(adjacency, np.log1p(count)[:, None])

    class Isomorphism(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.eps = dense(1, 32, 32), dense(32, 32, 32), nn.Parameter(torch.zeros(2))
            self.head = nn.Linear(32, 1)

        def forward(self, adjacency: Tensor) -> Tensor:
            h = adjacency.sum(2, keepdim=True)
            for i, mix in enumerate((self.a, self.b)):
                h = F.relu(mix((1 + self.eps[i]) * h + adjacency @ h))
            return self.head(h.mean(1))

    model = Isomorphism()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return fit(harness, model, optimizer, nn.MSELoss(), split, epochs=15, score=explained, metric=None)
