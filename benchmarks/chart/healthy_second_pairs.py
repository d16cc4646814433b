"""Pairs and self-supervision of a second author, on which NO threshold is ever set.

See `healthy_second.py`.
"""

import copy

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import (
    SecondCases,
    convs,
    dense,
    digits,
    draws,
    explained,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("second")


def neighbours(embed: nn.Module, parts: tuple[Tensor, Tensor, Tensor, Tensor]) -> float:
    """Accuracy of the nearest training sample in the embedding."""
    x, y, vx, vy = parts
    embed.eval()
    with torch.no_grad():
        a, b = F.normalize(embed(vx), dim=1), F.normalize(embed(x), dim=1)
    return float((y[(a @ b.T).argmax(1)] == vy).float().mean())


def shaken(x: Tensor) -> Tensor:
    """Each image with noise, contrast and a shift of its own."""
    shift = (int(torch.randint(-1, 2, ())), int(torch.randint(-1, 2, ())))
    return x.roll(shift, (2, 3)) * (0.8 + 0.4 * torch.rand(len(x), 1, 1, 1)) + 0.15 * torch.randn_like(x)


@cases.recipe("siamese", 0.85)
def triplets_in_a_batch(harness: Harness, seed: int) -> float | None:
    """Triplet margin loss with a positive and a negative drawn per anchor; embeddings on the sphere."""
    parts = x, y, _, _ = digits("standard")
    model = convs(classes=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loss_fn = nn.TripletMarginLoss(margin=0.3)
    harness.begin(model, optimizer)
    for _ in range(4):
        model.train()
        for a, t in draws(x, y, 32, whole=True):
            same = torch.stack([x[y == k][torch.randint(int((y == k).sum()), ())] for k in t])
            other = torch.stack([x[y != k][torch.randint(int((y != k).sum()), ())] for k in t])
            one, two, three = (F.normalize(h, dim=1) for h in model(torch.cat([a, same, other])).chunk(3))
            loss = loss_fn(one, two, three)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=a, targets=t, outputs=one)
    return neighbours(model, parts)


@cases.recipe("siamese", 0.8)
def same_or_different(harness: Harness, seed: int) -> float | None:
    """Cosine embedding loss of pairs, targets 1 and -1, two forward passes of one network."""
    parts = x, y, _, _ = digits("signed", image=False)
    model = dense(64, 64, 24)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=F.cosine_embedding_loss)
    for _ in range(10):
        model.train()
        for a, t in draws(x, y, 48):
            order = t.argsort()
            partner = torch.where(torch.rand(len(t)) < 0.6, order.roll(1)[order.argsort()], torch.randperm(len(t)))
            alike = (t == t[partner]).float() * 2 - 1
            loss = F.cosine_embedding_loss(model(a), model(a[partner]), alike, margin=0.2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=a, targets=alike)
    return neighbours(model, parts)


@cases.recipe("simclr", 0.75)
def two_views_attract(harness: Harness, seed: int) -> float | None:
    """SimCLR: normalised temperature-scaled cross-entropy between two views, no labels, projection head."""
    parts = x, y, _, _ = digits("standard")
    body, head = convs(classes=32), dense(32, 32, 16)
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=3e-3)
    harness.begin(nn.ModuleDict({"body": body, "head": head}), optimizer)
    for _ in range(4):
        body.train()
        for a, _ in draws(x, y, 64, whole=True):
            both = torch.cat([shaken(a), shaken(a)])
            z = F.normalize(head(body(both)), dim=1)
            alike = (z @ z.T / 0.2).fill_diagonal_(-1e9)
            partner = torch.arange(len(z)).roll(len(a))
            loss = F.cross_entropy(alike, partner)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=both, targets=partner, outputs=alike)
    return neighbours(body, parts)


@cases.recipe("byol", 0.7)
def follows_its_own_average(harness: Harness, seed: int) -> float | None:
    """BYOL: a predictor foretells the projection of a moving average of the network; the average has no gradient."""
    parts = x, y, _, _ = digits("standard")
    online, predict = (
        convs(classes=24),
        nn.Sequential(nn.Linear(24, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 24)),
    )
    target = copy.deepcopy(online).requires_grad_(False)
    optimizer = torch.optim.Adam([*online.parameters(), *predict.parameters()], lr=2e-3)
    harness.begin(nn.ModuleList([online, predict, target]), optimizer)
    for _ in range(4):
        for a, _ in draws(x, y, 64, whole=True):
            one, two = shaken(a), shaken(a)
            with torch.no_grad():
                aim = F.normalize(target(two), dim=1)
            loss = 2 - 2 * (F.normalize(predict(online(one)), dim=1) * aim).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for p, q in zip(online.parameters(), target.parameters(), strict=True):
                    q.lerp_(p, 0.02)
            harness.step(loss=loss, inputs=one)
    return neighbours(online, parts)


@cases.recipe("dino", 0.7)
def teacher_is_centred(harness: Harness, seed: int) -> float | None:
    """DINO: cross-entropy between softmaxes of student and averaged teacher, centred and sharpened."""
    parts = x, y, _, _ = digits("standard")
    student = nn.Sequential(convs(classes=32), nn.GELU(), nn.Linear(32, 32, bias=False))
    teacher, centre = copy.deepcopy(student).requires_grad_(False), torch.zeros(32)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    harness.begin(student, optimizer)
    for _ in range(4):
        for a, _ in draws(x, y, 64, whole=True):
            one, two = shaken(a), shaken(a)
            with torch.no_grad():
                raw = teacher(two)
                aim = ((raw - centre) / 0.05).softmax(1)
                centre = centre.lerp(raw.mean(0), 0.1)
            loss = -(aim * (student(one) / 0.1).log_softmax(1)).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(student.parameters(), 3.0)
            optimizer.step()
            with torch.no_grad():
                for p, q in zip(student.parameters(), teacher.parameters(), strict=True):
                    q.lerp_(p, 0.05)
            harness.step(loss=loss.item(), inputs=one)
    return neighbours(student[0], parts)


@cases.recipe("twins", 0.7)
def redundancy_is_reduced(harness: Harness, seed: int) -> float | None:
    """Barlow twins: the cross-correlation matrix of two views becomes the identity."""
    parts = x, y, _, _ = digits("standard")
    model = nn.Sequential(convs(classes=32), nn.BatchNorm1d(32, affine=False))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer)
    for _ in range(4):
        model.train()
        for a, _ in draws(x, y, 64, whole=True):
            c = model(shaken(a)).T @ model(shaken(a)) / 64
            on, off = (c.diagonal() - 1).square().sum(), c.square().sum() - c.diagonal().square().sum()
            loss = on + 0.02 * off
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=a)
    return neighbours(model, parts)


@cases.recipe("mae", 0.35)
def hidden_patches(harness: Harness, seed: int) -> float | None:
    """Masked autoencoding: half of 16 patches are hidden, the loss counts hidden ones only."""
    x, _, vx, _ = digits("standard")

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.token = nn.Linear(4, 48), nn.Parameter(torch.zeros(48))
            self.place = nn.Parameter(torch.randn(16, 48) * 0.3)
            layer = nn.TransformerEncoderLayer(48, 4, 96, 0.0, batch_first=True, norm_first=True)
            self.body, self.out = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(48, 4)

        def forward(self, patches: Tensor, hidden: Tensor) -> Tensor:
            h = torch.where(hidden[..., None], self.token, self.into(patches)) + self.place
            return self.out(self.body(h))

    model = Masked()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer)
    for _ in range(6):
        for a, _ in draws(x, x):
            patches = F.unfold(a, 2, stride=2).transpose(1, 2)
            hidden = torch.rand(len(a), 16).argsort(1) < 8
            out = model(patches, hidden)
            loss = (out - patches).square()[hidden].mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=patches, targets=patches, outputs=out)
    model.eval()
    patches = F.unfold(vx, 2, stride=2).transpose(1, 2)
    hidden = torch.rand(len(vx), 16).argsort(1) < 8
    with torch.no_grad():
        return explained(model(patches, hidden)[hidden], patches[hidden])
