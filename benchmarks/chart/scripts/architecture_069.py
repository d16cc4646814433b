"""Programs with faults of types 69 to 70."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.second_author import digits_images
from torch.utils.data import DataLoader, TensorDataset


def layernorm_over_tokens(watch, seed, fault):
    """69. A ViT's final LayerNorm runs over the token axis instead of the channels; the mean over tokens that follows is then constant."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)

    class Attn(nn.Module):
        def __init__(self, d, h=4):
            super().__init__()
            self.h, self.qkv, self.proj = h, nn.Linear(d, 3 * d), nn.Linear(d, d)

        def forward(self, x):
            B, N, C = x.shape
            q, k, v = self.qkv(x).reshape(B, N, 3, self.h, C // self.h).permute(2, 0, 3, 1, 4)
            return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, N, C))

    class Layer(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.norm1, self.attn, self.norm2 = nn.LayerNorm(d), Attn(d), nn.LayerNorm(d)
            self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

        def forward(self, x):
            x = x + self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class ViT(nn.Module):
        def __init__(self, d=40):
            super().__init__()
            self.embed = nn.Linear(4, d)
            self.pos = nn.Parameter(torch.randn(16, d) * 0.02)
            self.layers = nn.ModuleList([Layer(d) for _ in range(2)])
            self.ln = nn.LayerNorm(16 if fault else d, elementwise_affine=False)
            self.head = nn.Linear(d, 10)

        def forward(self, img):
            p = F.unfold(img, 2, stride=2).transpose(1, 2)
            x = self.embed(p) + self.pos
            for l in self.layers:
                x = l(x)
            if fault:
                x = self.ln(x.transpose(1, 2)).transpose(1, 2)
            else:
                x = self.ln(x)
            return self.head(x.mean(1))

    vit = ViT()
    opt = torch.optim.AdamW(vit.parameters(), lr=3e-3)
    with watch(vit, opt) as w:
        for epoch in range(10):
            vit.train()
            for x, y in DataLoader(TensorDataset(xtr, ytr), 50, shuffle=True):
                z = vit(x)
                loss = F.cross_entropy(z, y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=z)
            vit.eval()
            with torch.no_grad():
                z = vit(xte)
                a = (z.argmax(1) == yte).float().mean().item()
            w.epoch(val={"loss": F.cross_entropy(z, yte).item(), "accuracy": a})
    return a


def residual_forgotten(watch, seed, fault):
    """70. A deep pre-activation residual net returns the branch alone; the shortcut is kept in a variable and never added."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)

    class PreActBlock(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.conv1 = nn.Conv2d(c, c, 3, padding=1)
            self.conv2 = nn.Conv2d(c, c, 3, padding=1)

        def forward(self, x):
            identity = x
            out = self.conv1(F.relu(x))
            out = self.conv2(F.relu(out))
            if not fault:
                out = out + identity
            return out

    class DeepNet(nn.Module):
        def __init__(self, n=10, c=16):
            super().__init__()
            self.stem = nn.Conv2d(1, c, 3, stride=2, padding=1)
            self.blocks = nn.ModuleList([PreActBlock(c) for _ in range(n)])
            self.fc = nn.Linear(c * 16, 10)

        def forward(self, x):
            x = self.stem(x)
            for b in self.blocks:
                x = b(x)
            return self.fc(F.relu(x).flatten(1))

    model = DeepNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    with watch(model, optimizer) as w:
        for epoch in range(5):
            model.train()
            s, n = 0.0, 0
            for idx in torch.randperm(1400).split(50):
                x, y = xtr[idx], ytr[idx]
                optimizer.zero_grad()
                out = model(x)
                loss = criterion(out, y)
                loss.backward()
                optimizer.step()
                s, n = s + loss.item(), n + 1
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            model.eval()
            with torch.no_grad():
                out = model(xte)
            acc = (out.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": s / n}, val={"loss": criterion(out, yte).item(), "accuracy": acc})
    return acc


PROGRAMS = [layernorm_over_tokens, residual_forgotten]
