"""Agents and their rewards, by a third author, on which NO threshold is ever set. See `healthy_third.py`."""

import copy
from collections import deque

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_third import iterate, rows
from benchmarks.chart.second import SecondCases, accuracy, dense, digits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("third")
SIDE = 5


def walk(at: Tensor, move: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Many walkers on a board of 5 x 5: next cells, rewards (1 in the far corner, else -0.04), and who arrived."""
    row, col = at // SIDE, at % SIDE
    row = (row + (move == 0).long() - (move == 1).long()).clamp(0, SIDE - 1)
    col = (col + (move == 2).long() - (move == 3).long()).clamp(0, SIDE - 1)
    new = row * SIDE + col
    done = new == SIDE * SIDE - 1
    return new, torch.where(done, 1.0, -0.04), done


def seen(at: Tensor) -> Tensor:
    """One-hot cells."""
    return F.one_hot(at, SIDE * SIDE).float()


def mean_return(choose: nn.Module) -> float:
    """Of greedy walks of 12 moves from every cell but the last; a random walker gets about -0.3, the best 0.84."""
    at, total = torch.arange(SIDE * SIDE - 1), 0.0
    alive = torch.ones(len(at))
    with torch.no_grad():
        for _ in range(12):
            at, reward, done = walk(at, choose(seen(at)).argmax(1))
            total += float((alive * reward).mean())
            alive = alive * (~done).float()
            at = torch.where(done, 0, at)
    return total


def play(actor: nn.Module, count: int = 32, length: int = 8) -> tuple[Tensor, ...]:
    """Cells, moves, rewards and ends, each (length, count), and the cells after."""
    at, told = torch.randint(SIDE * SIDE - 1, (count,)), []
    with torch.no_grad():
        for _ in range(length):
            move = torch.distributions.Categorical(logits=actor(seen(at))).sample()
            new, reward, done = walk(at, move)
            told.append((at, move, reward, done.float()))
            at = torch.where(done, torch.randint(SIDE * SIDE - 1, (count,)), new)
    cells, moves, rewards, ends = (torch.stack(a) for a in zip(*told, strict=True))
    return cells, moves, rewards, ends, at


def returns(rewards: Tensor, ends: Tensor, last: Tensor) -> Tensor:
    """Discounted by 0.95, with the critic's word after the last move."""
    out = []
    for reward, end in zip(rewards.flip(0), ends.flip(0), strict=True):
        last = reward + 0.95 * (1 - end) * last
        out.append(last)
    return torch.stack(out[::-1])


@cases.recipe("rl", 0.6)
def advantage_actor_and_critic(harness: Harness, seed: int) -> float:
    """A2C: one network with two heads, 32 boards at once, an entropy bonus; the sum of losses has any sign."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(25, 48), nn.Tanh())
            self.actor, self.critic = nn.Linear(48, 4), nn.Linear(48, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.actor(self.body(x))

        def value(self, x: Tensor) -> Tensor:
            return self.critic(self.body(x)).squeeze(-1)

    model = Both()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-3, eps=1e-5)

    def compute(i: int) -> Tensor:
        cells, moves, rewards, ends, after = play(model)
        goal = returns(rewards, ends, model.value(seen(after)).detach())
        value, policy = model.value(seen(cells)), torch.distributions.Categorical(logits=model(seen(cells)))
        gain = (goal - value).detach()
        return -(policy.log_prob(moves) * gain).mean() + 0.5 * F.mse_loss(value, goal) - 0.01 * policy.entropy().mean()

    iterate(harness, model, optimizer, compute, 150, clip=lambda: nn.utils.clip_grad_norm_(model.parameters(), 0.5))
    return mean_return(model)


@cases.recipe("rl", 0.6)
def clipped_policy_ratio(harness: Harness, seed: int) -> float:
    """PPO: four epochs over each collected batch in small parts, clipped ratio, two networks in one optimizer."""
    actor, critic = dense(25, 32, 4, act=nn.Tanh), dense(25, 32, 1, act=nn.Tanh)
    nn.init.orthogonal_(actor[-1].weight, 0.01)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=5e-3, eps=1e-5)
    both = nn.ModuleList([actor, critic])
    harness.begin(both, optimizer)
    for _ in range(16):
        cells, moves, rewards, ends, after = play(actor)
        with torch.no_grad():
            goal = returns(rewards, ends, critic(seen(after)).squeeze(-1)).flatten()
            x, moves = seen(cells).flatten(0, 1), moves.flatten()
            old = torch.distributions.Categorical(logits=actor(x)).log_prob(moves)
            gain = goal - critic(x).squeeze(-1)
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
        for _ in range(4):
            for part in torch.randperm(len(x)).split(64):
                policy = torch.distributions.Categorical(logits=actor(x[part]))
                ratio = (policy.log_prob(moves[part]) - old[part]).exp()
                surrogate = torch.min(ratio * gain[part], ratio.clamp(0.8, 1.2) * gain[part]).mean()
                value = F.mse_loss(critic(x[part]).squeeze(-1), goal[part])
                loss = -surrogate + 0.5 * value - 0.01 * policy.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(both.parameters(), 0.5)
                optimizer.step()
                harness.step(loss=loss)
    return mean_return(actor)


@cases.recipe("rl", 0.5)
def soft_copies_and_a_memory(harness: Harness, seed: int) -> float:
    """DQN: a memory of 2000 moves, Huber loss, a target network that follows by 2 % a step, falling epsilon."""
    net = dense(25, 64, 4)
    slow = copy.deepcopy(net).requires_grad_(False)
    memory: deque[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]] = deque(maxlen=60)
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, amsgrad=True)
    at = torch.randint(24, (32,))
    harness.begin(net, optimizer, loss_fn=F.smooth_l1_loss)
    for i in range(300):
        with torch.no_grad():
            best = net(seen(at)).argmax(1)
        move = torch.where(torch.rand(32) < max(0.1, 1 - i / 150), torch.randint(4, (32,)), best)
        new, reward, done = walk(at, move)
        memory.append((at, move, reward, new, done.float()))
        at = torch.where(done, torch.randint(24, (32,)), new)
        old = [memory[j] for j in torch.randint(len(memory), (2,)).tolist()]
        s, a, r, t, d = (torch.cat(v) for v in zip(*old, strict=True))
        q = net(seen(s)).gather(1, a[:, None]).squeeze(1)
        with torch.no_grad():
            goal = r + 0.95 * (1 - d) * slow(seen(t)).max(1).values
        loss = F.smooth_l1_loss(q, goal)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(net.parameters(), 100)
        optimizer.step()
        with torch.no_grad():
            for p, v in zip(slow.parameters(), net.parameters(), strict=True):
                p.lerp_(v, 0.02)
        harness.step(loss=loss, inputs=seen(s), targets=goal, outputs=q)
    return mean_return(net)


@cases.recipe("rl", 0.6)
def table_of_values(harness: Harness, seed: int) -> float:
    """SARSA's cousin with a table: an embedding of 25 rows, zero at the start, SGD at 20; most rows rest each step."""
    table = nn.Embedding(25, 4)
    nn.init.zeros_(table.weight)
    optimizer = torch.optim.SGD(table.parameters(), lr=10.0)
    at = torch.randint(24, (16,))
    harness.begin(table, optimizer)
    for _ in range(400):
        move = torch.where(torch.rand(16) < 0.3, torch.randint(4, (16,)), table(at).argmax(1))
        new, reward, done = walk(at, move)
        with torch.no_grad():
            goal = reward + 0.95 * (~done).float() * table(new).max(1).values
        loss = 0.5 * F.mse_loss(table(at).gather(1, move[:, None]).squeeze(1), goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss)
        at = torch.where(done, torch.randint(24, (16,)), new)

    class Look(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return table(x.argmax(1))

    return mean_return(Look())


@cases.recipe("rl", 0.7)
def does_as_the_expert_does(harness: Harness, seed: int) -> float:
    """Behaviour cloning: the expert moves down or right, either being right, so the loss cannot go below 0.5 or so."""
    at = torch.randint(24, (600,))
    row, col = at // SIDE, at % SIDE
    down = (col == SIDE - 1) | ((row < SIDE - 1) & (torch.rand(600) < 0.5))
    x, y = seen(at), torch.where(down, 0, 2)
    actor = dense(25, 32, 4)
    optimizer = torch.optim.Adam(actor.parameters(), lr=5e-3)
    harness.begin(actor, optimizer, loss_fn=F.cross_entropy)
    for _ in range(8):
        for part in torch.randperm(600).split(40):
            out = actor(x[part])
            loss = F.cross_entropy(out, y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x[part], targets=y[part], outputs=out)
        harness.epoch(train={"loss": loss.item()})
    return mean_return(actor)


@cases.recipe("rl", 0.8)
def actor_climbs_its_critic(harness: Harness, seed: int) -> float:
    """DDPG on a one-move game: the best act is sin(3 s). Two optimizers, noise to explore, a bounded actor."""
    actor, critic = dense(1, 48, 48, 1).append(nn.Tanh()), dense(2, 64, 64, 1)
    climb, judge = torch.optim.Adam(actor.parameters(), lr=2e-3), torch.optim.Adam(critic.parameters(), lr=5e-3)
    harness.begin([actor, critic], [climb, judge])
    for _ in range(350):
        state = torch.rand(64, 1) * 2 - 1
        act = (actor(state).detach() + 0.4 * torch.randn(64, 1)).clamp(-1, 1)
        reward = -((act - torch.sin(3 * state)) ** 2)
        critic_loss = F.mse_loss(critic(torch.cat([state, act], 1)), reward)
        judge.zero_grad()
        critic_loss.backward()
        judge.step()
        critic.requires_grad_(False)
        actor_loss = -critic(torch.cat([state, actor(state)], 1)).mean()
        climb.zero_grad()
        actor_loss.backward()
        climb.step()
        critic.requires_grad_(True)
        harness.step(loss=actor_loss + critic_loss)
    state = torch.linspace(-1, 1, 100)[:, None]
    with torch.no_grad():
        return float(1 - (actor(state) - torch.sin(3 * state)).square().mean() / torch.sin(3 * state).var())


@cases.recipe("mlp", 0.75)
def evolution_writes_the_gradient(harness: Harness, seed: int) -> float:
    """Evolution strategies: 20 mirrored perturbations of a linear classifier; the estimate is put into .grad."""
    x, y, vx, vy = digits("unit", image=False, count=800)
    model = nn.Linear(64, 10)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    harness.begin(model, optimizer)
    for _ in range(250):
        part = rows(x, 128)
        with torch.no_grad():
            noise = torch.randn(30, *model.weight.shape)
            values = []
            for sign in (1, -1):
                out = torch.einsum("bi,koi->kbo", x[part], model.weight + 0.05 * sign * noise) + model.bias
                each = F.cross_entropy(out.flatten(0, 1), y[part].repeat(30), reduction="none")
                values.append(each.view(30, -1).mean(1))
            slope = (values[0] - values[1]) / 0.1
            model.weight.grad = (slope[:, None, None] * noise).mean(0)
        optimizer.step()
        harness.step(loss=torch.cat(values).mean(), inputs=x[part], targets=y[part])
    return accuracy(model(vx), vy)
