"""Views, neighbours, teachers and regularisers, by a fourth author, without any threshold. See `healthy_fourth.py`."""

import copy
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, some
from benchmarks.chart.second import SecondCases, accuracy, dense, digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


def shaken(x: Tensor) -> Tensor:
    """Flat digits of mean 0 with three tenths of their pixels at 0, dimmed, with noise."""
    seen = (torch.rand_like(x) < 0.7).float()
    return x * seen * (0.7 + 0.6 * torch.rand(len(x), 1)) + 0.3 * torch.randn_like(x)


def nearest(z: Tensor, y: Tensor, vz: Tensor, vy: Tensor) -> float:
    """Accuracy of the most alike training sample by cosine."""
    z, vz = F.normalize(z.detach(), dim=1), F.normalize(vz.detach(), dim=1)
    return float((y[(vz @ z.T).argmax(1)] == vy).float().mean())


def found(model: nn.Module, vx: Tensor) -> float:
    """How often a shaken image of 200 is most alike its other view; 0.15 or so before any training."""
    with torch.no_grad():
        a, b = (F.normalize(model(shaken(vx[:200])), dim=1) for _ in range(2))
    return accuracy(a @ b.T, torch.arange(200))


@cases.recipe("selfsup", 0.25)
def variance_and_covariance(harness: Harness, seed: int) -> float:
    """VICReg: squared distance of two views 25, hinge on deviations 25, covariance 1."""
    x, _, vx, _ = digits("standard", False)
    model = nn.Sequential(nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, 32))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)

    def spread(z: Tensor) -> Tensor:
        z = z - z.mean(0)
        cov = (z.T @ z) / (len(z) - 1)
        off = cov.square().sum() - cov.diagonal().square().sum()
        return 25 * (1 - (z.var(0) + 1e-4).sqrt()).relu().mean() + off / 32

    def compute(i: int) -> Any:
        (a,) = some(128, x)
        one, two = model(shaken(a)), model(shaken(a))
        return {"loss": 25 * F.mse_loss(one, two) + spread(one) + spread(two), "inputs": a}

    march(harness, model, optimizer, compute, 300)
    return found(model.eval(), vx)


@cases.recipe("selfsup", 0.3)
def queue_of_old_keys(harness: Harness, seed: int) -> float:
    """MoCo: a slow key encoder, 512 negatives in a queue, temperature 0.1, SGD with momentum and cosine."""
    x, _, vx, _ = digits("standard", False)
    query = dense(64, 96, 32)
    key = copy.deepcopy(query).requires_grad_(False)
    queue = F.normalize(torch.randn(512, 32), dim=1)
    optimizer = torch.optim.SGD(query.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)

    def compute(i: int) -> Any:
        nonlocal queue
        (a,) = some(64, x)
        q = F.normalize(query(shaken(a)), dim=1)
        with torch.no_grad():
            for p, s in zip(query.parameters(), key.parameters(), strict=True):
                s.lerp_(p, 0.02)
            k = F.normalize(key(shaken(a)), dim=1)
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], 1) / 0.1
        queue = torch.cat([k, queue])[:512]
        return {"loss": F.cross_entropy(logits, torch.zeros(64, dtype=torch.long)), "outputs": logits}

    march(harness, nn.ModuleList([query, key]), optimizer, compute, 300, scheduler=scheduler)
    return found(query, vx)


@cases.recipe("selfsup", 0.25)
def prototypes_are_swapped(harness: Harness, seed: int) -> float:
    """SwAV: codes by three Sinkhorn rounds over 30 prototypes that are frozen for the first 50 steps."""
    x, _, vx, _ = digits("standard", False)
    body, protos = dense(64, 96, 32), nn.Linear(32, 30, bias=False)
    model = nn.Sequential(body, protos)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    @torch.no_grad()
    def codes(s: Tensor) -> Tensor:
        q = (s / 0.05).exp().T
        for _ in range(3):
            q = q / q.sum(1, keepdim=True) / 30
            q = q / q.sum(0, keepdim=True) / s.shape[0]
        return (q * s.shape[0]).T

    def compute(i: int) -> Tensor:
        with torch.no_grad():
            protos.weight.copy_(F.normalize(protos.weight, dim=1))
        protos.requires_grad_(i >= 50)
        (a,) = some(128, x)
        one, two = (protos(F.normalize(body(shaken(a)), dim=1)) for _ in range(2))
        p, q = (one / 0.1).log_softmax(1), (two / 0.1).log_softmax(1)
        return -0.5 * ((codes(one) * q).sum(1) + (codes(two) * p).sum(1)).mean()

    march(harness, model, optimizer, compute, 300)
    return found(body, vx)


@cases.recipe("selfsup", 0.6)
def pieces_in_their_order(harness: Harness, seed: int) -> float:
    """Jigsaw: four quarters of a digit in one of 24 orders, a shared encoder for quarters, which order is it?"""
    x, _, vx, _ = digits("standard")
    orders = torch.tensor([[a, b, c, 6 - a - b - c] for a in range(4) for b in range(4) for c in range(4)
                           if len({a, b, c}) == 3])  # fmt: skip

    def cut_up(a: Tensor) -> tuple[Tensor, Tensor]:
        quarters = a.unfold(2, 4, 4).unfold(3, 4, 4).reshape(-1, 4, 16)
        k = torch.randint(24, (len(a),))
        return quarters[torch.arange(len(a))[:, None], orders[k]], k

    model = nn.Sequential(nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU(), nn.Flatten(), *dense(96, 96, 24))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def compute(i: int) -> Any:
        a, k = cut_up(some(64, x)[0])
        out = model(a)
        return {"loss": F.cross_entropy(out, k), "inputs": a, "targets": k, "outputs": out}

    march(harness, model, optimizer, compute, 400)
    a, k = cut_up(vx)
    return accuracy(model(a), k)


@cases.recipe("metric", 0.85)
def proxies_are_anchors(harness: Harness, seed: int) -> float:
    """Proxy-Anchor loss: a learned proxy per class at a hundredfold rate, alpha 16, delta 0.1; scored by neighbours."""
    x, y, vx, vy = digits("standard", False)
    body, proxies = dense(64, 64, 16), nn.Parameter(torch.randn(10, 16))
    model = nn.ParameterList([proxies, *body.parameters()])
    optimizer = torch.optim.AdamW([{"params": body.parameters()}, {"params": [proxies], "lr": 0.05}], lr=1e-3)

    def compute(i: int) -> Any:
        a, b = some(64, x, y)
        cos = F.normalize(body(a), dim=1) @ F.normalize(proxies, dim=1).T
        hot = F.one_hot(b, 10).float()
        up = (1 + (hot * (-16 * (cos - 0.1)).exp()).sum(0)).log()
        down = (1 + ((1 - hot) * (16 * (cos + 0.1)).exp()).sum(0)).log()
        return {"loss": up.sum() / (hot.sum(0) > 0).sum() + down.sum() / 10, "inputs": a, "targets": b}

    march(harness, model, optimizer, compute, 200)
    return nearest(body(x), y, body(vx), vy)


@cases.recipe("metric", 0.85)
def classes_have_centres(harness: Harness, seed: int) -> float:
    """Center loss: cross-entropy plus 0.05 of the distance to a centre per class, which has an optimizer of its own."""
    x, y, vx, vy = digits("standard", False)
    body, head, centres = dense(64, 64, 8), nn.Linear(8, 10), nn.Embedding(10, 8)
    opt = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=3e-3)
    opt_c = torch.optim.SGD(centres.parameters(), lr=0.5)
    model = nn.ModuleDict({"body": body, "head": head, "centres": centres})
    harness.begin(model, [opt, opt_c])
    for _ in range(250):
        a, b = some(48, x, y)
        z = body(a)
        out = head(z.relu())
        loss = F.cross_entropy(out, b) + 0.05 * (z - centres(b)).square().sum(1).mean()
        opt.zero_grad()
        opt_c.zero_grad()
        loss.backward()
        opt.step()
        for p in centres.parameters():
            p.grad *= 10  # type: ignore[operator]
        opt_c.step()
        harness.step(loss=loss, inputs=a, targets=b, outputs=out)
    return accuracy(head(body(vx).relu()), vy)
