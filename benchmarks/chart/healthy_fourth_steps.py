"""Optimizers, averages, thrift and hooks, by a fourth author, without any threshold. See `healthy_fourth.py`."""

import copy
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, school, some
from benchmarks.chart.second import SecondCases, accuracy, convs, dense, digits
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812
from torch.optim import Optimizer

cases = SecondCases("fourth")


class Own(Optimizer):
    """Base of optimizers of one's own: `move(p, g, state, group)` for each parameter."""

    def __init__(self, params: Any, **defaults: Any) -> None:
        super().__init__(params, defaults)

    def move(self, p: Tensor, g: Tensor, state: Any, group: Any) -> None:
        """Change the parameter in place."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of all."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.state[p]["t"] = self.state[p].get("t", 0) + 1
                    self.move(p, p.grad, self.state[p], group)


@cases.recipe("mlp", 0.85)
def belief_in_the_gradient(harness: Harness, seed: int) -> float:
    """AdaBelief by hand: the second moment is of the gradient's deviation from its average; bias correction."""

    class AdaBelief(Own):
        def move(self, p: Tensor, g: Tensor, state: Any, group: Any) -> None:
            m, s = state.setdefault("m", torch.zeros_like(p)), state.setdefault("s", torch.zeros_like(p))
            m.lerp_(g, 0.1)
            s.mul_(0.999).add_((g - m).square() + 1e-12, alpha=0.001)
            t = state["t"]
            p.addcdiv_(m / (1 - 0.9**t), (s / (1 - 0.999**t)).sqrt() + 1e-8, value=-group["lr"])

    model = dense(64, 64, 10)
    optimizer = AdaBelief(model.parameters(), lr=2e-3)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), digits("standard", False), epochs=5)


@cases.recipe("cnn", 0.85)
def rates_by_ratio_of_norms(harness: Harness, seed: int) -> float:
    """LARS by hand for large batches of 256: the rate of each matrix follows its norm, momentum, 6 steps of warm-up."""

    class Lars(Own):
        def move(self, p: Tensor, g: Tensor, state: Any, group: Any) -> None:
            g = g + 1e-4 * p
            ratio = 0.02 * p.norm() / (g.norm() + 1e-9) if p.dim() > 1 else torch.tensor(0.05)
            v = state.setdefault("v", torch.zeros_like(p))
            v.mul_(0.9).add_(g * ratio, alpha=group["lr"])
            p.sub_(v)

    model = convs()
    optimizer = Lars(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, (i + 1) / 6) * (1 - i / 66))
    return school(
        harness, model, optimizer, nn.CrossEntropyLoss(), digits("standard"), epochs=16, size=256, drop_last=True,
        scheduler=scheduler, by_batch=True,
    )  # fmt: skip


@cases.recipe("mlp", 0.85)
def no_schedule_needed(harness: Harness, seed: int) -> float:
    """Schedule-free SGD: gradients at a blend of the fast point and the average, the average is validated."""
    x, y, vx, vy = digits("standard", image=False)
    model = dense(64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    fast = [p.detach().clone() for p in model.parameters()]
    mean = [p.detach().clone() for p in model.parameters()]
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for i in range(250):
        a, b = some(40, x, y)
        out = model(a)
        loss = F.cross_entropy(out, b)
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p, z in zip(model.parameters(), fast, strict=True):
                p.copy_(z)
        optimizer.step()
        with torch.no_grad():
            for p, z, m in zip(model.parameters(), fast, mean, strict=True):
                z.copy_(p)
                m.lerp_(z, 1 / (i + 2))
                p.copy_(0.1 * z + 0.9 * m)
        harness.step(loss=loss, inputs=a, targets=b, outputs=out)
    names = [n for n, _ in model.named_parameters()]
    return accuracy(functional_call(model, dict(zip(names, mean, strict=True)), (vx,)), vy)


@cases.recipe("cnn", 0.85)
def starts_with_adam_ends_with_sgd(harness: Harness, seed: int) -> float:
    """SWATS by hand: Adam for 100 steps and then SGD with momentum on the same weights; a second optimizer object."""
    x, y, vx, vy = digits("standard")
    model = convs(norm=nn.BatchNorm2d)
    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    sgd = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)

    def compute(i: int) -> Any:
        a, b = some(32, x, y)
        out = model(a)
        return {"loss": F.cross_entropy(out, b), "inputs": a, "targets": b, "outputs": out}

    harness.begin(model, [adam, sgd])
    march(harness, model, adam, compute, 100, begin=False)
    march(harness, model, sgd, compute, 100, begin=False)
    return accuracy(model.eval()(vx), vy)


@cases.recipe("mlp", 0.85)
def gradients_centred_by_hooks(harness: Harness, seed: int) -> float:
    """Gradient centralisation: hooks on matrices take the mean over inputs from each row's gradient; SGD."""
    model = dense(64, 64, 10)
    for p in model.parameters():
        if p.dim() > 1:
            p.register_hook(lambda g: g - g.mean(1, keepdim=True))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), digits("standard", False), epochs=5, tell="pair")


@cases.recipe("mlp", 0.85)
def clipped_by_each_unit(harness: Harness, seed: int) -> float:
    """Adaptive clipping (as in NFNets): each unit's gradient is at most 5 % of its weights' norm; no norm layers."""
    model = dense(64, 64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, nesterov=True)

    def clip() -> None:
        for p in model.parameters():
            if p.grad is not None and p.dim() > 1:
                most = 0.05 * p.detach().norm(dim=1, keepdim=True).clamp(min=1e-3)
                p.grad.mul_((most / p.grad.norm(dim=1, keepdim=True).clamp(min=1e-6)).clamp(max=1))

    split = digits("standard", False)
    return school(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=6, before_step=clip)


@cases.recipe("mlp", 0.85)
def rate_finder_then_training(harness: Harness, seed: int) -> float:
    """The rate rises from 1e-5 to 0.3 in 60 steps, the weights are put back, then a third of the best rate is used."""
    x, y, vx, vy = digits("standard", False)
    model = dense(64, 64, 10)
    start = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9)
    seen: list[tuple[float, float]] = []

    def compute(i: int) -> Any:
        a, b = some(32, x, y)
        loss = F.cross_entropy(model(a), b)
        if i < 60:
            optimizer.param_groups[0]["lr"] = 1e-5 * 10 ** (4.5 * i / 60)
            seen.append((loss.item(), optimizer.param_groups[0]["lr"]))
        return {"loss": loss, "inputs": a}

    def back(i: int) -> None:
        if i == 59:
            model.load_state_dict(start)
            optimizer.state.clear()
            optimizer.param_groups[0]["lr"] = max(min(seen)[1] / 3, 0.01)

    march(harness, model, optimizer, compute, 260, after=back)
    return accuracy(model(vx), vy)
