"""Programs with faults of types 6 to 6."""

import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.first_author import digits_images
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, TensorDataset


def weight_norm_after_optimizer(watch, seed, fault):
    """6. weight_norm re-wraps all layers of a tabular MLP after the optimizer was built: the optimizer holds tensors that are no longer the model's."""
    torch.manual_seed(seed)
    d = load_breast_cancer()
    x = (d.data - d.data.mean(0)) / d.data.std(0)
    xa, xb, ya, yb = train_test_split(
        torch.tensor(x, dtype=torch.float32), torch.tensor(d.target, dtype=torch.float32), random_state=seed
    )
    mlp = nn.Sequential(nn.Linear(30, 64), nn.Tanh(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 1, bias=False))
    mlp[0].bias = None
    mlp[2].bias = None

    def normed(m):
        for layer in m:
            if isinstance(layer, nn.Linear):
                nn.utils.parametrizations.weight_norm(layer)
        return m

    if fault:
        opt = torch.optim.Adam(mlp.parameters(), lr=2e-3)
        mlp = normed(mlp)
    else:
        mlp = normed(mlp)
        opt = torch.optim.Adam(mlp.parameters(), lr=2e-3)
    bce = nn.BCEWithLogitsLoss()
    with watch(mlp, opt) as w:
        for epoch in range(8):
            for idx in torch.randperm(len(xa)).split(24):
                mlp.zero_grad()
                z = mlp(xa[idx]).squeeze(1)
                loss = bce(z, ya[idx])
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=xa[idx], targets=ya[idx], outputs=z)
            with torch.no_grad():
                zv = mlp(xb).squeeze(1)
            acc = ((zv > 0).float() == yb).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": bce(zv, yb).item(), "accuracy": acc})
    return acc


def deepcopy_to_device_after_optimizer(watch, seed, fault):
    """6. A 'move to device' helper returns a deep copy, called after the optimizer was made: the optimizer updates the old network."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)

    def to_device(module, device="cpu"):
        return copy.deepcopy(module).to(device, memory_format=torch.channels_last)

    class Patches(nn.Module):
        def __init__(self, dim=32):
            super().__init__()
            self.embed = nn.Conv2d(1, dim, 2, 2)
            self.pos = nn.Parameter(torch.randn(1, 16, dim) * 0.02)
            enc = nn.TransformerEncoderLayer(dim, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(enc, 2, enable_nested_tensor=False)
            self.cls = nn.Linear(dim, 10)

        def forward(self, x):
            z = self.embed(x).flatten(2).transpose(1, 2) + self.pos
            return self.cls(self.encoder(z).mean(1))

    vit = Patches()
    if not fault:
        vit = to_device(vit)
    optimizer = torch.optim.AdamW(vit.parameters(), lr=3e-3, weight_decay=0.01)
    if fault:
        vit = to_device(vit)
    with watch(vit, optimizer) as w:
        for epoch in range(5):
            vit.train()
            s = n = 0
            for xb, yb in DataLoader(TensorDataset(Xtr, ytr), 48, shuffle=True):
                out = vit(xb)
                loss = F.cross_entropy(out, yb)
                vit.zero_grad()
                loss.backward()
                optimizer.step()
                s, n = s + loss.item(), n + 1
                w.step(loss=loss, inputs=xb, targets=yb, outputs=out)
            vit.eval()
            with torch.no_grad():
                o = vit(Xte)
            acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": s / n}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


PROGRAMS = [weight_norm_after_optimizer, deepcopy_to_device_after_optimizer]
