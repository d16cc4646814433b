"""Pictures as parameters, processes and circuits, by a fourth author, without any threshold.

See `healthy_fourth.py`.
"""

from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, some
from benchmarks.chart.healthy_fourth_science import rough_image
from benchmarks.chart.second import SecondCases, explained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


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
