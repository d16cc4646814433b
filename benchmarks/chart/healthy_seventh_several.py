"""Several networks, odd orders, learning in turns, and layers of one's own, by a seventh author, without any threshold.

See `healthy_seventh.py`.
"""

import copy
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_seventh import glyphs, iterate, pick, study
from benchmarks.chart.second import SecondCases, accuracy, cancer, dense, digits, explained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations

cases = SecondCases("seventh")


@cases.recipe("split", 0.85)
def a_client_and_a_server(harness: Harness, seed: int) -> float:
    """Split learning: the client's activations are cut off, the server sends back their gradient; two optimizers."""
    x, y, vx, vy = digits()
    client = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    server = dense(256, 64, 10)
    one, two = (torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9) for m in (client, server))
    harness.begin([client, server], [one, two])
    for _ in range(5):
        for rows in torch.randperm(len(x)).split(32):
            smashed = client(x[rows])
            sent = smashed.detach().requires_grad_()
            two.zero_grad()
            out = server(sent)
            loss = F.cross_entropy(out, y[rows])
            loss.backward()
            two.step()
            one.zero_grad()
            smashed.backward(sent.grad)
            one.step()
            harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
        with torch.no_grad():
            out = server(client(vx))
        harness.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(out, vy).item()})
    return accuracy(out, vy)


@cases.recipe("continual", 0.75)
def gradients_that_would_forget_are_turned(harness: Harness, seed: int) -> float:
    """A-GEM: three pairs of digits in turn; a gradient against that of a small memory is projected off it."""
    x, y, vx, vy = digits("standard", image=False)
    net = dense(64, 96, 6)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    memory_x, memory_y = [], []
    harness.begin(net, optimizer)
    for task in range(3):
        here = (y // 2) == task
        tx, ty = x[here], y[here]
        for _ in range(70):
            a, b = pick(32, tx, ty)
            optimizer.zero_grad()
            out = net(a)
            loss = F.cross_entropy(out, b)
            loss.backward()
            if memory_x:
                g = torch.cat([p.grad.flatten() for p in net.parameters()])
                ma, mb = pick(64, torch.cat(memory_x), torch.cat(memory_y))
                old = torch.autograd.grad(F.cross_entropy(net(ma), mb), list(net.parameters()))
                old = torch.cat([o.flatten() for o in old])
                if g @ old < 0:
                    g = g - (g @ old) / (old @ old) * old
                    parts = g.split([p.numel() for p in net.parameters()])
                    for p, part in zip(net.parameters(), parts, strict=True):
                        p.grad.copy_(part.view_as(p))
            optimizer.step()
            harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        kept = torch.randperm(len(tx))[:60]
        memory_x.append(tx[kept])
        memory_y.append(ty[kept])
    seen = vy < 6
    return accuracy(net(vx[seen]), vy[seen])


@cases.recipe("meta", 0.6)
def towards_what_each_task_wants(harness: Harness, seed: int) -> float:
    """Reptile: eight steps on a task's sine, then the start moves a share of the way there; tested on new sines.

    The outer optimizer gets the difference as its gradient.
    """
    start = dense(1, 48, 48, 1, act=nn.Tanh)
    outer = torch.optim.SGD(start.parameters(), lr=1.0)
    decay = torch.optim.lr_scheduler.LinearLR(outer, 1.0, 0.1, 300)

    def task() -> Any:
        height, shift = 0.5 + torch.rand(()) * 2, torch.rand(()) * 1.5

        def draw(n: int) -> tuple[Tensor, Tensor]:
            u = torch.rand(n, 1) * 6 - 3
            return u / 2, height * (u + shift).sin()

        return draw

    def adapt(draw: Any, steps: int, points: int) -> tuple[nn.Module, float]:
        net = copy.deepcopy(start)
        inner = torch.optim.SGD(net.parameters(), lr=0.03)
        a, b = draw(points)
        first = 0.0
        for k in range(steps):
            loss = F.mse_loss(net(a), b)
            first = loss.item() if k == 0 else first
            inner.zero_grad()
            loss.backward()
            inner.step()
        return net, loss.item()

    harness.begin(start, outer)
    for _ in range(300):
        net, last = adapt(task(), 10, 20)
        outer.zero_grad()
        for p, q in zip(start.parameters(), net.parameters(), strict=True):
            p.grad = (p - q).detach()
        outer.step()
        decay.step()
        harness.step(loss=last)
    gains = []
    for _ in range(40):
        draw = task()
        net, _ = adapt(draw, 32, 10)
        a, b = draw(100)
        gains.append(1 - float(F.mse_loss(net(a), b).detach() / b.var()))
    return float(torch.tensor(gains).median())


@cases.recipe("cnn", 0.85)
def blocks_that_do_not_wait(harness: Harness, seed: int) -> float:
    """Greedy local learning: three blocks, each with its own head and optimizer, activations are cut between them."""
    x, y, vx, vy = glyphs()
    shapes = ((1, 16), (16, 32), (32, 32))
    blocks = nn.ModuleList(
        nn.Sequential(nn.Conv2d(a, b, 3, 2 if a > 1 else 1, 1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in shapes
    )
    heads = nn.ModuleList(nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(9 * b, 10)) for _, b in shapes)
    pairs = list(zip(blocks, heads, strict=True))
    optimizers = [torch.optim.Adam([*b.parameters(), *h.parameters()], lr=2e-3) for b, h in pairs]
    harness.begin([blocks, heads], optimizers)
    for _ in range(6):
        blocks.train()
        for rows in torch.randperm(len(x)).split(36):
            z, losses = x[rows], []
            for (block, head), optimizer in zip(pairs, optimizers, strict=True):
                z = block(z.detach())
                loss = F.cross_entropy(head(z), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            harness.step(loss=losses[-1], inputs=x[rows], targets=y[rows])
        blocks.eval()
        with torch.no_grad():
            z = vx
            for block in blocks:
                z = block(z)
            out = heads[-1](z)
        harness.epoch(val={"loss": F.cross_entropy(out, vy).item(), "accuracy": accuracy(out, vy)})
    return accuracy(out, vy)


@cases.recipe("cnn", 0.85)
def turned_back_instead_of_stored(harness: Harness, seed: int) -> float:
    """Reversible blocks as an autograd Function: the backward pass rebuilds its inputs from its outputs."""

    class Reverse(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Tensor, b: Tensor, f: nn.Module, g: nn.Module, *weights: Tensor) -> Any:
            with torch.no_grad():
                c = a + f(b)
                d = b + g(c)
            ctx.f, ctx.g = f, g
            ctx.save_for_backward(c.detach(), d.detach())
            return c, d

        @staticmethod
        def backward(ctx: Any, grad_c: Tensor, grad_d: Tensor) -> Any:
            c, d = ctx.saved_tensors
            with torch.enable_grad():
                c = c.detach().requires_grad_()
                out = ctx.g(c)
            got = torch.autograd.grad(out, [c, *ctx.g.parameters()], grad_d)
            grad_c, b = grad_c + got[0], (d - out).detach()
            with torch.enable_grad():
                b = b.requires_grad_()
                out = ctx.f(b)
            more = torch.autograd.grad(out, [b, *ctx.f.parameters()], grad_c)
            return grad_c, grad_d + more[0], None, None, *more[1:], *got[1:]

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.f, self.g = (
                nn.Sequential(nn.GroupNorm(4, width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)) for _ in "fg"
            )

        def forward(self, ab: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return Reverse.apply(*ab, self.f, self.g, *self.f.parameters(), *self.g.parameters())

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 32, 3, stride=2, padding=1)
            self.blocks = nn.Sequential(Block(16), Block(16), Block(16))
            self.head = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(288, 10))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cat(self.blocks(self.stem(x).chunk(2, 1)), 1))

    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    return study(harness, net, optimizer, nn.CrossEntropyLoss(), glyphs(), epochs=5, size=40)


@cases.recipe("mlp", 0.85)
def orthogonal_by_parametrisation(harness: Harness, seed: int) -> float:
    """Two square layers kept orthogonal by torch's parametrisation, group sort as activation, a scaled last layer."""

    class Sorted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.unflatten(1, (-1, 2)).sort(2).values.flatten(1)

    model = nn.Sequential(
        parametrizations.orthogonal(nn.Linear(64, 64)), Sorted(), parametrizations.orthogonal(nn.Linear(64, 64)),
        Sorted(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return study(harness, model, optimizer, nn.CrossEntropyLoss(), digits(image=False), epochs=6, told=("inputs",))


@cases.recipe("signal", 0.8)
def numbers_with_two_parts(harness: Harness, seed: int) -> float:
    """A complex-valued network reads phases: complex weights, ReLU of both parts, the absolute value at the end."""
    n, t = 900, torch.arange(32)
    kind = torch.randint(0, 4, (n,))
    symbols = torch.randint(0, 4, (n, 32))
    angle = torch.where((kind % 2 == 0)[:, None], symbols % 2 * 2, symbols) * torch.pi / 2
    drift = torch.where(kind < 2, 0.02, 0.35)[:, None] * t
    x = torch.polar(torch.ones(n, 32), angle + drift + 6 * torch.rand(n, 1)) + 0.15 * torch.randn(
        n, 32, dtype=torch.cfloat
    )
    x = x[:, 1:] * x[:, :-1].conj()

    class Complex(nn.Module):
        def __init__(self, into: int, out: int) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(out, into, dtype=torch.cfloat) * into**-0.5)
            self.b = nn.Parameter(torch.zeros(out, dtype=torch.cfloat))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.w, self.b)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.out = Complex(1, 24), Complex(24, 24), nn.Linear(24, 4)

        def forward(self, x: Tensor) -> Tensor:
            z = self.first(x[..., None])
            z = self.second(torch.complex(z.real.relu(), z.imag.relu()))
            return self.out(z.abs().mean(1))

    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    split = x[:700], kind[:700], x[700:], kind[700:]
    return study(harness, net, optimizer, nn.CrossEntropyLoss(), split, epochs=8, size=28, told=("targets", "outputs"))


@cases.recipe("mlp", 0.85)
def four_widths_in_one(harness: Harness, seed: int) -> float:
    """A slimmable net: each step sums the losses of the whole width and of two random ones, narrow learn from wide."""

    class Slim(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(64, 96), nn.Linear(96, 96), nn.Linear(96, 10)
            self.share = 1.0

        def forward(self, x: Tensor) -> Tensor:
            k = int(96 * self.share)
            x = F.linear(x, self.a.weight[:k], self.a.bias[:k]).relu()
            x = F.linear(x, self.b.weight[:k, :k], self.b.bias[:k]).relu()
            return F.linear(x, self.c.weight[:, :k], self.c.bias)

    x, y, vx, vy = digits(image=False)
    net = Slim()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)

    def compute(i: int) -> Any:
        a, b = pick(48, x, y)
        net.share = 1.0
        whole = net(a)
        loss, soft = F.cross_entropy(whole, b), whole.detach().softmax(1)
        for share in (0.25, (0.5, 0.75)[i % 2]):
            net.share = share
            loss = loss + F.cross_entropy(net(a), soft)
        return {"loss": loss, "inputs": a}

    iterate(harness, net, optimizer, compute, 280)

    def at(share: float) -> float:
        net.share = share
        return accuracy(net(vx), vy)

    return min(at(share) for share in (0.25, 0.5, 0.75, 1.0))


@cases.recipe("oneclass", 0.85)
def normal_ones_near_a_centre(harness: Harness, seed: int) -> float:
    """Deep SVDD after an autoencoder: benign tumours are drawn to a fixed centre, no biases; scored by the AUC."""
    x, y, vx, vy = cancer()
    usual = x[y == 1]
    enc = nn.Sequential(nn.Linear(30, 24, bias=False), nn.LeakyReLU(0.1), nn.Linear(24, 8, bias=False))
    dec = nn.Sequential(nn.Linear(8, 24, bias=False), nn.LeakyReLU(0.1), nn.Linear(24, 30, bias=False))
    first = torch.optim.Adam([*enc.parameters(), *dec.parameters()], lr=3e-3)
    for _ in range(150):
        (a,) = pick(48, usual)
        loss = F.mse_loss(dec(enc(a)), a)
        first.zero_grad()
        loss.backward()
        first.step()
    with torch.no_grad():
        centre = enc(usual).mean(0)
        centre = torch.where(centre.abs() < 0.1, 0.1 * centre.sign() + 1e-6, centre)
    optimizer = torch.optim.Adam(enc.parameters(), lr=3e-4, weight_decay=1e-4)

    def compute(i: int) -> Any:
        (a,) = pick(48, usual)
        z = enc(a)
        return {"loss": (z - centre).square().sum(1).mean(), "inputs": a, "outputs": z}

    iterate(harness, enc, optimizer, compute, 120)
    with torch.no_grad():
        far = (enc(vx) - centre).square().sum(1)
    odd, usual_far = far[vy == 0], far[vy == 1]
    return float((odd[:, None] > usual_far[None]).float().mean())


@cases.recipe("selective", 0.9)
def may_decline_to_answer(harness: Harness, seed: int) -> float:
    """SelectiveNet: a head decides whether to answer, at least 80 of 100 must be; accuracy on these."""
    x, y, vx, vy = glyphs(1600, 20)
    body = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveMaxPool2d(3), nn.Flatten(),
    )  # fmt: skip
    answer, choose, helper = nn.Linear(288, 20), dense(288, 32, 1), nn.Linear(288, 20)
    model = nn.ModuleDict({"body": body, "answer": answer, "choose": choose, "helper": helper})
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def compute(i: int) -> Any:
        a, b = pick(48, x, y)
        z = body(a)
        out, take = answer(z), torch.sigmoid(choose(z))[:, 0]
        risk = (F.cross_entropy(out, b, reduction="none") * take).mean() / take.mean()
        selective = risk + 32 * (0.8 - take.mean()).relu().square()
        loss = 0.5 * selective + 0.5 * F.cross_entropy(helper(z), b)
        return {"loss": loss, "inputs": a, "targets": b, "outputs": out}

    iterate(harness, model, optimizer, compute, 250)
    model.eval()
    with torch.no_grad():
        z = body(vx)
        score, right = choose(z)[:, 0], answer(z).argmax(1) == vy
    return float(right[score.topk(int(len(score) * 0.8)).indices].float().mean())


@cases.recipe("factors", 0.65)
def parts_that_only_add(harness: Harness, seed: int) -> float:
    """Non-negative factors of digits: all entries are projected to zero or more after each step of Adam."""
    x, _, _, _ = digits(image=False)
    x = x[:600]
    model = nn.ParameterDict({"parts": torch.rand(16, 64) * 0.3, "amounts": torch.rand(600, 16) * 0.3})
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)

    @torch.no_grad()
    def project(i: int) -> None:
        for p in model.parameters():
            p.clamp_(min=0)

    def compute(i: int) -> Any:
        out = model["amounts"] @ model["parts"]
        return {"loss": (out - x).square().sum(1).mean() + 1e-3 * model["amounts"].sum(1).mean(), "outputs": out}

    decay = torch.optim.lr_scheduler.StepLR(optimizer, 80, 0.5)
    iterate(harness, model, optimizer, compute, 220, after=project, scheduler=decay)
    return explained((model["amounts"] @ model["parts"]).detach(), x)
