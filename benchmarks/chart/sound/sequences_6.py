"""Sound programs: ppo actor critic to pinn burning rod."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.sequences_parts import _Corridor


def ppo_actor_critic(watch, seed, fault):
    """14. PPO: actor and critic with one optimizer, GAE, four passes of minibatches over each rollout, rate annealed to 0."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    envs = [_Corridor(rng) for _ in range(16)]
    T, updates = 20, 14

    def ortho(i, o, g):
        l = nn.Linear(i, o)
        nn.init.orthogonal_(l.weight, g)
        nn.init.zeros_(l.bias)
        return l

    actor = nn.Sequential(ortho(2, 32, 2**0.5), nn.Tanh(), ortho(32, 3, 0.01))
    critic = nn.Sequential(ortho(2, 32, 2**0.5), nn.Tanh(), ortho(32, 1, 1.0))
    params = [*actor.parameters(), *critic.parameters()]
    opt = torch.optim.Adam(params, lr=1e-2, eps=1e-5)
    with watch([actor, critic], opt) as w:
        for up in range(updates):
            opt.param_groups[0]["lr"] = 1e-2 * (1 - up / updates)
            obs = torch.tensor(np.stack([e.reset() for e in envs]))
            O, A, LP, V, R = [], [], [], [], []
            for t in range(T):
                with torch.no_grad():
                    d = torch.distributions.Categorical(logits=actor(obs))
                    a = d.sample()
                    V.append(critic(obs).squeeze(1))
                O.append(obs), A.append(a), LP.append(d.log_prob(a))
                res = [e.step(int(k)) for e, k in zip(envs, a)]
                obs = torch.tensor(np.stack([r[0] for r in res]))
                R.append(torch.tensor([r[1] for r in res], dtype=torch.float32))
            with torch.no_grad():
                nv = critic(obs).squeeze(1)
            adv, last = torch.zeros(T, 16), 0
            for t in reversed(range(T)):
                delta = R[t] + 0.9 * (nv if t == T - 1 else V[t + 1]) - V[t]
                last = delta + 0.9 * 0.95 * last
                adv[t] = last
            ret = (adv + torch.stack(V)).flatten()
            adv, O, A, LP = adv.flatten(), torch.cat(O), torch.cat(A), torch.cat(LP)
            for _ in range(4):
                for b in torch.randperm(T * 16).split(80):
                    d = torch.distributions.Categorical(logits=actor(O[b]))
                    ratio = (d.log_prob(A[b]) - LP[b]).exp()
                    ad = (adv[b] - adv[b].mean()) / (adv[b].std() + 1e-8)
                    pg = -torch.min(ratio * ad, ratio.clamp(0.8, 1.2) * ad).mean()
                    vf = 0.5 * (critic(O[b]).squeeze(1) - ret[b]).pow(2).mean()
                    loss = pg + 0.5 * vf - 0.01 * d.entropy().mean()
                    opt.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(params, 0.5)
                    opt.step()
                    w.step(loss=loss)
            w.epoch(train={"reward": torch.stack(R).mean().item()})
    ev, score = _Corridor(np.random.default_rng(seed + 1)), []
    for _ in range(20):
        s, done = ev.reset(), False
        while not done:
            with torch.no_grad():
                s, r, done = ev.step(int(actor(torch.from_numpy(s)).argmax()))
            score.append(r)
    return float(np.mean(score))


def contextual_bandit(watch, seed, fault):
    """15. A neural contextual bandit, epsilon-greedy: every round learns from what it has seen so far."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    arms, dim = 5, 8
    W = rng.normal(size=(arms, dim))
    net = nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, arms))
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    C, A, R, regret = [], [], [], []
    with watch(net, opt) as w:
        for rnd in range(200):
            ctx = torch.tensor(rng.normal(size=(10, dim))).float()
            mean = torch.tensor(1 / (1 + np.exp(-ctx.numpy() @ W.T))).float()
            eps = max(0.05, 1 - rnd / 60)
            with torch.no_grad():
                a = net(ctx).argmax(1)
            explore = torch.rand(10) < eps
            a = torch.where(explore, torch.randint(0, arms, (10,)), a)
            rew = torch.bernoulli(mean.gather(1, a[:, None]).squeeze(1))
            regret.append((mean.max(1)[0] - mean.gather(1, a[:, None]).squeeze(1)).mean().item())
            C.append(ctx), A.append(a), R.append(rew)
            if rnd < 10:
                continue
            allc, alla, allr = torch.cat(C), torch.cat(A), torch.cat(R)
            for _ in range(2):
                k = torch.randint(0, len(allr), (64,))
                logit = net(allc[k]).gather(1, alla[k][:, None]).squeeze(1)
                loss = F.binary_cross_entropy_with_logits(logit, allr[k])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=allc[k], targets=allr[k], outputs=logit)
    return 1 - float(np.mean(regret[-50:]) / np.mean(regret[:15]))


def pinn_burning_rod(watch, seed, fault):
    """16. A physics-informed network for the heat equation: residual, start and edges, Adam."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    for m in net:
        if isinstance(m, nn.Linear):
            nn.init.xavier_normal_(m.weight)
            nn.init.zeros_(m.bias)
    alpha = 0.1
    u_true = lambda x, t: torch.exp(-alpha * math.pi**2 * t) * torch.sin(math.pi * x)
    opt = torch.optim.Adam(net.parameters(), lr=5e-3)
    sch = torch.optim.lr_scheduler.ExponentialLR(opt, 0.995)
    with watch(net, opt) as w:
        for it in range(500):
            xt = torch.rand(128, 2, requires_grad=True)
            u = net(xt)
            du = torch.autograd.grad(u.sum(), xt, create_graph=True)[0]
            uxx = torch.autograd.grad(du[:, 0].sum(), xt, create_graph=True)[0][:, 0]
            residual = (du[:, 1] - alpha * uxx).pow(2).mean()
            x0 = torch.rand(64, 1)
            start = (net(torch.cat([x0, torch.zeros_like(x0)], 1)) - torch.sin(math.pi * x0)).pow(2).mean()
            tb = torch.rand(64, 1)
            edge = (
                net(torch.cat([torch.zeros_like(tb), tb], 1)).pow(2).mean()
                + net(torch.cat([torch.ones_like(tb), tb], 1)).pow(2).mean()
            )
            loss = residual + 5 * start + 5 * edge
            opt.zero_grad()
            loss.backward()
            opt.step()
            sch.step()
            w.step(loss=loss, inputs=xt)
    x, t = torch.meshgrid(torch.linspace(0, 1, 30), torch.linspace(0, 1, 30), indexing="ij")
    with torch.no_grad():
        p = net(torch.stack([x.flatten(), t.flatten()], 1)).view(30, 30)
        tr = u_true(x, t)
        return 1 - ((p - tr).norm() / tr.norm()).item()


PROGRAMS = [ppo_actor_critic, contextual_bandit, pinn_burning_rod]
