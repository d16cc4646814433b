"""Embeddings and few shots, by a third author, on which NO threshold is ever set. See `healthy_third.py`."""

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_third import iterate, rows
from benchmarks.chart.second import SecondCases, accuracy, dense, digits
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("third")


def two_views(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each image twice, moved by up to a pixel and with noise."""
    views = []
    for _ in range(2):
        i, j = (int(torch.randint(-1, 2, ())) for _ in range(2))
        views.append(x.roll((i, j), (2, 3)) + 0.1 * torch.randn_like(x))
    return views[0], views[1]


def found_again(embed: nn.Module) -> float:
    """How often a shaken held-out image is nearest to its own other view among 350; 0.11 before any training."""
    _, _, vx, _ = digits("unit")
    draw, views = torch.Generator().manual_seed(7), []
    embed.eval()
    for _ in range(2):
        moves = torch.randint(-1, 2, (len(vx), 2), generator=draw).tolist()
        moved = torch.stack([a.roll((i, j), (1, 2)) for a, (i, j) in zip(vx, moves, strict=True)])
        with torch.no_grad():
            views.append(F.normalize(embed(moved + 0.1 * torch.randn(vx.shape, generator=draw)), dim=1))
    return float(((views[0] @ views[1].T).argmax(1) == torch.arange(len(vx))).float().mean())


def told_apart(embed: nn.Module) -> float:
    """Area under the curve of pairs: are two held-out images of one class more alike than two of different ones?"""
    _, _, vx, vy = digits("unit")
    vx, vy = vx[:200], vy[:200]
    embed.eval()
    with torch.no_grad():
        z = F.normalize(embed(vx), dim=1)
    first, second = torch.triu_indices(200, 200, 1)
    alike, same = (z @ z.T)[first, second], vy[first] == vy[second]
    return float((alike[same][:, None] > alike[~same][::10]).float().mean())


def encoder(out: int = 32) -> nn.Sequential:
    """Images to vectors."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, out))


@cases.recipe("contrastive", 0.92)
def same_class_attracts(harness: Harness, seed: int) -> float:
    """Supervised contrastive loss on the sphere, temperature 0.1; all of one class in the batch are positives."""
    x, y, *_ = digits("unit")
    model = encoder()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def compute(i: int) -> dict[str, Tensor]:
        at = rows(x, 64)
        z = F.normalize(model(x[at]), dim=1)
        same = (y[at][:, None] == y[at]).float().fill_diagonal_(0)
        logits = (z @ z.T / 0.1).masked_fill(torch.eye(64, dtype=torch.bool), -1e9)
        loss = -((logits.log_softmax(1) * same).sum(1) / same.sum(1).clamp(min=1)).mean()
        return {"loss": loss, "inputs": x[at], "targets": y[at], "outputs": z}

    iterate(harness, model, optimizer, compute, 150)
    return told_apart(model)


@cases.recipe("metric", 0.92)
def angles_with_a_margin(harness: Harness, seed: int) -> float:
    """ArcFace: an angle margin of 0.3 and a scale of 20 in training; class vectors have a rate ten times as high."""
    x, y, *_ = digits("unit")
    model, kinds = encoder(), nn.Parameter(torch.randn(10, 32))
    optimizer = torch.optim.Adam([{"params": model.parameters(), "lr": 2e-3}, {"params": [kinds], "lr": 2e-2}])
    both = nn.ParameterDict({"kinds": kinds})
    holder = nn.ModuleList([model, both])

    def compute(i: int) -> dict[str, Tensor]:
        at = rows(x, 48)
        cosine = (F.normalize(model(x[at]), dim=1) @ F.normalize(kinds, dim=1).T).clamp(-0.999, 0.999)
        angle = cosine.acos() + 0.3 * F.one_hot(y[at], 10)
        logits = 20 * angle.clamp(max=3.1).cos()
        return {"loss": F.cross_entropy(logits, y[at]), "inputs": x[at], "targets": y[at], "outputs": logits}

    iterate(harness, holder, optimizer, compute, 150)
    return told_apart(model)


@cases.recipe("fewshot", 0.75)
def prototypes_of_episodes(harness: Harness, seed: int) -> float:
    """Prototypical networks: episodes of 4 of the first 7 digits, noisy; scored on new images of all 7."""
    x, y, vx, vy = digits("unit")
    of, new = [x[y == c] for c in range(7)], [vx[vy == c] for c in range(7)]
    model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 32))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def episode(of: list[Tensor], kinds: list[int], asked: int) -> tuple[Tensor, Tensor]:
        parts = [of[c][torch.randperm(len(of[c]))[: 5 + asked]] for c in kinds]
        parts = [p + 0.4 * torch.randn_like(p) for p in parts]
        middles = torch.stack([model(p[:5]).mean(0) for p in parts])
        z = model(torch.cat([p[5:] for p in parts]))
        return -(torch.cdist(z, middles) ** 2), torch.arange(len(kinds)).repeat_interleave(asked)

    def compute(i: int) -> Tensor:
        return F.cross_entropy(*episode(of, torch.randperm(7)[:4].tolist(), 5))

    iterate(harness, model, optimizer, compute, 100)
    with torch.no_grad():
        return accuracy(*episode(new, list(range(7)), 20))


@cases.recipe("meta", 0.4)
def learns_through_a_step(harness: Harness, seed: int) -> float:
    """MAML: one inner gradient step with create_graph, then the outer loss; sines of all heights and phases."""
    net = dense(1, 40, 40, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)

    def task(draw: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        high, phase = 0.5 + 2 * torch.rand((), generator=draw), 3.1 * torch.rand((), generator=draw)
        x = torch.rand(20, 1, generator=draw) * 6 - 3
        return x, high * torch.sin(x + phase)

    def adapted(x: Tensor, y: Tensor, steps: int) -> dict[str, Tensor]:
        weights = dict(net.named_parameters())
        for _ in range(steps):
            loss = F.mse_loss(functional_call(net, weights, (x,)), y)
            slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            weights = {k: w - 0.05 * g for (k, w), g in zip(weights.items(), slopes, strict=True)}
        return weights

    def outer(draw: torch.Generator | None = None, steps: int = 1) -> tuple[Tensor, Tensor]:
        x, y = task(draw)
        out = functional_call(net, adapted(x[:10], y[:10], steps), (x[10:],))
        return F.mse_loss(out, y[10:]), y[10:].square().mean()

    iterate(harness, net, optimizer, lambda i: torch.stack([outer()[0] for _ in range(4)]).mean(), 250)
    draw = torch.Generator().manual_seed(1)
    told = [outer(draw, 3) for _ in range(40)]
    return 1 - sum(float(a) for a, _ in told) / sum(float(b) for _, b in told)
