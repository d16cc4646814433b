"""Clients, tasks in turn, noisy labels and other ways of learning, by a fourth author, without any threshold.

See `healthy_fourth.py`.
"""

import copy
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, some
from benchmarks.chart.second import SecondCases, accuracy, cancer, dense, digits, explained
from torch import Tensor, nn
from torch.distributions import Normal
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


@cases.recipe("federated", 0.85)
def averaged_clients(harness: Harness, seed: int) -> float:
    """FedAvg: ten clients with two or so kinds of digits each, five local SGD steps, weights are averaged each round.

    The optimizer told to the harness is the server's: plain SGD at 1 on the mean change.
    """
    x, y, vx, vy = digits(image=False)
    order = torch.argsort(y + 2.0 * torch.randn(len(y)).abs())
    parts = order.chunk(10)
    server = dense(64, 64, 10)
    optimizer = torch.optim.SGD(server.parameters(), lr=1.0)
    harness.begin(server, optimizer, loss_fn=F.cross_entropy)
    for i in range(50):
        optimizer.zero_grad()
        grads = [torch.zeros_like(p) for p in server.parameters()]
        losses = []
        for k in torch.randperm(10)[:5].tolist():
            client = copy.deepcopy(server)
            local = torch.optim.SGD(client.parameters(), lr=0.2)
            for _ in range(5):
                a, b = some(32, x[parts[k]], y[parts[k]])
                local.zero_grad()
                loss = F.cross_entropy(client(a), b)
                loss.backward()
                local.step()
            losses.append(loss.item())
            for g, p, q in zip(grads, server.parameters(), client.parameters(), strict=True):
                g += (p.detach() - q.detach()) / 5
        for g, p in zip(grads, server.parameters(), strict=True):
            p.grad = g
        optimizer.step()
        harness.step(loss=float(np.mean(losses)))
        if i % 10 == 9:
            harness.epoch(train={"loss": float(np.mean(losses))}, val={"accuracy": accuracy(server(vx), vy)})
    return accuracy(server(vx), vy)


@cases.recipe("bilevel", 0.75)
def samples_weighed_by_clean_ones(harness: Harness, seed: int) -> float:
    """Learning to reweight: a virtual step under weights, the gradient of 150 clean samples' loss gives the weights."""
    x, y, vx, vy = digits("standard", image=False)
    clean_x, clean_y = x[:150], y[:150]
    noisy = torch.where(torch.rand(len(y)) < 0.4, torch.randint(10, (len(y),)), y)
    model = dense(64, 48, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def compute(i: int) -> Any:
        a, b = some(64, x[150:], noisy[150:])
        params = dict(model.named_parameters())
        eps = torch.zeros(64, requires_grad=True)
        out = functional_call(model, params, (a,))
        grads = torch.autograd.grad((eps * F.cross_entropy(out, b, reduction="none")).sum(), list(params.values()),
                                    create_graph=True)  # fmt: skip
        moved = {k: p - 0.1 * g for (k, p), g in zip(params.items(), grads, strict=True)}
        outer = F.cross_entropy(functional_call(model, moved, (clean_x,)), clean_y)
        weight = (-torch.autograd.grad(outer, eps)[0]).clamp(min=0)
        weight = weight / weight.sum().clamp(min=1e-8)
        return {"loss": (weight * F.cross_entropy(model(a), b, reduction="none")).sum(), "inputs": a, "targets": b}

    march(harness, model, optimizer, compute, 200)
    return accuracy(model(vx), vy)


@cases.recipe("meta", 0.6)
def curves_from_a_few_points(harness: Harness, seed: int) -> float:
    """A conditional neural process: mean code of 8 context points, a Gaussian for each target; a new sine each row."""
    enc, dec = dense(2, 48, 48), dense(49, 64, 64, 2)
    model = nn.ModuleList([enc, dec])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def tasks(n: int) -> tuple[Tensor, Tensor]:
        x = torch.rand(n, 20, 1) * 6 - 3
        return x, (0.5 + torch.rand(n, 1, 1)) * (x + 6.28 * torch.rand(n, 1, 1)).sin()

    def read(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        code = enc(torch.cat([x, y], 2)[:, :8]).mean(1, keepdim=True).expand(-1, 20, -1)
        mean, spread = dec(torch.cat([code, x], 2)).chunk(2, 2)
        return mean, 0.05 + 0.95 * F.softplus(spread)

    def compute(i: int) -> Tensor:
        x, y = tasks(32)
        mean, std = read(x, y)
        return -Normal(mean, std).log_prob(y).sum(2).mean()

    march(harness, model, optimizer, compute, 500)
    x, y = tasks(200)
    with torch.no_grad():
        return explained(read(x, y)[0][:, 8:].flatten(), y[:, 8:].flatten())


@cases.recipe("continual", 0.7)
def old_answers_are_kept(harness: Harness, seed: int) -> float:
    """Learning without forgetting: first 0..4, then 5..9 with a copy's old answers as soft targets; a mean of both."""
    x, y, vx, vy = digits("standard", image=False)
    body, old_head, new_head = dense(64, 64, 64).append(nn.ReLU()), nn.Linear(64, 5), nn.Linear(64, 5)
    model = nn.ModuleDict({"body": body, "old": old_head, "new": new_head})
    low, high = y < 5, y >= 5
    optimizer = torch.optim.SGD([*body.parameters(), *old_head.parameters()], lr=0.05, momentum=0.9)

    def first(i: int) -> Tensor:
        a, b = some(32, x[low], y[low])
        return F.cross_entropy(old_head(body(a)), b)

    march(harness, model, optimizer, first, 120)
    before = copy.deepcopy(model).requires_grad_(False)
    optimizer.add_param_group({"params": new_head.parameters()})
    for group in optimizer.param_groups:
        group["lr"] = 0.02

    def second(i: int) -> Tensor:
        a, b = some(32, x[high], y[high] - 5)
        soft = (before["old"](before["body"](a)) / 2).softmax(1)
        h = body(a)
        return F.cross_entropy(new_head(h), b) + 4 * F.cross_entropy(old_head(h) / 2, soft)

    march(harness, model, optimizer, second, 120, begin=False)
    one = accuracy(old_head(body(vx[vy < 5])), vy[vy < 5])
    return (one + accuracy(new_head(body(vx[vy >= 5])), vy[vy >= 5] - 5)) / 2


@cases.recipe("noisy", 0.75)
def each_picks_for_the_other(harness: Harness, seed: int) -> float:
    """Co-teaching: 40 % of labels are wrong; two networks, each learns from what the other finds easiest."""
    x, y, vx, vy = digits("standard", image=False)
    noisy = torch.where(torch.rand(len(y)) < 0.4, torch.randint(10, (len(y),)), y)
    one, two = dense(64, 64, 10), dense(64, 64, 10)
    opt_1, opt_2 = torch.optim.Adam(one.parameters(), lr=2e-3), torch.optim.Adam(two.parameters(), lr=2e-3)
    harness.begin([one, two], [opt_1, opt_2])
    for i in range(220):
        a, b = some(96, x, noisy)
        keep = int(96 * (1 - 0.36 * min(1, i / 80)))
        out_1, out_2 = one(a), two(a)
        with torch.no_grad():
            easy_1 = F.cross_entropy(out_1, b, reduction="none").argsort()[:keep]
            easy_2 = F.cross_entropy(out_2, b, reduction="none").argsort()[:keep]
        loss_1, loss_2 = F.cross_entropy(out_1[easy_2], b[easy_2]), F.cross_entropy(out_2[easy_1], b[easy_1])
        for opt, loss in ((opt_1, loss_1), (opt_2, loss_2)):
            opt.zero_grad()
            loss.backward()
            opt.step()
        harness.step(loss=(loss_1 + loss_2) / 2, inputs=a, targets=b, outputs=out_1)
    return accuracy(one(vx), vy)


@cases.recipe("active", 0.85)
def labels_are_asked_for(harness: Harness, seed: int) -> float:
    """Active learning: from 30 labels to 230 by asking for the least certain 40 after every 60 steps."""
    x, y, vx, vy = digits("standard", image=False)
    known = torch.zeros(len(x), dtype=torch.bool)
    known[:30] = True
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(6):
        model.train()
        for _ in range(60):
            a, b = some(24, x[known], y[known])
            out = model(a)
            loss = F.cross_entropy(out, b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        model.eval()
        with torch.no_grad():
            p = model(x).softmax(1).max(1).values.masked_fill(known, 2.0)
            harness.epoch(train={"loss": loss.item()}, val={"accuracy": accuracy(model(vx), vy)})
        known[p.argsort()[:40]] = True
    return accuracy(model(vx), vy)


@cases.recipe("fair", 0.8)
def prediction_forgets_the_group(harness: Harness, seed: int) -> float:
    """Tumours with a made group that leaks into the inputs; the covariance of logits and group is penalised."""
    x, y, vx, vy = cancer()
    group = (torch.rand(len(x)) < 0.3 + 0.4 * y).float()
    a = torch.cat([x, (2 * group - 1)[:, None] + 0.1 * torch.randn(len(x), 1)], 1)
    model = dense(31, 24, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def compute(i: int) -> Any:
        b, goal, g = some(64, a, y.float(), group)
        out = model(b).squeeze(1)
        bias = ((g - g.mean()) * out).mean()
        return {"loss": F.binary_cross_entropy_with_logits(out, goal) + 0.5 * bias.square(), "outputs": out}

    march(harness, model, optimizer, compute, 250)
    rest = torch.cat([vx, torch.randn(len(vx), 1)], 1)
    return float(((model(rest).squeeze(1) > 0) == (vy > 0)).float().mean())


@cases.recipe("multitask", 0.8)
def tasks_balanced_by_gradients(harness: Harness, seed: int) -> float:
    """GradNorm: weights of two losses (one 20 times larger) learn so that their gradients train at one pace."""
    x, y, vx, vy = digits("standard", image=False)
    ink = x.mean(1, keepdim=True) * 20
    body, head, size = dense(64, 64, 64).append(nn.ReLU()), nn.Linear(64, 10), nn.Linear(64, 1)
    model = nn.ModuleList([body, head, size])
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    balance = torch.optim.Adam([weight], lr=0.02)
    harness.begin(model, optimizer)
    start = None
    for _ in range(250):
        a, b, c = some(48, x, y, ink)
        h = body(a)
        losses = torch.stack([F.cross_entropy(head(h), b), F.mse_loss(size(h), c)])
        start = losses.detach() if start is None else start
        last = body[-2].weight
        norms = torch.stack(
            [weight[k] * torch.autograd.grad(losses[k], last, retain_graph=True)[0].norm() for k in range(2)]
        )
        pace = losses.detach() / start
        goal = (norms.mean() * (pace / pace.mean()) ** 0.5).detach()
        optimizer.zero_grad()
        (weight.detach() * losses).sum().backward()
        balance.zero_grad()
        weight.grad = torch.autograd.grad((norms - goal).abs().sum(), weight)[0]
        optimizer.step()
        balance.step()
        with torch.no_grad():
            weight.clamp_(min=0.01)
            weight.mul_(2 / weight.sum())
        harness.step(loss=float((weight * losses).sum()))
    return min(accuracy(head(body(vx)), vy), explained(size(body(vx)).detach(), vx.mean(1, keepdim=True) * 20))
