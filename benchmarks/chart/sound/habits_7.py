"""Sound programs: dann multi task stream to dann multi task stream."""

import itertools
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


def dann_multi_task_stream(watch, seed, fault):
    """19. Domain adversarial training by gradient reversal and two tasks weighed by learned uncertainties, endless streams of both domains."""
    torch.manual_seed(seed)

    class Reverse(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, lam):
            ctx.lam = lam
            return x.view_as(x)

        @staticmethod
        def backward(ctx, g):
            return -ctx.lam * g, None

    base = torch.Generator().manual_seed(seed)
    proj = torch.randn(6, 20, generator=base) / 6**0.5
    shift = 0.8 * torch.randn(20, generator=base)
    shift = shift - (shift @ torch.linalg.pinv(proj)) @ proj  # shift is outside of the useful directions

    def stream(domain, s, n=48):
        g = torch.Generator().manual_seed(s)
        while True:
            z = torch.randn(n, 6, generator=g)
            x = z @ proj + 0.1 * torch.randn(n, 20, generator=g) + domain * shift
            cls = (z[:, 0] * z[:, 1] > 0).long()
            reg = torch.sin(z[:, 2]) + 0.5 * z[:, 3]
            yield x, cls, reg

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.feat = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
            self.cls, self.reg = nn.Linear(32, 2), nn.Linear(32, 1)
            self.dom = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))
            self.log_var = nn.Parameter(torch.zeros(2))

        def forward(self, x, lam=0.0):
            h = self.feat(x)
            return self.cls(h), self.reg(h).squeeze(1), self.dom(Reverse.apply(h, lam)).squeeze(1)

    net = Net()
    opt = torch.optim.Adam(
        [{"params": [p for n, p in net.named_parameters() if n != "log_var"]}, {"params": [net.log_var], "lr": 1e-2}],
        lr=2e-3,
    )
    total = 400
    val = next(stream(1.0, seed + 900, 600))
    acc = 0.0
    with watch(net, opt) as w:
        for it, (s, t) in enumerate(zip(itertools.islice(stream(0.0, seed + 1), total), stream(1.0, seed + 2))):
            lam = 0.2 * (2 / (1 + math.exp(-10 * it / total)) - 1)
            c, r, ds = net(s[0], lam)
            _, _, dt = net(t[0], lam)
            lc, lr_ = F.cross_entropy(c, s[1]), F.mse_loss(r, s[2])
            task = torch.exp(-net.log_var[0]) * lc + 0.5 * torch.exp(-net.log_var[1]) * lr_ + 0.5 * net.log_var.sum()
            dom = F.binary_cross_entropy_with_logits(
                torch.cat([ds, dt]), torch.cat([torch.zeros_like(ds), torch.ones_like(dt)])
            )
            loss = task + dom
            opt.zero_grad()
            loss.backward()
            opt.step()
            w.step(loss=loss, inputs=s[0], targets=s[1], outputs=c)
            if it % 80 == 79:
                net.eval()
                with torch.no_grad():
                    o, ro, _ = net(val[0])
                    acc = (o.argmax(1) == val[1]).float().mean().item()
                    w.epoch(val={"accuracy": acc, "mse": F.mse_loss(ro, val[2]).item()})
                net.train()
    return acc


PROGRAMS = [dann_multi_task_stream]
