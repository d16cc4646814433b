"""Several tasks, graphs, layers and losses of one's own, modules that train themselves, by a sixth author, without any
threshold.

See `healthy_sixth.py`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_sixth import area, block, course, iou, iterate, pick, textures, tones
from benchmarks.chart.second import (
    SecondCases,
    accuracy,
    binary_accuracy,
    cut,
    dense,
    digits,
    explained,
    housing,
    signs,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset

cases = SecondCases("sixth")


@cases.recipe("multitask", 0.75)
def kind_and_mask_at_once(harness: Harness, seed: int) -> float:
    """One encoder, a head for four kinds and a decoder for the mask; losses of weights 1 and 2; each loss is logged."""
    x, masks, vx, vmasks = signs("masks", count=640)
    _, kinds, _, vkinds = signs("kinds", count=640)
    masks, vmasks = (masks > 0).float()[:, None], (vmasks > 0).float()[:, None]

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(block(3, 16), block(16, 32, 2), block(32, 32))
            self.kind = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4))
            self.mask = nn.Sequential(nn.ConvTranspose2d(32, 16, 2, 2), nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1))

        def forward(self, a: Tensor) -> dict[str, Tensor]:
            h = self.encoder(a)
            return {"kind": self.kind(h), "mask": self.mask(h)}

    model = Both()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer)
    for _ in range(7):
        model.train()
        sums, steps = np.zeros(2), 0
        for rows in torch.randperm(len(x)).split(24):
            out = model(x[rows])
            parts = (
                F.cross_entropy(out["kind"], kinds[rows]),
                F.binary_cross_entropy_with_logits(out["mask"], masks[rows]),
            )
            loss = parts[0] + 2 * parts[1]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sums, steps = sums + [p.item() for p in parts], steps + 1
            goal = {"kind": kinds[rows], "mask": masks[rows]}
            harness.step(loss=loss, inputs=x[rows], targets=goal, outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx)
            right, overlap = accuracy(out["kind"], vkinds), iou(out["mask"], vmasks)
            val = F.cross_entropy(out["kind"], vkinds) + 2 * F.binary_cross_entropy_with_logits(out["mask"], vmasks)
        harness.epoch(
            train={"loss": float(sums @ [1, 2] / steps)}, val={"loss": val.item(), "accuracy": right, "iou": overlap}
        )
    return min(right, overlap)


@cases.recipe("regression", 0.7)
def price_as_a_distribution(harness: Harness, seed: int) -> float:
    """Prices are read as a softmax over 30 bins: divergence to a narrow Gaussian plus L1 of its mean; Adam."""
    x, y, vx, vy = housing(1600)
    low, high = float(y.min()), float(y.max())
    y, vy = (y - low) / (high - low) * 29, (vy - low) / (high - low) * 29
    bins = torch.arange(30.0)

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        wanted = (-((bins - goal) ** 2) / 8).softmax(1)
        mean = (out.softmax(1) * bins).sum(1, keepdim=True)
        return F.kl_div(out.log_softmax(1), wanted, reduction="batchmean") + 0.2 * F.l1_loss(mean, goal)

    model = nn.Sequential(
        nn.Linear(6, 64), nn.ReLU(), nn.Dropout(0.05), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 30)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return course(
        harness, model, optimizer, loss_fn, (x, y, vx, vy), epochs=9, size=32, key="r2",
        score=lambda out, goal: explained((out.softmax(1) * bins).sum(1, keepdim=True), goal),
    )  # fmt: skip


@cases.recipe("regression", 0.75)
def agreement_as_the_loss(harness: Harness, seed: int) -> float:
    """One minus the concordance correlation of a batch, as in emotion recognition; prices, batches of 64, Adam."""

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        a, b = out - out.mean(), goal - goal.mean()
        gap = (out.mean() - goal.mean()).square()
        return 1 - 2 * (a * b).mean() / (a.square().mean() + b.square().mean() + gap + 1e-8)

    model = dense(6, 48, 48, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return course(
        harness, model, optimizer, loss_fn, housing(1600), epochs=8, size=64, drop_last=True, key="ccc",
        score=lambda out, goal: 1 - float(loss_fn(out, goal)),
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def module_with_a_training_step(harness: Harness, seed: int) -> float:
    """A module with training_step, validation_step and configure_optimizers, and a trainer of one's own around it."""

    class Lit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(block(3, 16, 2), block(16, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                     nn.Linear(32, 5))  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

        def training_step(self, batch: list[Tensor]) -> Tensor:
            return F.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch: list[Tensor]) -> dict[str, float]:
            out = self(batch[0])
            return {"loss": F.cross_entropy(out, batch[1]).item(), "accuracy": accuracy(out, batch[1])}

        def configure_optimizers(self) -> tuple[Any, Any]:
            optimizer = torch.optim.Adam(self.parameters(), lr=5e-3)
            return optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)

    x, y, vx, vy = textures()
    train, val = DataLoader(TensorDataset(x, y), 32, shuffle=True), DataLoader(TensorDataset(vx, vy), 45)
    lit = Lit()
    optimizer, scheduler = lit.configure_optimizers()
    harness.begin(lit, optimizer)
    with torch.no_grad():
        lit.eval()
        lit.validation_step(next(iter(val)))  # A sanity check before training.
    for _ in range(6):
        lit.train()
        for batch in train:
            optimizer.zero_grad()
            loss = lit.training_step(batch)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=batch[0], targets=batch[1])
        scheduler.step()
        lit.eval()
        with torch.no_grad():
            logs = [lit.validation_step(batch) for batch in val]
        mean = {key: float(np.mean([log[key] for log in logs])) for key in logs[0]}
        harness.epoch(val=mean)
    return mean["accuracy"]


class Swish(torch.autograd.Function):
    """x * sigmoid(x), which keeps the input only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The value."""
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """The slope by hand."""
        (x,) = ctx.saved_tensors
        s = x.sigmoid()
        return grad * s * (1 + x * (1 - s))


@cases.recipe("cnn", 0.85)
def slope_written_by_hand(harness: Harness, seed: int) -> float:
    """An autograd.Function for swish within a network of bottlenecks turned inside out, RMSprop with momentum."""

    class Act(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Swish.apply(x)

    class Inverted(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            w = 3 * width
            self.body = nn.Sequential(
                nn.Conv2d(width, w, 1, bias=False), nn.BatchNorm2d(w), Act(),
                nn.Conv2d(w, w, 3, 1, 1, groups=w, bias=False), nn.BatchNorm2d(w), Act(),
                nn.Conv2d(w, width, 1, bias=False), nn.BatchNorm2d(width),
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            return x + self.body(x)

    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), Act(), Inverted(16), nn.AvgPool2d(2),
        Inverted(16), nn.Flatten(), nn.Dropout(0.2), nn.Linear(256, 10),
    )  # fmt: skip
    optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-4, momentum=0.9, alpha=0.9, eps=1e-3, weight_decay=1e-5)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), digits(), epochs=4, size=32, drop_last=True)


@cases.recipe("rnn", 0.8)
def recurrent_cell_of_ones_own(harness: Harness, seed: int) -> float:
    """A gated cell written out with layer norm, run over frames of sounds in a Python loop; clip 1, AdamW."""

    class Cell(nn.Module):
        def __init__(self, into: int, width: int) -> None:
            super().__init__()
            self.width = width
            self.x, self.h = nn.Linear(into, 3 * width), nn.Linear(width, 3 * width, bias=False)
            self.norm_x, self.norm_h = nn.LayerNorm(3 * width), nn.LayerNorm(3 * width)
            nn.init.orthogonal_(self.h.weight)

        def forward(self, a: Tensor, h: Tensor) -> Tensor:
            r, z, n = self.norm_x(self.x(a)).chunk(3, 1)
            hr, hz, hn = self.norm_h(self.h(h)).chunk(3, 1)
            z = (z + hz).sigmoid()
            return (1 - z) * (n + (r + hr).sigmoid() * hn).tanh() + z * h

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = Cell(17, 32), nn.Linear(32, 6)

        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(len(x), self.cell.width)
            for t in range(x.shape[1]):
                h = self.cell(x[:, t], h)
            return self.head(h)

    def frames(a: Tensor) -> Tensor:
        spectrum = torch.stft(a, 32, 32, window=torch.hann_window(32), return_complex=True).abs()[:, :, :16]
        return (spectrum.transpose(1, 2) + 0.05).log()

    x, y, vx, vy = tones(900)
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.01)
    split = (frames(x), y, frames(vx), vy)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=6, clip=1.0, report="none")


@cases.recipe("graph", 0.8)
def neighbours_are_sampled(harness: Harness, seed: int) -> float:
    """GraphSAGE: five neighbours of each of 32 nodes and five of theirs are drawn, means are joined; 4 communities."""
    draw = np.random.default_rng(78)
    kind = draw.integers(0, 4, 600)
    near = kind[:, None] == kind[None]
    edge = np.triu(draw.random((600, 600)) < np.where(near, 0.05, 0.003), 1)
    edge = edge | edge.T
    tables = [np.flatnonzero(row) if row.any() else np.array([i]) for i, row in enumerate(edge)]
    y = torch.tensor(kind)
    x = F.one_hot(y, 4).float() * 1.5 + torch.tensor(draw.normal(0, 1, (600, 4)), dtype=torch.float32)
    pace = torch.nn.utils.rnn.pad_sequence([torch.tensor(t) for t in tables], batch_first=True)
    degree = torch.tensor([len(t) for t in tables])

    def drawn(nodes: Tensor, count: int = 5) -> Tensor:
        return pace[nodes[:, None], (torch.rand(len(nodes), count) * degree[nodes, None]).long()]

    class Sage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(8, 32), nn.Linear(64, 4)

        def forward(self, nodes: Tensor) -> Tensor:
            def first(rows: Tensor) -> Tensor:
                around = x[drawn(rows)].mean(1)
                return F.relu(self.one(torch.cat([x[rows], around], 1)))

            ring = drawn(nodes)
            around = first(ring.flatten()).view(len(nodes), 5, 32).mean(1)
            return self.two(F.normalize(torch.cat([first(nodes), around], 1)) * 4)

    model = Sage()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=5e-4)
    nodes = torch.arange(600)

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        return F.cross_entropy(out, goal)

    split = (nodes[:400], y[:400], nodes[400:], y[400:])
    return course(harness, model, optimizer, loss_fn, split, epochs=8, size=32, tell="t")


@cases.recipe("graph", 0.85)
def property_of_a_molecule(harness: Harness, seed: int) -> float:
    """Message passing with bonds of three kinds, index_add over a batch of graphs, sums over atoms, L1, Adam."""
    draw = np.random.default_rng(79)
    worth, bond = np.array([1.0, -0.5, 0.3, 2.0]), np.array([0.2, 0.6, -0.4])

    def molecule() -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        n = draw.integers(5, 11)
        atoms = draw.integers(0, 4, n)
        ends = np.array([[i, draw.integers(0, i)] for i in range(1, n)])
        bonds = draw.integers(0, 3, n - 1)
        y = worth[atoms].sum() + (bond[bonds] * worth[atoms[ends[:, 0]]] * worth[atoms[ends[:, 1]]]).sum()
        return atoms, np.concatenate([ends, ends[:, ::-1]]), np.concatenate([bonds, bonds]), y

    graphs = [molecule() for _ in range(1000)]
    mean, std = np.mean([g[3] for g in graphs]), np.std([g[3] for g in graphs])

    def collate(rows: Any) -> tuple[Tensor, ...]:
        atoms, ends, bonds, owner, at = [], [], [], [], 0
        for i, k in enumerate(rows):
            a, e, b, _ = graphs[k]
            atoms.append(a)
            ends.append(e + at)
            bonds.append(b)
            owner.append(np.full(len(a), i))
            at += len(a)
        y = torch.tensor([[(graphs[k][3] - mean) / std] for k in rows], dtype=torch.float32)
        return *(torch.tensor(np.concatenate(p)) for p in (atoms, ends, bonds, owner)), y

    class Mpnn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.atom, self.bond = nn.Embedding(4, 32), nn.Embedding(3, 32)
            self.message = nn.ModuleList(dense(96, 32, 32) for _ in range(2))
            self.top = dense(32, 32, 1)

        def forward(self, atoms: Tensor, ends: Tensor, bonds: Tensor, owner: Tensor) -> Tensor:
            h, e = self.atom(atoms), self.bond(bonds)
            for message in self.message:
                m = message(torch.cat([h[ends[:, 0]], h[ends[:, 1]], e], 1))
                h = h + torch.zeros_like(h).index_add(0, ends[:, 0], m)
            count = int(owner.max()) + 1
            return torch.zeros(count, 1).index_add(0, owner, self.top(h))

    model = Mpnn()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 240)

    def compute(i: int) -> dict[str, Any]:
        *graph, y = collate(draw.integers(0, 800, 32))
        out = model(*graph)
        return {"loss": F.l1_loss(out, y), "targets": y, "outputs": out}

    iterate(harness, model, optimizer, compute, 240, scheduler=scheduler, clip=5.0)
    *graph, y = collate(range(800, 1000))
    with torch.no_grad():
        return explained(model(*graph), y)


@cases.recipe("recommender", 0.75)
def films_by_two_ways(harness: Harness, seed: int) -> float:
    """NeuMF: products of embeddings beside an MLP of others; four unseen films are drawn for each seen one; AUC."""
    draw = np.random.default_rng(80)
    people, films = draw.normal(0, 1, (150, 3)), draw.normal(0, 1, (80, 3))
    liked = torch.tensor(people @ films.T + 0.3 * draw.normal(0, 1, (150, 80)) > 1.5)
    pairs = liked.nonzero()[torch.tensor(draw.permutation(int(liked.sum())))]
    train, val = pairs[:-500], pairs[-500:]

    class NeuMf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c, self.d = (nn.Embedding(n, 8) for n in (150, 80, 150, 80))
            self.mlp, self.out = nn.Sequential(dense(16, 32, 8), nn.ReLU()), nn.Linear(16, 1)
            for table in (self.a, self.b, self.c, self.d):
                nn.init.normal_(table.weight, std=0.1)

        def forward(self, u: Tensor, f: Tensor) -> Tensor:
            deep = self.mlp(torch.cat([self.c(u), self.d(f)], 1))
            return self.out(torch.cat([self.a(u) * self.b(f), deep], 1))[:, 0]

    model = NeuMf()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-5)
    known = torch.zeros(150, 80, dtype=torch.bool)
    known[train[:, 0], train[:, 1]] = True

    def compute(i: int) -> dict[str, Any]:
        (seen,) = pick(48, train)
        user = seen[:, 0].repeat(5)
        film = torch.cat([seen[:, 1], torch.randint(80, (192,))])
        goal = known[user, film].float()
        out = model(user, film)
        return {"loss": F.binary_cross_entropy_with_logits(out, goal), "targets": goal, "outputs": out}

    iterate(harness, model, optimizer, compute, 350)
    no = (~liked).nonzero()[torch.randperm(int((~liked).sum()))[:500]]
    rows = torch.cat([val, no])
    with torch.no_grad():
        return area(model(rows[:, 0], rows[:, 1]), (torch.arange(1000) < 500).float())


@cases.recipe("multitask", 0.85)
def classes_and_a_copy(harness: Harness, seed: int) -> float:
    """300 labels of 1050: each step has a batch with labels (cross-entropy) and one without (restored, weight 5)."""
    x, y, vx, vy = digits(image=False)

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Dropout(0.2), nn.Linear(96, 32), nn.ReLU())
            self.kind, self.copy = nn.Linear(32, 10), nn.Linear(32, 64)

        def forward(self, a: Tensor) -> Tensor:
            return self.kind(self.body(a))

    model = Half()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def compute(i: int) -> dict[str, Tensor]:
        a, b = pick(32, x[:300], y[:300])
        (c,) = pick(64, x)
        out = model(a)
        loss = F.cross_entropy(out, b) + 5 * F.mse_loss(model.copy(model.body(c)), c)
        return {"loss": loss, "inputs": a, "targets": b, "outputs": out}

    iterate(harness, model, optimizer, compute, 200)
    return accuracy(model.eval()(vx), vy)


@cases.recipe("mlp", 0.9)
def two_optimizers_by_turns(harness: Harness, seed: int) -> float:
    """Encoder and head have an Adam and an SGD of their own, both stepped in each step; two moons in ten dimensions."""
    draw = np.random.default_rng(81)
    angle, kind = draw.uniform(0, np.pi, 1200), draw.integers(0, 2, 1200)
    flat = np.stack([np.cos(angle) * (1 - 2 * kind) + kind, np.sin(angle) * (1 - 2 * kind) + 0.5 * kind], 1)
    lift = np.linalg.qr(draw.normal(0, 1, (10, 10)))[0][:2]
    x, y, vx, vy = cut(flat @ lift * 2 + draw.normal(0, 0.1, (1200, 10)), kind.astype(np.float32))
    encoder, head = nn.Sequential(dense(10, 48, 48), nn.ReLU()), nn.Linear(48, 1)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Adam(encoder.parameters(), lr=2e-3), torch.optim.SGD(head.parameters(), lr=0.05, momentum=0.9),
    ]  # fmt: skip
    criterion: Callable[..., Tensor] = nn.BCEWithLogitsLoss()
    harness.begin([encoder, head], optimizers)
    for _ in range(8):
        losses = []
        for rows in torch.randperm(len(x)).split(32):
            out = head(encoder(x[rows]))[:, 0]
            loss = criterion(out, y[rows])
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            losses.append(loss.item())
            harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
        with torch.no_grad():
            out = head(encoder(vx))[:, 0]
        val = {"loss": criterion(out, vy).item(), "accuracy": binary_accuracy(out, vy)}
        harness.epoch(train={"loss": float(np.mean(losses))}, val=val)
    return val["accuracy"]
