"""Programs with faults of types 42 to 43."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.weights_parts import digits
from torch.utils.data import DataLoader, TensorDataset


def same_block_times_n(watch, seed, fault):
    """42. nn.ModuleList([block] * depth): all six residual blocks are one and the same object."""
    torch.manual_seed(seed)
    x, y, xv, yv = digits(seed, flat=True)

    class Block(nn.Module):
        def __init__(self, d, p=0.1):
            super().__init__()
            self.norm = nn.LayerNorm(d)
            self.fc1 = nn.Linear(d, 2 * d)
            self.fc2 = nn.Linear(2 * d, d)
            self.drop = nn.Dropout(p)

        def forward(self, x):
            return x + self.drop(self.fc2(F.gelu(self.fc1(self.norm(x)))))

    class ResMLP(nn.Module):
        def __init__(self, depth=6, d=48):
            super().__init__()
            self.stem = nn.Linear(64, d)
            if fault:
                self.blocks = nn.ModuleList([Block(d)] * depth)
            else:
                self.blocks = nn.ModuleList([Block(d) for _ in range(depth)])
            self.head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 10))

        def forward(self, x):
            h = self.stem(x)
            for b in self.blocks:
                h = b(h)
            return self.head(h)

    class Trainer:
        def __init__(self, model, lr):
            self.model = model
            self.opt = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
            self.crit = nn.CrossEntropyLoss()

        def fit(self, loader, val, epochs):
            with watch(self.model, self.opt) as w:
                for e in range(epochs):
                    self.model.train()
                    losses = []
                    for xb, yb in loader:
                        self.opt.zero_grad(set_to_none=True)
                        pred = self.model(xb)
                        loss = self.crit(pred, yb)
                        loss.backward()
                        self.opt.step()
                        losses.append(loss.item())
                        w.step(loss=loss, inputs=xb, targets=yb, outputs=pred)
                    vl, va = self.evaluate(*val)
                    w.epoch(train={"loss": sum(losses) / len(losses)}, val={"loss": vl, "accuracy": va})
            return va

        @torch.no_grad()
        def evaluate(self, xv, yv):
            self.model.eval()
            p = self.model(xv)
            return self.crit(p, yv).item(), (p.argmax(1) == yv).float().mean().item()

    return Trainer(ResMLP(), 2e-3).fit(DataLoader(TensorDataset(x, y), 50, shuffle=True), (xv, yv), 6)


def gpt_untied_by_init(watch, seed, fault):
    """43. The head is tied to the token embedding, then the weight init puts a NEW Parameter into the embedding and the tie is gone."""
    torch.manual_seed(seed)
    V, T, D = 29, 24, 48
    rng = np.random.RandomState(seed)
    trans = rng.dirichlet(np.full(V, 0.08), size=V)

    def sample(n):
        s = np.zeros((n, T + 1), dtype=np.int64)
        s[:, 0] = rng.randint(0, V, n)
        for t in range(1, T + 1):
            u = rng.rand(n, 1)
            s[:, t] = np.minimum((trans[s[:, t - 1]].cumsum(1) < u).sum(1), V - 1)
        return torch.from_numpy(s)

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln1, self.ln2 = nn.LayerNorm(D), nn.LayerNorm(D)
            self.qkv, self.proj = nn.Linear(D, 3 * D), nn.Linear(D, D)
            self.mlp = nn.Sequential(nn.Linear(D, 4 * D), nn.GELU(), nn.Linear(4 * D, D))

        def forward(self, x):
            B, L, _ = x.shape
            q, k, v = [t.view(B, L, 4, D // 4).transpose(1, 2) for t in self.qkv(self.ln1(x)).chunk(3, -1)]
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.proj(a.transpose(1, 2).reshape(B, L, D))
            return x + self.mlp(self.ln2(x))

    class TinyGPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(V, D), nn.Embedding(T, D)
            self.h = nn.ModuleList(Layer() for _ in range(2))
            self.ln_f = nn.LayerNorm(D)
            self.lm_head = nn.Linear(D, V, bias=False)
            self.lm_head.weight = self.wte.weight  # weight tying
            self.init_weights()

        def init_weights(self):
            for m in self.modules():
                if isinstance(m, nn.Embedding):
                    if fault:
                        m.weight = nn.Parameter(torch.randn(m.num_embeddings, m.embedding_dim) * 0.02)
                    else:
                        nn.init.normal_(m.weight, std=0.02)
                elif isinstance(m, nn.Linear) and m is not self.lm_head:
                    nn.init.normal_(m.weight, std=0.02)
                    nn.init.zeros_(m.bias)

        def forward(self, idx):
            x = self.wte(idx) + self.wpe.weight[: idx.shape[1]]
            for blk in self.h:
                x = blk(x)
            return self.lm_head(self.ln_f(x))

    train, val = sample(600), sample(150)
    model = TinyGPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
    with watch(model, optimizer) as w:
        for it in range(150):
            b = train[torch.randint(0, len(train), (32,))]
            xb, yb = b[:, :-1], b[:, 1:]
            logits = model(xb)
            loss = F.cross_entropy(logits.reshape(-1, V), yb.reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            w.step(loss=loss, inputs=xb, targets=yb, outputs=logits)
            if it % 50 == 49:
                with torch.no_grad():
                    lv = model(val[:, :-1])
                    vl = F.cross_entropy(lv.reshape(-1, V), val[:, 1:].reshape(-1)).item()
                w.epoch(train={"loss": loss.item()}, val={"loss": vl})
    return math.log(V) - vl


PROGRAMS = [same_block_times_n, gpt_untied_by_init]
