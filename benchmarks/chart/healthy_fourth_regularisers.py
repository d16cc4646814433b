"""Regularisers, teachers and shifts of data, by a fourth author, without any threshold. See `healthy_fourth.py`."""

from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, school, some
from benchmarks.chart.healthy_fourth_pairs import nearest
from benchmarks.chart.second import SecondCases, accuracy, dense, digits
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


@cases.recipe("semi", 0.75)
def smooth_where_it_would_hurt(harness: Harness, seed: int) -> float:
    """Virtual adversarial training: 80 labels; on all images the answer must not change in the worst direction."""
    x, y, vx, vy = digits("standard", False)
    model = nn.Sequential(nn.Linear(64, 96), nn.LeakyReLU(0.1), nn.Linear(96, 96), nn.LeakyReLU(0.1), nn.Linear(96, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def worst(u: Tensor) -> Tensor:
        with torch.no_grad():
            p = model(u).softmax(1)
        d = F.normalize(torch.randn_like(u), dim=1).mul(0.1).requires_grad_(True)
        far = F.kl_div(model(u + d).log_softmax(1), p, reduction="batchmean")
        (g,) = torch.autograd.grad(far, d)
        moved = u + 2.0 * F.normalize(g, dim=1)
        return F.kl_div(model(moved).log_softmax(1), p, reduction="batchmean")

    def compute(i: int) -> Any:
        (a, b), (u,) = some(32, x[:80], y[:80]), some(96, x)
        return {"loss": F.cross_entropy(model(a), b) + worst(u), "inputs": a, "targets": b}

    march(harness, model, optimizer, compute, 250)
    return accuracy(model(vx), vy)


@cases.recipe("mlp", 0.85)
def twice_through_dropout(harness: Harness, seed: int) -> float:
    """R-Drop: each batch goes through twice, symmetric divergence between both answers is added."""
    x, y, vx, vy = digits("standard", False)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.4), nn.Linear(128, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

    def compute(i: int) -> Any:
        a, b = some(32, x, y)
        out = model(torch.cat([a, a]))
        p, q = out.log_softmax(1).chunk(2)
        apart = (F.kl_div(p, q, log_target=True, reduction="batchmean")
                 + F.kl_div(q, p, log_target=True, reduction="batchmean")) / 2  # fmt: skip
        return {"loss": F.cross_entropy(out, torch.cat([b, b])) + apart, "inputs": a, "targets": b}

    march(harness, model, optimizer, compute, 250)
    return accuracy(model.eval()(vx), vy)


@cases.recipe("mlp", 0.85)
def many_draws_of_dropout(harness: Harness, seed: int) -> float:
    """Monte Carlo dropout: dropout stays on in validation too, by intent; 20 draws are averaged."""
    x, y, vx, vy = digits("standard", False)

    class Always(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(64, 128), nn.Linear(128, 128), nn.Linear(128, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = F.dropout(self.a(x).relu(), 0.2, training=True)
            return self.c(F.dropout(self.b(x).relu(), 0.2, training=True))

    model = Always()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    school(harness, model, optimizer, nn.CrossEntropyLoss(), (x, y, vx, vy), epochs=6)
    with torch.no_grad():
        return accuracy(torch.stack([model(vx).softmax(1) for _ in range(20)]).mean(0), vy)


@cases.recipe("mlp", 0.85)
def mixed_within_the_network(harness: Harness, seed: int) -> float:
    """Manifold mixup: at a random depth activations are blended with those of another order, two targets."""
    x, y, vx, vy = digits("standard", False)
    parts = nn.ModuleList([nn.Sequential(nn.Linear(64, 96), nn.ReLU()), nn.Sequential(nn.Linear(96, 96), nn.ReLU()),
                           nn.Linear(96, 10)])  # fmt: skip
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.1, momentum=0.9)

    def compute(i: int) -> Tensor:
        a, b = some(48, x, y)
        share, order = float(torch.distributions.Beta(2.0, 2.0).sample()), torch.randperm(48)
        depth = int(torch.randint(3, ()))
        for k, part in enumerate(parts):
            a = share * a + (1 - share) * a[order] if k == depth else a
            a = part(a)
        return share * F.cross_entropy(a, b) + (1 - share) * F.cross_entropy(a, b[order])

    march(harness, parts, optimizer, compute, 250)
    for part in parts:
        vx = part(vx)
    return accuracy(vx, vy)


@cases.recipe("distill", 0.8)
def distances_are_taught(harness: Harness, seed: int) -> float:
    """Relational distillation: a student's distances and angles within a batch follow a frozen wide teacher's."""
    x, y, vx, vy = digits("standard", False)
    teacher = dense(64, 128, 64, 10)
    opt = torch.optim.Adam(teacher.parameters(), lr=2e-3)
    for _ in range(150):
        a, b = some(48, x, y)
        opt.zero_grad()
        F.cross_entropy(teacher(a), b).backward()
        opt.step()
    wise, student = teacher[:3].eval().requires_grad_(False), dense(64, 40, 16)
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3)

    def relations(z: Tensor) -> tuple[Tensor, Tensor]:
        d = torch.cdist(z, z) + 1e-6
        e = F.normalize(z[:, None] - z + 1e-6, dim=2)
        return d / d.mean(), e @ e.mT

    def compute(i: int) -> Any:
        (a,) = some(32, x)
        with torch.no_grad():
            goal = relations(wise(a))
        got = relations(student(a))
        loss = F.smooth_l1_loss(got[0], goal[0]) + 2 * F.smooth_l1_loss(got[1], goal[1])
        return {"loss": loss, "inputs": a}

    march(harness, student, optimizer, compute, 200)
    return nearest(student(x), y, student(vx), vy)


@cases.recipe("domains", 0.75)
def second_moments_are_aligned(harness: Harness, seed: int) -> float:
    """Deep CORAL: labelled digits and unlabelled dim, noisy ones; covariances of hidden features are matched."""
    x, y, vx, vy = digits("standard", False)
    other = 0.6 * x + 0.4 * torch.randn_like(x)
    vother = 0.6 * vx + 0.4 * torch.randn_like(vx)
    body, head = dense(64, 64, 48).append(nn.Tanh()), nn.Linear(48, 10)
    model = nn.Sequential(body, head)
    optimizer = torch.optim.SGD(
        [{"params": body.parameters(), "lr": 0.05}, {"params": head.parameters()}], lr=0.1, momentum=0.9
    )

    def compute(i: int) -> Any:
        (a, b), (u,) = some(48, x, y), some(48, other)
        s, t = body(a), body(u)
        apart = (torch.cov(s.T) - torch.cov(t.T)).square().sum() / (4 * 48**2)
        return {"loss": F.cross_entropy(head(s), b) + 8 * apart, "inputs": (a, u), "targets": b}

    march(harness, model, optimizer, compute, 200)
    return accuracy(model(vother), vy)


@cases.recipe("robust", 0.7)
def worst_group_weighs_most(harness: Harness, seed: int) -> float:
    """Group DRO: a border pixel tells odd from even in 90 % of training rows; group weights grow by exp of losses."""
    x, y, vx, vy = digits("standard", False)

    def marked(a: Tensor, b: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
        goal = b % 2
        mark = torch.where(torch.rand(len(b)) < share, goal, 1 - goal)
        a = a.clone()
        a[:, 0] = 4.0 * mark - 2
        return a, goal, goal * 2 + mark

    a, goal, group = marked(x, y, 0.9)
    model = dense(64, 64, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    weight = torch.ones(4) / 4

    def compute(i: int) -> Any:
        nonlocal weight
        b, t, g = some(96, a, goal, group)
        out = model(b)
        each = F.cross_entropy(out, t, reduction="none")
        hot = F.one_hot(g, 4).float()
        by_group = (each @ hot) / hot.sum(0).clamp(min=1)
        weight = weight * (0.05 * by_group.detach()).exp()
        weight = weight / weight.sum()
        return {"loss": (weight * by_group).sum(), "inputs": b, "targets": t, "outputs": out}

    march(harness, model, optimizer, compute, 250)
    test, t, g = marked(vx, vy, 0.5)
    right = (model(test).argmax(1) == t).float()
    return min(float(right[g == k].mean()) for k in range(4))


@cases.recipe("outliers", 0.85)
def unsure_where_it_is_strange(harness: Harness, seed: int) -> float:
    """Outlier exposure: cross-entropy to the uniform answer on noise and shuffled pixels; AUC for shuffled digits."""
    x, y, vx, _ = digits("standard", False)
    model = dense(64, 96, 96, 10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

    def compute(i: int) -> Any:
        (a, b), (u,) = some(40, x, y), some(40, x)
        strange = torch.where(torch.rand(40, 1) < 0.5, u[:, torch.randperm(64)], torch.randn(40, 64))
        out = model(torch.cat([a, strange]))
        uniform = -out[40:].log_softmax(1).mean()
        return {"loss": F.cross_entropy(out[:40], b) + 0.5 * uniform, "inputs": a, "targets": b, "outputs": out[:40]}

    march(harness, model, optimizer, compute, 250)
    with torch.no_grad():
        known = model(vx).softmax(1).amax(1)
        odd = model(vx[:, torch.randperm(64)]).softmax(1).amax(1)
        return float(roc_auc_score([1] * len(known) + [0] * len(odd), torch.cat([known, odd])))


@cases.recipe("mlp", 0.85)
def flat_slopes_of_outputs(harness: Harness, seed: int) -> float:
    """Jacobian regularisation by one random projection per step: double backward through a tanh network."""
    x, y, vx, vy = digits("unit", False)
    model = dense(64, 64, 10, act=nn.Tanh)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)

    def compute(i: int) -> Any:
        a, b = some(40, x, y)
        a.requires_grad_(True)
        out = model(a)
        way = F.normalize(torch.randn_like(out), dim=1)
        (slope,) = torch.autograd.grad((out * way).sum(), a, create_graph=True)
        loss = F.cross_entropy(out, b) + 0.01 * 10 * slope.square().sum(1).mean() / 2
        return {"loss": loss, "inputs": a.detach(), "targets": b, "outputs": out}

    march(harness, model, optimizer, compute, 300)
    return accuracy(model(vx), vy)


@cases.recipe("imbalance", 0.7)
def weights_come_late(harness: Harness, seed: int) -> float:
    """Long-tailed digits with class-dependent margins (LDAM); class weights only from two thirds on: the loss jumps."""
    x, y, vx, vy = digits("standard", False)
    keep = torch.rand(len(y)) < 0.75 ** y.float()
    x, y = x[keep], y[keep]
    count = torch.bincount(y, minlength=10).float()
    margin = 0.5 * (count.min() / count) ** 0.25
    weight = (1 / count) / (1 / count).mean()
    body = dense(64, 64, 32).append(nn.ReLU())
    head = nn.Linear(32, 10, bias=False)
    model = nn.ModuleList([body, head])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [200, 270], 0.1)

    def cosines(a: Tensor) -> Tensor:
        return F.normalize(body(a), dim=1) @ F.normalize(head.weight, dim=1).T

    def compute(i: int) -> Any:
        a, b = some(48, x, y)
        out = cosines(a) - F.one_hot(b, 10) * margin
        return {"loss": F.cross_entropy(20 * out, b, weight if i >= 200 else None), "inputs": a, "targets": b}

    march(harness, model, optimizer, compute, 300, scheduler=scheduler)
    right = (cosines(vx).argmax(1) == vy).float()
    return float(torch.stack([right[vy == k].mean() for k in range(10)]).mean())
