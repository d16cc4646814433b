"""Agents, games and learning from rewards, by a seventh author, without any threshold. See `healthy_seventh.py`."""

import copy
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_seventh import iterate, pick
from benchmarks.chart.second import SecondCases, dense
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("seventh")

MOVES = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])


def maze(at: Tensor, move: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A room of six by six with a wall that has one gap; the goal is in the far corner. Next places, rewards, ends."""
    new = (at + MOVES[move]).clamp(0, 5)
    wall = (new[:, 0] == 3) & (new[:, 1] != 4)
    new = torch.where(wall[:, None], at, new)
    end = (new == 5).all(1)
    return new, end.float() - 0.02, end.float()


def look(at: Tensor) -> Tensor:
    """One-hot rows and columns."""
    return F.one_hot(at, 6).flatten(1).float()


def arrives(choose: Any, count: int = 100, limit: int = 20) -> float:
    """Share of walkers from anywhere left of the wall that reach the goal."""
    at, done = torch.stack([torch.randint(0, 3, (count,)), torch.randint(0, 6, (count,))], 1), torch.zeros(count)
    with torch.no_grad():
        for _ in range(limit):
            at, _, end = maze(at, choose(look(at)))
            done = torch.maximum(done, end)
    return float(done.mean())


def wandered(count: int = 400, length: int = 25) -> tuple[Tensor, ...]:
    """Transitions of a walker who moves at random, often towards the goal's side."""
    at, rows = torch.randint(0, 6, (count, 2)), []
    at[:, 0] = torch.where(at[:, 0] == 3, 2, at[:, 0])
    for _ in range(length):
        move = torch.where(torch.rand(count) < 0.4, torch.randint(0, 2, (count,)) * 2, torch.randint(0, 4, (count,)))
        new, reward, end = maze(at, move)
        rows.append((look(at), move, reward, look(new), end))
        fresh = torch.stack([torch.randint(0, 3, (count,)), torch.randint(0, 6, (count,))], 1)
        at = torch.where(end[:, None] > 0, fresh, new)
    return tuple(torch.cat(part) for part in zip(*rows, strict=True))


@cases.recipe("rl", 0.8)
def offline_and_conservative(harness: Harness, seed: int) -> float:
    """Conservative Q-learning from a fixed set of wanderings: the soft maximum of values has a price; target net."""
    s, a, r, s2, end = wandered()
    net = dense(12, 64, 64, 4)
    target = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def compute(i: int) -> Any:
        b = pick(128, s, a, r, s2, end)
        q = net(b[0])
        taken = q.gather(1, b[1][:, None])[:, 0]
        with torch.no_grad():
            goal = b[2] + 0.95 * (1 - b[4]) * target(b[3]).max(1).values
        loss = F.smooth_l1_loss(taken, goal) + 0.05 * (q.logsumexp(1) - taken).mean()
        return {"loss": loss, "inputs": b[0], "targets": goal, "outputs": q}

    @torch.no_grad()
    def follow(i: int) -> None:
        for slow, p in zip(target.parameters(), net.parameters(), strict=True):
            slow.lerp_(p, 0.02)

    iterate(harness, net, optimizer, compute, 500, after=follow)
    return arrives(lambda o: net(o).argmax(1))


@cases.recipe("rl", 0.8)
def good_moves_weigh_more(harness: Harness, seed: int) -> float:
    """Advantage-weighted regression: a value by expectiles, Q by the value, the policy copies what was better."""
    data = wandered()
    q_net, v_net, policy = dense(12, 64, 4), dense(12, 64, 1), dense(12, 64, 4)
    optimizers = [torch.optim.Adam(m.parameters(), lr=3e-3) for m in (q_net, v_net, policy)]
    harness.begin([q_net, v_net, policy], optimizers)
    for _ in range(450):
        s, a, r, s2, end = pick(128, *data)
        q = q_net(s).gather(1, a[:, None])[:, 0]
        v = v_net(s)[:, 0]
        gap = q.detach() - v
        loss_v = (torch.where(gap > 0, 0.8, 0.2) * gap.square()).mean()
        loss_q = F.mse_loss(q, r + 0.95 * (1 - end) * v_net(s2)[:, 0].detach())
        weight = (10 * gap.detach()).exp().clamp(max=20.0)
        loss_p = (weight * F.cross_entropy(policy(s), a, reduction="none")).mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        (loss_v + loss_q + loss_p).backward()
        for optimizer in optimizers:
            optimizer.step()
        harness.step(loss=loss_p.item())
    return arrives(lambda o: policy(o).argmax(1))


@cases.recipe("rl", 0.8)
def noise_in_the_layers_instead_of_chance(harness: Harness, seed: int) -> float:
    """A Q network with learned noise in its last layers, a small memory, double targets every 25 steps."""

    class Noisy(nn.Module):
        def __init__(self, into: int, out: int) -> None:
            super().__init__()
            bound = into**-0.5
            self.w = nn.Parameter(torch.empty(out, into).uniform_(-bound, bound))
            self.b = nn.Parameter(torch.empty(out).uniform_(-bound, bound))
            self.ws, self.bs = (
                nn.Parameter(torch.full((out, into), 0.4 * bound)),
                nn.Parameter(torch.full((out,), 0.4 * bound)),
            )

        def forward(self, x: Tensor) -> Tensor:
            if not self.training:
                return F.linear(x, self.w, self.b)
            a, b = (torch.randn(k).sign() * torch.randn(k).abs().sqrt() for k in (self.w.shape[1], len(self.w)))
            return F.linear(x, self.w + self.ws * torch.outer(b, a), self.b + self.bs * b)

    net = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), Noisy(64, 48), nn.ReLU(), Noisy(48, 4))
    target = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    at = torch.stack([torch.randint(0, 3, (32,)), torch.randint(0, 6, (32,))], 1)
    age, memory = torch.zeros(32), []
    harness.begin(net, optimizer)
    for i in range(650):
        with torch.no_grad():
            move = net(look(at)).argmax(1)
            move = torch.where(torch.rand(32) < max(0.05, 0.6 - i / 500), torch.randint(0, 4, (32,)), move)
        new, reward, end = maze(at, move)
        memory.append((look(at), move, reward, look(new), end))
        memory = memory[-200:]
        age = age + 1
        over = (end > 0) | (age > 30)
        fresh = torch.stack([torch.randint(0, 6, (32,)), torch.randint(0, 6, (32,))], 1)
        fresh[:, 0] = torch.where(fresh[:, 0] == 3, 2, fresh[:, 0])
        at, age = torch.where(over[:, None], fresh, new), age * ~over
        rows = torch.randint(len(memory), (4,)).tolist()
        s, a, r, s2, done = (torch.cat([memory[k][j] for k in rows]) for j in range(5))
        with torch.no_grad():
            best = net(s2).argmax(1, keepdim=True)
            goal = r + 0.95 * (1 - done) * target(s2).gather(1, best)[:, 0]
        loss = F.smooth_l1_loss(net(s).gather(1, a[:, None])[:, 0], goal)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimizer.step()
        if i % 25 == 24:
            target.load_state_dict(net.state_dict())
        harness.step(loss=loss)
    net.eval()
    return arrives(lambda o: net(o).argmax(1))


@cases.recipe("rl", 0.85)
def the_expert_labels_where_we_went(harness: Harness, seed: int) -> float:
    """DAgger: six rounds of walking with one's own policy, the expert names the right move there, all is kept."""

    def expert(at: Tensor) -> Tensor:
        row, col = at[:, 0], at[:, 1]
        before = row < 3
        towards = torch.where(col < 4, 0, torch.where(col > 4, 1, 2))
        after = torch.where(row < 5, 2, 0)
        return torch.where(before, towards, after)

    net = dense(12, 48, 4)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    seen, right = [], []
    harness.begin(net, optimizer, loss_fn=F.cross_entropy)
    for _ in range(6):
        at = torch.stack([torch.randint(0, 3, (24,)), torch.randint(0, 6, (24,))], 1)
        for _ in range(12):
            seen.append(look(at))
            right.append(expert(at))
            with torch.no_grad():
                move = Categorical(logits=net(look(at))).sample()
            at, _, _ = maze(at, move)
        x, y = torch.cat(seen), torch.cat(right)
        losses = []
        for _ in range(25):
            a, b = pick(64, x, y)
            out = net(a)
            loss = F.cross_entropy(out, b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        harness.epoch(train={"loss": sum(losses) / 25})
    return arrives(lambda o: net(o).argmax(1))


@cases.recipe("rl", 0.8)
def groups_of_answers_are_compared(harness: Harness, seed: int) -> float:
    """GRPO: after copying half-right sorters, eight sampled answers per question, rewards standardised in the group.

    The ratio is clipped, a divergence to the first policy has a price. Scored by the mean reward of greedy answers.
    """
    embed, body, head = nn.Embedding(10, 24), dense(48 + 24 + 4, 96, 64), nn.Linear(64, 6)
    model = nn.ModuleDict({"embed": embed, "body": body, "head": head})

    def question(n: int) -> Tensor:
        return torch.rand(n, 6).argsort(1)[:, :2]

    def logits(m: nn.ModuleDict, q: Tensor, answer: Tensor, k: int) -> Tensor:
        last = m["embed"](answer[:, k - 1] if k else torch.full((len(q),), 9))
        clock = F.one_hot(torch.full((len(q),), k), 4).float()
        return m["head"](m["body"](torch.cat([m["embed"](q).flatten(1), last, clock], 1)).relu())

    def logs(m: nn.ModuleDict, q: Tensor, answer: Tensor) -> Tensor:
        each = [-F.cross_entropy(logits(m, q, answer, k), answer[:, k], reduction="none") for k in range(2)]
        return torch.stack(each, 1)

    @torch.no_grad()
    def answers(q: Tensor, greedy: bool = False) -> Tensor:
        out = torch.zeros(len(q), 2, dtype=torch.long)
        for k in range(2):
            z = logits(model, q, out, k)
            out[:, k] = z.argmax(1) if greedy else Categorical(logits=z).sample()
        return out

    def reward(q: Tensor, answer: Tensor) -> Tensor:
        return (answer == q.sort(1).values).float().mean(1)

    first = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(80):
        q = question(64)
        mixed = torch.where(torch.rand(64, 1) < 0.5, q.sort(1).values, q)
        loss = -logs(model, q, mixed).mean()
        first.zero_grad()
        loss.backward()
        first.step()
    reference = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    harness.begin(model, optimizer)
    for _ in range(70):
        q = question(24).repeat_interleave(8, 0)
        a = answers(q)
        r = reward(q, a).view(24, 8)
        gain = ((r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True) + 1e-4)).view(-1, 1)
        with torch.no_grad():
            old, base = logs(model, q, a), logs(reference, q, a)
        for _ in range(2):
            new = logs(model, q, a)
            ratio = (new - old).exp()
            surrogate = torch.minimum(ratio * gain, ratio.clamp(0.8, 1.2) * gain)
            loss = (-surrogate + 0.02 * ((base - new).exp() - (base - new) - 1)).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            harness.step(loss=loss.item())
        harness.epoch(train={"loss": loss.item()}, val={"accuracy": r.mean().item()})
    q = question(200)
    return float(reward(q, answers(q, greedy=True)).mean())


@cases.recipe("rl", 0.85)
def values_of_a_team_add_up(harness: Harness, seed: int) -> float:
    """Two players share one network and a reward for meeting; the sum of their values is fitted to it."""
    net = dense(10, 48, 5)
    optimizer = torch.optim.RMSprop(net.parameters(), lr=2e-3)

    def sees(own: Tensor, other: Tensor) -> Tensor:
        return torch.cat([F.one_hot(own, 5), F.one_hot(other, 5)], 1).float()

    def payoff(goal: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return (a == goal[:, 0]).float() * 0.5 + (b == goal[:, 1]).float() * 0.5

    def compute(i: int) -> Any:
        goal = torch.randint(0, 5, (64, 2))
        q1, q2 = net(sees(goal[:, 0], goal[:, 1])), net(sees(goal[:, 1], goal[:, 0]))
        eps = max(0.1, 1 - i / 150)
        choose = [torch.where(torch.rand(64) < eps, torch.randint(0, 5, (64,)), q.argmax(1)) for q in (q1, q2)]
        total = sum(q.gather(1, c[:, None])[:, 0] for q, c in zip((q1, q2), choose, strict=True))
        r = payoff(goal, *choose)
        return {"loss": F.mse_loss(total, r), "targets": r, "outputs": total}

    iterate(harness, net, optimizer, compute, 300)
    goal = torch.randint(0, 5, (300, 2))
    with torch.no_grad():
        a, b = net(sees(goal[:, 0], goal[:, 1])).argmax(1), net(sees(goal[:, 1], goal[:, 0])).argmax(1)
    return float(payoff(goal, a, b).mean())


@cases.recipe("rl", 0.8)
def curious_where_it_cannot_foresee(harness: Harness, seed: int) -> float:
    """Actor and critic in the room with a bonus by random network distillation; three optimizers in one loop."""
    actor, critic = dense(12, 64, 4), dense(12, 64, 1)
    fixed, guess = dense(12, 32, 16).requires_grad_(False), dense(12, 32, 16)
    optimizers = [torch.optim.Adam(m.parameters(), lr=lr) for m, lr in ((actor, 2e-3), (critic, 4e-3), (guess, 1e-3))]
    harness.begin([actor, critic, guess], optimizers)
    scale = 1.0
    at = torch.stack([torch.randint(0, 3, (32,)), torch.randint(0, 6, (32,))], 1)
    age = torch.zeros(32)
    for _ in range(260):
        states, moves, rewards, ends = [], [], [], []
        for _ in range(8):
            o = look(at)
            with torch.no_grad():
                move = Categorical(logits=actor(o)).sample()
            at, r, end = maze(at, move)
            age = age + 1
            over = torch.maximum(end, (age > 40).float())
            with torch.no_grad():
                new = (guess(look(at)) - fixed(look(at))).square().mean(1)
            scale = 0.99 * scale + 0.01 * float(new.mean())
            rewards.append(r + 0.02 * (new / (scale + 1e-6)).clamp(max=3.0))
            states.append(o)
            moves.append(move)
            ends.append(over)
            fresh = torch.stack([torch.randint(0, 3, (32,)), torch.randint(0, 6, (32,))], 1)
            at, age = torch.where(over[:, None] > 0, fresh, at), age * (1 - over)
        s, a = torch.cat(states), torch.cat(moves)
        with torch.no_grad():
            total, totals = critic(look(at))[:, 0], []
            for r, e in zip(rewards[::-1], ends[::-1], strict=True):
                total = r + 0.96 * (1 - e) * total
                totals.append(total)
        goal = torch.cat(totals[::-1])
        value, pick_of = critic(s)[:, 0], Categorical(logits=actor(s))
        gain = goal - value.detach()
        gain = (gain - gain.mean()) / (gain.std() + 1e-6)
        loss = -(pick_of.log_prob(a) * gain).mean() - 0.01 * pick_of.entropy().mean()
        parts = (loss, F.mse_loss(value, goal), F.mse_loss(guess(s), fixed(s)))
        for optimizer in optimizers:
            optimizer.zero_grad()
        sum(parts).backward()
        for optimizer in optimizers:
            optimizer.step()
        harness.step(loss=sum(parts).item())
    return arrives(lambda o: Categorical(logits=actor(o)).sample(), limit=30)


@cases.recipe("game", 0.8)
def who_wins_by_one_step_ahead(harness: Harness, seed: int) -> float:
    """Temporal differences in a game of taking one to three sticks against itself; exploring first moves.

    Scored by the share of heaps whose winner the value names.
    """
    net = nn.Sequential(nn.Linear(21, 48), nn.Tanh(), nn.Linear(48, 1), nn.Tanh())
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)

    def see(heap: Tensor) -> Tensor:
        return F.one_hot(heap.clamp(min=0), 21).float()

    def best(heap: Tensor) -> Tensor:
        after = heap[:, None] - torch.arange(1, 4)
        value = torch.where(after == 0, 1.0, -net(see(after))[..., 0])
        return torch.where(after < 0, -9.0, value).max(1).values

    def compute(i: int) -> Any:
        heap = torch.randint(1, 21, (48,))
        with torch.no_grad():
            goal = best(heap)
        out = net(see(heap))[:, 0]
        return {"loss": F.mse_loss(out, goal), "inputs": see(heap), "targets": goal, "outputs": out}

    iterate(harness, net, optimizer, compute, 450)
    heap = torch.arange(1, 21)
    return float(((net(see(heap))[:, 0] > 0) == (heap % 4 != 0)).float().mean())
