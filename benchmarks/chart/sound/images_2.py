"""Sound programs: mixer trainer class to lora adapters."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.images_parts import _pretrain, digits, shapes, standardise
from torch.utils.data import DataLoader, TensorDataset


class MixerBlock(nn.Module):
    def __init__(self, tokens, dim):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.tok = nn.Sequential(nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens))
        self.chan = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * dim, dim))

    def forward(self, x):
        x = x + self.tok(self.n1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.chan(self.n2(x))


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Unfold(2, stride=2)
        self.embed = nn.Linear(4, 40)
        self.blocks = nn.Sequential(*[MixerBlock(16, 40) for _ in range(3)])
        self.norm = nn.LayerNorm(40)
        self.head = nn.Linear(40, 10)

    def forward(self, x):
        t = self.embed(self.patch(x).transpose(1, 2))
        return self.head(self.norm(self.blocks(t)).mean(1))


class MixerTrainer:
    def __init__(self, model, lr):
        self.model = model
        self.optimizer = torch.optim.NAdam(model.parameters(), lr=lr)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, factor=0.5, patience=1)

    def train_epoch(self, loader, w):
        self.model.train()
        total, n = 0.0, 0
        for batch in loader:
            x, y = batch
            self.optimizer.zero_grad()
            out = self.model(x)
            loss = F.cross_entropy(out, y)
            loss.backward()
            self.optimizer.step()
            w.step(loss=loss, inputs=x, targets=y, outputs=out)
            total += loss.item() * len(y)
            n += len(y)
        return total / n

    @torch.no_grad()
    def evaluate(self, loader):
        self.model.eval()
        total, hit, n = 0.0, 0, 0
        for x, y in loader:
            out = self.model(x)
            total += F.cross_entropy(out, y, reduction="sum").item()
            hit += (out.argmax(1) == y).sum().item()
            n += len(y)
        return total / n, hit / n


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, dim, drop_path):
        super().__init__()
        self.dw = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 3 * dim)
        self.down = nn.Linear(3 * dim, dim)
        self.gamma = nn.Parameter(0.1 * torch.ones(dim))
        self.drop_path = drop_path

    def forward(self, x):
        h = self.norm(self.dw(x).permute(0, 2, 3, 1))
        h = self.gamma * self.down(F.gelu(self.up(h)))
        h = h.permute(0, 3, 1, 2)
        if self.training and self.drop_path > 0:
            keep = 1 - self.drop_path
            h = h * torch.bernoulli(torch.full((len(x), 1, 1, 1), keep)) / keep
        return x + h


def _target_task(seed, n):
    """Two shapes' worth of a new problem: class = (angular or round) x (bright blue or not)."""
    x, k = shapes(n, 20, 5, seed)
    rng = np.random.default_rng(seed + 1)
    blue = torch.from_numpy(rng.integers(0, 2, n))
    x[:, 2] = torch.where(blue[:, None, None] == 1, 0.5 + 0.5 * x[:, 2], x[:, 2] * 0.5)
    angular = ((k == 1) | (k == 2) | (k == 3)).long()
    return x, angular * 2 + blue


class LoRALinear(nn.Module):
    def __init__(self, base, rank=4, alpha=8.0):
        super().__init__()
        self.base = base
        for p in self.base.parameters():
            p.requires_grad_(False)
        self.A = nn.Parameter(torch.empty(rank, base.in_features))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.B = nn.Parameter(torch.zeros(base.out_features, rank))
        self.scale = alpha / rank

    def forward(self, x):
        return self.base(x) + self.scale * F.linear(F.linear(x, self.A), self.B)


def mixer_trainer_class(watch, seed, fault):
    """4. An MLP-Mixer on digits, trained by a small Trainer class with NAdam and ReduceLROnPlateau."""
    torch.manual_seed(seed)
    xtr, ytr, xva, yva = digits(seed)
    train_loader = DataLoader(TensorDataset(xtr, ytr), batch_size=32, shuffle=True)
    val_loader = DataLoader(TensorDataset(xva, yva), batch_size=128)
    trainer = MixerTrainer(Mixer(), 2e-3)
    best = 0.0
    with watch(trainer.model, trainer.optimizer) as w:
        for epoch in range(8):
            tr = trainer.train_epoch(train_loader, w)
            vl, va = trainer.evaluate(val_loader)
            trainer.plateau.step(vl)
            best = max(best, va)
            w.epoch(train={"loss": tr}, val={"loss": vl, "accuracy": va})
    return best


def convnext_like(watch, seed, fault):
    """5. A ConvNeXt-like net with layer scale and stochastic depth on drawn shapes, AdamW with cosine."""
    torch.manual_seed(seed)
    xtr, ytr = shapes(1200, 20, 5, seed + 2)
    xva, yva = shapes(300, 20, 5, seed + 10_002)
    xtr, xva = standardise(xtr, xva)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=40, shuffle=True)
    model = nn.Sequential(
        nn.Conv2d(3, 24, 4, 2, 1),
        LayerNorm2d(24),
        ConvNeXtBlock(24, 0.0),
        ConvNeXtBlock(24, 0.05),
        LayerNorm2d(24),
        nn.Conv2d(24, 48, 2, 2),
        ConvNeXtBlock(48, 0.05),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(48),
        nn.Linear(48, 5),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    epochs = 9
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs, eta_min=1e-5)
    acc = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(epochs):
            model.train()
            stats = []
            for x, y in loader:
                if torch.rand(()) < 0.5:
                    x = x.flip(3)
                x = torch.roll(x, torch.randint(-2, 3, (2,)).tolist(), (2, 3))
                optimizer.zero_grad()
                out = model(x)
                loss = F.cross_entropy(out, y)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
                stats.append((loss.item(), (out.argmax(1) == y).float().mean().item()))
            scheduler.step()
            model.eval()
            with torch.inference_mode():
                out = model(xva)
                acc = (out.argmax(1) == yva).float().mean().item()
                vl = F.cross_entropy(out, yva).item()
            tl, ta = np.mean(stats, 0)
            w.epoch(train={"loss": float(tl), "accuracy": float(ta)}, val={"loss": vl, "accuracy": acc})
    return acc


def frozen_backbone(watch, seed, fault):
    """6. Fine-tuning with a frozen backbone kept in eval mode; only a new two-layer head is trained."""
    torch.manual_seed(seed)
    net = _pretrain(seed)
    xtr, ytr = _target_task(seed + 3, 800)
    xva, yva = _target_task(seed + 10_003, 300)
    xtr, xva = standardise(xtr, xva)
    for p in net.parameters():
        p.requires_grad = False
    net.fc = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=5e-3)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=50, shuffle=True)
    acc = 0.0
    with watch(net, optimizer) as w:
        for epoch in range(10):
            net.eval()  # the batch norms of the backbone keep their statistics
            net.fc.train()
            total, hits = 0.0, 0
            for x, y in loader:
                optimizer.zero_grad()
                out = net(x)
                loss = F.cross_entropy(out, y)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
                total += loss.item() * len(y)
                hits += (out.argmax(1) == y).sum().item()
            net.eval()
            with torch.no_grad():
                out = net(xva)
                acc = (out.argmax(1) == yva).float().mean().item()
                vl = F.cross_entropy(out, yva).item()
            w.epoch(train={"loss": total / len(xtr), "accuracy": hits / len(xtr)}, val={"loss": vl, "accuracy": acc})
    return acc


def slow_backbone(watch, seed, fault):
    """7. Fine-tuning with two learning rates, the pretrained backbone at a fiftieth of the new head's."""
    torch.manual_seed(seed)
    net = _pretrain(seed)
    xtr, ytr = _target_task(seed + 4, 800)
    xva, yva = _target_task(seed + 10_004, 300)
    xtr, xva = standardise(xtr, xva)
    net.fc = nn.Linear(32, 4)
    optimizer = torch.optim.AdamW(
        [
            {"params": list(net.stem.parameters()) + list(net.body.parameters()), "lr": 1e-4},
            {"params": net.fc.parameters(), "lr": 5e-3},
        ],
        weight_decay=1e-2,
    )
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=40, shuffle=True)
    acc = 0.0
    with watch(net, optimizer) as w:
        for epoch in range(7):
            net.train()
            total = 0.0
            for x, y in loader:
                out = net(x)
                loss = F.cross_entropy(out, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() / len(loader)
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            net.eval()
            with torch.no_grad():
                out = net(xva)
            acc = (out.argmax(1) == yva).float().mean().item()
            w.epoch(train={"loss": total}, val={"loss": F.cross_entropy(out, yva).item(), "accuracy": acc})
    return acc


def lora_adapters(watch, seed, fault):
    """8. A pretrained Mixer is adapted to inverted digits with LoRA adapters (B starts at zero) and a new head."""
    torch.manual_seed(seed)
    xtr, ytr, xva, yva = digits(seed)
    base = Mixer()
    opt = torch.optim.Adam(base.parameters(), 3e-3)
    for i in range(120):
        idx = torch.randint(0, len(xtr), (64,))
        opt.zero_grad()
        F.cross_entropy(base(xtr[idx]), ytr[idx]).backward()
        opt.step()
    # the new problem: digits turned by a quarter, told odd from even and small from large
    xtr, xva = torch.rot90(xtr, 1, (2, 3)), torch.rot90(xva, 1, (2, 3))
    ytr, yva = (ytr % 2) * 2 + (ytr >= 5), (yva % 2) * 2 + (yva >= 5)
    for p in base.parameters():
        p.requires_grad_(False)
    for block in base.blocks:
        for seq in (block.tok, block.chan):
            for i, m in enumerate(seq):
                if isinstance(m, nn.Linear):
                    seq[i] = LoRALinear(m)
    base.head = nn.Linear(40, 4)
    params = [p for p in base.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=4e-3, weight_decay=0.0)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=64, shuffle=True)
    acc = 0.0
    with watch(base, optimizer) as w:
        for epoch in range(10):
            base.train()
            tl, ta = [], []
            for x, y in loader:
                optimizer.zero_grad()
                out = base(x)
                loss = F.cross_entropy(out, y)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(params, 1.0)
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
                tl.append(loss.item())
                ta.append((out.argmax(1) == y).float().mean().item())
            base.eval()
            with torch.no_grad():
                out = base(xva)
                acc = (out.argmax(1) == yva).float().mean().item()
            w.epoch(
                train={"loss": np.mean(tl), "accuracy": np.mean(ta)},
                val={"loss": F.cross_entropy(out, yva).item(), "accuracy": acc},
            )
    return acc


PROGRAMS = [mixer_trainer_class, convnext_like, frozen_backbone, slow_backbone, lora_adapters]
