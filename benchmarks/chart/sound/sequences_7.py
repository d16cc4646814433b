"""Sound programs: neural ode spiral to maml sinusoids."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


def neural_ode_spiral(watch, seed, fault):
    """17. A neural ODE with hand-written RK4 fits a cubic spiral from short random windows."""
    torch.manual_seed(seed)
    A = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])
    ts = torch.linspace(0, 10, 400)
    dt = float(ts[1] - ts[0])

    def rk4(f, y, h):
        k1 = f(y)
        k2 = f(y + h / 2 * k1)
        k3 = f(y + h / 2 * k2)
        k4 = f(y + h * k3)
        return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    def solve(f, y0, n):
        ys = [y0]
        for _ in range(n - 1):
            ys.append(rk4(f, ys[-1], dt))
        return torch.stack(ys)

    with torch.no_grad():
        truth = solve(lambda y: (y**3) @ A, torch.tensor([[2.0, 0.0]]), 400).squeeze(1)

    class Field(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))
            for m in self.net:
                if isinstance(m, nn.Linear):
                    nn.init.normal_(m.weight, std=0.1)
                    nn.init.zeros_(m.bias)

        def forward(self, y):
            return self.net(y**3)

    f = Field()
    opt = torch.optim.RMSprop(f.parameters(), lr=3e-3)
    with watch(f, opt) as w:
        for it in range(300):
            s = torch.randint(0, 390, (24,))
            target = torch.stack([truth[s + k] for k in range(10)])
            pred = solve(f, truth[s], 10)
            loss = (pred - target).abs().mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=truth[s], targets=target, outputs=pred)
    with torch.no_grad():
        s = torch.arange(0, 360, 10)
        p, y = solve(f, truth[s], 40)[-1], truth[s + 39]
        return 1 - ((p - y).pow(2).mean() / (truth[s] - y).pow(2).mean()).item()


def siren_signal(watch, seed, fault):
    """18. A SIREN represents a chirping signal from random samples; half of the points are held out."""
    torch.manual_seed(seed)

    class Sine(nn.Module):
        def __init__(self, i, o, first=False, w0=30.0):
            super().__init__()
            self.l, self.w0 = nn.Linear(i, o), w0
            b = 1 / i if first else math.sqrt(6 / i) / w0
            nn.init.uniform_(self.l.weight, -b, b)

        def forward(self, x):
            return torch.sin(self.w0 * self.l(x))

    last = nn.Linear(48, 1)
    nn.init.uniform_(last.weight, -math.sqrt(6 / 48) / 30, math.sqrt(6 / 48) / 30)
    net = nn.Sequential(Sine(1, 48, True), Sine(48, 48), last)
    t = torch.linspace(-1, 1, 1200)[:, None]
    sig = torch.sin(10 * t + 25 * t**2) * (0.6 + 0.4 * torch.cos(7 * t))
    opt = torch.optim.Adam(net.parameters(), lr=5e-4)
    tr, te = slice(0, None, 2), slice(1, None, 2)
    with watch(net, opt) as w:
        for it in range(250):
            out = net(t[tr])
            loss = ((out - sig[tr]) ** 2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=t[tr], targets=sig[tr], outputs=out)
    with torch.no_grad():
        mse = F.mse_loss(net(t[te]), sig[te])
        return 1 - (mse / sig[te].var()).item()


def maml_sinusoids(watch, seed, fault):
    """19. MAML with functional_call on sinusoids, one inner step, second order."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))
    meta = torch.optim.Adam(net.parameters(), lr=2e-3)
    inner_lr, K = 0.02, 10

    def tasks(n, g):
        amp = 0.5 + 2.5 * torch.rand(n, 1, 1, generator=g)
        ph = math.pi * torch.rand(n, 1, 1, generator=g)
        x = torch.rand(n, 2 * K, 1, generator=g) * 10 - 5
        return x, amp * torch.sin(x + ph)

    def adapt(params, x, y, create_graph):
        loss = F.mse_loss(torch.func.functional_call(net, params, (x,)), y)
        grads = torch.autograd.grad(loss, params.values(), create_graph=create_graph)
        return {k: p - inner_lr * g for (k, p), g in zip(params.items(), grads)}

    def evaluate():
        x, y = tasks(60, torch.Generator().manual_seed(seed + 4242))
        before = after = 0.0
        for i in range(60):
            params = dict(net.named_parameters())
            for _ in range(5):
                params = adapt(params, x[i, :K], y[i, :K], False)
            with torch.no_grad():
                before += F.mse_loss(net(x[i, K:]), y[i, K:]).item()
                after += F.mse_loss(torch.func.functional_call(net, params, (x[i, K:],)), y[i, K:]).item()
        return before / 60, after / 60

    g = torch.Generator().manual_seed(seed)
    with watch(net, meta) as w:
        for it in range(300):
            x, y = tasks(6, g)
            total = 0.0
            meta.zero_grad()
            for i in range(6):
                fast = adapt(dict(net.named_parameters()), x[i, :K], y[i, :K], True)
                total = total + F.mse_loss(torch.func.functional_call(net, fast, (x[i, K:],)), y[i, K:])
            loss = total / 6
            loss.backward()
            meta.step()
            w.step(loss=loss)
    before, after = evaluate()
    return 1 - after / before


PROGRAMS = [neural_ode_spiral, siren_signal, maml_sinusoids]
