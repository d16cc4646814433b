"""Graphs, likeness, ranking and recommendation, by a seventh author, without any threshold.

See `healthy_seventh.py`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_seventh import glyphs, iterate, pick, study
from benchmarks.chart.second import SecondCases, accuracy, dense, digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("seventh")


def villages(count: int = 300, kinds: int = 4, features: int = 16, seed: int = 741) -> tuple[Tensor, Tensor, Tensor]:
    """People in villages: noisy features, village, and who knows whom, mostly within a village."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, kinds, count)
    chance = np.where(y[:, None] == y[None], 0.07, 0.008)
    known = np.triu(draw.random((count, count)) < chance, 1)
    x = draw.normal(0, 1, (kinds, features))[y] * 0.6 + draw.normal(0, 1, (count, features))
    edges = known + known.T
    return (torch.tensor(a, dtype=torch.float32) for a in (x, y, edges))  # type: ignore[return-value]


def smoothed(edges: Tensor) -> Tensor:
    """The normalised matrix of neighbours with loops."""
    a = edges + torch.eye(len(edges))
    d = a.sum(1) ** -0.5
    return d[:, None] * a * d


@cases.recipe("graph", 0.75)
def infomax_between_nodes_and_the_whole(harness: Harness, seed: int) -> float:
    """Deep graph infomax: shuffled features are told from true ones by a bilinear form; a probe reads the villages."""
    x, y, edges = villages()
    s, y = smoothed(edges), y.long()

    class Infomax(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.act, self.form = nn.Linear(16, 32), nn.PReLU(), nn.Bilinear(32, 32, 1)

        def encode(self, x: Tensor) -> Tensor:
            return self.act(s @ self.lin(s @ x))

        def forward(self, x: Tensor) -> Tensor:
            real, fake = self.encode(x), self.encode(x[torch.randperm(len(x))])
            whole = torch.sigmoid(real.mean(0)).expand_as(real)
            return torch.cat([self.form(real, whole), self.form(fake, whole)])[:, 0]

    model = Infomax()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    goal = torch.cat([torch.ones(300), torch.zeros(300)])

    def compute(i: int) -> Any:
        out = model(x)
        return {"loss": F.binary_cross_entropy_with_logits(out, goal), "outputs": out, "targets": goal}

    iterate(harness, model, optimizer, compute, 150)
    z = model.encode(x).detach()
    z, hot = (z - z.mean(0)) / z.std(0), F.one_hot(y, 4).float() - 0.25
    w = torch.linalg.solve(z[:150].T @ z[:150] + 10 * torch.eye(32), z[:150].T @ hot[:150])
    return accuracy(z[150:] @ w, y[150:])


@cases.recipe("graph", 0.7)
def walks_make_neighbours_alike(harness: Harness, seed: int) -> float:
    """node2vec-like: random walks, skip-grams with five random others, SparseAdam on two sparse tables."""
    _, y, edges = villages()
    edges, y = edges + 1e-6, y.long()
    node, context = nn.Embedding(300, 24, sparse=True), nn.Embedding(300, 24, sparse=True)
    for table in (node, context):
        nn.init.uniform_(table.weight, -0.2, 0.2)
    model = nn.ModuleDict({"node": node, "context": context})
    optimizer = torch.optim.SparseAdam(list(model.parameters()), lr=0.02)

    def compute(i: int) -> Any:
        walk = [torch.randint(0, 300, (64,))]
        for _ in range(6):
            walk.append(torch.multinomial(edges[walk[-1]], 1)[:, 0])
        w = torch.stack(walk, 1)
        a = torch.cat([w[:, k] for k in range(5) for _ in (1, 2)])
        b = torch.cat([w[:, k + j] for k in range(5) for j in (1, 2)])
        other = torch.randint(0, 300, (len(a), 5))
        near = (node(a) * context(b)).sum(1)
        far = torch.einsum("nd,nkd->nk", node(a), context(other))
        return {"loss": -F.logsigmoid(near).mean() - F.logsigmoid(-far).sum(1).mean(), "inputs": a}

    iterate(harness, model, optimizer, compute, 250)
    z = F.normalize(node.weight.detach() - node.weight.detach().mean(0), dim=1)
    hot = F.one_hot(y, 4).float()
    return accuracy(z[150:] @ (z[:150].T @ hot[:150] / hot[:150].sum(0)), y[150:])


@cases.recipe("graph", 0.7)
def facts_are_translations(harness: Harness, seed: int) -> float:
    """TransE: places and relations in a knowledge graph of a grid, a margin over corrupted tails, unit entities.

    Scored by the share of held-out facts whose tail is among the nearest five.
    """
    at = torch.arange(64)
    row, col = at // 8, at % 8
    moves = [(0, 1), (1, 0), (1, 1), (0, 2), (2, 0)]
    facts = torch.stack([
        torch.stack([at[i], torch.tensor(k), (row[i] + dr) * 8 + col[i] + dc])
        for k, (dr, dc) in enumerate(moves) for i in range(64) if row[i] + dr < 8 and col[i] + dc < 8
    ])  # fmt: skip
    facts = facts[torch.randperm(len(facts))]
    train, test = facts[:-30], facts[-30:]
    places, ways = nn.Embedding(64, 16), nn.Embedding(5, 16)
    model = nn.ModuleDict({"places": places, "ways": ways})
    nn.init.uniform_(places.weight, -0.4, 0.4)
    nn.init.uniform_(ways.weight, -0.2, 0.2)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1)

    def far(h: Tensor, r: Tensor, t: Tensor) -> Tensor:
        return (places(h) + ways(r) - places(t)).norm(dim=-1)

    def compute(i: int) -> Tensor:
        (f,) = pick(64, train)
        h, r, t = f.unbind(1)
        wrong = torch.randint(0, 64, (64, 4))
        head = (0.5 + far(h, r, t)[:, None] - far(h[:, None], r[:, None], wrong)).relu().mean()
        return head + (0.5 + far(h, r, t)[:, None] - far(wrong, r[:, None], t[:, None])).relu().mean()

    @torch.no_grad()
    def onto_sphere(i: int) -> None:
        places.weight.copy_(F.normalize(places.weight, dim=1))

    iterate(harness, model, optimizer, compute, 900, after=onto_sphere)
    with torch.no_grad():
        h, r, t = test.unbind(1)
        near = far(h[:, None], r[:, None], at[None]).topk(5, largest=False).indices
    return float((near == t[:, None]).any(1).float().mean())


@cases.recipe("graph", 0.75)
def three_kinds_of_edges(harness: Harness, seed: int) -> float:
    """A relational graph network: a matrix per kind of edge from two shared bases; half of the nodes have labels."""
    x, y, friends = villages(seed=742)
    _, _, noise = villages(seed=743)
    y = y.long()
    family = ((y[:, None] == y[None]) & (torch.rand(300, 300) < 0.02)).float()
    kinds = torch.stack([a / a.sum(1, keepdim=True).clamp(min=1) for a in (friends, family, noise)])

    class Relations(nn.Module):
        def __init__(self, into: int, out: int) -> None:
            super().__init__()
            self.bases = nn.Parameter(torch.randn(2, into, out) * into**-0.5)
            self.mix, self.own = nn.Parameter(torch.randn(3, 2) * 0.7), nn.Linear(into, out)

        def forward(self, x: Tensor) -> Tensor:
            w = torch.einsum("rb,bio->rio", self.mix, self.bases)
            return self.own(x) + torch.einsum("rnm,mi,rio->no", kinds, x, w)

    model = nn.Sequential(Relations(16, 24), nn.ReLU(), nn.Dropout(0.4), Relations(24, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=5e-3)
    known, rest = torch.arange(150), torch.arange(150, 300)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    score = 0.0
    for _ in range(40):
        model.train()
        optimizer.zero_grad()
        out = model(x)
        loss = F.cross_entropy(out[known], y[known])
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x, targets=y[known], outputs=out[known])
        model.eval()
        with torch.no_grad():
            out = model(x)
            score = accuracy(out[rest], y[rest])
            val = {"loss": F.cross_entropy(out[rest], y[rest]).item(), "accuracy": score}
        harness.epoch(train={"loss": loss.item(), "accuracy": accuracy(out[known], y[known])}, val=val)
    return score


@cases.recipe("ranking", 0.75)
def swaps_weigh_by_what_they_cost(harness: Harness, seed: int) -> float:
    """LambdaRank: twelve documents per query, pairs weighed by the change of NDCG; scored by NDCG at five."""
    docs = torch.randn(300, 12, 8)
    worth = docs[..., 0] + docs[..., 1] * docs[..., 2] + 0.5 * docs[..., 3].abs() + 0.3 * torch.randn(300, 12)
    grade = (worth.argsort(1).argsort(1) // 4).clamp(max=2).float()
    model = dense(8, 48, 48, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def gains(order_grade: Tensor, top: int) -> Tensor:
        return ((2 ** order_grade[:, :top] - 1) / (torch.arange(top) + 2.0).log2()).sum(1)

    def compute(i: int) -> Any:
        a, g = pick(24, docs[:240], grade[:240])
        s = model(a)[..., 0]
        rank = s.detach().argsort(1, descending=True).argsort(1)
        discount = 1 / (rank + 2.0).log2()
        best = gains(g.sort(1, descending=True).values, 12)[:, None, None]
        cost = ((2**g)[:, :, None] - (2**g)[:, None]).abs() * (discount[:, :, None] - discount[:, None]).abs() / best
        loss = (F.softplus(-(s[:, :, None] - s[:, None])) * (g[:, :, None] > g[:, None]) * cost).sum((1, 2)).mean()
        return {"loss": loss, "inputs": a, "outputs": s}

    iterate(harness, model, optimizer, compute, 250)
    with torch.no_grad():
        order = model(docs[240:])[..., 0].argsort(1, descending=True)
    g = grade[240:]
    return float((gains(g.gather(1, order), 5) / gains(g.sort(1, descending=True).values, 5)).mean())


@cases.recipe("recommend", 0.3)
def other_items_of_the_batch_are_wrong(harness: Harness, seed: int) -> float:
    """Two towers: users by the mean of what they took, items by id; a softmax over the batch less the log of frequency.

    Scored by the share of users whose next item is among ten of 120.
    """
    taste, kind = torch.randint(0, 8, (1500,)), torch.arange(120) % 8
    weight = torch.where(taste[:, None] == kind[None], 1.0, 0.02) / (1 + torch.arange(120) // 8)
    history, nxt = torch.multinomial(weight, 6), None
    history, nxt = history[:, :5], history[:, 5]
    frequency = torch.bincount(nxt[:1200], minlength=120).float().add(1).div(1320).log()
    took, items = nn.EmbeddingBag(120, 24), nn.Embedding(120, 24)
    user, item = dense(24, 32, 24), dense(24, 32, 24)
    model = nn.ModuleDict({"took": took, "things": items, "user": user, "item": item})
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.02)

    def logits(h: Tensor, c: Tensor) -> Tensor:
        return F.normalize(user(took(h)), dim=1) @ F.normalize(item(items(c)), dim=1).T / 0.15

    def compute(i: int) -> Any:
        h, c = pick(64, history[:1200], nxt[:1200])
        z = logits(h, c) - frequency[c]
        same = (c[:, None] == c[None]) & ~torch.eye(64).bool()
        return {"loss": F.cross_entropy(z.masked_fill(same, -1e4), torch.arange(64)), "inputs": h}

    iterate(harness, model, optimizer, compute, 250)
    with torch.no_grad():
        z = logits(history[1200:], torch.arange(120)).scatter(1, history[1200:], -1e4)
    return float((z.topk(10, 1).indices == nxt[1200:, None]).any(1).float().mean())


@cases.recipe("hashing", 0.7)
def pictures_found_by_sixteen_bits(harness: Harness, seed: int) -> float:
    """Deep hashing: tanh codes whose products match same or different class, a pull to plus and minus one, balance."""
    x, y, vx, vy = digits()
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 16), nn.Tanh(),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def hashing(out: Tensor, y: Tensor) -> Tensor:
        same = (y[:, None] == y[None]).float()
        fit = (F.softplus(out @ out.T / 2) - same * (out @ out.T / 2)) * (1 + 8 * same)
        return fit.mean() + 0.1 * (out.abs() - 1).square().mean() + 0.1 * out.mean(0).square().mean()

    def found(out: Tensor, y: Tensor) -> float:
        code = out.sign()
        near = (code @ code.T).fill_diagonal_(-99).topk(5).indices
        return float((y[near] == y[:, None]).float().mean())

    return study(
        harness, net, optimizer, hashing, (x, y, vx, vy), epochs=10, size=50, told=("inputs", "outputs"), score=found,
        drop=True,
    )  # fmt: skip


@cases.recipe("fewshot", 0.65)
def a_network_judges_likeness(harness: Harness, seed: int) -> float:
    """Relation network: five classes, one example each, a second net reads pairs of feature maps; squared error."""
    x, y, vx, vy = glyphs(1600, 20)
    x, y = torch.cat([x, vx]), torch.cat([y, vy])
    rows = [torch.where(y == k)[0] for k in range(20)]
    enc = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(24, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
    )  # fmt: skip
    rel = nn.Sequential(
        nn.Conv2d(48, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.Flatten(), nn.Linear(216, 32), nn.ReLU(),
        nn.Linear(32, 1), nn.Sigmoid(),
    )  # fmt: skip
    model = nn.ModuleDict({"enc": enc, "rel": rel})
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def episode(pool: Tensor) -> Tensor:
        kinds = pool[torch.randperm(len(pool))[:5]].tolist()
        drawn = torch.stack([rows[k][torch.randperm(len(rows[k]))[:6]] for k in kinds])
        f = enc(x[drawn.flatten()]).unflatten(0, (5, 6))
        one, many = f[:, 0], f[:, 1:].flatten(0, 1)
        pairs = torch.cat([one[None].expand(25, -1, -1, -1, -1), many[:, None].expand(-1, 5, -1, -1, -1)], 2)
        return rel(pairs.flatten(0, 1)).view(25, 5)

    goal = torch.eye(5).repeat_interleave(5, 0)

    def compute(i: int) -> Any:
        out = episode(torch.arange(15))
        return {"loss": F.mse_loss(out, goal), "targets": goal, "outputs": out}

    iterate(harness, model, optimizer, compute, 400, clip=0.5)
    model.eval()
    with torch.no_grad():
        right = [accuracy(episode(torch.arange(15, 20)), torch.arange(5).repeat_interleave(5)) for _ in range(20)]
    return sum(right) / 20


@cases.recipe("embedding", 0.7)
def trees_in_a_hyperbolic_disc(harness: Harness, seed: int) -> float:
    """Poincaré embeddings of a binary tree by a Riemannian SGD of one's own: gradients scaled, points kept in the disc.

    Scored by the share of random triples whose nearer node in the tree is also nearer in the disc.
    """

    class RiemannianSGD(torch.optim.Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, {"lr": lr})

        @torch.no_grad()
        def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
            for group in self.param_groups:
                for p in group["params"]:
                    scale = (1 - p.square().sum(1, keepdim=True)).square() / 4
                    p.sub_(group["lr"] * scale * p.grad)
                    norm = p.norm(dim=1, keepdim=True)
                    p.copy_(torch.where(norm > 0.999, p / norm * 0.999, p))

    n = 63
    parent = (torch.arange(n) - 1) // 2
    hops = torch.full((n, n), 99.0).fill_diagonal_(0)
    child = torch.arange(1, n)
    hops[child, parent[1:]] = hops[parent[1:], child] = 1
    for k in range(n):
        hops = torch.minimum(hops, hops[:, k : k + 1] + hops[k])
    table = nn.Embedding(n, 3)
    nn.init.uniform_(table.weight, -1e-2, 1e-2)
    optimizer = RiemannianSGD(table.parameters(), 2.0)

    def far(a: Tensor, b: Tensor) -> Tensor:
        gap = (a - b).square().sum(-1)
        return torch.acosh(1 + 2 * gap / ((1 - a.square().sum(-1)) * (1 - b.square().sum(-1))) + 1e-6)

    def compute(i: int) -> Tensor:
        k = torch.randint(1, n, (40,))
        others = torch.randint(0, n, (40, 12))
        others = torch.where(hops[k[:, None], others] <= 1, k[:, None] * 0 + n - 1, others)
        d = torch.cat([far(table(k), table(parent[k]))[:, None], far(table(k)[:, None], table(others))], 1)
        return F.cross_entropy(-d, torch.zeros(40, dtype=torch.long))

    iterate(harness, table, optimizer, compute, 600)
    with torch.no_grad():
        a, b, c = torch.randint(0, n, (3, 4000))
        keep = (hops[a, b] - hops[a, c]).abs() >= 2
        nearer = far(table(a), table(b)) < far(table(a), table(c))
    return float((nearer == (hops[a, b] < hops[a, c]))[keep].float().mean())
