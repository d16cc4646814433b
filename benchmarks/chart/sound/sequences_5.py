"""Sound programs: two towers to dqn target network."""

import math
import random
from collections import deque, namedtuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.sequences_parts import _Corridor
from torch.utils.data import DataLoader, TensorDataset

Transition = namedtuple("Transition", "s a r s2 done")


def two_towers(watch, seed, fault):
    """11. Two towers with in-batch negatives, learned temperature and recall at ten."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    items = rng.normal(size=(400, 20))
    M = rng.normal(size=(20, 15)) / np.sqrt(20)
    which = rng.integers(0, 400, 3000)
    users = items[which] @ M + 0.25 * rng.normal(size=(3000, 15))
    items, users, which = torch.tensor(items).float(), torch.tensor(users).float(), torch.tensor(which)

    def tower(i):
        return nn.Sequential(nn.Linear(i, 64), nn.ReLU(), nn.Linear(64, 24))

    class TwoTower(nn.Module):
        def __init__(self):
            super().__init__()
            self.user, self.item = tower(15), tower(20)
            self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

        def forward(self, u, i):
            a, b = F.normalize(self.user(u), dim=-1), F.normalize(self.item(i), dim=-1)
            return self.logit_scale.exp().clamp(max=100) * a @ b.T

    model = TwoTower()
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    loader = DataLoader(TensorDataset(users[:2600], which[:2600]), batch_size=64, shuffle=True, drop_last=True)
    rec = 0.0
    with watch(model, opt) as w:
        for epoch in range(7):
            model.train()
            tl = 0.0
            for u, k in loader:
                logits = model(u, items[k])
                same = (k[:, None] == k[None]) & ~torch.eye(len(k), dtype=torch.bool)
                logits = logits.masked_fill(same, -1e4)  # the same item twice in a batch is no negative
                lab = torch.arange(len(k))
                loss = 0.5 * (F.cross_entropy(logits, lab) + F.cross_entropy(logits.T, lab))
                opt.zero_grad()
                loss.backward()
                opt.step()
                tl += loss.item() / len(loader)
                w.step(loss=loss, inputs=u)
            model.eval()
            with torch.no_grad():
                top = model(users[2600:], items).topk(10, 1).indices
                rec = (top == which[2600:, None]).any(1).float().mean().item()
            w.epoch(train={"loss": tl}, val={"recall@10": rec})
    return rec


def reinforce_corridor(watch, seed, fault):
    """12. REINFORCE with normalised returns and an entropy bonus on a small corridor, one batch of episodes per update."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    envs = [_Corridor(rng) for _ in range(16)]
    policy = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 3))
    opt = torch.optim.Adam(policy.parameters(), lr=1e-2)

    def rollout(greedy=False):
        obs = torch.tensor(np.stack([e.reset() for e in envs]))
        lps, ents, rews = [], [], []
        for _ in range(20):
            dist = torch.distributions.Categorical(logits=policy(obs))
            act = dist.probs.argmax(-1) if greedy else dist.sample()
            lps.append(dist.log_prob(act))
            ents.append(dist.entropy())
            res = [e.step(int(a)) for e, a in zip(envs, act)]
            obs = torch.tensor(np.stack([r[0] for r in res]))
            rews.append(torch.tensor([r[1] for r in res], dtype=torch.float32))
        return torch.stack(lps), torch.stack(ents), torch.stack(rews)

    with watch(policy, opt) as w:
        for update in range(120):
            lp, ent, rew = rollout()
            ret = torch.zeros_like(rew)
            acc = torch.zeros(16)
            for t in reversed(range(20)):
                acc = rew[t] + 0.9 * acc
                ret[t] = acc
            adv = ret - ret.mean(1, keepdim=True)
            adv = adv / (adv.std() + 1e-8)
            loss = -(lp * adv).mean() - 0.01 * ent.mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            w.step(loss=loss)
            if update % 20 == 19:
                w.epoch(train={"return": rew.sum(0).mean().item()})
    with torch.no_grad():
        r = [rollout(True)[2].mean().item() for _ in range(4)]
    return float(np.mean(r))  # random play stays near 0.15


def dqn_target_network(watch, seed, fault):
    """13. DQN with replay, epsilon decay, Huber loss and a soft-updated target network."""
    torch.manual_seed(seed)
    random.seed(seed)
    rng = np.random.default_rng(seed)
    env = _Corridor(rng)
    make = lambda: nn.Sequential(nn.Linear(2, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 3))
    q, target = make(), make()
    target.load_state_dict(q.state_dict())
    target.requires_grad_(False)
    opt = torch.optim.AdamW(q.parameters(), lr=2e-3, amsgrad=True)
    memory, eps, frames = deque(maxlen=5000), 1.0, 0
    returns = []
    with watch(q, opt) as w:
        for episode in range(60):
            s, done, total = env.reset(), False, 0.0
            while not done:
                if rng.random() < eps:
                    a = int(rng.integers(3))
                else:
                    with torch.no_grad():
                        a = int(q(torch.from_numpy(s)).argmax())
                s2, r, done = env.step(a)
                memory.append(Transition(s, a, r, s2, done))
                s, total, frames = s2, total + r, frames + 1
                if frames > 500 and frames % 2 == 0:
                    b = Transition(*zip(*random.sample(memory, 64)))
                    S, S2 = torch.tensor(np.stack(b.s)), torch.tensor(np.stack(b.s2))
                    R = torch.tensor(b.r, dtype=torch.float32)
                    qa = q(S).gather(1, torch.tensor(b.a)[:, None]).squeeze(1)
                    with torch.no_grad():
                        best = q(S2).argmax(1, keepdim=True)
                        y = R + 0.9 * target(S2).gather(1, best).squeeze(1)  # time limit only: always bootstrap
                    loss = F.smooth_l1_loss(qa, y)
                    opt.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_value_(q.parameters(), 100)
                    opt.step()
                    with torch.no_grad():
                        for pt, pq in zip(target.parameters(), q.parameters()):
                            pt.lerp_(pq, 0.02)
                    w.step(loss=loss, inputs=S, targets=y, outputs=qa)
            eps = max(0.05, eps * 0.94)
            returns.append(total / 20)
    ev, score = _Corridor(np.random.default_rng(seed + 1)), []
    for _ in range(20):
        s, done = ev.reset(), False
        while not done:
            with torch.no_grad():
                s, r, done = ev.step(int(q(torch.from_numpy(s)).argmax()))
            score.append(r)
    return float(np.mean(score))


PROGRAMS = [two_towers, reinforce_corridor, dqn_target_network]
