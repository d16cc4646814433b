"""Faulty loops by a tenth author, who had not read the rules, each with a sound twin: generators, agents, graphs.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import random

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import SecondCases, accuracy, dense, digits, draws, explained, fit
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("tenth")


def adam(model: nn.Module, lr: float = 3e-3) -> torch.optim.Adam:
    """Adam over the whole model."""
    return torch.optim.Adam(model.parameters(), lr=lr)


class Coder(nn.Module):
    """A variational autoencoder: (image, mean, log-variance)."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.dec = dense(64, 64, 16), dense(8, 64, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image, mean, log-variance."""
        mean, log_var = self.enc(x).chunk(2, 1)
        code = mean + torch.randn_like(mean) * (0.5 * log_var).exp() if self.training else mean
        return self.dec(code), mean, log_var


@cases.pair("autoencoder", 0.3, accepts=["negative-loss"])
def sign_of_the_divergence(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The VAE's `0.5 * sum(1 + logvar - mu^2 - exp(logvar))` lacks its minus: the code is driven from the prior."""
    x, _, vx, _ = digits("unit", image=False)
    model = Coder()

    def loss_fn(out: tuple[Tensor, Tensor, Tensor], t: Tensor) -> Tensor:
        image, mean, log_var = out
        inner = 0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1).mean()
        return (image - t).square().sum(1).mean() + 0.05 * (inner if wrong else -inner)

    def score(out: tuple[Tensor, Tensor, Tensor], t: Tensor) -> float:
        return explained(out[0], t)

    return fit(harness, model, adam(model), loss_fn, (x, x, vx, vx), score=score, metric="r2", epochs=10)


@cases.pair("autoencoder", 0.3, accepts=["output-cannot-reach-targets"])
def sigmoid_for_signed_pixels(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Pixels are scaled to -1..1, but the decoder ends in a sigmoid, which cannot say anything below 0."""
    x, _, vx, _ = digits("signed", image=False)
    model = nn.Sequential(dense(64, 64, 8), dense(8, 64, 64), nn.Sigmoid() if wrong else nn.Tanh())
    return fit(
        harness, model, adam(model), F.mse_loss, (x, x, vx, vx), score=explained, metric="r2", epochs=10
    )  # fmt: skip


@cases.pair("gan", 0.5, accepts=["one-class-targets"])
def ones_for_real_and_fake(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The critic's fakes are labelled with ones, like the real rows: it says yes to all and teaches nothing."""
    where = torch.tensor([2.0, -1.5])
    maker, critic = dense(4, 32, 2), dense(2, 32, 1)
    first, second = torch.optim.Adam(maker.parameters(), 2e-3, (0.5, 0.9)), torch.optim.Adam(critic.parameters(), 4e-3)
    harness.begin([maker, critic], [first, second])
    judge = F.binary_cross_entropy_with_logits
    recent: list[Tensor] = []
    for step in range(400):
        real = where + 0.5 * torch.randn(64, 2)
        fake = maker(torch.randn(64, 4))
        yes, no = critic(real), critic(fake.detach())
        loss_critic = judge(yes, torch.ones(64, 1)) + judge(no, torch.ones(64, 1) if wrong else torch.zeros(64, 1))
        second.zero_grad()
        loss_critic.backward()
        second.step()
        said = critic(fake)
        loss_maker = judge(said, torch.ones(64, 1))
        first.zero_grad()
        loss_maker.backward()
        first.step()
        if step >= 300:
            recent.append(fake.detach().mean(0))
        harness.step(loss=loss_maker + loss_critic, inputs=real, outputs=fake)
    return 1 - float((torch.stack(recent).mean(0) - where).norm()) / 2.5


@cases.pair("selfsupervised", 0.6, accepts=["input-not-used"])
def views_drawn_together_only(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Two views are drawn together and nothing keeps the rows apart: the variance term has a factor of 0."""
    x, y, vx, vy = digits("standard", image=False)
    model = dense(64, 64, 16)
    optimizer = adam(model)
    harness.begin(model, optimizer)
    factor = 0.0 if wrong else 10.0
    for _ in range(8):
        for inputs, _ in draws(x, y, 64, whole=True):
            one, two = (model(inputs + 0.4 * torch.randn_like(inputs)) for _ in range(2))
            spread = sum((1 - z.std(0)).clamp(min=0).mean() for z in (one, two))
            loss = 10 * (one - two).square().mean() + factor * spread
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, outputs=one)
    with torch.no_grad():
        known, asked = model(x), model(vx)
        probe = torch.linalg.lstsq(torch.cat([known, torch.ones(len(x), 1)], 1), F.one_hot(y, 10).float()).solution
        return float(min(1.0, asked.std(0).mean())) * accuracy(
            torch.cat([asked, torch.ones(len(vx), 1)], 1) @ probe, vy
        )  # fmt: skip


class Corridor:
    """Seven rooms; the left exit, next to the start, pays 1, the right one at the far end 4. Then it begins anew."""

    def __init__(self) -> None:
        self.sight = torch.zeros(7)
        self.reset()

    def reset(self) -> None:
        """Back to room 1."""
        self.room = 1
        self._look()

    def _look(self) -> None:
        self.sight.zero_()
        self.sight[self.room] = 1

    def move(self, action: int) -> tuple[float, bool]:
        """Reward and whether it is over."""
        self.room += 1 if action else -1
        over = self.room in (0, 6)
        reward = {0: 1.0, 6: 4.0}.get(self.room, 0.0)
        if over:
            self.room = 1
        self._look()
        return reward, over


def learn_values(
    harness: Harness, wrong_end: bool = False, alias: bool = False, curious: bool = True, steps: int = 2400
) -> float:
    """Q-learning from a replay buffer. Returns what a greedy walk earns, as a share of 4, if the values are right."""
    model = dense(7, 32, 2)
    optimizer = adam(model, 5e-3)
    target = dense(7, 32, 2)
    world, memory = Corridor(), []
    harness.begin(model, optimizer, loss_fn=F.smooth_l1_loss)
    for step in range(steps):
        chance = max(0.2, 1 - step / (0.8 * steps)) if curious else 0.0
        seen = world.sight if alias else world.sight.clone()
        with torch.no_grad():
            action = random.randrange(2) if random.random() < chance else int(model(seen).argmax())
        reward, over = world.move(action)
        memory.append((seen, action, reward, world.sight if alias else world.sight.clone(), over))
        if step % 100 == 0:
            target.load_state_dict(model.state_dict())
        if step < 100 or step % 6:
            continue
        rows = random.sample(memory, 48)
        now, after = torch.stack([r[0] for r in rows]), torch.stack([r[3] for r in rows])
        acts, pay = torch.tensor([r[1] for r in rows]), torch.tensor([r[2] for r in rows])
        ended = torch.tensor([float(r[4]) for r in rows])
        with torch.no_grad():
            following = target(after).amax(1)
            aim = pay + 0.9 * following * (1.0 if wrong_end else 1 - ended)
        said = model(now)[torch.arange(48), acts]
        loss = F.smooth_l1_loss(said, aim)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=now, targets=aim, outputs=said)
    with torch.no_grad():
        ends = model(torch.eye(7))[[1, 5], [0, 1]]
    error = float((ends - torch.tensor([1.0, 4.0])).abs().mean())
    world.reset()
    for _ in range(20):
        with torch.no_grad():
            reward, over = world.move(int(model(world.sight).argmax()))
        if over:
            return reward / 4 * max(0.0, 1 - error)
    return 0.0


@cases.pair("agent", 0.7, accepts=["no-such-rule"])
def value_beyond_the_end(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The target lacks `(1 - done)`: the value of the next episode's start is added to each exit's reward."""
    return learn_values(harness, wrong_end=wrong)


@cases.pair("agent", 0.7, accepts=["no-such-rule"])
def never_tries_anything(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Epsilon is 0 from the first step on: the agent takes the near exit for ever and never sees the far one."""
    return learn_values(harness, curious=not wrong)


@cases.pair("agent", 0.7, accepts=["constant-input", "repeated-rows"])
def one_array_in_the_whole_buffer(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The buffer keeps the world's own array and no copy of it: all remembered states are the present one."""
    return learn_values(harness, alias=wrong)


@cases.pair("agent", 0.85, accepts=["no-such-rule"])
def returns_summed_forwards(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Returns are summed from the first reward on and not from the last: early actions get no credit."""
    model = dense(6, 24, 2, act=nn.Tanh)
    optimizer = adam(model, 1e-2)
    harness.begin(model, optimizer)
    times = torch.eye(6)
    for _ in range(200):
        logits = model(times)
        policy = torch.distributions.Categorical(logits=logits.expand(16, 6, 2))
        acts = policy.sample()
        rewards = torch.zeros(16, 6)
        rewards[:, -1] = (acts[:, 0] == 1).float() + (acts[:, 1] == 0).float()
        returns = torch.zeros(16, 6)
        total = torch.zeros(16)
        for t in range(6) if wrong else reversed(range(6)):
            total = rewards[:, t] + 0.95 * total
            returns[:, t] = total
        gain = returns - returns.mean(0)
        loss = -(policy.log_prob(acts) * gain).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=times, targets=acts, outputs=logits)
    with torch.no_grad():
        shares = model(times).softmax(1)
    return float(shares[0, 1] + shares[1, 0]) / 2


@cases.pair("agent", 0.8, accepts=["no-such-rule"])
def entropy_punished(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The entropy bonus is added to the loss and not taken from it: the policy settles on its first lucky action."""
    draw = torch.Generator().manual_seed(101)
    pay = torch.rand(6, 8, generator=draw) * 0.5
    pay[torch.arange(6), torch.randperm(8, generator=draw)[:6]] = 1.0
    model = dense(6, 32, 8)
    optimizer = adam(model, 1e-2)
    harness.begin(model, optimizer)
    sights = torch.eye(6)
    for _ in range(300):
        kinds = torch.randint(0, 6, (32,))
        logits = model(sights[kinds])
        policy = torch.distributions.Categorical(logits=logits)
        acts = policy.sample()
        reward = pay[kinds, acts] + 0.1 * torch.randn(32)
        bonus = 0.3 * policy.entropy().mean()
        loss = -(policy.log_prob(acts) * (reward - reward.mean())).mean() + (bonus if wrong else -bonus)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=sights[kinds], targets=acts, outputs=logits)
    with torch.no_grad():
        best = model(sights).argmax(1)
    return float(pay[torch.arange(6), best].mean())


@cases.pair("graph", 0.8, accepts=["signal-lost-in-depth"])
def sixteen_rounds_of_averaging(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Sixteen graph convolutions on top of one another average all nodes until they are alike."""
    draw = torch.Generator().manual_seed(102)
    y = torch.arange(150) % 3
    near = torch.where(y[:, None] == y, 0.12, 0.025)
    links = (torch.rand(150, 150, generator=draw) < near).float()
    links = ((links + links.T) > 0).float().fill_diagonal_(1)
    mean = links / links.sum(1, keepdim=True)
    x = torch.randn(150, 8, generator=draw) + 1.0 * F.one_hot(y, 8)
    known = torch.rand(150, generator=draw) < 0.5

    class Graph(nn.Module):
        def __init__(self, depth: int) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(16 if i else 8, 16) for i in range(depth))
            self.head = nn.Linear(16, 3)

        def forward(self, nodes: Tensor) -> Tensor:
            for layer in self.layers:
                nodes = layer(mean @ nodes).relu()
            return self.head(nodes)

    model = Graph(16 if wrong else 2)
    optimizer = adam(model, 1e-2)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    value = 0.0
    for step in range(120):
        out = model(x)
        loss = F.cross_entropy(out[known], y[known])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x, targets=y[known], outputs=out[known])
        if step % 20 == 19:
            value = accuracy(out[~known].detach(), y[~known])
            harness.epoch(train={"loss": loss.item()}, val={"accuracy": value})
    return value
