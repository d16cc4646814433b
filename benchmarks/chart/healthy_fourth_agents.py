"""Agents, tasks in turn, and many learners, by a fourth author, without any threshold. See `healthy_fourth.py`."""

import copy
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fourth import march, some
from benchmarks.chart.second import SecondCases, accuracy, dense, explained
from torch import Tensor, nn
from torch.distributions import Categorical, Normal
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("fourth")


def poles(state: Tensor, push: Tensor) -> tuple[Tensor, Tensor]:
    """Many carts with poles at once: (N, 4) place, speed, angle, its speed; `push` of 0 or 1. Next states, who fell."""
    x, v, a, w = state.unbind(1)
    force = 20.0 * push - 10.0
    part = (force + 0.05 * w**2 * a.sin()) / 1.1
    turn = (9.8 * a.sin() - a.cos() * part) / (0.5 * (4 / 3 - 0.1 * a.cos() ** 2 / 1.1))
    new = torch.stack([x + 0.02 * v, v + 0.02 * (part - 0.05 * turn * a.cos() / 1.1), a + 0.02 * w, w + 0.02 * turn], 1)
    return new, (new[:, 0].abs() > 2.4) | (new[:, 2].abs() > 0.21)


def upright(act: Any, count: int = 50, limit: int = 100) -> float:
    """Mean share of `limit` steps that poles stay up; a random player gets about 0.2."""
    state, alive, total = 0.05 * torch.randn(count, 4), torch.ones(count), 0.0
    with torch.no_grad():
        for _ in range(limit):
            state, fell = poles(state, act(state).argmax(1).float())
            alive = alive * (~fell).float()
            total += float(alive.mean())
    return total / limit


@cases.recipe("rl", 0.5)
def poles_by_reinforce(harness: Harness, seed: int) -> float:
    """REINFORCE of the examples: whole episodes, returns standardised per batch, losses summed and divided by count."""
    policy = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.1), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)

    def compute(i: int) -> Tensor:
        state, alive, logs, lives = 0.05 * torch.randn(16, 4), torch.ones(16), [], []
        for _ in range(60):
            choice = Categorical(logits=policy(state))
            push = choice.sample()
            logs.append(choice.log_prob(push))
            lives.append(alive)
            state, fell = poles(state, push.float())
            alive = alive * (~fell).float()
            if not alive.any():
                break
        life, gains = torch.stack(lives), []
        total = torch.zeros(16)
        for reward in life.flip(0):
            total = reward + 0.98 * total
            gains.append(total)
        gain = torch.stack(gains[::-1])
        live = life > 0
        gain = (gain - gain[live].mean()) / (gain[live].std() + 1e-6)
        return -(torch.stack(logs) * gain * life).sum() / 16

    march(harness, policy, optimizer, compute, 45)
    return upright(policy.eval())


@cases.recipe("rl", 0.5)
def poles_by_dueling_networks(harness: Harness, seed: int) -> float:
    """Dueling double DQN with priorities: 32 carts play at once, weights of importance, a hard copy every 40 steps."""

    class Dueling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
            self.value, self.gain = nn.Linear(64, 1), nn.Linear(64, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.body(x * torch.tensor([1.0, 0.5, 10, 0.5]))
            gain = self.gain(h)
            return self.value(h) + gain - gain.mean(1, keepdim=True)

    online = Dueling()
    target = copy.deepcopy(online)
    optimizer = torch.optim.Adam(online.parameters(), lr=2e-3)
    state = 0.05 * torch.randn(32, 4)
    size = 8000
    memory, rank, at, full = torch.zeros(size, 10), torch.zeros(size), 0, 0
    harness.begin(online, optimizer, loss_fn=F.smooth_l1_loss)
    for i in range(350):
        with torch.no_grad():
            best = online(state).argmax(1)
        move = torch.where(torch.rand(32) < max(0.05, 1 - i / 120), torch.randint(2, (32,)), best)
        new, fell = poles(state, move.float())
        memory[at : at + 32] = torch.cat([state, move[:, None].float(), new, fell[:, None].float()], 1)
        rank[at : at + 32] = rank.max().clamp(min=1)
        at, full = (at + 32) % size, min(full + 32, size)
        state = torch.where(fell[:, None], 0.05 * torch.randn(32, 4), new)
        if i < 15:
            continue
        p = rank[:full] ** 0.6
        rows = p.multinomial(64, replacement=True)
        s, a, n, d = memory[rows].split([4, 1, 4, 1], 1)
        with torch.no_grad():
            goal = 1 - d + 0.95 * (1 - d) * target(n).gather(1, online(n).argmax(1, keepdim=True))
        q = online(s).gather(1, a.long())
        weight = (p[rows] / p.sum() * full).pow(-0.4)[:, None]
        loss = (weight / weight.max() * F.smooth_l1_loss(q, goal, reduction="none")).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(online.parameters(), 10)
        optimizer.step()
        rank[rows] = (q - goal).abs().detach().flatten() + 0.01
        if i % 40 == 0:
            target.load_state_dict(online.state_dict())
        harness.step(loss=loss, inputs=s, targets=goal, outputs=q)
    return upright(online)


def reach(place: Tensor, push: Tensor) -> tuple[Tensor, Tensor]:
    """Points on a plane move by at most 0.3 towards the origin, which pays."""
    new = (place + 0.3 * push).clamp(-2, 2)
    return new, -new.square().sum(1, keepdim=True)


@cases.recipe("rl", 0.6)
def entropy_has_a_price(harness: Harness, seed: int) -> float:
    """SAC: a squashed normal policy, two critics with slow copies, a temperature that learns: three optimizers."""
    actor = dense(2, 48, 4)
    critics = nn.ModuleList(dense(4, 48, 1) for _ in range(2))
    slow = copy.deepcopy(critics).requires_grad_(False)
    log_alpha = nn.Parameter(torch.tensor(-1.0))
    opt_a = torch.optim.Adam(actor.parameters(), lr=3e-3)
    opt_c = torch.optim.Adam(critics.parameters(), lr=3e-3)
    opt_t = torch.optim.Adam([log_alpha], lr=3e-3)
    memory = torch.zeros(0, 7)
    place = torch.rand(16, 2) * 4 - 2

    def act(s: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = actor(s).chunk(2, 1)
        draw = Normal(mean, log_std.clamp(-4, 1).exp())
        raw = draw.rsample()
        return raw.tanh(), (draw.log_prob(raw) - (1 - raw.tanh() ** 2 + 1e-6).log()).sum(1, keepdim=True)

    harness.begin([actor, critics], [opt_a, opt_c])
    for _ in range(280):
        with torch.no_grad():
            push = act(place)[0]
        new, reward = reach(place, push)
        memory = torch.cat([memory, torch.cat([place, push, reward, new], 1)])[-4000:]
        place = torch.where(torch.rand(16, 1) < 0.1, torch.rand(16, 2) * 4 - 2, new)
        s, a, r, n = some(64, memory)[0].split([2, 2, 1, 2], 1)
        alpha = log_alpha.exp().detach()
        with torch.no_grad():
            b, log_p = act(n)
            best = torch.min(*(c(torch.cat([n, b], 1)) for c in slow))
            goal = r + 0.9 * (best - alpha * log_p)
        loss_c = sum(F.mse_loss(c(torch.cat([s, a], 1)), goal) for c in critics)
        opt_c.zero_grad()
        loss_c.backward()
        opt_c.step()
        b, log_p = act(s)
        loss_a = (alpha * log_p - torch.min(*(c(torch.cat([s, b], 1)) for c in critics))).mean()
        opt_a.zero_grad()
        loss_a.backward()
        opt_a.step()
        opt_t.zero_grad()
        (-log_alpha * (log_p.detach() - 2).mean()).backward()
        opt_t.step()
        with torch.no_grad():
            for p, q in zip(slow.parameters(), critics.parameters(), strict=True):
                p.lerp_(q, 0.02)
        harness.step(loss=loss_c.item() + loss_a.item())
    place = torch.rand(200, 2) * 4 - 2
    start = place.norm(dim=1).mean()
    with torch.no_grad():
        for _ in range(10):
            place, _ = reach(place, actor(place)[:, :2].tanh())
    return float(1 - place.norm(dim=1).mean() / start)


@cases.recipe("rl", 0.6)
def returns_have_quantiles(harness: Harness, seed: int) -> float:
    """Quantile regression of returns of four arms by context: 11 quantiles of each, Huber's quantile loss."""
    model = nn.Sequential(dense(3, 48, 44), nn.Unflatten(1, (4, 11)))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    tau = (torch.arange(11) + 0.5) / 11

    def pay(s: Tensor, arm: Tensor) -> Tensor:
        mean = torch.stack([s[:, 0], -s[:, 0], s[:, 1] * s[:, 2], 0 * s[:, 0]], 1)
        return mean.gather(1, arm[:, None])[:, 0] + (0.2 + 0.2 * arm) * torch.randn(len(s))

    def compute(i: int) -> Any:
        s = torch.randn(64, 3)
        with torch.no_grad():
            best = model(s).mean(2).argmax(1)
        arm = torch.where(torch.rand(64) < 0.4, torch.randint(4, (64,)), best)
        r = pay(s, arm)
        q = model(s)[torch.arange(64), arm]
        gap = r[:, None] - q
        loss = ((tau - (gap < 0).float()).abs() * F.huber_loss(gap, 0 * gap, reduction="none")).sum(1).mean()
        return {"loss": loss, "inputs": s, "targets": r, "outputs": q}

    march(harness, model, optimizer, compute, 400)
    s = torch.randn(1000, 3)
    mean = torch.stack([s[:, 0], -s[:, 0], s[:, 1] * s[:, 2], 0 * s[:, 0]], 1)
    return accuracy(model(s).mean(2), mean.argmax(1))


@cases.recipe("rl", 0.7)
def dreams_of_the_cart(harness: Harness, seed: int) -> float:
    """A model of the world: the change of state, standardised, from random play; Gaussian likelihood of an ensemble."""
    state = torch.rand(2000, 4) * torch.tensor([2.0, 2, 0.4, 2]) - torch.tensor([1.0, 1, 0.2, 1])
    push = torch.randint(2, (2000,)).float()
    change = poles(state, push)[0] - state
    change = change / change.std(0)
    x = torch.cat([state, push[:, None]], 1)
    model = nn.ModuleList(dense(5, 48, 8, act=nn.SiLU) for _ in range(3))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-5)

    def compute(i: int) -> Tensor:
        total: Any = 0.0
        for m in model:
            a, b = some(64, x[:1600], change[:1600])
            mean, log_var = m(a).chunk(2, 1)
            total = total + ((mean - b).square() * (-log_var).exp() + log_var).mean()
        return total

    march(harness, model, optimizer, compute, 300)
    with torch.no_grad():
        return explained(torch.stack([m(x[1600:])[:, :4] for m in model]).mean(0), change[1600:])


@cases.recipe("rl", 0.7)
def wanted_return_is_given(harness: Harness, seed: int) -> float:
    """Upside-down learning: the act is foretold from state and reached reward of random play; asked for the best."""
    s, a = torch.randn(3000, 2), torch.rand(3000, 1) * 4 - 2
    r = -(a - s.sum(1, keepdim=True).sin() * 1.5).abs()
    model = dense(3, 64, 64, 1, act=nn.GELU)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    near = (r > -0.7).flatten()
    x, y = torch.cat([s, r], 1)[near], a[near]

    def compute(i: int) -> Any:
        b, c = some(64, x, y)
        out = model(b)
        return {"loss": F.mse_loss(out, c), "inputs": b, "targets": c, "outputs": out}

    march(harness, model, optimizer, compute, 400)
    t = torch.randn(500, 2)
    return explained(model(torch.cat([t, torch.zeros(500, 1)], 1)).detach(), t.sum(1, keepdim=True).sin() * 1.5)
