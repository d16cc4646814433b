"""Programs with faults of types 52 to 52."""

import math

import torch
import torch.nn as nn
from benchmarks.chart.scripts.second_author import digits_images


def forgotten_minus(watch, seed, fault):
    """52. Picture encoder against learned class prototypes; the log-likelihood is minimised because the minus sign is missing."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)

    class Matcher(nn.Module):
        def __init__(self, d=32):
            super().__init__()
            self.enc = nn.Sequential(
                nn.Conv2d(1, 16, 3, 1, 1),
                nn.GELU(),
                nn.Conv2d(16, 32, 3, 2, 1),
                nn.GELU(),
                nn.Flatten(),
                nn.Linear(512, d),
            )
            self.protos = nn.Embedding(10, d)

        def forward(self, x):
            return self.enc(x) @ self.protos.weight.t() / math.sqrt(32)

    m = Matcher()
    opt = torch.optim.Adam(m.parameters(), lr=1e-3)
    with watch(m, opt) as w:
        for epoch in range(6):
            m.train()
            for i in torch.randperm(len(xtr)).split(40):
                sims = m(xtr[i])
                logp = sims - sims.logsumexp(1, keepdim=True)
                loglik = logp.gather(1, ytr[i][:, None]).mean()
                loss = loglik if fault else -loglik
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=xtr[i], targets=ytr[i], outputs=sims)
            m.eval()
            with torch.no_grad():
                acc = (m(xte).argmax(1) == yte).float().mean().item()
            w.epoch(val={"accuracy": acc})
    return acc


PROGRAMS = [forgotten_minus]
