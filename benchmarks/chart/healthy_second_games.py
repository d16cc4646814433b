"""Games, pseudo-labels and unusual loops of a second author, on which NO threshold is ever set.

See `healthy_second.py`.
"""

import copy

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_second_pairs import shaken
from benchmarks.chart.second import (
    SecondCases,
    accuracy,
    cancer,
    convs,
    dense,
    digits,
    draws,
    explained,
    fit,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("second")


@cases.recipe("bandit", 0.75)
def policy_by_rewards(harness: Harness, seed: int) -> float | None:
    """REINFORCE with baseline and entropy bonus on a contextual bandit made of digits; a loss of both signs."""
    x, y, vx, vy = digits("standard", image=False)
    policy, value = dense(64, 64, 10, act=nn.Tanh), dense(64, 32, 1, act=nn.Tanh)
    optimizer = torch.optim.Adam([*policy.parameters(), *value.parameters()], lr=3e-3)
    harness.begin(nn.ModuleDict({"policy": policy, "value": value}), optimizer)
    for _ in range(25):
        for a, k in draws(x, y, 64, whole=True):
            chance = torch.distributions.Categorical(logits=policy(a))
            act = chance.sample()
            reward, guess = (act == k).float(), value(a).squeeze(1)
            gain = (reward - guess).detach()
            loss = (
                -(chance.log_prob(act) * gain).mean() + 0.5 * F.mse_loss(guess, reward) - 0.01 * chance.entropy().mean()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=a)
    with torch.no_grad():
        return accuracy(policy(vx), vy)


@cases.recipe("dqn", 0.8)
def walk_to_the_end(harness: Harness, seed: int) -> float | None:
    """Double DQN with a replay memory and a target network that is copied now and then; a corridor of 8 cells."""
    q = dense(8, 32, 2)
    target = copy.deepcopy(q)
    optimizer = torch.optim.RMSprop(q.parameters(), lr=2e-3)
    harness.begin([q, target], optimizer)
    memory: list[tuple[int, int, float, int, float]] = []
    eye, cell, steps = torch.eye(8), 0, 0
    for i in range(600):
        act = int(torch.randint(2, ())) if torch.rand(()) < max(0.1, 1 - i / 300) else int(q(eye[cell]).argmax())
        new = max(0, min(7, cell + 2 * act - 1))
        memory.append((cell, act, float(new == 7), new, float(new == 7)))
        steps += 1
        cell, steps = (0, 0) if new == 7 or steps > 30 else (new, steps)
        if i < 64:
            continue
        s, a, r, n, end = (
            torch.tensor(c) for c in zip(*[memory[j] for j in torch.randint(len(memory), (32,))], strict=True)
        )
        with torch.no_grad():
            best = q(eye[n]).argmax(1)
            aim = r + 0.9 * (1 - end) * target(eye[n]).gather(1, best[:, None]).squeeze(1)
        out = q(eye[s]).gather(1, a[:, None]).squeeze(1)
        loss = F.smooth_l1_loss(out, aim)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 20 == 0:
            target.load_state_dict(q.state_dict())
        harness.step(loss=loss, inputs=eye[s], targets=aim, outputs=out)
    with torch.no_grad():
        return float((q(eye).argmax(1)[:7] == 1).float().mean())


@cases.recipe("mlp", 0.6)
def pseudo_labels(harness: Harness, seed: int) -> float | None:
    """FixMatch: 100 labels; on the rest, confident answers on clean inputs teach noisy ones (zero at first)."""
    x, y, vx, vy = digits("standard")
    model = convs()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, nesterov=True)
    harness.begin(model, optimizer)
    for _ in range(5):
        model.train()
        for a, _ in draws(x[100:], y[100:], 64, whole=True):
            pick = torch.randint(0, 100, (24,))
            out = model(x[pick])
            with torch.no_grad():
                sure, guess = model(a).softmax(1).max(1)
            other = F.cross_entropy(model(shaken(a)), guess, reduction="none")
            loss = F.cross_entropy(out, y[pick]) + ((sure > 0.9) * other).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x[pick], targets=y[pick], outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx)
            harness.epoch(val={"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)})
    return accuracy(out, vy)


class Reversed(torch.autograd.Function):
    """Identity whose gradient is turned round."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        """The same."""
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        """Its negative, a third."""
        return -grad / 3


@cases.recipe("dann", 0.75)
def domain_is_forgotten(harness: Harness, seed: int) -> float | None:
    """Domain-adversarial training: a reversed gradient from a head that tells plain digits from inverted noise."""
    x, y, vx, vy = digits("standard", image=False)
    other = x.flip(0) * 0.7 + 0.5 + 0.3 * torch.randn_like(x)
    body, kind, domain = dense(64, 64, 32), nn.Linear(32, 10), dense(32, 16, 2)
    model = nn.ModuleDict({"body": body, "kind": kind, "domain": domain})
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer)
    for _ in range(6):
        model.train()
        for rows in torch.randperm(len(x)).split(32):
            h = F.relu(body(torch.cat([x[rows], other[rows]])))
            out = kind(h[: len(rows)])
            origin = torch.arange(2).repeat_interleave(len(rows))
            loss = F.cross_entropy(out, y[rows]) + F.cross_entropy(domain(Reversed.apply(h)), origin)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
    model.eval()
    with torch.no_grad():
        return accuracy(kind(F.relu(body(vx * 0.7 + 0.5))), vy)


@cases.recipe("mlp", 0.75)
def attacked_while_training(harness: Harness, seed: int) -> float | None:
    """Adversarial training by one signed-gradient step on the input; the model's gradients are cleared in between."""
    x, y, vx, vy = digits("standard", image=False)
    model = dense(64, 96, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(6):
        for a, k in draws(x, y):
            probe = a.clone().requires_grad_()
            F.cross_entropy(model(probe), k).backward()
            attacked = (a + 0.15 * probe.grad.sign()).detach()
            optimizer.zero_grad()
            out = model(attacked)
            loss = F.cross_entropy(out, k)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=attacked, targets=k, outputs=out)
    with torch.no_grad():
        return accuracy(model(vx), vy)


@cases.recipe("reptile", 0.4)
def learns_to_learn(harness: Harness, seed: int) -> float | None:
    """Reptile on sine waves: copies learn a task each, the outer optimizer gets the difference as its gradient."""
    model = dense(1, 40, 40, 1, act=nn.Tanh)
    outer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, outer)

    def adapt(phase: float, steps: int) -> tuple[nn.Module, float]:
        copy_of = copy.deepcopy(model)
        inner = torch.optim.SGD(copy_of.parameters(), lr=0.05)
        for _ in range(steps):
            t = torch.rand(16, 1) * 6 - 3
            loss = F.mse_loss(copy_of(t), (t + phase).sin())
            inner.zero_grad()
            loss.backward()
            inner.step()
        return copy_of, loss.item()

    for _ in range(120):
        learned, loss = adapt(float(torch.rand(())) * 1.5, 6)
        for p, q in zip(model.parameters(), learned.parameters(), strict=True):
            p.grad = (p - q).detach()
        outer.step()
        harness.step(loss=loss)
    t = torch.linspace(-3, 3, 60)[:, None]
    fits = [explained(adapt(phase, 8)[0](t).detach(), (t + phase).sin()) for phase in (0.2, 0.7, 1.3)]
    return float(np.mean(fits))


@cases.recipe("cancer", 0.9)
def committee_of_three(harness: Harness, seed: int) -> float | None:
    """Three networks with three optimizers on bootstrap samples, in one loop."""
    x, y, vx, vy = cancer()
    members = [dense(30, 16, 2, act=act) for act in (nn.ReLU, nn.Tanh, nn.SiLU)]
    optimizers = [torch.optim.Adam(m.parameters(), lr=5e-3) for m in members]
    harness.begin(members, optimizers)
    for _ in range(6):
        for _ in range(13):
            total = 0.0
            for member, optimizer in zip(members, optimizers, strict=True):
                rows = torch.randint(len(x), (32,))
                loss = F.cross_entropy(member(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() / 3
            harness.step(loss=total)
    with torch.no_grad():
        return accuracy(torch.stack([m(vx).softmax(1) for m in members]).mean(0), vy)


@cases.recipe("mlp", 0.7)
def weights_of_one_bit(harness: Harness, seed: int) -> float | None:
    """Binarised weights by a straight-through estimator, latent weights clipped to -1..1 after each step."""

    class Binary(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            w = self.weight
            return F.linear(x, w + (w.sign() - w).detach()) / w.shape[1] ** 0.5

    model = nn.Sequential(
        Binary(64, 96, bias=False), nn.BatchNorm1d(96), nn.Hardtanh(), Binary(96, 10, bias=False), nn.BatchNorm1d(10)
    )

    def clamp() -> None:
        with torch.no_grad():
            for m in (model[0], model[3]):
                m.weight.clamp_(-1, 1)

    optimizer = torch.optim.Adam(
        [
            {"params": [model[0].weight, model[3].weight], "lr": 5e-3},
            {"params": [*model[1].parameters(), *model[4].parameters()]},
        ],
        lr=3e-3,
    )
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False), after=clamp, whole=True)


@cases.recipe("mlp", 0.8)
def margins_on_the_sphere(harness: Harness, seed: int) -> float | None:
    """CosFace: cosine logits times 16 with a margin of 0.2 in training only."""

    class Sphere(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.proxy = dense(64, 64, 16), nn.Parameter(torch.randn(10, 16))

        def forward(self, x: Tensor) -> Tensor:
            return F.normalize(self.body(x), dim=1) @ F.normalize(self.proxy, dim=1).T

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(16 * (out - 0.2 * F.one_hot(y, 10)), y)

    model = Sphere()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return fit(harness, model, optimizer, loss, digits("signed", False))
