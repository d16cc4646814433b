"""Healthy recipes of a second author, on which NO threshold is ever set: optimizers.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import (
    SecondCases,
    accuracy,
    binary_accuracy,
    cancer,
    convs,
    dense,
    diabetes,
    digits,
    draws,
    explained,
    fit,
    housing,
    signs,
    wine,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("second")


@cases.recipe("mlp", 0.85)
def radam_on_unit_pixels(harness: Harness, seed: int) -> float | None:
    """RAdam, pixels in 0..1, Mish."""
    model = dense(64, 64, 10, act=nn.Mish)
    optimizer = torch.optim.RAdam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits(image=False), epochs=8)


@cases.recipe("cnn", 0.85)
def nadam_on_signed_pixels(harness: Harness, seed: int) -> float | None:
    """NAdam with decoupled decay, pixels in -1..1."""
    model = convs()
    optimizer = torch.optim.NAdam(model.parameters(), lr=2e-3, weight_decay=1e-2, decoupled_weight_decay=True)
    return fit(harness, model, optimizer, F.cross_entropy, digits("signed"), epochs=4)


class Lion(torch.optim.Optimizer):
    """Sign of an interpolated momentum (Chen et al. 2023)."""

    def __init__(self, params: object, lr: float = 1e-3, decay: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "decay": decay})  # type: ignore[arg-type]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    m = self.state[p].setdefault("m", torch.zeros_like(p))
                    p.mul_(1 - group["lr"] * group["decay"]).sub_((0.9 * m + 0.1 * p.grad).sign(), alpha=group["lr"])
                    m.mul_(0.99).add_(p.grad, alpha=0.01)


@cases.recipe("cancer", 0.9)
def lion_by_hand(harness: Harness, seed: int) -> float | None:
    """An optimizer of one's own: Lion with decay."""
    model = dense(30, 32, 32, 2, act=nn.GELU)
    return fit(harness, model, Lion(model.parameters(), 1e-3), F.cross_entropy, cancer(), epochs=10)


@cases.recipe("mlp", 0.85)
def adafactor_relative_steps(harness: Harness, seed: int) -> float | None:
    """Adafactor, whose step is relative to the weights."""
    model = dense(64, 96, 10)
    optimizer = torch.optim.Adafactor(model.parameters(), lr=2e-2)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", image=False), epochs=6)


@cases.recipe("wine", 0.9)
def lbfgs_with_closure(harness: Harness, seed: int) -> float | None:
    """Softmax regression by LBFGS on the whole set; the closure runs several times per step."""
    x, y, vx, vy = wine()
    model = nn.Linear(13, 3)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(20):

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y) + 1e-3 * sum(p.square().sum() for p in model.parameters())
            loss.backward()
            return loss

        loss = optimizer.step(closure)
        harness.step(loss=loss.detach(), inputs=x, targets=y)
    with torch.no_grad():
        return accuracy(model(vx), vy)


@cases.recipe("mlp", 0.85)
def nesterov_of_095(harness: Harness, seed: int) -> float | None:
    """SGD with Nesterov momentum of 0.95."""
    model = dense(64, 64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.95, nesterov=True, weight_decay=1e-4)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", image=False), epochs=5)


class Orthogonal(torch.optim.Optimizer):
    """Momentum, orthogonalised by five Newton-Schulz steps (Muon)."""

    def __init__(self, params: object, lr: float) -> None:
        super().__init__(params, {"lr": lr})  # type: ignore[arg-type]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update."""
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.mul_(0.95).add_(p.grad)
                u = (p.grad + 0.95 * m).flatten(1)
                u = u / (u.norm() + 1e-7)
                for _ in range(5):
                    a = u @ u.T
                    u = 3.4445 * u + (-4.7750 * a + 2.0315 * a @ a) @ u
                p.add_(u.view_as(p), alpha=-group["lr"] * max(1.0, len(u) / u.shape[1]) ** 0.5)


@cases.recipe("mlp", 0.85)
def muon_and_adam(harness: Harness, seed: int) -> float | None:
    """Muon for hidden matrices, AdamW for the rest: two optimizers of one model."""
    x, y, vx, vy = digits("signed", image=False)
    model = dense(64, 64, 64, 10)
    hidden = [model[0].weight, model[2].weight]
    rest = [p for p in model.parameters() if all(p is not h for h in hidden)]
    optimizers = [Orthogonal(hidden, 0.02), torch.optim.AdamW(rest, lr=3e-3)]
    harness.begin(model, optimizers, loss_fn=F.cross_entropy)
    for _ in range(5):
        for inputs, targets in draws(x, y, 48):
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            model.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            harness.step(loss=loss.item(), inputs=inputs, targets=targets, outputs=out)
    model.eval()
    return accuracy(model(vx), vy)


@cases.recipe("mlp", 0.85)
def adagrad_fast_start(harness: Harness, seed: int) -> float | None:
    """Adagrad at 0.05, whose first steps are large."""
    model = dense(64, 48, 10, act=nn.Tanh)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.05)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", image=False), epochs=5)


@cases.recipe("housing", 0.7)
def centred_rmsprop(harness: Harness, seed: int) -> float | None:
    """Prices by centred RMSprop with momentum, Huber loss."""
    model = dense(6, 48, 48, 1, act=nn.ELU)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-4, momentum=0.9, centered=True)
    return fit(harness, model, optimizer, F.huber_loss, housing(), score=explained, metric="r2", epochs=8)


@cases.recipe("wine", 0.9)
def adamax_small_data(harness: Harness, seed: int) -> float | None:
    """Adamax, dropout before everything, batches of 16."""
    model = nn.Sequential(nn.Dropout(0.1), nn.Linear(13, 24), nn.LeakyReLU(0.1), nn.Dropout(0.3), nn.Linear(24, 3))
    return fit(
        harness, model, torch.optim.Adamax(model.parameters(), lr=1e-2), F.cross_entropy, wine(), epochs=15, size=16
    )


@cases.recipe("cancer", 0.9)
def rprop_full_batch(harness: Harness, seed: int) -> float | None:
    """Rprop on the whole training set at once."""
    x, y, vx, vy = cancer()
    model = dense(30, 16, 1, act=nn.Tanh)
    optimizer = torch.optim.Rprop(model.parameters(), lr=1e-3)
    harness.begin(model, optimizer)
    for epoch in range(60):
        model.train()
        optimizer.zero_grad()
        out = model(x).squeeze(1)
        loss = F.binary_cross_entropy_with_logits(out, y.float())
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        if epoch % 10 == 9:
            model.eval()
            with torch.no_grad():
                harness.epoch(train={"loss": loss.item()}, val={"accuracy": binary_accuracy(model(vx), vy)})
    return binary_accuracy(model(vx), vy)


@cases.recipe("mlp", 0.8)
def adadelta_rate_one(harness: Harness, seed: int) -> float | None:
    """Adadelta at its classic rate of 1."""
    model = dense(64, 64, 10, act=nn.Softplus)
    return fit(
        harness, model, torch.optim.Adadelta(model.parameters(), lr=1.0), F.cross_entropy, digits(image=False), epochs=8
    )


@cases.recipe("diabetes", 0.3)
def averaged_sgd(harness: Harness, seed: int) -> float | None:
    """Ridge regression by ASGD."""
    model = nn.Linear(10, 1)
    optimizer = torch.optim.ASGD(model.parameters(), lr=0.02, weight_decay=1e-3)
    return fit(harness, model, optimizer, F.mse_loss, diabetes(), score=explained, metric="r2", epochs=12)


@cases.recipe("cnn", 0.85)
def sharpness_aware(harness: Harness, seed: int) -> float | None:
    """SAM: two forward and backward passes per step, the first to climb."""
    x, y, vx, vy = digits("standard")
    model = convs()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(3):
        model.train()
        for inputs, targets in draws(x, y, 32):
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            with torch.no_grad():
                grads = [p.grad.clone() for p in model.parameters()]
                norm = torch.stack([g.norm() for g in grads]).norm() + 1e-12
                for p, g in zip(model.parameters(), grads, strict=True):
                    p.add_(g, alpha=0.05 / float(norm))
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            with torch.no_grad():
                for p, g in zip(model.parameters(), grads, strict=True):
                    p.sub_(g, alpha=0.05 / float(norm))
            optimizer.step()
            optimizer.zero_grad()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
    model.eval()
    with torch.no_grad():
        return accuracy(model(vx), vy)


@cases.recipe("mlp", 0.85)
def lookahead_slow_weights(harness: Harness, seed: int) -> float | None:
    """Every five steps the weights go half-way back to slow copies."""
    model = dense(64, 64, 10)
    slow = [p.detach().clone() for p in model.parameters()]
    count = 0

    def synchronise() -> None:
        nonlocal count
        count += 1
        if count % 5 == 0:
            with torch.no_grad():
                for p, s in zip(model.parameters(), slow, strict=True):
                    s.lerp_(p, 0.5)
                    p.copy_(s)

    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits(image=False), after=synchronise)


@cases.recipe("mlp", 0.85)
def step_inside_backward(harness: Harness, seed: int) -> float | None:
    """One optimizer per parameter, stepped by a hook as soon as its gradient is there, to save memory."""
    x, y, vx, vy = digits("standard", image=False)
    model = dense(64, 64, 10)
    owners = {p: torch.optim.Adam([p], lr=2e-3) for p in model.parameters()}

    def now(p: Tensor) -> None:
        owners[p].step()
        owners[p].zero_grad()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(now)
    harness.begin(model, list(owners.values()), loss_fn=F.cross_entropy)
    for _ in range(5):
        for inputs, targets in draws(x, y):
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
    return accuracy(model(vx), vy)


@cases.recipe("cnn", 0.8)
def rates_by_layer(harness: Harness, seed: int) -> float | None:
    """Rates that grow from 2e-4 in the first layer to 4e-3 in the head; no decay on vectors."""
    model = convs(3, 4)
    groups = [
        {"params": [p], "lr": 4e-3 * 0.7 ** (9 - i), "weight_decay": 0.02 * (p.dim() > 1)}
        for i, p in enumerate(model.parameters())
    ]
    x, y, vx, vy = signs()
    split = x * 2 - 1, y, vx * 2 - 1, vy
    return fit(harness, model, torch.optim.AdamW(groups), F.cross_entropy, split, epochs=6)
