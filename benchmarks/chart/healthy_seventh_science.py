"""Physics, geometry and control inside a loss, by a seventh author, without any threshold. See `healthy_seventh.py`."""

import math
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_seventh import iterate, pick, study
from benchmarks.chart.second import SecondCases, dense, explained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("seventh")


@cases.recipe("physics", 0.9)
def ground_state_by_sampling(harness: Harness, seed: int) -> float:
    """Variational Monte Carlo: a network times a Gaussian for two coupled oscillators, Metropolis walkers go on.

    The loss has the gradient of the energy; scored by exp of minus the energy's excess over the exact one.
    """
    k = 0.5
    exact = 0.5 * (1 + math.sqrt(1 + 2 * k))
    net = dense(2, 24, 24, 1, act=nn.Tanh)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    walkers = torch.randn(300, 2)

    def log_psi(v: Tensor) -> Tensor:
        return net(v)[:, 0] - 0.4 * v.square().sum(1)

    @torch.no_grad()
    def walk(v: Tensor, count: int) -> Tensor:
        for _ in range(count):
            new = v + 0.9 * torch.randn_like(v)
            accept = torch.rand(len(v)) < (2 * (log_psi(new) - log_psi(v))).exp()
            v = torch.where(accept[:, None], new, v)
        return v

    def local(v: Tensor) -> Tensor:
        v = v.requires_grad_()
        (g,) = torch.autograd.grad(log_psi(v).sum(), v, create_graph=True)
        curve = sum(torch.autograd.grad(g[:, d].sum(), v, retain_graph=True)[0][:, d] for d in range(2))
        well = 0.5 * v.square().sum(1) + 0.5 * k * (v[:, 0] - v[:, 1]).square()
        return (-0.5 * (curve + g.square().sum(1)) + well).detach()

    harness.begin(net, optimizer)
    walkers = walk(walkers, 50)
    for _ in range(200):
        walkers = walk(walkers.detach(), 5)
        energy = local(walkers)
        spread = (energy - energy.median()).clamp(-3, 3)
        loss = 2 * ((spread - spread.mean()) * log_psi(walkers.detach())).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=energy.mean().item())
    walkers = walk(walkers.detach(), 100)
    return math.exp(-abs(float(local(walkers).mean()) - exact) * 5)


@cases.recipe("control", 0.8)
def steered_through_the_simulator(harness: Harness, seed: int) -> float:
    """A controller learns by gradients through forty steps of a swing; random starts, truncated by clipping at 1.

    Scored by one less the final distance relative to that without control.
    """
    net = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 1), nn.Tanh())
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)

    def roll(start: Tensor, free: bool = False) -> tuple[Tensor, Tensor]:
        angle, speed = start.unbind(1)
        cost = torch.zeros(())
        for _ in range(40):
            u = 0.0 if free else 3 * net(torch.stack([angle.sin(), angle.cos(), speed], 1))[:, 0]
            speed = speed + 0.08 * (-2 * angle.sin() - 0.1 * speed + u)
            angle = angle + 0.08 * speed
            cost = cost + (angle.square() + 0.1 * speed.square()).mean() / 40
        return cost, angle.square() + 0.1 * speed.square()

    def starts(n: int) -> Tensor:
        return torch.stack([torch.rand(n) * 2.4 - 1.2, torch.randn(n) * 0.5], 1)

    def compute(i: int) -> Any:
        s = starts(32)
        return {"loss": roll(s)[0], "inputs": s}

    iterate(harness, net, optimizer, compute, 130, clip=1.0)
    with torch.no_grad():
        s = starts(300)
        return float(1 - roll(s)[1].mean() / roll(s, free=True)[1].mean())


@cases.recipe("robot", 0.9)
def joints_for_a_wanted_place(harness: Harness, seed: int) -> float:
    """Inverse kinematics without labels: the arm's forward formula judges the angles of three joints, plus comfort."""
    net = dense(2, 64, 64, 3, act=nn.SiLU)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 350)

    def arm(q: Tensor) -> Tensor:
        a = q.cumsum(1)
        return torch.stack([(a.cos() * torch.tensor([1.0, 0.8, 0.5])).sum(1),
                            (a.sin() * torch.tensor([1.0, 0.8, 0.5])).sum(1)], 1)  # fmt: skip

    def goals(n: int) -> Tensor:
        r, t = 0.8 + 1.1 * torch.rand(n), (torch.rand(n) - 0.5) * 3
        return torch.stack([r * t.cos(), r * t.sin()], 1)

    def compute(i: int) -> Any:
        g = goals(64)
        q = net(g)
        return {"loss": (arm(q) - g).norm(dim=1).mean() + 1e-2 * q[:, 1:].square().mean(), "inputs": g, "outputs": q}

    iterate(harness, net, optimizer, compute, 350, scheduler=cosine)
    g = goals(300)
    return explained(arm(net(g)).detach(), g)


@cases.recipe("geometry", 0.9)
def cameras_and_points_together(harness: Harness, seed: int) -> float:
    """Bundle adjustment: six cameras' turns and places and forty points, all are parameters; robust errors.

    Scored by the share of the reprojection error that is gone.
    """
    points = torch.randn(40, 3)
    turns, places = 0.25 * torch.randn(6, 3), torch.tensor([0.0, 0, 6]) + 0.4 * torch.randn(6, 3)

    def project(p: Tensor, w: Tensor, t: Tensor) -> Tensor:
        zero = torch.zeros(len(w))
        a, b, c = w.unbind(1)
        skew = torch.stack([zero, -c, b, c, zero, -a, -b, a, zero], 1).view(-1, 3, 3)
        q = p @ torch.linalg.matrix_exp(skew).transpose(1, 2) + t[:, None]
        return q[..., :2] / q[..., 2:].clamp(min=0.5)

    seen = project(points, turns, places) + 0.003 * torch.randn(6, 40, 2)
    model = nn.ParameterDict(
        {
            "points": points + 0.3 * torch.randn(40, 3),
            "turns": turns + 0.1 * torch.randn(6, 3),
            "places": places + 0.2 * torch.randn(6, 3),
        }
    )
    optimizer = torch.optim.Adam(
        [{"params": [model["points"]], "lr": 0.02}, {"params": [model["turns"], model["places"]], "lr": 0.005}]
    )

    def compute(i: int) -> Any:
        out = project(model["points"], model["turns"], model["places"])
        return {"loss": 1e2 * F.huber_loss(out, seen, delta=0.05), "targets": seen, "outputs": out}

    start = float(compute(0)["loss"].detach())
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
    iterate(harness, model, optimizer, compute, 250, scheduler=decay)
    return 1 - float(compute(0)["loss"].detach()) / start


@cases.recipe("optics", 0.9)
def a_lens_is_ground(harness: Harness, seed: int) -> float:
    """Rays bend at a learned surface of three coefficients and a spacing; the spot's size is the loss.

    Scored by the share of the spot's size that is gone.
    """
    lens = nn.ParameterDict({"surface": torch.tensor([0.05, 0.0, 0.0]), "gap": torch.tensor(9.0)})
    optimizer = torch.optim.Adam(lens.parameters(), lr=3e-3)

    def spot(y: Tensor) -> Tensor:
        c = lens["surface"]
        slope = 2 * c[0] * y + 4 * c[1] * 1e-1 * y**3 + 6 * c[2] * 1e-2 * y**5
        sag = c[0] * y**2 + c[1] * 1e-1 * y**4 + c[2] * 1e-2 * y**6
        inside = slope.atan()
        out = torch.asin((1.5 * inside.sin()).clamp(-0.95, 0.95)) - inside
        return y - (lens["gap"] - sag) * out.tan()

    start = float(spot(torch.linspace(-1.5, 1.5, 61)).square().mean().detach())
    iterate(harness, lens, optimizer, lambda i: spot(torch.rand(64) * 3 - 1.5).square().mean(), 250)
    return 1 - float(spot(torch.linspace(-1.5, 1.5, 61)).square().mean().detach()) / start


@cases.recipe("field", 0.8)
def inside_or_outside_in_space(harness: Harness, seed: int) -> float:
    """An occupancy network of a solid in three dimensions: sine features of places, half of them near the surface."""

    def solid(p: Tensor) -> Tensor:
        ring = ((p[:, :2].norm(dim=1) - 0.6).square() + p[:, 2].square()) < 0.06
        return (ring | (p.abs().amax(1) < 0.25)).float()

    waves = torch.cat([2.0**k * torch.eye(3) for k in range(3)]) * math.pi / 2

    class Occupancy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = dense(21, 64, 64, 1)

        def forward(self, p: Tensor) -> Tensor:
            w = p @ waves.T
            return self.net(torch.cat([p, w.sin(), w.cos()], 1))[:, 0]

    net = Occupancy()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    pool = torch.rand(60000, 3) * 2 - 1
    edge = pool[solid(pool) != solid(pool + 0.08 * torch.randn_like(pool))]

    def compute(i: int) -> Any:
        p = torch.cat([torch.rand(256, 3) * 2 - 1, pick(256, edge)[0]])
        out, y = net(p), solid(p)
        return {"loss": F.binary_cross_entropy_with_logits(out, y), "inputs": p, "targets": y, "outputs": out}

    iterate(harness, net, optimizer, compute, 250)
    p = torch.rand(4000, 3) * 2 - 1
    found, true = net(p) > 0, solid(p) > 0.5
    return float((found & true).sum() / (found | true).sum())


@cases.recipe("physics", 0.7)
def force_of_a_learned_lagrangian(harness: Harness, seed: int) -> float:
    """A Lagrangian network: accelerations by the Hessian of a scalar network; double backward, softplus, decay."""
    q, v = (torch.rand(600, 1) * 4 - 2), (torch.rand(600, 1) * 4 - 2)
    acc = -2 * q.sin() - 0.3 * q
    net = dense(2, 32, 32, 1, act=nn.Softplus)
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=1e-4)

    def foretell(q: Tensor, v: Tensor) -> Tensor:
        q, v = q.detach().requires_grad_(), v.detach().requires_grad_()
        energy = net(torch.cat([q, v], 1)) + 0.5 * v.square()
        lq, lv = torch.autograd.grad(energy.sum(), (q, v), create_graph=True)
        lvq, lvv = torch.autograd.grad(lv.sum(), (q, v), create_graph=True)
        return (lq - lvq * v) / F.softplus(lvv, 5).clamp(min=0.05)

    def compute(i: int) -> Any:
        a, b, c = pick(64, q[:450], v[:450], acc[:450])
        out = foretell(a, b)
        return {"loss": F.smooth_l1_loss(out, c), "inputs": torch.cat([a, b], 1), "targets": c, "outputs": out}

    iterate(harness, net, optimizer, compute, 350, clip=5.0)
    return explained(foretell(q[450:], v[450:]).detach(), acc[450:])


@cases.recipe("points", 0.8)
def parts_of_a_cloud_of_points(harness: Harness, seed: int) -> float:
    """Point clouds of tables: each point is top, leg or floor, by its own and the whole cloud's features."""
    n, m = 300, 48
    part = torch.randint(0, 3, (n, m))
    top = torch.stack([torch.rand(n, m) * 2 - 1, torch.rand(n, m) * 2 - 1, torch.full((n, m), 0.5)], 2)
    corner = torch.randint(0, 2, (n, m, 2)) * 1.6 - 0.8
    leg = torch.cat([corner, torch.rand(n, m, 1) - 0.5], 2)
    floor = torch.stack([torch.rand(n, m) * 4 - 2, torch.rand(n, m) * 4 - 2, torch.full((n, m), -0.5)], 2)
    cloud = torch.where((part == 0)[..., None], top, torch.where((part == 1)[..., None], leg, floor))
    cloud = (cloud + 0.04 * torch.randn(n, m, 3)) * (0.7 + 0.6 * torch.rand(n, 1, 1))

    def spin(x: Tensor) -> Tensor:
        a = torch.rand(len(x)) * 6.283
        c, s = a.cos()[:, None], a.sin()[:, None]
        return torch.stack([c * x[..., 0] - s * x[..., 1], s * x[..., 0] + c * x[..., 1], x[..., 2]], 2)

    class PointNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.local = nn.Sequential(nn.Conv1d(3, 32, 1), nn.BatchNorm1d(32), nn.ReLU())
            self.wide = nn.Sequential(nn.Conv1d(32, 64, 1), nn.BatchNorm1d(64), nn.ReLU())
            self.head = nn.Sequential(nn.Conv1d(96, 48, 1), nn.BatchNorm1d(48), nn.ReLU(), nn.Conv1d(48, 3, 1))

        def forward(self, x: Tensor) -> Tensor:
            a = self.local(x.transpose(1, 2))
            whole = self.wide(a).amax(2, keepdim=True)
            return self.head(torch.cat([a, whole.expand(-1, -1, a.shape[2])], 1))

    net = PointNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    split = cloud[:225], part[:225], spin(cloud[225:]), part[225:]
    return study(
        harness, net, optimizer, nn.CrossEntropyLoss(), split, epochs=12, size=15, augment=spin, scheduler=cosine
    )


@cases.recipe("operator", 0.85)
def pressure_from_many_simulations(harness: Harness, seed: int) -> float:
    """A convolutional solver of a Poisson equation: one net is applied three times to the residual, weights shared."""
    n = 16
    f = F.interpolate(torch.randn(400, 1, 6, 6), (n, n), mode="bicubic")
    k = torch.arange(1, n + 1)
    basis = (math.pi * k[:, None] * k / (n + 1)).sin() * math.sqrt(2 / (n + 1))
    value = 2 - 2 * (math.pi * k / (n + 1)).cos()
    u = basis @ ((basis @ f @ basis) / (value[:, None] + value)) @ basis
    u = u / 8
    stencil = torch.tensor([[[[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]]])

    class Solver(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.Sequential(nn.Conv2d(2, 24, 3, 2, 1), nn.GELU(), nn.Conv2d(24, 32, 3, 2, 1), nn.GELU())
            self.mid = nn.Sequential(nn.Flatten(), nn.Linear(512, 512), nn.Unflatten(1, (32, 4, 4)))
            self.up = nn.Sequential(nn.ConvTranspose2d(32, 24, 4, 2, 1), nn.GELU(), nn.ConvTranspose2d(24, 1, 4, 2, 1))

        def forward(self, f: Tensor) -> Tensor:
            u = torch.zeros_like(f)
            for _ in range(3):
                rest = f - 8 * F.conv2d(u, stencil, padding=1)
                u = u + 0.5 * self.up(self.mid(self.down(torch.cat([rest, u], 1))))
            return u

    net = Solver()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    split = f[:320], u[:320], f[320:], u[320:]
    return study(
        harness, net, optimizer, nn.MSELoss(), split, epochs=12, size=20, name=None, clip=1.0,
        score=lambda o, t: explained(o.flatten(1), t.flatten(1)),
    )  # fmt: skip
