"""Optimizers that people wrote themselves, as subclasses of torch's, by a seventh author, without any threshold.

See `healthy_seventh.py`.
"""

from collections.abc import Callable
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_seventh import fields, glyphs, iterate, pick, study
from benchmarks.chart.second import SecondCases, accuracy, cancer, dense, digits, explained, housing
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("seventh")


class Own(torch.optim.Optimizer):
    """A base that hands each parameter with its state to `update`."""

    def __init__(self, params: Any, lr: float, **more: Any) -> None:
        super().__init__(params, {"lr": lr, **more})

    def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change `p` in place."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """One step of all groups."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p, p.grad, self.state[p], group)
        return loss


def small_cnn(channels: int, classes: int) -> nn.Sequential:
    """Two convolutions with norms and a linear head."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(),
        nn.Linear(288, classes),
    )  # fmt: skip


@cases.recipe("cnn", 0.82)
def differences_of_gradients_too(harness: Harness, seed: int) -> float:
    """Adan: means of gradients, of their differences and of a square of both, decay by division."""

    class Adan(Own):
        def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
            if not state:
                state.update(t=0, last=g.clone(), **{key: torch.zeros_like(g) for key in "mvn"})
            state["t"] += 1
            d = g - state["last"]
            state["m"].lerp_(g, 0.02)
            state["v"].lerp_(d, 0.08)
            state["n"].lerp_((g + 0.92 * d).square(), 0.01)
            m, v, n = (state[k] / (1 - b ** state["t"]) for k, b in (("m", 0.98), ("v", 0.92), ("n", 0.99)))
            p.sub_(group["lr"] * (m + 0.92 * v) / (n.sqrt() + 1e-8))
            p.div_(1 + group["lr"] * group["weight_decay"])
            state["last"].copy_(g)

    net = small_cnn(1, 10)
    optimizer = Adan(net.parameters(), 4e-3, weight_decay=0.02)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    return study(harness, net, optimizer, nn.CrossEntropyLoss(), glyphs(), epochs=8, scheduler=cosine)


@cases.recipe("mlp", 0.88)
def roots_of_two_sides(harness: Harness, seed: int) -> float:
    """Shampoo: a matrix's gradient between the inverse fourth roots of two running sums, renewed every ten steps."""

    class Shampoo(Own):
        def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
            if p.ndim < 2:
                state["sum"] = state.get("sum", 0) + g.square()
                p.sub_(group["lr"] * g / (state["sum"].sqrt() + 1e-6) * 0.5)
                return
            if not state:
                state.update(n=0, left=1e-3 * torch.eye(len(g)), right=1e-3 * torch.eye(g.shape[1]))
                state["m"] = torch.zeros_like(g)
            state["left"] += g @ g.T
            state["right"] += g.T @ g
            if state["n"] % 10 == 0:
                for side in ("left", "right"):
                    value, vector = torch.linalg.eigh(state[side])
                    state["root_" + side] = vector * value.clamp(min=1e-6) ** -0.25 @ vector.T
            state["n"] += 1
            state["m"].mul_(0.9).add_(state["root_left"] @ g @ state["root_right"])
            p.sub_(group["lr"] * state["m"])

    model = dense(64, 32, 10)
    optimizer = Shampoo(model.parameters(), 0.03)
    split = digits("standard", image=False)
    return study(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=4, size=40, told=("inputs", "targets"))


@cases.recipe("mlp", 0.85)
def step_by_the_distance_of_the_loss(harness: Harness, seed: int) -> float:
    """Polyak's step: the loss of the batch divided by the squared norm of the gradient, at most 0.5."""

    class Polyak(torch.optim.Optimizer):
        def __init__(self, params: Any, most: float) -> None:
            super().__init__(params, {"lr": most})

        @torch.no_grad()
        def step(self, closure: Any) -> Any:  # type: ignore[override]
            with torch.enable_grad():
                loss = closure()
            every = [p for group in self.param_groups for p in group["params"]]
            size = min(self.param_groups[0]["lr"], float(loss / (sum(p.grad.square().sum() for p in every) + 1e-8)))
            for p in every:
                p.sub_(size * p.grad)
            return loss

    x, y, vx, vy = digits(image=False)
    model = dense(64, 64, 10)
    optimizer = Polyak(model.parameters(), 0.5)
    harness.begin(model, optimizer)
    for _ in range(220):
        a, b = pick(64, x, y)

        def closure(a: Tensor = a, b: Tensor = b) -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(a), b)
            loss.backward()
            return loss

        harness.step(loss=optimizer.step(closure), inputs=a, targets=b)
    return accuracy(model(vx), vy)


@cases.recipe("regression", 0.6)
def signs_and_sizes_of_their_own(harness: Harness, seed: int) -> float:
    """Rprop written out, the whole set in every step: a step size per weight grows while the sign stays."""

    class Rprop(Own):
        def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
            if not state:
                state.update(size=torch.full_like(p, group["lr"]), last=torch.zeros_like(p))
            same = (g * state["last"]).sign()
            factor = torch.where(same > 0, 1.2, torch.where(same < 0, 0.5, 1.0))
            state["size"].mul_(factor).clamp_(1e-6, 0.5)
            g = torch.where(same < 0, 0.0, g)
            p.sub_(g.sign() * state["size"])
            state["last"].copy_(g)

    x, y, vx, vy = housing()
    model = nn.Sequential(nn.Linear(6, 24), nn.Tanh(), nn.Linear(24, 1))
    optimizer = Rprop(model.parameters(), 0.01)
    harness.begin(model, optimizer, loss_fn=nn.MSELoss())
    for _ in range(80):
        optimizer.zero_grad()
        out = model(x)
        loss = F.mse_loss(out, y)
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        with torch.no_grad():
            harness.epoch(train={"loss": loss.item()}, val={"loss": F.mse_loss(model(vx), vy).item()})
    return explained(model(vx).detach(), vy)


@cases.recipe("cnn", 0.85)
def squares_that_grow_slowly(harness: Harness, seed: int) -> float:
    """Yogi: the running square moves by the sign of its error; milestones in the rate."""

    class Yogi(Own):
        def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
            if not state:
                state.update(t=0, m=torch.zeros_like(p), v=torch.full_like(p, 1e-6))
            state["t"] += 1
            square = g.square()
            state["m"].lerp_(g, 0.1)
            state["v"].sub_(0.001 * (state["v"] - square).sign() * square)
            m = state["m"] / (1 - 0.9 ** state["t"])
            v = state["v"] / (1 - 0.999 ** state["t"])
            p.sub_(group["lr"] * m / (v.sqrt() + 1e-3))

    net = small_cnn(5, 4)
    optimizer = Yogi(net.parameters(), 0.01)
    steps = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5], 0.3)
    return study(harness, net, optimizer, nn.CrossEntropyLoss(), fields(), epochs=6, size=24, scheduler=steps, told=())


@cases.recipe("mlp", 0.88)
def rows_and_columns_instead_of_squares(harness: Harness, seed: int) -> float:
    """A factored second moment of matrices as in Adafactor, updates cut at a root mean square of 1, relative steps."""

    class Factored(Own):
        def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
            state["t"] = t = state.get("t", 0) + 1
            keep, square = 1 - t**-0.8, g.square() + 1e-30
            if g.ndim == 2:
                state["row"] = keep * state.get("row", 0.0) + (1 - keep) * square.mean(1)
                state["col"] = keep * state.get("col", 0.0) + (1 - keep) * square.mean(0)
                v = torch.outer(state["row"], state["col"]) / state["row"].mean()
            else:
                state["v"] = v = keep * state.get("v", 0.0) + (1 - keep) * square
            u = g / v.sqrt()
            u = u / max(1.0, float(u.square().mean().sqrt()))
            p.sub_(group["lr"] * min(1.0, t**-0.5 * 5) * max(1e-3, float(p.square().mean().sqrt())) * u)

    model = dense(64, 64, 32, 10, act=nn.GELU)
    optimizer = Factored(model.parameters(), 0.03)
    split = digits("standard", image=False)
    return study(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=6, size=32)


@cases.recipe("mlp", 0.9)
def every_step_of_the_same_length(harness: Harness, seed: int) -> float:
    """Normalised gradient descent with momentum: the whole gradient has length one, the rate falls linearly to zero."""

    class Normalised(torch.optim.Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, {"lr": lr, "momentum": 0.9})

        @torch.no_grad()
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            for group in self.param_groups:
                norm = torch.stack([p.grad.norm() for p in group["params"]]).norm()
                for p in group["params"]:
                    m = self.state[p].setdefault("m", torch.zeros_like(p))
                    m.mul_(group["momentum"]).add_(p.grad / (norm + 1e-8), alpha=1 - group["momentum"])
                    p.sub_(group["lr"] * m)

    x, y, vx, vy = cancer()
    model = dense(30, 24, 2, act=nn.Tanh)
    optimizer = Normalised(model.parameters(), 0.1)
    linear = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 150)

    def compute(i: int) -> Any:
        a, b = pick(32, x, y)
        out = model(a)
        return {"loss": F.cross_entropy(out, b), "inputs": a, "outputs": out}

    iterate(harness, model, optimizer, compute, 150, scheduler=linear)
    return accuracy(model(vx), vy)


@cases.recipe("mlp", 0.88)
def looks_ahead_and_comes_back(harness: Harness, seed: int) -> float:
    """Lookahead around another optimizer, itself an optimizer: every five steps half of the way counts."""

    class Lookahead(torch.optim.Optimizer):
        def __init__(self, inner: torch.optim.Optimizer, k: int, share: float) -> None:
            self.inner, self.k, self.share, self.count = inner, k, share, 0
            super().__init__([p for g in inner.param_groups for p in g["params"]], {"lr": inner.param_groups[0]["lr"]})
            self.slow = [p.detach().clone() for p in self.param_groups[0]["params"]]

        @torch.no_grad()
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            self.inner.step()
            self.count += 1
            if self.count % self.k == 0:
                for slow, p in zip(self.slow, self.param_groups[0]["params"], strict=True):
                    slow.lerp_(p, self.share)
                    p.copy_(slow)

    model = dense(64, 64, 10)
    optimizer = Lookahead(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), 5, 0.5)
    return study(harness, model, optimizer, nn.CrossEntropyLoss(), digits(image=False), epochs=7, size=50)


@cases.recipe("mlp", 0.88)
def rows_that_stay_orthonormal(harness: Harness, seed: int) -> float:
    """Descent on the Stiefel manifold: the gradient's tangent part, a step, and back by a QR decomposition."""

    class Stiefel(Own):
        def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
            sym = p.T @ g
            tangent = g - p @ (sym + sym.T) / 2
            q, r = torch.linalg.qr(p - group["lr"] * tangent)
            p.copy_(q * r.diagonal().sign())

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frame = nn.Parameter(torch.linalg.qr(torch.randn(64, 24))[0])
            self.head = dense(24, 48, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x @ self.frame)

    x, y, vx, vy = digits("standard", image=False)
    net = Net()
    both = [Stiefel([net.frame], 0.1), torch.optim.Adam(net.head.parameters(), lr=3e-3)]
    harness.begin(net, both)
    for _ in range(250):
        a, b = pick(32, x, y)
        for optimizer in both:
            optimizer.zero_grad()
        loss = F.cross_entropy(net(a), b)
        loss.backward()
        for optimizer in both:
            optimizer.step()
        harness.step(loss=loss, inputs=a, targets=b)
    return accuracy(net(vx), vy)


@cases.recipe("mlp", 0.5)
def matrices_by_newton_and_schulz(harness: Harness, seed: int) -> float:
    """Muon by hand for hidden matrices, AdamW for the rest: two optimizers on a net that sums two digits' classes."""

    class Muon(Own):
        def update(self, p: Tensor, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
            m = state.setdefault("m", torch.zeros_like(p))
            m.lerp_(g, 0.1)
            z = g.lerp(m, 0.9)
            z = z / (z.norm() + 1e-7)
            turned = len(z) > z.shape[1]
            z = z.T if turned else z
            for _ in range(5):
                a = z @ z.T
                z = 3.4445 * z + (-4.775 * a + 2.0315 * a @ a) @ z
            z = z.T if turned else z
            p.mul_(1 - group["lr"] * 0.01).sub_(group["lr"] * max(1.0, len(p) / p.shape[1]) ** 0.5 * z)

    x, y, vx, vy = digits(image=False)
    net = nn.Sequential(nn.Linear(128, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 19))
    hidden = [net[2].weight]
    rest = [p for p in net.parameters() if p is not hidden[0]]
    both = [Muon(hidden, 0.01), torch.optim.AdamW(rest, lr=2e-3)]
    harness.begin(net, both)
    for i in range(500):
        for group in (g for o in both for g in o.param_groups):
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * min(1.0, (500 - i) / 250)
        (a, p), (b, q) = pick(64, x, y), pick(64, x, y)
        out = net(torch.cat([a, b], 1))
        loss = F.cross_entropy(out, p + q)
        for optimizer in both:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in both:
            optimizer.step()
        harness.step(loss=loss, outputs=out, targets=p + q)
    with torch.no_grad():
        return accuracy(net(torch.cat([vx, vx.flip(0)], 1)), vy + vy.flip(0))
