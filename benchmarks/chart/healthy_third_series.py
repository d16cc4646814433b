"""Series in time, by a third author, on which NO threshold is ever set. See `healthy_third.py`."""

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_third import iterate, rows
from benchmarks.chart.second import SecondCases, Split, dense, explained, fit, gaits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("third")


def temperatures(length: int = 24, ahead: int = 6) -> Split:
    """Windows of two seasons and a wandering level; in the order of time, the last fifth is held out."""
    draw, t = np.random.default_rng(29), np.arange(900)
    series = 10 + 4 * np.sin(t / 3.8) + 3 * np.sin(t / 20) + 0.4 * draw.normal(size=900)
    pieces = torch.tensor(series, dtype=torch.float32).unfold(0, length + ahead, 1)
    at = len(pieces) * 4 // 5
    return pieces[:at, :length], pieces[:at, length:], pieces[at:, :length], pieces[at:, length:]


@cases.recipe("linear", 0.7)
def trend_and_rest_linear(harness: Harness, seed: int) -> float:
    """DLinear: a moving average and the rest, a linear map of each; raw degrees; in order of time, not shuffled."""
    x, y, vx, vy = temperatures()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.smooth = nn.AvgPool1d(5, 1, 2, count_include_pad=False)
            self.a, self.b = nn.Linear(24, 6), nn.Linear(24, 6)

        def forward(self, x: Tensor) -> Tensor:
            trend = self.smooth(x[:, None])[:, 0]
            return self.a(trend) + self.b(x - trend)

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer, loss_fn=F.mse_loss)
    for _ in range(15):
        for i in range(0, len(x), 32):
            out = model(x[i : i + 32])
            loss = F.mse_loss(out, y[i : i + 32])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x[i : i + 32], targets=y[i : i + 32], outputs=out)
        with torch.no_grad():
            harness.epoch(val={"loss": F.mse_loss(model(vx), vy).item()})
    return explained(model(vx), vy)


@cases.recipe("lstm", 0.75)
def forecasts_fed_back(harness: Harness, seed: int) -> float:
    """A GRU cell foretells step by step; its own forecast is fed back ever more often (scheduled sampling)."""
    x, y, vx, vy = ((a - 10) / 4 for a in temperatures())
    cell, head = nn.GRUCell(1, 32), nn.Linear(32, 1)
    both = nn.ModuleList([cell, head])
    optimizer = torch.optim.Adam(both.parameters(), lr=5e-3)

    def roll(a: Tensor, b: Tensor | None, told: float) -> Tensor:
        state, outs = torch.zeros(len(a), 32), []
        for t in range(a.shape[1]):
            state = cell(a[:, t : t + 1], state)
        last = a[:, -1:] + head(state)
        for t in range(6):
            outs.append(last)
            given = b[:, t : t + 1] if b is not None and float(torch.rand(())) < told else last
            state = cell(given, state)
            last = given + head(state)
        return torch.cat(outs, 1)

    def compute(i: int) -> dict[str, Tensor]:
        part = rows(x, 32)
        out = roll(x[part], y[part], 1 - i / 150)
        return {"loss": F.mse_loss(out, y[part]), "inputs": x[part], "targets": y[part], "outputs": out}

    iterate(harness, both, optimizer, compute, 150)
    with torch.no_grad():
        return explained(roll(vx, None, 0.0), vy)


@cases.recipe("mlp", 0.8)
def movements_two_rates_apart(harness: Harness, seed: int) -> float:
    """Param groups a thousandfold apart: SGD at 1e-4 for the filters, at 0.1 for the head; random filters suffice."""
    body = nn.Sequential(nn.Conv1d(3, 64, 7), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.LayerNorm(64))
    model = nn.Sequential(body, dense(64, 64, 4))
    x, y, vx, vy = gaits()
    split = x.transpose(1, 2).contiguous(), y, vx.transpose(1, 2).contiguous(), vy
    optimizer = torch.optim.SGD(
        [{"params": body.parameters(), "lr": 1e-4}, {"params": model[1].parameters(), "lr": 0.1}], momentum=0.9
    )
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=10)
