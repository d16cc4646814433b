"""Sound programs: image captions to optical flow."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

WORDS = [
    "<pad>",
    "<bos>",
    "<eos>",
    "a",
    "small",
    "big",
    "red",
    "green",
    "blue",
    "disc",
    "square",
    "on",
    "the",
    "left",
    "right",
]


def image_captions(watch, seed, fault):
    """15. Captions ('a big red disc on the left') from a CNN and a GRU with teacher forcing, padding ignored."""
    torch.manual_seed(seed)

    def make(n, s):
        rng = np.random.default_rng(s)
        xs, ts = np.zeros((n, 3, 20, 20), np.float32), np.zeros((n, 10), np.int64)
        yy, xx = np.mgrid[0:20, 0:20]
        for i in range(n):
            big, col, shape, right = rng.integers(0, 2), rng.integers(0, 3), rng.integers(0, 2), rng.integers(0, 2)
            r = 5 if big else 3
            cx, cy = (rng.uniform(13, 14.5) if right else rng.uniform(5, 6.5)), rng.uniform(6, 14)
            m = (
                ((xx - cx) ** 2 + (yy - cy) ** 2 <= r * r)
                if shape == 0
                else ((abs(xx - cx) < r * 0.9) & (abs(yy - cy) < r * 0.9))
            )
            xs[i] += 0.2
            xs[i, col][m] = rng.uniform(0.8, 1.0)
            sent = ["a"] + (["big"] if big else ["small"]) + [WORDS[6 + col], WORDS[9 + shape]]
            sent += ["on", "the", "right" if right else "left"]
            ids = [1] + [WORDS.index(v) for v in sent] + [2]
            ts[i, : len(ids)] = ids
        xs += rng.normal(0, 0.05, xs.shape).astype(np.float32)
        return torch.from_numpy((xs - 0.25) / 0.2), torch.from_numpy(ts)

    xtr, ttr = make(900, seed)
    xva, tva = make(200, seed + 1)

    class Captioner(nn.Module):
        def __init__(self, h=48):
            super().__init__()
            self.cnn = nn.Sequential(
                nn.Conv2d(3, 12, 3, 2, 1),
                nn.ReLU(),
                nn.Conv2d(12, 24, 3, 2, 1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(24 * 25, h),
                nn.LayerNorm(h),
            )
            self.emb = nn.Embedding(len(WORDS), 24, padding_idx=0)
            self.gru = nn.GRU(24 + h, h, batch_first=True)
            self.out = nn.Linear(h, len(WORDS))

        def forward(self, x, t):
            v = self.cnn(x)[:, None].expand(-1, t.shape[1], -1)
            return self.out(self.gru(torch.cat([self.emb(t), v], -1))[0])

        @torch.no_grad()
        def greedy(self, x, steps=9):
            v, h, t = self.cnn(x)[:, None], None, torch.ones(len(x), 1, dtype=torch.long)
            res = [t]
            for _ in range(steps):
                o, h = self.gru(torch.cat([self.emb(res[-1]), v], -1), h)
                res.append(self.out(o).argmax(-1))
            return torch.cat(res, 1)

    model = Captioner()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    loader = DataLoader(TensorDataset(xtr, ttr), batch_size=36, shuffle=True)
    score = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(12):
            model.train()
            run = 0.0
            for x, t in loader:
                out = model(x, t[:, :-1])
                loss = F.cross_entropy(out.transpose(1, 2), t[:, 1:], ignore_index=0)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=t[:, 1:], outputs=out.transpose(1, 2))
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                vl = F.cross_entropy(model(xva, tva[:, :-1]).transpose(1, 2), tva[:, 1:], ignore_index=0).item()
            g = model.greedy(xva)
            score = (((g == tva) | (tva == 0)).all(1)).float().mean().item()
            w.epoch(train={"loss": run}, val={"loss": vl, "exact": score})
    return score


def optical_flow(watch, seed, fault):
    """16. Optical flow between two textures moved by smooth fields, end-point error; frames stacked as channels."""
    torch.manual_seed(seed)
    S = 20

    def make(n, s):
        g = torch.Generator().manual_seed(s)
        tex = F.interpolate(torch.randn(n, 1, 10, 10, generator=g), size=(S, S), mode="bicubic", align_corners=True)
        flow = F.interpolate(
            torch.randn(n, 2, 2, 2, generator=g).clamp(-2, 2) * 0.9, size=(S, S), mode="bilinear", align_corners=True
        )
        lin = torch.linspace(-1, 1, S)
        gy, gx = torch.meshgrid(lin, lin, indexing="ij")
        grid = torch.stack([gx, gy], -1) + flow.permute(0, 2, 3, 1) * 2 / (S - 1)
        warped = F.grid_sample(tex, grid, mode="bilinear", padding_mode="border", align_corners=True)
        return torch.cat([tex, warped], 1), flow

    xtr, ftr = make(800, seed)
    xva, fva = make(150, seed + 10_000)
    model = nn.Sequential(
        nn.Conv2d(2, 24, 5, padding=2),
        nn.LeakyReLU(0.1),
        nn.Conv2d(24, 24, 3, padding=1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(24, 24, 3, 2, 1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(24, 24, 3, padding=1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(24, 2, 3, padding=1),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=4e-4)
    epe = lambda a, b: ((a - b).pow(2).sum(1) + 1e-6).sqrt().mean()
    loader = DataLoader(TensorDataset(xtr, ftr), batch_size=20, shuffle=True)
    epochs = 7
    sched = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs * len(loader))
    score = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(epochs):
            model.train()
            run = 0.0
            for x, f in loader:
                out = model(x)
                loss = epe(out, f)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                sched.step()
                w.step(loss=loss, inputs=x, targets=f, outputs=out)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                vl = epe(model(xva), fva).item()
            score = 1 - vl / epe(torch.zeros_like(fva), fva).item()
            w.epoch(train={"loss": run}, val={"loss": vl})
    return score


PROGRAMS = [image_captions, optical_flow]
