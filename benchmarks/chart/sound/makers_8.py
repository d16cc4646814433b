"""Sound programs: multitask uncertainty to multitask uncertainty."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.makers_parts import digits
from torch.utils.data import DataLoader, TensorDataset


def multitask_uncertainty(watch, seed, fault):
    """19. Three heads (digit, ink amount, parity) on one trunk, weighted by learned uncertainties."""
    torch.manual_seed(seed)
    xtr, ytr, xva, yva = digits(seed)
    ink_tr, ink_va = xtr.mean((1, 2, 3)), xva.mean((1, 2, 3))
    m, s = ink_tr.mean(), ink_tr.std()
    ink_tr, ink_va = (ink_tr - m) / s, (ink_va - m) / s
    pm, ps = xtr.mean(), xtr.std()
    xtr, xva = (xtr - pm) / ps, (xva - pm) / ps

    class MultiTask(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Sequential(
                nn.Conv2d(1, 20, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(20, 20, 3, 2, 1),
                nn.SiLU(),
                nn.Flatten(),
                nn.Linear(320, 64),
                nn.SiLU(),
            )
            self.digit, self.ink, self.odd = nn.Linear(64, 10), nn.Linear(64, 1), nn.Linear(64, 1)
            self.log_var = nn.Parameter(torch.zeros(3))

        def forward(self, x):
            h = self.trunk(x)
            return {"digit": self.digit(h), "ink": self.ink(h)[:, 0], "odd": self.odd(h)[:, 0]}

    def losses(out, y, ink):
        return torch.stack(
            [
                F.cross_entropy(out["digit"], y),
                F.mse_loss(out["ink"], ink),
                F.binary_cross_entropy_with_logits(out["odd"], (y % 2).float()),
            ]
        )

    model = MultiTask()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = DataLoader(TensorDataset(xtr, ytr, ink_tr), batch_size=48, shuffle=True)
    acc = r2 = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            run = 0.0
            for x, y, ink in loader:
                out = model(x)
                parts = losses(out, y, ink)
                loss = (torch.exp(-model.log_var) * parts + 0.5 * model.log_var).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out["digit"])
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                out = model(xva)
                parts = losses(out, yva, ink_va)
                vl = (torch.exp(-model.log_var) * parts + 0.5 * model.log_var).sum().item()
                acc = (out["digit"].argmax(1) == yva).float().mean().item()
                r2 = 1 - parts[1].item() / ink_va.var().item()
            w.epoch(train={"loss": run}, val={"loss": vl, "accuracy": acc})
    return (acc + r2) / 2


PROGRAMS = [multitask_uncertainty]
