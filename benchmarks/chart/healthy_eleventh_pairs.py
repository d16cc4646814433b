"""Likeness, learning without labels, recommendations; by an eleventh author, who had not read the rules, without any
threshold.

See `healthy_eleventh.py`.
"""

import copy
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eleventh import block, leaves, letters, standard, train
from benchmarks.chart.second import SecondCases, Split, accuracy, dense, digits, explained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("eleventh")


def encoder(channels: int, side: int, out: int, width: int = 16) -> nn.Sequential:
    """Two blocks with pooling and a linear layer."""
    wide = 2 * width * (side // 4) ** 2
    return nn.Sequential(
        block(channels, width), nn.MaxPool2d(2), block(width, 2 * width), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(wide, out),
    )  # fmt: skip


@torch.no_grad()
def neighbours(model: nn.Module, split: Split, count: int = 5) -> float:
    """Share of held-out rows of which the nearest training rows vote for the right class."""
    x, y, vx, vy = split
    model.eval()
    near = y[torch.cdist(model(vx), model(x)).topk(count, largest=False).indices]
    return float((near.mode(1).values == vy).float().mean())


@cases.recipe("siamese", 0.8)
def digits_pulled_and_pushed(harness: Harness, seed: int) -> float:
    """Contrastive loss with a margin of 1 on pairs, half alike; a tuple of two pictures goes in; Adam 1e-3."""
    x, y, vx, vy = digits("standard")
    model = encoder(1, 8, 16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    harness.begin(model, optimizer)
    for _ in range(6):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(x)).split(48):
            alike = torch.rand(len(rows)) < 0.5
            other = torch.stack([
                torch.nonzero((y == k) == same)[torch.randint(0, int(((y == k) == same).sum()), ())].squeeze()
                for k, same in zip(y[rows].tolist(), alike.tolist(), strict=True)
            ])  # fmt: skip
            apart = (model(x[rows]) - model(x[other])).square().sum(1).add(1e-9).sqrt()
            loss = torch.where(alike, apart.square(), (1 - apart).clamp(min=0).square()).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows) / len(x)
            harness.step(loss=loss, inputs=(x[rows], x[other]), targets=alike.float())
        harness.epoch(train={"loss": total})
    return neighbours(model, (x, y, vx, vy))


@cases.recipe("triplet", 0.8)
def letters_by_the_hardest_triplets(harness: Harness, seed: int) -> float:
    """Batch-hard triplets with a soft margin, eight of each of ten letters per batch, unit vectors, AdamW 1e-3."""
    split = standard(letters(1000))
    x, y = split[:2]
    by = [torch.nonzero(y == k).flatten() for k in range(10)]
    model = encoder(1, 14, 24)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    harness.begin(model, optimizer)
    score = 0.0
    for step in range(1, 121):
        model.train()
        rows = torch.cat([part[torch.randperm(len(part))[:8]] for part in by])
        e = F.normalize(model(x[rows]), dim=1)
        far = (2 - 2 * e @ e.T).clamp(min=1e-6).sqrt()
        same = y[rows][:, None] == y[rows]
        loss = F.softplus(4 * ((far * same).amax(1) - (far + 9 * same).amin(1))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=e)
        if step % 30 == 0:
            score = neighbours(model, split)
            harness.epoch(train={"loss": loss.item()}, val={"recall": score})
    return score


class ArcFace(nn.Module):
    """Cosines to class centres, with an angle added to the right one, times a scale."""

    def __init__(self, body: nn.Module, dim: int, classes: int, margin: float = 0.2, scale: float = 12.0) -> None:
        super().__init__()
        self.body, self.centres = body, nn.Parameter(torch.randn(classes, dim) * 0.1)
        self.margin, self.scale = margin, scale

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Logits."""
        cosine = F.normalize(self.body(x), dim=1) @ F.normalize(self.centres, dim=1).T
        if y is not None and self.training:
            angle = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos() + self.margin * F.one_hot(y, len(self.centres))
            cosine = angle.cos()
        return self.scale * cosine


@cases.recipe("arcface", 0.85)
def letters_by_angles(harness: Harness, seed: int) -> float:
    """ArcFace with a margin of 0.2: pictures and labels go in, cross-entropy, SGD 0.05 with momentum, milestones."""
    x, y, vx, vy = standard(letters(1200))
    model = ArcFace(encoder(1, 14, 32), 32, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [4, 6], 0.2)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), ((x, y), y, (vx, vy), vy), epochs=7, scheduler=scheduler
    )


def views(x: Tensor) -> Tensor:
    """Each picture shifted, brightened and noised anew."""
    turn = torch.zeros(len(x), 2, 3)
    turn[:, 0, 0] = turn[:, 1, 1] = 1
    turn[:, :, 2] = torch.empty(len(x), 2).uniform_(-0.2, 0.2)
    moved = F.grid_sample(x, F.affine_grid(turn, list(x.shape), align_corners=False), align_corners=False)
    return moved * torch.empty(len(x), 1, 1, 1).uniform_(0.8, 1.2) + 0.1 * torch.randn_like(x)


@cases.recipe("supcon", 0.9)
def digits_by_supervised_contrast(harness: Harness, seed: int) -> float:
    """SupCon: two views, all of one class attract, temperature 0.2, a projector, Adam 1e-3, batches of 64."""
    split = digits("standard")
    x, y = split[:2]
    model = nn.Sequential(encoder(1, 8, 48), nn.ReLU(), nn.Linear(48, 24))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    harness.begin(model, optimizer)
    score = 0.0
    for _ in range(6):
        model.train()
        losses = []
        for rows in torch.randperm(len(x)).split(64):
            e = F.normalize(model(torch.cat([views(x[rows]), views(x[rows])])), dim=1)
            kinds = y[rows].repeat(2)
            own = torch.eye(len(kinds), dtype=torch.bool)
            logs = (e @ e.T / 0.2).masked_fill(own, -1e9).log_softmax(1)
            same = (kinds[:, None] == kinds) & ~own
            loss = -((logs * same).sum(1) / same.sum(1)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            harness.step(loss=loss)
        score = neighbours(model, split)
        harness.epoch(train={"loss": float(np.mean(losses))}, val={"accuracy": score})
    return score


@cases.recipe("simclr", 0.9)
def digits_by_two_views(harness: Harness, seed: int) -> float:
    """NT-Xent of two views in batches of 128, temperature 0.3, AdamW with a cosine, neighbours as the score."""
    split = digits("standard")
    x = split[0]
    model = nn.ModuleDict({"body": encoder(1, 8, 64), "head": dense(64, 64, 32)})
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 120)
    harness.begin(model, optimizer)
    for _ in range(15):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(x))[:1024].split(128):
            both = torch.cat([views(x[rows]), views(x[rows])])
            e = F.normalize(model["head"](model["body"](both)), dim=1)
            near = (e @ e.T / 0.3).masked_fill(torch.eye(256, dtype=torch.bool), -1e9)
            loss = F.cross_entropy(near, torch.arange(256).roll(128))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.item() / 8
            harness.step(loss=loss, inputs=both)
        harness.epoch(train={"loss": total})
    return neighbours(model["body"], split)


@cases.recipe("byol", 0.9)
def digits_by_a_slow_teacher(harness: Harness, seed: int) -> float:
    """BYOL: a predictor foretells the moving average's view, no gradients there; Adam 1e-3; neighbours as the score."""
    split = digits("standard")
    x = split[0]
    online, guess = (
        nn.Sequential(encoder(1, 8, 64), nn.BatchNorm1d(64)),
        nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64)),
    )
    slow = copy.deepcopy(online).requires_grad_(False)
    model = nn.Sequential(online, guess)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer)
    for _ in range(10):
        model.train()
        for rows in torch.randperm(len(x)).split(96):
            a, b = views(x[rows]), views(x[rows])
            with torch.no_grad():
                p, q = slow(a), slow(b)
            loss = 2 - F.cosine_similarity(model(a), q).mean() - F.cosine_similarity(model(b), p).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for old, new in zip(slow.parameters(), online.parameters(), strict=True):
                    old.lerp_(new, 0.03)
            harness.step(loss=loss.item())
    return neighbours(online, split)


@cases.recipe("pretext", 0.8)
def letters_turned_by_quarters(harness: Harness, seed: int) -> float:
    """A pretext task: by how many quarters a letter was turned, cross-entropy, SGD with momentum, cosine."""

    def turn(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.arange(len(x)) % 4
        return torch.stack([p.rot90(int(k), (1, 2)) for p, k in zip(x, y, strict=True)]), y

    x, y, vx, vy = standard(letters(1600, 14, 1180, "ACEKLT"))
    vx, vy = turn(vx, vy)
    model = encoder(1, 14, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 7)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), (x, y, vx, vy), epochs=7, scheduler=scheduler, augment=turn
    )


@cases.recipe("mae", 0.25)
def hidden_patches_of_leaves(harness: Harness, seed: int) -> float:
    """A masked autoencoder: half of 25 patches is hidden, an encoder tells their pixels, MSE there; AdamW, cosine."""
    x, _, vx, _ = standard(leaves(900))
    patches, held = (F.unfold(a, 4, stride=4).transpose(1, 2) for a in (x, vx))

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.blank = nn.Linear(48, 64), nn.Parameter(torch.zeros(64))
            self.places = nn.Parameter(torch.randn(25, 64) * 0.02)
            layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, "gelu", batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(64), enable_nested_tensor=False)
            self.head = nn.Linear(64, 48)

        def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
            h = torch.where(hidden[..., None], self.blank, self.embed(x)) + self.places
            return self.head(self.encoder(h))

    model = Masked()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 22 * 8)
    harness.begin(model, optimizer)
    hidden_held = torch.rand(held.shape[:2], generator=torch.Generator().manual_seed(7)) < 0.5
    score = 0.0
    for _ in range(8):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(patches)).split(32):
            hidden = torch.rand(len(rows), 25) < 0.5
            said = model(patches[rows], hidden)
            loss = (said - patches[rows]).square()[hidden].mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.item() * len(rows) / len(patches)
            harness.step(
                loss=loss, inputs={"patches": patches[rows], "hidden": hidden}, targets=patches[rows], outputs=said
            )
        model.eval()
        with torch.no_grad():
            said = model(held, hidden_held)[hidden_held]
            score = explained(said, held[hidden_held])
            harness.epoch(train={"loss": total}, val={"loss": float(F.mse_loss(said, held[hidden_held]))})
    return score


def films(count: int = 6000) -> tuple[Any, Tensor, Any, Tensor]:
    """(user, film) of 120 and 80 and ratings of 1 to 5."""
    draw = np.random.default_rng(1181)
    users, items = draw.normal(0, 0.8, (120, 3)), draw.normal(0, 0.8, (80, 3))
    u, i = draw.integers(0, 120, count), draw.integers(0, 80, count)
    rating = 3.3 + (users[u] * items[i]).sum(1) + draw.normal(0, 0.6, 120)[u] + draw.normal(0, 0.3, count)
    y = torch.tensor(rating.clip(1, 5), dtype=torch.float32)
    u, i, at = torch.tensor(u), torch.tensor(i), count * 4 // 5
    return (u[:at], i[:at]), y[:at], (u[at:], i[at:]), y[at:]


@cases.recipe("recommender", 0.4)
def ratings_by_a_neural_filter(harness: Harness, seed: int) -> float:
    """Embeddings of users and films, their product and an MLP, MSE on ratings less 3.3, Adam with decay; R2."""

    class Filter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.user, self.film = nn.Embedding(120, 12), nn.Embedding(80, 12)
            nn.init.normal_(self.user.weight, std=0.2)
            nn.init.normal_(self.film.weight, std=0.2)
            self.net = nn.Sequential(dense(36, 48, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 1))

        def forward(self, u: Tensor, i: Tensor) -> Tensor:
            a, b = self.user(u), self.film(i)
            return self.net(torch.cat([a, b, a * b], 1)).squeeze(1)

    x, y, vx, vy = films()
    model = Filter()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    return train(
        harness, model, optimizer, nn.MSELoss(), (x, y - 3.3, vx, vy - 3.3), epochs=6, size=64, metric=explained,
        name="r2", best="loss",
    )  # fmt: skip


@cases.recipe("twotower", 0.4)
def baskets_by_two_towers(harness: Harness, seed: int) -> float:
    """Two towers with in-batch negatives: cosines over 0.1, cross-entropy both ways, Adam 2e-3; recall among 48."""
    draw = np.random.default_rng(1182)
    hidden = draw.normal(0, 1, (2400, 6))
    mix = [draw.normal(0, 1, (6, 16)) for _ in range(2)]
    a, b = (torch.tensor(np.tanh(hidden @ m) + draw.normal(0, 0.2, (2400, 16)), dtype=torch.float32) for m in mix)
    people, goods = dense(16, 64, 32), dense(16, 64, 32)
    optimizer = torch.optim.Adam([*people.parameters(), *goods.parameters()], lr=2e-3)
    harness.begin([people, goods], optimizer)

    def match(rows: Any) -> tuple[Tensor, Tensor]:
        near = F.normalize(people(a[rows]), dim=1) @ F.normalize(goods(b[rows]), dim=1).T / 0.1
        right = torch.arange(len(near))
        return near, (F.cross_entropy(near, right) + F.cross_entropy(near.T, right)) / 2

    score = 0.0
    for _ in range(7):
        total = 0.0
        for rows in torch.randperm(1920).split(48):
            near, loss = match(rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() / 40
            harness.step(loss=loss, inputs=(a[rows], b[rows]), outputs=near)
        with torch.no_grad():
            tests = [match(torch.arange(s, s + 48)) for s in range(1920, 2400, 48)]
        score = float(np.mean([accuracy(near, torch.arange(48)) for near, _ in tests]))
        val_loss = float(np.mean([loss.item() for _, loss in tests]))
        harness.epoch(train={"loss": total}, val={"loss": val_loss, "accuracy": score})
    return score


@cases.recipe("bpr", 0.68)
def purchases_by_ranking(harness: Harness, seed: int) -> float:
    """BPR: a bought thing is ranked above a random one; embeddings, Adam 0.01, L2 of the rows used; pairs held out."""
    draw = np.random.default_rng(1183)
    taste, kind = draw.normal(0, 1, (150, 4)), draw.normal(0, 1, (100, 4))
    liked = taste @ kind.T + draw.gumbel(0, 1, (150, 100))
    bought = torch.tensor([(u, i) for u in range(150) for i in np.argsort(-liked[u])[:20]])
    bought = bought[torch.as_tensor(draw.permutation(3000))]
    fit, held = bought[:2400], bought[2400:]

    class Factors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.users, self.things = nn.Embedding(150, 8), nn.Embedding(100, 8)
            nn.init.normal_(self.users.weight, std=0.1)
            nn.init.normal_(self.things.weight, std=0.1)

        def forward(self, u: Tensor, i: Tensor, j: Tensor) -> tuple[Tensor, Tensor]:
            a, b, c = self.users(u), self.things(i), self.things(j)
            return (a * (b - c)).sum(1), (a.square() + b.square() + c.square()).sum(1).mean()

    model = Factors()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    harness.begin(model, optimizer)
    for _ in range(8):
        total = 0.0
        for rows in torch.randperm(2400).split(64):
            (u, i), j = fit[rows].T, torch.randint(0, 100, (len(rows),))
            lead, size = model(u, i, j)
            loss = -F.logsigmoid(lead).mean() + 0.01 * size
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows) / 2400
            harness.step(loss=loss, outputs=lead)
        harness.epoch(train={"loss": total})
    known = {(int(u), int(i)) for u, i in bought}
    free = torch.tensor([next(j for j in draw.permutation(100) if (int(u), int(j)) not in known) for u, _ in held])
    with torch.no_grad():
        return float((model(held[:, 0], held[:, 1], free)[0] > 0).float().mean())
