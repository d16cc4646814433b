"""Sound programs: cox survival to mixture density."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


def cox_survival(watch, seed, fault):
    """4. Survival with censoring: the Cox partial likelihood over the whole cohort, judged by concordance."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    n = 1000
    X = rng.normal(size=(n, 8)).astype(np.float32)
    risk = 1.2 * X[:, 0] - 0.8 * X[:, 1] + 0.7 * X[:, 2] * X[:, 3]
    T = rng.exponential(np.exp(-risk))
    C = rng.exponential(2.0, n)
    time, event = np.minimum(T, C), (T <= C).astype(np.float32)
    X, time, event = torch.tensor(X), torch.tensor(time), torch.tensor(event)

    def cox(score, t, e):
        order = torch.argsort(t, descending=True)
        s, e = score[order], e[order]
        return -((s - torch.logcumsumexp(s, 0)) * e).sum() / e.sum()

    def concordance(score, t, e):
        ok = (t[:, None] < t[None, :]) & (e[:, None] > 0)
        good = (score[:, None] > score[None, :]) & ok
        return (good.sum() / ok.sum()).item()

    tr, te = slice(0, 700), slice(700, n)
    net = nn.Sequential(nn.Linear(8, 32), nn.SELU(), nn.AlphaDropout(0.1), nn.Linear(32, 1, bias=False))
    opt = torch.optim.Adam(net.parameters(), lr=1e-2, weight_decay=1e-3)
    with watch(net, opt) as w:
        for epoch in range(120):
            net.train()
            score = net(X[tr]).squeeze(1)
            loss = cox(score, time[tr], event[tr])
            opt.zero_grad()
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=X[tr], outputs=score)
            if epoch % 10 == 9:
                net.eval()
                with torch.no_grad():
                    sv = net(X[te]).squeeze(1)
                    w.epoch(
                        train={"loss": loss.item()},
                        val={
                            "loss": cox(sv, time[te], event[te]).item(),
                            "c_index": concordance(sv, time[te], event[te]),
                        },
                    )
    net.eval()
    with torch.no_grad():
        return concordance(net(X[te]).squeeze(1), time[te], event[te])


def poisson_claims(watch, seed, fault):
    """5. Insurance claim counts with an exposure offset under the Poisson likelihood."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    n = 5000
    X = rng.normal(size=(n, 6))
    exposure = rng.uniform(0.2, 1.0, n)
    rate = np.exp(0.3 + 0.6 * X[:, 0] - 0.5 * X[:, 1] + 0.4 * np.tanh(2 * X[:, 2]))
    counts = rng.poisson(rate * exposure)
    data = TensorDataset(torch.tensor(X).float(), torch.tensor(np.log(exposure)).float(), torch.tensor(counts).float())
    tr, te = torch.utils.data.random_split(data, [4000, 1000], generator=torch.Generator().manual_seed(seed))
    loader = DataLoader(tr, batch_size=200, shuffle=True)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1))
    criterion = nn.PoissonNLLLoss(log_input=True, full=True)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    xe, oe, ce = (torch.stack(t) for t in zip(*[te[i] for i in range(len(te))]))
    with watch(model, optimizer) as w:
        for epoch in range(12):
            tot = 0.0
            model.train()
            for x, off, c in loader:
                log_mu = model(x).squeeze(1) + off
                loss = criterion(log_mu, c)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                tot += loss.item()
                w.step(loss=loss, inputs=x, targets=c, outputs=log_mu)
            model.eval()
            with torch.no_grad():
                vl = criterion(model(xe).squeeze(1) + oe, ce).item()
            w.epoch(train={"nll": tot / len(loader)}, val={"nll": vl})
    with torch.no_grad():
        mu = (model(xe).squeeze(1) + oe).exp()

    def dev(m):
        return (2 * (torch.xlogy(ce, ce / m) - (ce - m))).mean()

    return 1 - (dev(mu) / dev(ce.mean() * oe.exp() / oe.exp().mean())).item()


def heteroscedastic_nll(watch, seed, fault):
    """6. Mean and variance by GaussianNLLLoss, the variance head kept still for the first epochs."""
    torch.manual_seed(seed)
    x = torch.rand(2500, 2) * 2 - 1
    sigma = 0.05 + 0.3 * torch.sigmoid(4 * x[:, 1])
    y = torch.cos(3 * x[:, 0]) + sigma * torch.randn(2500)
    y = (y - y[:2000].mean()) / y[:2000].std()

    class MeanVar(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Sequential(nn.Linear(2, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU())
            self.mean, self.var = nn.Linear(64, 1), nn.Linear(64, 1)

        def forward(self, x):
            h = self.trunk(x)
            return self.mean(h).squeeze(-1), F.softplus(self.var(h)).squeeze(-1) + 1e-3

    model = MeanVar()
    criterion = nn.GaussianNLLLoss()
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = DataLoader(TensorDataset(x[:2000], y[:2000]), batch_size=100, shuffle=True)
    warm = 4
    with watch(model, opt) as w:
        for epoch in range(20):
            model.var.requires_grad_(epoch >= warm)
            tot = 0.0
            for xb, yb in loader:
                mu, var = model(xb)
                if epoch < warm:
                    loss = F.mse_loss(mu, yb)
                else:
                    loss = criterion(mu, yb, var)
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                opt.step()
                tot += loss.item()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=mu)
            with torch.no_grad():
                mu, var = model(x[2000:])
                w.epoch(val={"nll": criterion(mu, y[2000:], var).item(), "mse": F.mse_loss(mu, y[2000:]).item()})
    return 1 - ((mu - y[2000:]).pow(2).mean() / y[2000:].var()).item()


def mixture_density(watch, seed, fault):
    """7. A mixture density network learns the inverse of a folded curve."""
    torch.manual_seed(seed)
    t = torch.rand(3000) * 2 - 1
    x = t + 0.3 * torch.sin(2 * math.pi * t) + 0.03 * torch.randn(3000)
    X, Y = x[:, None], t[:, None]

    class MDN(nn.Module):
        def __init__(self, k=5):
            super().__init__()
            self.hidden = nn.Sequential(nn.Linear(1, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh())
            self.pi, self.mu, self.ls = nn.Linear(40, k), nn.Linear(40, k), nn.Linear(40, k)

        def forward(self, x):
            h = self.hidden(x)
            return F.log_softmax(self.pi(h), -1), self.mu(h), self.ls(h).clamp(-4, 2)

        def nll(self, x, y):
            lp, mu, ls = self(x)
            comp = torch.distributions.Normal(mu, ls.exp()).log_prob(y)
            return -torch.logsumexp(lp + comp, -1).mean()

    mdn = MDN()
    optim = torch.optim.Adam(mdn.parameters(), lr=5e-3)
    with watch(mdn, optim) as w:
        for step in range(450):
            idx = torch.randperm(2400)[:256]
            loss = mdn.nll(X[idx], Y[idx])
            optim.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(mdn.parameters(), 1.0)
            optim.step()
            w.step(loss=loss)
    with torch.no_grad():
        base = -torch.distributions.Normal(Y[:2400].mean(), Y[:2400].std()).log_prob(Y[2400:]).mean()
        return (base - mdn.nll(X[2400:], Y[2400:])).item()


PROGRAMS = [cox_survival, poisson_claims, heteroscedastic_nll, mixture_density]
