"""Agents in small worlds, by a sixth author, without any threshold. See `healthy_sixth.py`."""

import copy
import random
from collections import deque

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_sixth import iterate, pick
from benchmarks.chart.second import SecondCases, dense, explained
from torch import Tensor, nn
from torch.distributions import Categorical, Normal
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("sixth")


class Catch:
    """A ball falls through 3 rows of 5 cells, a paddle below moves left, stays or moves right; 1 or -1 at the end."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.reset()

    def reset(self) -> Tensor:
        """New balls everywhere."""
        self.ball, self.paddle = torch.randint(5, (self.count,)), torch.full((self.count,), 2)
        self.row = 0
        return self.look()

    def look(self) -> Tensor:
        """Places of ball and paddle, one-hot, and the row."""
        parts = [F.one_hot(self.ball, 5), F.one_hot(self.paddle, 5), torch.full((self.count, 1), self.row) / 3]
        return torch.cat([p.float() for p in parts], 1)

    def step(self, move: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Next look, rewards, and whether all is over."""
        self.paddle = (self.paddle + move - 1).clamp(0, 4)
        self.row += 1
        over = self.row == 3
        reward = torch.where(self.ball == self.paddle, 1.0, -1.0) if over else torch.zeros(self.count)
        return self.look(), reward, over


def caught(act: nn.Module, count: int = 300) -> float:
    """Share of balls that are caught greedily; a random player catches about a fifth to a third."""
    world = Catch(count)
    state, over = world.reset(), False
    with torch.no_grad():
        while not over:
            state, reward, over = world.step(act(state).argmax(1))
    return float((reward > 0).float().mean())


@cases.recipe("rl", 0.8)
def catching_by_dqn(harness: Harness, seed: int) -> float:
    """The tutorial's DQN: a deque of transitions, falling epsilon, soft target updates, smooth L1, clip by value."""
    net = dense(11, 48, 48, 3)
    target = copy.deepcopy(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, amsgrad=True)
    memory: deque[tuple[Tensor, ...]] = deque(maxlen=4000)
    draw = random.Random(seed)
    world = Catch(4)
    harness.begin(net, optimizer, loss_fn=nn.SmoothL1Loss())
    state = world.reset()
    for i in range(450):
        eps = max(0.05, 1 - i / 250)
        with torch.no_grad():
            move = torch.where(torch.rand(4) < eps, torch.randint(3, (4,)), net(state).argmax(1))
        new, reward, over = world.step(move)
        for k in range(4):
            memory.append((state[k], move[k], reward[k], new[k], torch.tensor(float(over))))
        state = world.reset() if over else new
        if len(memory) < 64:
            continue
        s, a, r, n, d = (torch.stack(part) for part in zip(*draw.sample(memory, 48), strict=True))
        with torch.no_grad():
            goal = r + 0.95 * (1 - d) * target(n).amax(1)
        out = net(s).gather(1, a[:, None])[:, 0]
        loss = F.smooth_l1_loss(out, goal)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(net.parameters(), 100)
        optimizer.step()
        for p, q in zip(target.parameters(), net.parameters(), strict=True):
            p.data.lerp_(q.data, 0.02)
        harness.step(loss=loss, inputs=s, targets=goal, outputs=out)
    return caught(net)


@cases.recipe("rl", 0.65)
def catching_by_policy_gradient(harness: Harness, seed: int) -> float:
    """REINFORCE with a running mean as baseline, 24 games at once, whole games, the loss has any sign; Adam at 5e-3."""
    policy = dense(11, 48, 3, act=nn.Tanh)
    optimizer = torch.optim.Adam(policy.parameters(), lr=5e-3)
    world, mean = Catch(24), [0.0]

    def compute(i: int) -> Tensor:
        state, logs, over = world.reset(), torch.zeros(24), False
        while not over:
            choice = Categorical(logits=policy(state))
            move = choice.sample()
            logs = logs + choice.log_prob(move)
            state, reward, over = world.step(move)
        gain = reward - mean[0]
        mean[0] = 0.9 * mean[0] + 0.1 * float(reward.mean())
        return -(logs * gain).mean()

    iterate(harness, policy, optimizer, compute, 220)
    return caught(policy)


@cases.recipe("rl", 0.7)
def catching_by_actor_and_critic(harness: Harness, seed: int) -> float:
    """PPO: 64 games, advantages by GAE, 4 passes of batches of 48, clip 0.2, value and entropy terms, one optimizer."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(11, 48), nn.Tanh())
            self.actor, self.critic = nn.Linear(48, 3), nn.Linear(48, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.actor(self.body(x))

    net = Both()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3, eps=1e-5)
    world = Catch(64)
    harness.begin(net, optimizer)
    for _ in range(45):
        state, over, seen = world.reset(), False, []
        with torch.no_grad():
            while not over:
                h = net.body(state)
                choice = Categorical(logits=net.actor(h))
                move = choice.sample()
                new, reward, over = world.step(move)
                seen.append((state, move, choice.log_prob(move), net.critic(h)[:, 0], reward))
                state = new
        later, gain, gains = torch.zeros(64), torch.zeros(64), []
        for _, _, _, value, reward in reversed(seen):
            gain = reward + 0.99 * later - value + 0.99 * 0.95 * gain
            later = value
            gains.insert(0, gain)
        s, a, old, v = (torch.cat([row[k] for row in seen]) for k in range(4))
        gain = torch.cat(gains)
        goal = gain + v
        for _ in range(4):
            for rows in torch.randperm(len(s)).split(48):
                h = net.body(s[rows])
                choice = Categorical(logits=net.actor(h))
                ratio = (choice.log_prob(a[rows]) - old[rows]).exp()
                g = (gain[rows] - gain[rows].mean()) / (gain[rows].std() + 1e-8)
                policy = -torch.min(ratio * g, ratio.clamp(0.8, 1.2) * g).mean()
                value = F.mse_loss(net.critic(h)[:, 0], goal[rows])
                loss = policy + 0.5 * value - 0.01 * choice.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 0.5)
                optimizer.step()
                harness.step(loss=loss, inputs=s[rows])
    return caught(net)


@cases.recipe("rl", 0.75)
def twin_critics_reach_a_point(harness: Harness, seed: int) -> float:
    """TD3 on points that are pushed: twin critics with noise on target moves, the actor every second step."""
    actor = nn.Sequential(dense(2, 48, 2), nn.Tanh())
    critics = nn.ModuleList(dense(4, 48, 1) for _ in range(2))
    slow_actor, slow_critics = copy.deepcopy(actor), copy.deepcopy(critics)
    for_actor, for_critics = torch.optim.Adam(actor.parameters(), 1e-3), torch.optim.Adam(critics.parameters(), 2e-3)
    place = 2 * torch.rand(32, 2) - 1
    memory = torch.zeros(0, 7)
    harness.begin([actor, critics], [for_actor, for_critics])
    for i in range(400):
        with torch.no_grad():
            push = (actor(place) + 0.3 * torch.randn(32, 2)).clamp(-1, 1) if i > 20 else 2 * torch.rand(32, 2) - 1
        new = (place + 0.25 * push).clamp(-1, 1)
        rows = torch.cat([place, push, -new.norm(dim=1, keepdim=True), new], 1)
        memory = torch.cat([memory, rows])[-6000:]
        place = 2 * torch.rand(32, 2) - 1 if i % 8 == 7 else new
        if i < 10:
            continue
        s, a, r, n = pick(64, memory)[0].split([2, 2, 1, 2], 1)
        with torch.no_grad():
            move = (slow_actor(n) + (0.2 * torch.randn(64, 2)).clamp(-0.5, 0.5)).clamp(-1, 1)
            goal = r + 0.9 * torch.min(*(c(torch.cat([n, move], 1)) for c in slow_critics))
        out = [c(torch.cat([s, a], 1)) for c in critics]
        loss = sum((F.mse_loss(q, goal) for q in out), torch.zeros(()))
        for_critics.zero_grad()
        loss.backward()
        for_critics.step()
        if i % 2:
            pay = -critics[0](torch.cat([s, actor(s)], 1)).mean()
            for_actor.zero_grad()
            pay.backward()
            for_actor.step()
            for slow, fast in ((slow_actor, actor), (slow_critics, critics)):
                for p, q in zip(slow.parameters(), fast.parameters(), strict=True):
                    p.data.lerp_(q.data, 0.02)
        harness.step(loss=loss, inputs=s, targets=goal, outputs=out[0])
    place = 2 * torch.rand(300, 2) - 1
    before = place.norm(dim=1).mean()
    with torch.no_grad():
        for _ in range(8):
            place = (place + 0.25 * actor(place)).clamp(-1, 1)
    return float(1 - place.norm(dim=1).mean() / before)


@cases.recipe("rl", 0.7)
def one_armed_bandits_by_context(harness: Harness, seed: int) -> float:
    """A recommender's log: reward of shown items by context, one net per batch of impressions, epsilon of 0.1."""
    taste = torch.randn(6, 8)
    net = dense(6, 32, 8)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)

    def compute(i: int) -> dict[str, Tensor]:
        x = torch.randn(64, 6)
        with torch.no_grad():
            shown = torch.where(torch.rand(64) < 0.1, torch.randint(8, (64,)), net(x).argmax(1))
        liked = ((x @ taste).gather(1, shown[:, None]) > 1.0).float()
        out = net(x).gather(1, shown[:, None])
        loss = F.binary_cross_entropy_with_logits(out, liked)
        return {"loss": loss, "inputs": x, "targets": liked, "outputs": out}

    iterate(harness, net, optimizer, compute, 400)
    x = torch.randn(500, 6)
    return float(((x @ taste).gather(1, net(x).argmax(1, keepdim=True)) > 1).float().mean())


@cases.recipe("rl", 0.8)
def a_model_of_the_world(harness: Harness, seed: int) -> float:
    """A swing's next angle and speed as a difference, by mean and deviation (Gaussian likelihood, bounded below)."""

    def world(s: Tensor, a: Tensor) -> Tensor:
        speed = s[:, 1:] - 0.3 * s[:, :1].sin() + 0.2 * a
        return torch.cat([s[:, :1] + 0.3 * speed, speed], 1) - s

    def sample(count: int) -> tuple[Tensor, Tensor]:
        s = torch.cat([3 * (2 * torch.rand(count, 1) - 1), torch.randn(count, 1)], 1)
        a = 2 * torch.rand(count, 1) - 1
        return torch.cat([s, a], 1), world(s, a) + 0.02 * torch.randn(count, 2)

    (x, y), (vx, vy) = sample(2000), sample(400)
    mean, std = y.mean(0), y.std(0)
    y, vy = (y - mean) / std, (vy - mean) / std
    net = dense(3, 64, 64, 4, act=nn.SiLU)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-4)

    def compute(i: int) -> dict[str, Tensor]:
        a, b = pick(64, x, y)
        middle, width = net(a).chunk(2, 1)
        spread = F.softplus(width) + 0.02
        return {"loss": -Normal(middle, spread).log_prob(b).mean(), "inputs": a, "targets": b}

    iterate(harness, net, optimizer, compute, 400, clip=10.0)
    return explained(net(vx)[:, :2], vy)
