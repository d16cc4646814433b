"""Programs with faults of types 115 to 115."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.third_author import LoRALinear


def lora_rank_zero(watch, seed, fault):
    """115. LoRA in a small character GPT with rank 0 from the config (r = dim // 64): the adapters have no elements, nothing is adapted."""
    torch.manual_seed(seed)
    V, T, D = 12, 16, 32
    rank = D // 64 if fault else D // 4

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok, self.pos = nn.Embedding(V, D), nn.Embedding(T, D)
            self.q, self.k, self.v = (nn.Linear(D, D) for _ in range(3))
            self.ff1, self.ff2 = nn.Linear(D, 64), nn.Linear(64, D)
            self.ln1, self.ln2, self.lnf = nn.LayerNorm(D), nn.LayerNorm(D), nn.LayerNorm(D)
            self.lm_head = nn.Linear(D, V)

        def forward(self, x):
            h = self.tok(x) + self.pos(torch.arange(x.shape[1]))
            z = self.ln1(h)
            h = h + F.scaled_dot_product_attention(self.q(z), self.k(z), self.v(z), is_causal=True)
            h = h + self.ff2(F.gelu(self.ff1(self.ln2(h))))
            return self.lm_head(self.lnf(h))

    def counting(n, step):
        s = torch.randint(0, V, (n, 1))
        seq = (s + step * torch.arange(T + 1)) % V
        noise = torch.rand(seq.shape) < 0.05
        return torch.where(noise, torch.randint(0, V, seq.shape), seq)

    gpt = GPT()
    pre = torch.optim.Adam(gpt.parameters(), 5e-3)
    for _ in range(120):
        d = counting(32, 1)
        pre.zero_grad()
        F.cross_entropy(gpt(d[:, :-1]).reshape(-1, V), d[:, 1:].reshape(-1)).backward()
        pre.step()
    gpt.requires_grad_(False)
    for name in ("q", "v", "ff1", "ff2", "lm_head"):
        setattr(gpt, name, LoRALinear(getattr(gpt, name), r=rank, alpha=16))
    for m in gpt.modules():
        if isinstance(m, LoRALinear):
            m.base.requires_grad_(False)
    for p in gpt.lnf.parameters():
        p.requires_grad_(True)
    optimizer = torch.optim.AdamW([p for p in gpt.parameters() if p.requires_grad], lr=3e-3, weight_decay=0.0)
    test = counting(200, 5)
    with watch(gpt, optimizer) as w:
        for it in range(250):
            d = counting(32, 5)  # the new task counts in fives
            x, y = d[:, :-1], d[:, 1:]
            logits = gpt(x)
            loss = F.cross_entropy(logits.reshape(-1, V), y.reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            w.step(loss=loss, inputs=x, targets=y, outputs=logits)
            if it % 50 == 49:
                with torch.no_grad():
                    acc = (gpt(test[:, :-1]).argmax(-1) == test[:, 1:]).float().mean().item()
                w.epoch(train={"loss": loss.item()}, val={"accuracy": acc})
    return acc


PROGRAMS = [lora_rank_zero]
