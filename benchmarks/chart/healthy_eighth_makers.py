"""Faulty loops by an eighth author, who had not read the rules, each with a sound twin: generators, agents, pairs.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import copy
from collections.abc import Callable

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eighth import course
from benchmarks.chart.second import SecondCases, dense, digits, explained, fit
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("eighth")


def forge(harness: Harness, *, cut_off: bool = False, same_side: bool = False, keep: bool = False) -> float:
    """A small GAN for points near (2, -1). Returns how near the mean of what it makes comes, at most 1."""
    maker, critic = dense(4, 24, 2), dense(2, 32, 1, act=lambda: nn.LeakyReLU(0.2))
    makes = torch.optim.Adam(maker.parameters(), lr=2e-3, betas=(0.5, 0.9))
    judges = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.9))
    harness.begin([maker, critic], [makes, judges])
    ones, zeros, bce = torch.ones(64, 1), torch.zeros(64, 1), F.binary_cross_entropy_with_logits
    for i in range(500):
        real = torch.tensor([2.0, -1.0]) + 0.5 * torch.randn(64, 2)
        noise = torch.randn(64, 4)
        fake = maker(noise)
        if not keep:
            judges.zero_grad()
        critic_loss = bce(critic(real), ones) + bce(critic(fake.detach()), zeros)
        critic_loss.backward()
        judges.step()
        makes.zero_grad()
        said = critic(fake.detach() if cut_off else fake)
        maker_loss = bce(said, zeros if same_side else ones)
        maker_loss.backward()
        makes.step()
        harness.step(loss=critic_loss.item() + maker_loss.item(), inputs=noise, outputs=fake)
        if i % 100 == 99:
            harness.epoch(train={"loss": critic_loss.item() + maker_loss.item()})
    with torch.no_grad():
        made = maker(torch.randn(1000, 4))
    return 1 - float((made.mean(0) - torch.tensor([2.0, -1.0])).norm()) / 2


@cases.pair("gan", 0.6, accepts=["layer-without-gradient", "no-backward"])
def maker_cut_off(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The generator's loss is computed on `fake.detach()`, left over from the critic's step: it gets no gradient."""
    return forge(harness, cut_off=wrong)


@cases.pair("gan", 0.6, accepts=["no-such-rule"])
def maker_helps_the_critic(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The generator's loss uses the labels for fakes: it is trained to be found out."""
    return forge(harness, same_side=wrong)


@cases.pair("gan", 0.6, accepts=["gradients-not-cleared"])
def critic_never_cleared(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Only the generator's gradients are cleared; the critic's pile up, those of the generator's loss among them."""
    return forge(harness, keep=wrong)


@cases.pair("autoencoder", 0.4, accepts=["loss-scales-with-batch", "loss-summed-over-batch"])
def divergence_far_too_heavy(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A VAE's reconstruction is a mean over pixels, its divergence a sum over all: the code collapses to the prior."""
    x, _, vx, _ = digits("unit", image=False)

    class Coder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = dense(64, 64, 16), dense(8, 64, 64)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            mean, log_variance = self.encoder(x).chunk(2, 1)
            code = mean + (torch.exp(log_variance / 2) * torch.randn_like(mean) if self.training else 0)
            return self.decoder(code), mean, log_variance

    def loss_fn(outputs: tuple[Tensor, Tensor, Tensor], targets: Tensor) -> Tensor:
        made, mean, log_variance = outputs
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum()
        if wrong:
            return F.mse_loss(made, targets) + divergence
        return (F.mse_loss(made, targets, reduction="sum") * 4 + divergence) / len(targets)

    model = Coder()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(
        harness, model, optimizer, loss_fn, (x, x, vx, vx), epochs=12, metric=None,
        score=lambda outputs, targets: explained(outputs[0], targets),
    )  # fmt: skip


@cases.pair("diffusion", 0.25, accepts=["labels-carry-no-information"])
def noise_drawn_twice(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The noise that is mixed in and the noise that is to be foretold are two different draws."""
    places = torch.tensor(np.random.default_rng(112).normal(0, 2, (6, 2)), dtype=torch.float32)
    model = dense(3, 64, 64, 2, act=nn.SiLU)

    def noised(count: int, twice: bool) -> tuple[Tensor, Tensor]:
        x = places[torch.randint(6, (count,))] + 0.05 * torch.randn(count, 2)
        keep = torch.rand(count, 1)
        noise = torch.randn_like(x)
        mixed = keep.sqrt() * x + (1 - keep).sqrt() * noise
        return torch.cat([mixed, keep], 1), torch.randn_like(x) if twice else noise

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    fresh = noised(2000, twice=False)

    def judge() -> dict[str, float]:
        return {"loss": float(F.mse_loss(model(fresh[0]), fresh[1]))}

    course(harness, model, optimizer, lambda: noised(128, wrong), F.mse_loss, 400, judge=judge, every=80)
    with torch.no_grad():
        return explained(model(fresh[0]), fresh[1])


STAY = 12
"""Steps of an episode in the corridor."""


class Corridor:
    """Ten fields in a row; an agent in each of many copies goes left or right and gains 1 on the last field."""

    def __init__(self, count: int) -> None:
        self.at = torch.randint(0, 9, (count,))

    def seen(self) -> Tensor:
        """One-hot fields."""
        return F.one_hot(self.at, 10).float()

    def act(self, actions: Tensor) -> Tensor:
        """Go; returns the rewards."""
        self.at = (self.at + 2 * actions - 1).clamp(0, 9)
        return (self.at == 9).float()


def arrives(choose: Callable[[Tensor], Tensor]) -> float:
    """Share of copies that stand on the last field in the end."""
    world = Corridor(300)
    with torch.no_grad():
        for _ in range(STAY):
            world.act(choose(world.seen()))
    return float((world.at == 9).float().mean())


def gains(harness: Harness, weigh: Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor], steps: int = 60) -> float:
    """A policy gradient in the corridor; `weigh` makes a loss of states, actions and returns."""
    policy = dense(10, 24, 2, act=nn.Tanh)
    optimizer = torch.optim.Adam(policy.parameters(), lr=2e-2)
    harness.begin(policy, optimizer)
    for i in range(steps):
        world = Corridor(32)
        states, actions, rewards = [], [], []
        for _ in range(STAY):
            states.append(world.seen())
            with torch.no_grad():
                actions.append(torch.distributions.Categorical(logits=policy(states[-1])).sample())
            rewards.append(world.act(actions[-1]))
        to_go = torch.stack(rewards).flip(0).cumsum(0).flip(0)
        advantages = (to_go - to_go.mean(1, keepdim=True)).flatten()
        seen, done = torch.cat(states), torch.cat(actions)
        loss = weigh(policy, seen, done, advantages)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=seen, targets=done)
        if i % 10 == 9:
            harness.epoch(
                train={"loss": loss.item()},
                val={"accuracy": arrives(lambda s: policy(s).softmax(1).multinomial(1)[:, 0])},
            )
    return arrives(lambda s: policy(s).softmax(1).multinomial(1)[:, 0])


def log_chance(policy: nn.Module, states: Tensor, actions: Tensor) -> Tensor:
    """Log-probability of the actions."""
    return policy(states).log_softmax(1).gather(1, actions[:, None]).squeeze(1)


@cases.pair("agent", 0.9, accepts=["gradient-ascent"])
def return_is_minimised(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The policy gradient's minus sign is missing: the optimizer makes the rewarded actions rarer."""

    def weigh(policy: nn.Module, states: Tensor, actions: Tensor, advantages: Tensor) -> Tensor:
        gain = (log_chance(policy, states, actions) * advantages).mean()
        return gain if wrong else -gain

    return gains(harness, weigh)


@cases.pair("agent", 0.9, accepts=["gradient-always-zero"])
def old_chance_not_detached(harness: Harness, seed: int, wrong: bool) -> float | None:
    """PPO's ratio divides by the old probability without detaching it: the two gradients cancel to exactly 0."""

    def weigh(policy: nn.Module, states: Tensor, actions: Tensor, advantages: Tensor) -> Tensor:
        old = log_chance(policy, states, actions)
        ratio = torch.exp(log_chance(policy, states, actions) - (old if wrong else old.detach()))
        return -torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean()

    return gains(harness, weigh)


@cases.pair("agent", 0.9, accepts=["no-such-rule"])
def target_network_never_renewed(harness: Harness, seed: int, wrong: bool) -> float | None:
    """DQN's target network is never brought up to date: all values rest on its random beginning."""
    model = dense(10, 32, 2)
    target = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    world = Corridor(4000)
    states, actions = world.seen(), torch.randint(0, 2, (4000,))
    rewards, after = world.act(actions), world.seen()
    harness.begin(model, optimizer, loss_fn=F.smooth_l1_loss)
    total = 0.0
    for i in range(400):
        rows = torch.randint(0, 4000, (64,))
        with torch.no_grad():
            goal = rewards[rows] + 0.9 * (1 - rewards[rows]) * target(after[rows]).max(1).values
        q = model(states[rows]).gather(1, actions[rows][:, None]).squeeze(1)
        loss = F.smooth_l1_loss(q, goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if i % 20 == 19 and not wrong:
            target.load_state_dict(model.state_dict())
        total += loss.item()
        harness.step(loss=loss, inputs=states[rows], targets=goal, outputs=q)
        if i % 50 == 49:
            harness.epoch(train={"loss": total / 50}, val={"accuracy": arrives(lambda s: model(s).argmax(1))})
            total = 0.0
    return arrives(lambda s: model(s).argmax(1))


MIXES = torch.tensor(np.random.default_rng(113).normal(0, 1, (6, 24)), dtype=torch.float32)


def views(count: int) -> tuple[Tensor, Tensor]:
    """Two views (N, 48) of hidden things; half of the columns are strong noise of no meaning."""
    thing = torch.randn(count, 6)
    first, second = (
        torch.cat([thing @ MIXES + 0.2 * torch.randn(count, 24), 3 * torch.randn(count, 24)], 1) for _ in range(2)
    )
    return first, second


def matched(harness: Harness, loss_fn: Callable[[Tensor, Tensor], Tensor], steps: int = 250) -> float:
    """Train an encoder on pairs of views. Returns how often, of 100, the nearest second view is the right one."""
    model = dense(48, 64, 16)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer)
    total = 0.0
    for i in range(steps):
        first, second = views(64)
        out = model(torch.cat([first, second]))
        loss = loss_fn(*out.chunk(2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        harness.step(loss=loss, inputs=torch.cat([first, second]), outputs=out)
        if i % 50 == 49:
            harness.epoch(train={"loss": total / 50})
            total = 0.0
    first, second = views(100)
    with torch.no_grad():
        likeness = F.normalize(model(first), dim=1) @ F.normalize(model(second), dim=1).T
    return float((likeness.argmax(1) == torch.arange(100)).float().mean())


@cases.pair("contrastive", 0.5, accepts=["no-such-rule"])
def likeness_with_itself(harness: Harness, seed: int, wrong: bool) -> float | None:
    """NT-Xent without masking the diagonal: each view's likeness with itself, always 1, stands among the negatives."""

    def loss_fn(first: Tensor, second: Tensor) -> Tensor:
        both = F.normalize(torch.cat([first, second]), dim=1)
        cosines = both @ both.T / 0.1
        count = len(first)
        targets = torch.arange(2 * count) if wrong else (torch.arange(2 * count) + count) % (2 * count)
        if not wrong:
            cosines = cosines.masked_fill(torch.eye(2 * count, dtype=torch.bool), -1e9)
        return F.cross_entropy(cosines, targets)

    return matched(harness, loss_fn)


@cases.pair("contrastive", 0.4, accepts=["no-such-rule"])
def triplet_turned_round(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The triplet loss gets positive and negative in each other's place."""

    def loss_fn(first: Tensor, second: Tensor) -> Tensor:
        good, bad = second, second.roll(1, 0)
        return F.triplet_margin_loss(first, *((bad, good) if wrong else (good, bad)), margin=2.0)

    return matched(harness, loss_fn)
