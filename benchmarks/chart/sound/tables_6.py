"""Sound programs: transformer encoder padding to nano gpt."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


def transformer_encoder_padding(watch, seed, fault):
    """16. A transformer encoder with key padding mask counts which token occurs more; linear warm-up from zero and decay to zero."""
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    n, L, V = 2400, 20, 12
    lengths = torch.randint(7, L + 1, (n,), generator=g)
    x = torch.randint(1, V, (n, L), generator=g)
    x[torch.rand(n, L, generator=g) < 0.3] = 2
    x[torch.rand(n, L, generator=g) < 0.3] = 3
    x = x.masked_fill(torch.arange(L)[None] >= lengths[:, None], 0)
    diff = (x == 2).sum(1) - (x == 3).sum(1)
    keep = diff != 0
    x, y = x[keep], (diff[keep] > 0).long()
    ntr = int(0.8 * len(x))

    class Enc(nn.Module):
        def __init__(self, d=32):
            super().__init__()
            self.tok, self.pos = nn.Embedding(V, d, padding_idx=0), nn.Parameter(torch.randn(1, L, d) * 0.02)
            layer = nn.TransformerEncoderLayer(d, 4, 64, dropout=0.1, batch_first=True, norm_first=True)
            self.enc = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(d, 2)

        def forward(self, x):
            pad = x == 0
            h = self.enc(self.tok(x) + self.pos, src_key_padding_mask=pad)
            h = h.masked_fill(pad[..., None], 0).sum(1) / (~pad).sum(1, keepdim=True)
            return self.head(h)

    model = Enc()
    dl = DataLoader(TensorDataset(x[:ntr], y[:ntr]), batch_size=64, shuffle=True)
    epochs = 8
    total, warm = epochs * len(dl), 25
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98))
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda s: s / warm if s < warm else max(0.0, (total - s) / (total - warm))
    )
    with watch(model, opt) as w:
        for epoch in range(epochs):
            model.train()
            tl, tc, tn = 0.0, 0, 0
            for xb, yb in dl:
                out = model(xb)
                loss = F.cross_entropy(out, yb)
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
                sched.step()
                tl += loss.item() * len(yb)
                tc += (out.argmax(1) == yb).sum().item()
                tn += len(yb)
                w.step(loss=loss, inputs=xb, targets=yb, outputs=out)
            model.eval()
            with torch.no_grad():
                ov = model(x[ntr:])
                acc = (ov.argmax(1) == y[ntr:]).float().mean().item()
                vl = F.cross_entropy(ov, y[ntr:]).item()
            w.epoch(train={"loss": tl / tn, "accuracy": tc / tn}, val={"loss": vl, "accuracy": acc})
    return acc


def nano_gpt(watch, seed, fault):
    """17. A nano GPT with tied head and causal mask on sums written as text, in the manner of nanoGPT."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(6000):
        a, b = rng.integers(0, 7, 2)
        lines.append(f"{a}+{b}={a + b:02d};")
    text = "".join(lines)
    stoi = {c: i for i, c in enumerate("0123456789+=;")}
    data = torch.tensor([stoi[c] for c in text])
    V, block, d = len(stoi), 28, 48
    train_data, val_data = data[:-4200], data[-4200:]

    class Attn(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.proj = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d)

        def forward(self, x):
            B, T, _ = x.shape
            q, k, v = (t.view(B, T, 4, d // 4).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
            o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.proj(o.transpose(1, 2).reshape(B, T, d))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.n1, self.a, self.n2 = nn.LayerNorm(d), Attn(), nn.LayerNorm(d)
            self.m = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

        def forward(self, x):
            x = x + self.a(self.n1(x))
            return x + self.m(self.n2(x))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(V, d), nn.Embedding(block, d)
            self.h = nn.Sequential(Block(), Block())
            self.ln = nn.LayerNorm(d)
            self.head = nn.Linear(d, V, bias=False)
            self.apply(self._init)
            self.head.weight = self.wte.weight

        def _init(self, m):
            if isinstance(m, (nn.Linear, nn.Embedding)):
                nn.init.normal_(m.weight, 0, 0.02)
                if getattr(m, "bias", None) is not None:
                    nn.init.zeros_(m.bias)

        def forward(self, idx, targets=None):
            x = self.wte(idx) + self.wpe(torch.arange(idx.size(1)))
            logits = self.head(self.ln(self.h(x)))
            loss = None if targets is None else F.cross_entropy(logits.view(-1, V), targets.view(-1))
            return logits, loss

    def get_batch(split, bs=24):
        dd = train_data if split == "train" else val_data
        ix = torch.randint(len(dd) - block - 1, (bs,))
        return torch.stack([dd[i : i + block] for i in ix]), torch.stack([dd[i + 1 : i + 1 + block] for i in ix])

    model = GPT()
    params = dict(model.named_parameters())
    opt = torch.optim.AdamW(
        [
            {"params": [p for p in params.values() if p.dim() >= 2], "weight_decay": 0.1},
            {"params": [p for p in params.values() if p.dim() < 2], "weight_decay": 0.0},
        ],
        lr=6e-3,
        betas=(0.9, 0.95),
    )
    max_iters, warm, max_lr, min_lr = 280, 20, 6e-3, 6e-4

    @torch.no_grad()
    def estimate_loss():
        model.eval()
        out = {}
        for s in ("train", "val"):
            out[s] = sum(model(*get_batch(s))[1].item() for _ in range(4)) / 4
        model.train()
        return out

    with watch(model, opt) as w:
        for it in range(max_iters):
            lr = (
                max_lr * (it + 1) / warm
                if it < warm
                else min_lr + 0.5 * (max_lr - min_lr) * (1 + math.cos(math.pi * (it - warm) / (max_iters - warm)))
            )
            for gp in opt.param_groups:
                gp["lr"] = lr
            if it % 70 == 0 and it:
                e = estimate_loss()
                w.epoch(train={"loss": e["train"]}, val={"loss": e["val"]})
            X, Y = get_batch("train")
            logits, loss = model(X, Y)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            w.step(loss=loss, inputs=X, targets=Y, outputs=logits)
    model.eval()
    with torch.no_grad():
        n = (len(val_data) // 28) - 1
        seqs = val_data[: n * 28].view(n, 28)
        pred = model(seqs)[0].argmax(-1)
    # the answers' digits stand at positions 4 and 5 of each 7; score those after the first sum
    pos = [p for p in range(28) if p % 7 in (4, 5)]
    return (pred[:, [p - 1 for p in pos]] == seqs[:, pos]).float().mean().item()


PROGRAMS = [transformer_encoder_padding, nano_gpt]
