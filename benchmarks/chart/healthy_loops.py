"""Healthy loops that are written out: several networks, losses without targets, full batches, wrapped parameters.

Thresholds may be set on them, as on `healthy.py`.
"""

import math
from collections.abc import Iterator

import torch
from benchmarks.chart import data, networks
from benchmarks.chart.case import Cases, Harness
from benchmarks.chart.program import Data
from benchmarks.chart.subjects import accuracy
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = Cases("healthy")


def epochs_of(part: Data, epochs: int, size: int = 32) -> Iterator[Iterator[tuple[Tensor, Tensor]]]:
    """Shuffled batches, epoch by epoch, normalised as digits."""
    for _ in range(epochs):
        rows = torch.randperm(len(part)).split(size)[: len(part) // size]
        yield ((data.normalise_digits(part.x[r]), part.y[r]) for r in rows)


@torch.no_grad()
def score(model: nn.Module, part: Data) -> dict[str, float]:
    """Loss and accuracy of digits in eval mode; leaves the model in train mode."""
    model.eval()
    out = model(data.normalise_digits(part.x))
    model.train()
    return {"loss": float(F.cross_entropy(out, part.y)), "accuracy": accuracy(out, part.y)}


@cases.healthy_loop("mlp")
def wasserstein_gan(harness: Harness, seed: int) -> float | None:
    """A critic with clipped weights, whose losses are negative, and a generator updated at every fifth step."""
    train, _ = data.digits()
    critic, generator = networks.mlp(64, 64, 1), networks.mlp(8, 64, 64)
    first = torch.optim.RMSprop(critic.parameters(), lr=2e-3)
    second = torch.optim.RMSprop(generator.parameters(), lr=5e-4)
    harness.begin([critic, generator], [first, second])
    for epoch in epochs_of(train, 4):
        for i, (real, _) in enumerate(epoch):
            fake = generator(torch.randn(len(real), 8)).detach()
            loss = critic(fake).mean() - critic(real).mean()
            first.zero_grad()
            loss.backward()
            first.step()
            with torch.no_grad():
                for p in critic.parameters():
                    p.clamp_(-0.1, 0.1)
            if i % 5 == 4:
                other = -critic(generator(torch.randn(len(real), 8))).mean()
                second.zero_grad()
                other.backward()
                second.step()
            harness.step(loss=loss, inputs=real)
        harness.epoch()
    return None


@cases.healthy_loop("cnn")
def diffusion(harness: Harness, seed: int) -> float | None:
    """A denoising diffusion model: the target is the noise that was added."""
    train, _ = data.digits()

    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.time = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 96))
            self.enter, self.middle, self.leave = nn.Linear(64, 96), nn.Linear(96, 96), nn.Linear(96, 64)
            nn.init.zeros_(self.leave.weight)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            h = F.silu(self.enter(x) + self.time(torch.stack([t, t.square()], 1)))
            return self.leave(F.silu(self.middle(h)))

    model = Denoiser()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.mse_loss)
    for epoch in epochs_of(train, 5):
        for x, _ in epoch:
            t = torch.rand(len(x))
            noise, keep = torch.randn_like(x), torch.cos(t * math.pi / 2)[:, None]
            out = model(keep * x + (1 - keep**2).sqrt() * noise, t)
            loss = F.mse_loss(out, noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, targets=noise, outputs=out)
        harness.epoch()
    return None


@cases.healthy_loop("cnn")
def contrastive(harness: Harness, seed: int) -> float | None:
    """SimCLR: two views of each image, the others of the batch are negatives; so samples depend on each other."""
    train, _ = data.digits()
    model = nn.Sequential(networks.mlp(64, 64, 32), nn.ReLU(), nn.Linear(32, 16))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer)
    for epoch in epochs_of(train, 4, 48):
        for x, _ in epoch:
            views = torch.cat([x + 0.3 * torch.randn_like(x), x * (torch.rand_like(x) > 0.2)])
            z = F.normalize(model(views), dim=1)
            similar = (z @ z.T / 0.2).masked_fill(torch.eye(len(z), dtype=torch.bool), -1e9)
            loss = F.cross_entropy(similar, torch.arange(len(z)).roll(len(x)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=views, outputs=z)
        harness.epoch()
    return None


@cases.healthy_loop("mlp")
def triplets(harness: Harness, seed: int) -> float | None:
    """A triplet loss, three forward passes per step, zero for many triplets."""
    train, _ = data.digits()
    model = networks.mlp(64, 64, 16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_fn = nn.TripletMarginLoss(margin=1.0)
    rows = [(train.y == c).nonzero()[:, 0] for c in range(10)]
    x = data.normalise_digits(train.x)
    harness.begin(model, optimizer)
    for _ in range(4):
        for _ in range(30):
            kind = torch.randint(0, 10, (32,))
            other = (kind + torch.randint(1, 10, (32,))) % 10
            anchor, same, foreign = (
                torch.stack([x[rows[int(c)][torch.randint(len(rows[int(c)]), ())]] for c in which])
                for which in (kind, kind, other)
            )
            loss = loss_fn(model(anchor), model(same), model(foreign))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss)
        harness.epoch()
    return None


@cases.healthy_loop("mlp")
def policy_gradient(harness: Harness, seed: int) -> float | None:
    """REINFORCE on a game of one move: the loss is negative and does not measure progress; the reward does."""
    train, val = data.digits()
    model = networks.mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer)
    for epoch in epochs_of(train, 5):
        for x, y in epoch:
            choice = torch.distributions.Categorical(logits=model(x))
            action = choice.sample()
            reward = (action == y).float()
            advantage = reward - reward.mean()
            loss = -(choice.log_prob(action) * advantage).mean() - 0.01 * choice.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x)
        harness.epoch()
    return score(model, val)["accuracy"]


@cases.healthy_loop("gnn")
def graph_network(harness: Harness, seed: int) -> float | None:
    """A graph network with the whole graph as its only batch, a mask chooses the nodes that are trained on."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 4, (300,), generator=draw)
    near = torch.rand(300, 300, generator=draw) < torch.where(y[:, None] == y[None], 0.06, 0.01)
    near = (near | near.T).float() + torch.eye(300)
    scale = near.sum(1).rsqrt()
    near = scale[:, None] * near * scale[None]
    x = torch.randn(300, 16, generator=draw) + 0.7 * F.one_hot(y, 16)
    known = torch.rand(300, generator=draw) < 0.4

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.drop = nn.Linear(16, 32), nn.Linear(32, 4), nn.Dropout(0.3)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(near @ self.drop(F.relu(self.one(near @ x))))

    model = Graph()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=5e-4)
    harness.begin(model, optimizer)
    for epoch in range(100):
        model.train()
        out = model(x)
        loss = F.cross_entropy(out[known], y[known])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x, targets=y[known], outputs=out[known])
        if epoch % 10 == 9:
            model.eval()
            with torch.no_grad():
                rest = model(x)[~known]
            value = {"loss": float(F.cross_entropy(rest, y[~known])), "accuracy": accuracy(rest, y[~known])}
            harness.epoch(train={"loss": float(loss.detach())}, val=value)
    return value["accuracy"]


@cases.healthy_loop("mlp")
def sparse_embeddings(harness: Harness, seed: int) -> float | None:
    """Bags of tokens through an embedding with sparse gradients (SparseAdam) and a dense head (Adam)."""
    draw = torch.Generator().manual_seed(5)
    weight = torch.randn(500, generator=draw)
    x = torch.randint(0, 500, (1200, 12), generator=draw)
    y = (weight[x].sum(1) > 0).long()
    bag, head = nn.EmbeddingBag(500, 16, sparse=True), nn.Linear(16, 2)
    model = nn.Sequential(bag, head)
    optimizers = [torch.optim.SparseAdam(bag.parameters(), lr=2e-2), torch.optim.Adam(head.parameters(), lr=1e-2)]
    harness.begin(model, optimizers, loss_fn=F.cross_entropy)
    for _ in range(4):
        for rows in torch.randperm(960).split(32):
            out = model(x[rows])
            loss = F.cross_entropy(out, y[rows])
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
        with torch.no_grad():
            out = model(x[960:])
        value = {"loss": float(F.cross_entropy(out, y[960:])), "accuracy": accuracy(out, y[960:])}
        harness.epoch(val=value)
    return value["accuracy"]


@cases.healthy_loop("mlp")
def mixture_of_experts(harness: Harness, seed: int) -> float | None:
    """Each sample goes through the one expert that its gate chose; some experts may get none."""
    train, val = data.digits()

    class Mixture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.head = nn.Linear(64, 6), nn.Linear(64, 10)
            self.experts = nn.ModuleList(nn.Sequential(nn.Linear(64, 64), nn.ReLU()) for _ in range(6))

        def forward(self, x: Tensor) -> Tensor:
            share, choice = self.gate(x).softmax(1).max(1)
            out = torch.zeros_like(x)
            for i, expert in enumerate(self.experts):
                mine = choice == i
                if mine.any():
                    out[mine] = expert(x[mine])
            return self.head(x + out * share[:, None])

    model = Mixture()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for epoch in epochs_of(train, 4):
        for x, y in epoch:
            out = model(x)
            loss = F.cross_entropy(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(val=score(model, val))
    return score(model, val)["accuracy"]


@cases.healthy_loop("vit")
def adaptive_norm_zero(harness: Harness, seed: int) -> float | None:
    """Conditioned blocks whose modulation and head start at zero (adaLN-zero), trained to reconstruct."""
    train, _ = data.digits()

    class Modulated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kind, self.enter = nn.Embedding(10, 32), nn.Linear(8, 32)
            self.norm, self.inner = (
                nn.LayerNorm(32, elementwise_affine=False),
                nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)),
            )
            self.modulate, self.leave = nn.Linear(32, 96), nn.Linear(32, 8)
            for layer in (self.modulate, self.leave):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

        def forward(self, x: Tensor, kind: Tensor) -> Tensor:
            h = self.enter(x.view(-1, 8, 8))
            shift, scale, gate = self.modulate(F.silu(self.kind(kind)))[:, None].chunk(3, -1)
            return self.leave(h + gate * self.inner(self.norm(h) * (1 + scale) + shift)).flatten(1)

    model = Modulated()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer)
    for epoch in epochs_of(train, 5):
        for x, y in epoch:
            noise = torch.randn_like(x)
            out = model(x + 0.7 * noise, y)
            loss = F.mse_loss(out, x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, targets=x, outputs=out)
        harness.epoch()
    return None
