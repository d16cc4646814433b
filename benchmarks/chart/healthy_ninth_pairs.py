"""Pairs, triplets and views of pictures, by a ninth author, who had not read the rules, without any threshold.

See `healthy_ninth.py`.
"""

from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_ninth import batch_of
from benchmarks.chart.healthy_ninth_images import garments, shift
from benchmarks.chart.second import SecondCases, digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, Dataset

cases = SecondCases("ninth")


def encoder(out: int = 16, side: int = 8, norm: bool = True) -> nn.Sequential:
    """Two convolutions and a linear layer to `out` numbers."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16) if norm else nn.Identity(), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32) if norm else nn.Identity(), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * (side // 4) ** 2, out),
    )  # fmt: skip


@torch.no_grad()
def nearest(model: nn.Module, x: Tensor, y: Tensor, vx: Tensor, vy: Tensor, k: int = 5) -> float:
    """Share of held-out pictures whose nearest neighbours vote for their class."""
    model.eval()
    a, b = F.normalize(model(x)), F.normalize(model(vx))
    return float((y[(b @ a.T).topk(k).indices].mode(1).values == vy).float().mean())


class Pairs(Dataset[Any]):
    """Half of the pairs are of one class."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y
        self.rows = [torch.nonzero(y == k).flatten() for k in range(int(y.max()) + 1)]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        same = bool(torch.rand(()) < 0.5)
        kind = int(self.y[i])
        if not same:
            kind = (kind + int(torch.randint(1, len(self.rows), ()))) % len(self.rows)
        j = self.rows[kind][torch.randint(len(self.rows[kind]), ())]
        return self.x[i], self.x[j], torch.tensor([float(same)])


@cases.recipe("siamese", 0.85)
def twins_say_same_or_not(harness: Harness, seed: int) -> float:
    """A Siamese network: the difference of two encodings goes to one logit, BCE, Adam 1e-3, a Dataset of pairs."""
    x, y, vx, vy = garments(900)

    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.fc = encoder(32, 16), nn.Linear(32, 1)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.fc((self.encoder(a) - self.encoder(b)).abs())

    model = Siamese()
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader, held = DataLoader(Pairs(x, y), batch_size=32, shuffle=True), DataLoader(Pairs(vx, vy), batch_size=225)
    harness.begin(model, optimizer, loss_fn=criterion)
    value = 0.0
    for _ in range(5):
        model.train()
        total = 0.0
        for a, b, same in loader:
            optimizer.zero_grad()
            out = model(a, b)
            loss = criterion(out, same)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=(a, b), targets=same, outputs=out)
            total += loss.item() / len(loader)
        model.eval()
        with torch.no_grad():
            a, b, same = next(iter(held))
            out = model(a, b)
        value = float(((out > 0) == (same > 0.5)).float().mean())
        harness.epoch(train={"loss": total}, val={"loss": criterion(out, same).item(), "accuracy": value})
    return value


@cases.recipe("triplet", 0.85)
def triplets_from_a_data_set(harness: Harness, seed: int) -> float:
    """Anchor, positive and negative at random, TripletMarginLoss at 1.0, Adam; neighbours score it by epochs."""
    x, y, vx, vy = digits()
    rows = [torch.nonzero(y == k).flatten() for k in range(10)]
    model = encoder(16, norm=False)
    criterion = nn.TripletMarginLoss(margin=1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def draw(kinds: Tensor) -> Tensor:
        return torch.stack([rows[int(k)][torch.randint(len(rows[int(k)]), ())] for k in kinds])

    harness.begin(model, optimizer)
    for _ in range(5):
        losses = []
        for part in torch.randperm(len(x)).split(32):
            other = (y[part] + torch.randint(1, 10, (len(part),))) % 10
            a, p, n = model(x[part]), model(x[draw(y[part])]), model(x[draw(other)])
            loss = criterion(a, p, n)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x[part])
            losses.append(loss.item())
        harness.epoch(train={"loss": float(np.mean(losses))}, val={"accuracy": nearest(model, x, y, vx, vy)})
        model.train()
    return nearest(model, x, y, vx, vy)


@cases.recipe("contrastive", 0.8)
def two_views_of_garments(harness: Harness, seed: int) -> float:
    """SimCLR: two views, a projector, cosines over 0.2, AdamW with a cosine; then neighbours in the encoder's space."""
    x, y, vx, vy = garments(1000)
    backbone = encoder(48, 16)
    model = nn.Sequential(backbone, nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 24))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 120)

    def view(a: Tensor) -> Tensor:
        a = torch.cat([shift(part, part)[0] for part in a.split(16)])
        a = torch.where((torch.rand(len(a)) < 0.5)[:, None, None, None], a.flip(3), a)
        return a * (0.7 + 0.6 * torch.rand(len(a), 1, 1, 1)) + 0.05 * torch.randn_like(a)

    harness.begin(model, optimizer)
    for _ in range(120):
        (a,) = batch_of(64, x)
        z = F.normalize(model(torch.cat([view(a), view(a)])))
        likeness = (z @ z.T / 0.2).masked_fill(torch.eye(128, dtype=torch.bool), -1e9)
        loss = F.cross_entropy(likeness, torch.arange(128).roll(64))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        harness.step(loss=loss)
    return nearest(backbone, x, y, vx, vy)
