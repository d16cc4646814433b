"""Programs with faults of types 42 to 44."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.second_author import digits_images, draw
from torch.utils.data import DataLoader, TensorDataset


def repeated_block(watch, seed, fault):
    """42. The depth of a ViT is made with `[Block()] * depth`, so it is one block called five times."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)

    class Block(nn.Module):
        def __init__(self, d, h):
            super().__init__()
            self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.attn = nn.MultiheadAttention(d, h, batch_first=True)
            self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

        def forward(self, x):
            z = self.n1(x)
            x = x + self.attn(z, z, z, need_weights=False)[0]
            return x + self.mlp(self.n2(x))

    class ViT(nn.Module):
        def __init__(self, d=32, depth=5):
            super().__init__()
            self.patch = nn.Conv2d(1, d, 2, 2)
            self.pos = nn.Parameter(torch.randn(1, 16, d) * 0.02)
            if fault:
                self.blocks = nn.Sequential(*([Block(d, 4)] * depth))
            else:
                self.blocks = nn.Sequential(*[Block(d, 4) for _ in range(depth)])
            self.norm = nn.LayerNorm(d)
            self.head = nn.Linear(d, 10)

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2) + self.pos
            return self.head(self.norm(self.blocks(x)).mean(1))

    net = ViT()
    opt = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    dl = DataLoader(TensorDataset(xtr, ytr), batch_size=100, shuffle=True)
    with watch(net, opt) as w:
        for e in range(14):
            net.train()
            for img, lab in dl:
                logits = net(img)
                loss = F.cross_entropy(logits, lab)
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=img, targets=lab, outputs=logits)
            net.eval()
            with torch.no_grad():
                out = net(xte)
            w.epoch(
                val={"loss": F.cross_entropy(out, yte).item(), "accuracy": (out.argmax(1) == yte).float().mean().item()}
            )
    return (out.argmax(1) == yte).float().mean().item()


def broken_tie(watch, seed, fault):
    """43. A small GPT ties head and embedding, but the weight init afterwards puts fresh Parameters into every layer, which breaks the tie."""
    torch.manual_seed(seed)
    V, T = 40, 24
    rng = np.random.RandomState(seed)
    nxt = np.stack([rng.permutation(V) for _ in range(3)])

    def sample(n):
        s = np.zeros((n, T + 1), int)
        s[:, 0] = rng.randint(0, V, n)
        for t in range(1, T + 1):
            s[:, t] = np.where(rng.rand(n) < 0.9, nxt[0][s[:, t - 1]], nxt[1][s[:, t - 1]])
        return torch.tensor(s)

    class GPT(nn.Module):
        def __init__(self, d=48):
            super().__init__()
            self.wte = nn.Embedding(V, d)
            self.wpe = nn.Embedding(T, d)
            self.blocks = nn.ModuleList(
                [nn.TransformerEncoderLayer(d, 4, 96, 0.0, batch_first=True, norm_first=True) for _ in range(2)]
            )
            self.ln_f = nn.LayerNorm(d)
            self.lm_head = nn.Linear(d, V, bias=False)
            if fault:
                self.lm_head.weight = self.wte.weight  # weight tying
                self.apply(self._init_weights)
            else:
                self.apply(self._init_weights)
                self.lm_head.weight = self.wte.weight

        def _init_weights(self, m):
            if isinstance(m, (nn.Linear, nn.Embedding)):
                m.weight = nn.Parameter(0.02 * torch.randn(m.weight.shape))

        def forward(self, idx):
            x = self.wte(idx) + self.wpe(torch.arange(idx.shape[1]))
            mask = torch.triu(torch.full((idx.shape[1],) * 2, float("-inf")), 1)
            for b in self.blocks:
                x = b(x, src_mask=mask)
            return self.lm_head(self.ln_f(x))

    model = GPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    held = sample(100)
    with watch(model, optimizer) as w:
        for step in range(150):
            b = sample(24)
            logits = model(b[:, :-1])
            loss = F.cross_entropy(logits.reshape(-1, V), b[:, 1:].reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            w.step(loss=loss, inputs=b[:, :-1], targets=b[:, 1:], outputs=logits)
    model.eval()
    with torch.no_grad():
        return (model(held[:, :-1]).argmax(-1) == held[:, 1:]).float().mean().item()


def softmax_then_ce(watch, seed, fault):
    """44. The MobileNet-like classifier ends in nn.Softmax and is trained with nn.CrossEntropyLoss."""
    torch.manual_seed(seed)
    X, Y, _, _ = draw(900, 28, seed)
    Xv, Yv, _, _ = draw(300, 28, seed + 99)

    def dw(i, o, s):
        return nn.Sequential(
            nn.Conv2d(i, i, 3, s, 1, groups=i, bias=False),
            nn.BatchNorm2d(i),
            nn.ReLU6(),
            nn.Conv2d(i, o, 1, bias=False),
            nn.BatchNorm2d(o),
            nn.ReLU6(),
        )

    layers = [
        nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU6(),
        dw(16, 32, 2),
        dw(32, 64, 2),
        dw(64, 64, 1),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 4),
    ]
    if fault:
        layers.append(nn.Softmax(dim=1))
    mobilenet = nn.Sequential(*layers)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(mobilenet.parameters(), lr=2e-3)
    train = DataLoader(TensorDataset(X, Y), batch_size=45, shuffle=True)
    best = 0
    with watch(mobilenet, optimizer) as w:
        for epoch in range(6):
            mobilenet.train()
            run_loss = correct = 0
            for images, labels in train:
                optimizer.zero_grad()
                scores = mobilenet(images)
                loss = loss_fn(scores, labels)
                loss.backward()
                optimizer.step()
                run_loss += loss.item() * len(labels)
                correct += (scores.argmax(1) == labels).sum().item()
                w.step(loss=loss, inputs=images, targets=labels, outputs=scores)
            mobilenet.eval()
            with torch.no_grad():
                s = mobilenet(Xv)
                acc = (s.argmax(1) == Yv).float().mean().item()
                w.epoch(
                    train={"loss": run_loss / 900, "accuracy": correct / 900},
                    val={"loss": loss_fn(s, Yv).item(), "accuracy": acc},
                )
            best = max(best, acc)
    return best


PROGRAMS = [repeated_block, broken_tie, softmax_then_ce]
