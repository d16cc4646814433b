"""Frozen, thawed and adapted networks of a second author, on which NO threshold is ever set.

See `healthy_second.py`.
"""

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import SecondCases, accuracy, convs, dense, digits, draws, fit
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("second")


@cases.recipe("cnn", 0.85)
def frozen_features(harness: Harness, seed: int) -> float | None:
    """A backbone trained on digits 0..4 is frozen, in eval mode, and a head learns 5..9 on it."""
    x, y, vx, vy = digits("standard")
    low, high, val = y < 5, y >= 5, vy >= 5
    body = convs(classes=5)
    warm = torch.optim.Adam(body.parameters(), lr=3e-3)
    for _ in range(3):
        for inputs, targets in draws(x[low], y[low]):
            warm.zero_grad()
            F.cross_entropy(body(inputs), targets).backward()
            warm.step()
    trunk = body[:-1].requires_grad_(False).eval()
    head = dense(128, 32, 5)
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-3)
    harness.begin(nn.ModuleDict({"trunk": trunk, "head": head}), optimizer, loss_fn=F.cross_entropy)
    for _ in range(7):
        head.train()
        for inputs, targets in draws(x[high], y[high] - 5):
            with torch.no_grad():
                features = trunk(inputs)
            out = head(features)
            loss = F.cross_entropy(out, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        head.eval()
        with torch.no_grad():
            out = head(trunk(vx[val]))
        harness.epoch(val={"accuracy": accuracy(out, vy[val] - 5)})
    return accuracy(out, vy[val] - 5)


@cases.recipe("cnn", 0.85)
def thawed_layer_by_layer(harness: Harness, seed: int) -> float | None:
    """The head learns alone for two epochs; then the rest joins by add_param_group at a tenth of the rate."""
    x, y, vx, vy = digits("signed")
    model = convs()
    for p in model[:-1].parameters():
        p.requires_grad_(False)
    optimizer = torch.optim.Adam(model[-1].parameters(), lr=5e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for epoch in range(6):
        if epoch == 2:
            for p in model[:-1].parameters():
                p.requires_grad_(True)
            optimizer.add_param_group({"params": list(model[:-1].parameters()), "lr": 2e-3})
        model.train()
        for inputs, targets in draws(x, y):
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx)
            harness.epoch(val={"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)})
    return accuracy(out, vy)


class LowRank(nn.Module):
    """A frozen linear layer with an update of rank 4 that starts at 0."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(4, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, 4))

    def forward(self, x: Tensor) -> Tensor:
        """As nn.Linear."""
        return self.base(x) + 2 * F.linear(F.linear(x, self.down), self.up)


@cases.recipe("mlp", 0.75)
def adapters_of_low_rank(harness: Harness, seed: int) -> float | None:
    """A network for upright digits learns turned ones by adapters of rank 4 and a new head."""
    x, y, vx, vy = digits("standard")
    base = dense(64, 64, 64, 10)
    warm = torch.optim.Adam(base.parameters(), lr=3e-3)
    for _ in range(4):
        for inputs, targets in draws(x.flatten(1), y):
            warm.zero_grad()
            F.cross_entropy(base(inputs), targets).backward()
            warm.step()
    model = nn.Sequential(LowRank(base[0]), nn.ReLU(), LowRank(base[2]), nn.ReLU(), nn.Linear(64, 10))
    split = x.rot90(1, (2, 3)).flatten(1), y, vx.rot90(1, (2, 3)).flatten(1), vy
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    return fit(harness, model, optimizer, F.cross_entropy, split)
