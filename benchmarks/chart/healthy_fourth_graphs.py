"""Graphs, molecules, points and spikes, by a fourth author, without any threshold. See `healthy_fourth.py`."""

from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, school, some
from benchmarks.chart.second import SecondCases, accuracy, cut, dense, digits, explained
from sklearn.datasets import make_s_curve
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import kneighbors_graph
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


def neighbours_of_digits(count: int = 500) -> tuple[Tensor, Tensor, Tensor]:
    """A graph of digits with their 5 nearest in pixels: features (N, 64), dense adjacency with loops, classes."""
    x, y, _, _ = digits(image=False)
    x, y = x[:count], y[:count]
    a = torch.tensor(kneighbors_graph(x.numpy(), 5).toarray(), dtype=torch.float32)
    return x, ((a + a.T + torch.eye(count)) > 0).float(), y


@cases.recipe("graph", 0.8)
def attention_to_neighbours(harness: Harness, seed: int) -> float:
    """A graph attention network on dense adjacency, two heads, dropout of 0.4 on inputs, 60 labelled nodes, decay."""
    x, a, y = neighbours_of_digits(420)

    class Attend(nn.Module):
        def __init__(self, into: int, out: int) -> None:
            super().__init__()
            self.w, self.left, self.right = nn.Linear(into, out * 2, bias=False), nn.Linear(out, 1), nn.Linear(out, 1)

        def forward(self, h: Tensor) -> Tensor:
            h = F.dropout(h, 0.4, self.training)
            z = self.w(h).view(len(h), 2, -1).transpose(0, 1)
            e = F.leaky_relu(self.left(z) + self.right(z).mT, 0.2).masked_fill(a == 0, float("-inf"))
            return (e.softmax(2) @ z).transpose(0, 1).flatten(1)

    model = nn.Sequential(Attend(64, 16), nn.ELU(), Attend(32, 5))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    harness.begin(model, optimizer)
    for i in range(80):
        model.train()
        optimizer.zero_grad()
        out = model(x)
        loss = F.cross_entropy(out[:60], y[:60])
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x, outputs=out)
        if i % 20 == 19:
            model.eval()
            with torch.no_grad():
                out = model(x)
            harness.epoch(train={"loss": loss.item()}, val={"accuracy": accuracy(out[60:200], y[60:200])})
    return accuracy(out[200:], y[200:])


@cases.recipe("graph", 0.75)
def edges_are_foretold(harness: Harness, seed: int) -> float:
    """A variational graph autoencoder: inner products of codes, positive edges weighed up; some are held out."""
    x, a, _ = neighbours_of_digits(300)
    i, j = a.triu(1).nonzero().T
    held = torch.rand(len(i)) < 0.15
    seen = a.clone()
    seen[i[held], j[held]] = seen[j[held], i[held]] = 0
    scale = seen.sum(1).rsqrt()
    norm = scale[:, None] * seen * scale
    first, second = nn.Linear(64, 32), nn.Linear(32, 24)
    model = nn.ModuleList([first, second])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    rare = (300**2 - seen.sum()) / seen.sum()

    def codes() -> tuple[Tensor, Tensor]:
        mean, log_std = (norm @ second((norm @ first(x)).relu())).chunk(2, 1)
        return mean, log_std

    def compute(_: int) -> Tensor:
        mean, log_std = codes()
        z = mean + log_std.exp() * torch.randn_like(mean)
        bits = F.binary_cross_entropy_with_logits(z @ z.T, seen, pos_weight=rare)
        return bits - 0.5 / 300 * (1 + 2 * log_std - mean.square() - (2 * log_std).exp()).sum(1).mean()

    march(harness, model, optimizer, compute, 150)
    with torch.no_grad():
        z = codes()[0]
        none = torch.randint(300, (2, int(held.sum())))
        scores = torch.cat([(z[i[held]] * z[j[held]]).sum(1), (z[none[0]] * z[none[1]]).sum(1)])
    return float(roc_auc_score([1] * int(held.sum()) + [0] * int(held.sum()), scores))


@cases.recipe("molecule", 0.8)
def energies_and_their_forces(harness: Harness, seed: int) -> float:
    """SchNet-like: energy from distances of five atoms; forces by derivative, both in the loss (1 : 10), no noise."""

    def truth(r: Tensor) -> Tensor:
        d = torch.cdist(r, r) + 3 * torch.eye(5)
        return ((1.2 / d) ** 6 - 2 * (1.2 / d) ** 3).mul(1 - torch.eye(5)).sum((1, 2)) / 2

    base = torch.tensor([[0.0, 0, 0], [1.3, 0, 0], [0, 1.3, 0], [0, 0, 1.3], [1.2, 1.2, 0]])
    r = (base + 0.07 * torch.randn(500, 5, 3)).requires_grad_(True)
    energy = truth(r)
    (force,) = torch.autograd.grad(-energy.sum(), r)
    mean, std = energy.detach().mean(), energy.detach().std()
    r, energy, force = r.detach(), (energy.detach() - mean) / std, force / std
    centres = torch.linspace(0.9, 2.4, 16)
    filters, last = dense(16, 32, 32, act=nn.Softplus), dense(32, 32, 1, act=nn.Softplus)
    model = nn.ModuleList([filters, last])
    off = 1 - torch.eye(5)

    def read(p: Tensor) -> tuple[Tensor, Tensor]:
        p = p.clone().requires_grad_(True)
        d = ((p[:, :, None] - p[:, None]).square().sum(3) + torch.eye(5)).sqrt()
        h = filters((-40 * (d[..., None] - centres) ** 2).exp()) * off[..., None]
        e = last(h.sum(2)).sum((1, 2))
        return e, -torch.autograd.grad(e.sum(), p, create_graph=True)[0]

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def compute(i: int) -> Tensor:
        p, e, f = some(24, r[:400], energy[:400], force[:400])
        guess_e, guess_f = read(p)
        return F.mse_loss(guess_e, e) + 10 * F.mse_loss(guess_f, f)

    march(harness, model, optimizer, compute, 300, clip=20.0)
    return explained(read(r[400:])[1].detach().flatten(), force[400:].flatten())


@cases.recipe("points", 0.8)
def edges_between_near_points(harness: Harness, seed: int) -> float:
    """DGCNN: features of edges to the six nearest points, maximum over them, four solids, batches of 16, SGD."""
    kind = torch.arange(480) % 4
    angle, height = 6.2832 * torch.rand(480, 24), torch.rand(480, 24) * 2 - 1
    ball = F.normalize(torch.randn(480, 24, 3), dim=2)
    tube = torch.stack([0.7 * angle.cos(), 0.7 * angle.sin(), height], 2)
    cone = torch.stack([(1 - height) / 2 * angle.cos(), (1 - height) / 2 * angle.sin(), height], 2)
    box = (torch.rand(480, 24, 3) * 2 - 1) * 0.8
    points = torch.stack([ball, tube, cone, box])[kind, torch.arange(480)] + 0.03 * torch.randn(480, 24, 3)

    class Edges(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.edge = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 48), nn.ReLU())
            self.head = nn.Sequential(nn.Linear(96, 48), nn.ReLU(), nn.Dropout(0.2), nn.Linear(48, 4))

        def forward(self, p: Tensor) -> Tensor:
            near = torch.cdist(p, p).topk(6, largest=False).indices
            around = p[torch.arange(len(p))[:, None, None], near]
            h = self.edge(torch.cat([p[:, :, None].expand_as(around), around - p[:, :, None]], 3)).amax(2)
            return self.head(torch.cat([h.amax(1), h.mean(1)], 1))

    model = Edges()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12, eta_min=1e-3)
    return school(
        harness, model, optimizer, nn.CrossEntropyLoss(label_smoothing=0.2), cut(points, kind), epochs=12, size=16,
        scheduler=scheduler, percent=True,
    )  # fmt: skip


@cases.recipe("embedding", 0.8)
def distances_are_kept(harness: Harness, seed: int) -> float:
    """Parametric t-SNE: the Kullback-Leibler divergence of neighbourhoods of an S curve's points in a plane."""
    points, along = make_s_curve(300, random_state=4)
    x = torch.tensor((points - points.mean(0)) / points.std(0), dtype=torch.float32)
    p = (-torch.cdist(x, x).square() / 0.2).masked_fill(torch.eye(300) > 0, float("-inf")).softmax(1)
    p = ((p + p.T) / 600).clamp(min=1e-12)
    net = dense(3, 64, 64, 2, act=nn.ELU)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)

    def compute(i: int) -> Tensor:
        out = net(x)
        q = (1 / (1 + torch.cdist(out, out).square())).masked_fill(torch.eye(300) > 0, 0.0)
        return (p * (p / (q / q.sum()).clamp(min=1e-12)).log()).sum()

    march(harness, net, optimizer, compute, 200)
    with torch.no_grad():
        near = torch.cdist(net(x), net(x)).topk(6, largest=False).indices[:, 1:]
    t = torch.tensor(along, dtype=torch.float32)
    return explained(t[near].mean(1), t)


@cases.recipe("spikes", 0.8)
def spikes_with_a_soft_slope(harness: Harness, seed: int) -> float:
    """Leaky neurons that spike over eight times; the step's slope is replaced in the backward pass; logits are sums."""

    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, v: Tensor) -> Tensor:
            ctx.save_for_backward(v)
            return (v > 0).float()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (v,) = ctx.saved_tensors
            return grad / (1 + 5 * v.abs()) ** 2

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(64, 80), nn.Linear(80, 10)

        def forward(self, x: Tensor) -> Tensor:
            v, total = torch.zeros(len(x), 80), 0.0
            for _ in range(8):
                v = 0.8 * v + self.first(torch.bernoulli(x))
                s = Spike.apply(v - 1)
                v = v - s.detach()
                total = total + self.last(s)
            return total / 8

    net = Net()
    optimizer = torch.optim.Adamax(net.parameters(), lr=8e-3)
    return school(harness, net, optimizer, nn.CrossEntropyLoss(), digits(image=False), epochs=6, size=32, tell="pair")


@cases.recipe("forward", 0.75)
def each_layer_by_itself(harness: Harness, seed: int) -> float:
    """Forward-forward: labels are painted on the image, right ones must give much activity, wrong ones little.

    Two layers, each with its own optimizer and loss; nothing flows back between them.
    """
    x, y, vx, vy = digits(image=False)
    layers = nn.ModuleList([nn.Linear(74, 120), nn.Linear(120, 120)])
    optimizers = [torch.optim.Adam(layer.parameters(), lr=4e-3) for layer in layers]

    def paint(a: Tensor, label: Tensor) -> Tensor:
        return torch.cat([a, 2.0 * F.one_hot(label, 10)], 1)

    harness.begin(layers, optimizers)
    for _ in range(350):
        a, b = some(64, x, y)
        up, down = paint(a, b), paint(a, (b + torch.randint(1, 10, (64,))) % 10)
        total = 0.0
        for layer, optimizer in zip(layers, optimizers, strict=True):
            up, down = layer(F.normalize(up, dim=1) * 5).relu(), layer(F.normalize(down, dim=1) * 5).relu()
            good, bad = up.square().mean(1), down.square().mean(1)
            loss = F.softplus(torch.cat([1 - good, bad - 1])).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            up, down, total = up.detach(), down.detach(), total + loss.item()
        harness.step(loss=total)
    goodness = []
    with torch.no_grad():
        for k in range(10):
            h, sums = paint(vx, torch.full_like(vy, k)), 0.0
            for layer in layers:
                h = layer(F.normalize(h, dim=1) * 5).relu()
                sums = sums + h.square().mean(1)
            goodness.append(sums)
    return accuracy(torch.stack(goodness, 1), vy)
