"""Prices and ratings from tables, by a ninth author, who had not read the rules, without any threshold.

See `healthy_ninth.py`.
"""

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_ninth import train_model
from benchmarks.chart.second import SecondCases, Split, by_train, cut, dense, explained, housing
from sklearn.preprocessing import QuantileTransformer
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset

cases = SecondCases("ninth")


def flats(count: int = 2000) -> Split:
    """Flats: area, rooms, floor, age, way to the centre and to the metro, raw; the price (N, 1) in thousands."""
    draw = np.random.default_rng(912)
    area, floor, age = draw.lognormal(4.1, 0.35, count), draw.integers(0, 12, count), draw.uniform(0, 90, count)
    rooms, way = np.maximum(1, (area / 25 + draw.normal(0, 0.5, count)).round()), draw.gamma(2, 2.5, count)
    metro = draw.exponential(0.8, count)
    price = area * (5.5 - 0.25 * way.clip(0, 12) - 0.02 * age + 0.3 * np.exp(-metro)) * (1 + 0.015 * floor)
    price = price.clip(40) * np.exp(draw.normal(0, 0.1, count))
    return cut(np.stack([area, rooms, floor, age, way, metro], 1), price[:, None])


@cases.recipe("table", 0.75)
def prices_of_flats_in_logarithms(harness: Harness, seed: int) -> float:
    """Standardised columns, log1p of the price less its mean, MSE, AdamW with a cosine; told by loss and RMSE."""
    x, y, vx, vy = by_train(flats())
    mean, std = y.log1p().mean(), y.log1p().std()
    split = (x, (y.log1p() - mean) / std, vx, (vy.log1p() - mean) / std)
    model = dense(6, 64, 64, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    return train_model(
        harness, model, optimizer, nn.MSELoss(), split, epochs=8, size=64, scheduler=scheduler, metric=explained,
        name=None,
    )  # fmt: skip


@cases.recipe("table", 0.7)
def prices_of_flats_by_absolute_error(harness: Harness, seed: int) -> float:
    """L1 loss on standardised prices, a norm in front, Adam 3e-3 halved on a plateau, batches of 50."""
    x, y, vx, vy = flats()
    goal, held = (y - y.mean()) / y.std(), (vy - y.mean()) / y.std()
    model = nn.Sequential(
        nn.BatchNorm1d(6), nn.Linear(6, 50), nn.ReLU(), nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 1)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    return train_model(
        harness, model, optimizer, nn.L1Loss(), (x, goal, vx, held), epochs=10, size=50, scheduler=scheduler,
        when="plateau", metric=explained, name="r2",
    )  # fmt: skip


@cases.recipe("table", 0.6)
def homes_by_huber_and_quantiles(harness: Harness, seed: int) -> float:
    """Columns through a quantile transform, Huber loss, SiLU, clipping at 5, AMSGrad."""
    x, y, vx, vy = housing(1600)
    to_normal = QuantileTransformer(n_quantiles=200, output_distribution="normal", random_state=0).fit(x.numpy())
    x, vx = (torch.tensor(to_normal.transform(a.numpy()), dtype=torch.float32) for a in (x, vx))
    model = dense(6, 64, 32, 1, act=nn.SiLU)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, amsgrad=True)
    return train_model(
        harness, model, optimizer, nn.HuberLoss(), (x, y, vx, vy), epochs=8, size=32, clip=5.0, metric=explained,
        name="r2",
    )  # fmt: skip


@cases.recipe("table", 0.6)
def films_that_users_like(harness: Harness, seed: int) -> float:
    """Ratings by embeddings of users and films with biases and a sigmoid range of 0.5 to 5.5; decay, one-cycle."""
    draw = np.random.default_rng(916)
    users, films = draw.normal(0, 1, (120, 3)), draw.normal(0, 1, (80, 3))
    pair = np.stack([draw.integers(0, 120, 6000), draw.integers(0, 80, 6000)], 1)
    taste = (users[pair[:, 0]] * films[pair[:, 1]]).sum(1) * 0.6 + 0.5 * users[pair[:, 0], 0]
    x, y, vx, vy = cut(pair, (3 + taste + draw.normal(0, 0.3, 6000)).clip(1, 5)[:, None])

    class DotProduct(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.user, self.film = nn.Embedding(120, 8), nn.Embedding(80, 8)
            self.user_bias, self.film_bias = nn.Embedding(120, 1), nn.Embedding(80, 1)
            for e in (self.user, self.film, self.user_bias, self.film_bias):
                nn.init.normal_(e.weight, std=0.1)

        def forward(self, x: Tensor) -> Tensor:
            u, f = x.unbind(1)
            dot = (self.user(u) * self.film(f)).sum(1, keepdim=True)
            return torch.sigmoid(dot + self.user_bias(u) + self.film_bias(f)) * 5 + 0.5

    model = DotProduct()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-5)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-2, total_steps=71 * 5)
    return train_model(
        harness, model, optimizer, nn.MSELoss(), (x, y, vx, vy), epochs=5, size=64, metric=explained, name="r2",
        scheduler=scheduler, when="batch",
    )  # fmt: skip


@cases.recipe("table", 0.75)
def two_targets_of_one_row(harness: Harness, seed: int) -> float:
    """A shared trunk with two heads, price and whether it is dear; the sum of MSE and half of cross-entropy is told."""
    x, y, vx, vy = by_train(flats())
    per_area = (y / y.mean()).log()
    dear = (y > y.median()).float()

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(nn.Linear(6, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU())
            self.price, self.dear = nn.Linear(32, 1), nn.Linear(32, 1)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            h = self.trunk(x)
            return {"price": self.price(h), "dear": self.dear(h)}

    model = Two()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = DataLoader(TensorDataset(x, per_area, dear), batch_size=64, shuffle=True)
    harness.begin(model, optimizer)
    held = (vy / y.mean()).log()
    value = 0.0
    for _ in range(8):
        model.train()
        total = 0.0
        for a, p, d in loader:
            out = model(a)
            loss = F.mse_loss(out["price"], p) + 0.5 * F.binary_cross_entropy_with_logits(out["dear"], d)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=a, targets={"price": p, "dear": d}, outputs=out)
            total += loss.item() / len(loader)
        model.eval()
        with torch.no_grad():
            out = model(vx)
            value = explained(out["price"], held)
            bce = F.binary_cross_entropy_with_logits(out["dear"], (vy > y.median()).float())
            val = {"loss": float(F.mse_loss(out["price"], held) + 0.5 * bce), "accuracy": value}
        harness.epoch(train={"loss": total}, val=val)
    return value
