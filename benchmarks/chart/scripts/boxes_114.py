"""Programs with faults of types 114 to 115."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.third_author import LoRALinear, digits_split


def pure_bf16_small_lr(watch, seed, fault):
    """114. Fine-tuning with the weights themselves in bfloat16 and Adam of a small rate: the updates are below the resolution of the weights and get rounded away."""
    torch.manual_seed(seed)
    Xa, Xb, ya, yb = digits_split(seed)
    X, Xt = torch.tensor(Xa).flatten(1) / 16, torch.tensor(Xb).flatten(1) / 16
    Y, Yt = torch.tensor(ya), torch.tensor(yb)
    net = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 10))
    pre = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(6):  # pretraining on the plain digits
        for i in torch.randperm(len(X)).split(64):
            pre.zero_grad()
            F.cross_entropy(net(X[i]), Y[i]).backward()
            pre.step()
    X2, Xt2 = (
        X.view(-1, 8, 8).flip(2).flatten(1),
        Xt.view(-1, 8, 8).flip(2).flatten(1),
    )  # the new domain: mirrored digits
    dtype = torch.bfloat16 if fault else torch.float32
    net = net.to(dtype)
    opt = torch.optim.Adam(net.parameters(), lr=1e-4)
    with watch(net, opt) as w:
        for epoch in range(16):
            tot = 0.0
            for i in torch.randperm(len(X2)).split(25):
                opt.zero_grad()
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    out = net(X2[i].to(dtype))
                loss = F.cross_entropy(out.float(), Y[i])
                loss.backward()
                opt.step()
                tot += loss.item() * len(i)
                w.step(loss=loss, inputs=X2[i], targets=Y[i], outputs=out)
            with torch.no_grad():
                acc = (net(Xt2.to(dtype)).argmax(1) == Yt).float().mean().item()
            w.epoch(train={"loss": tot / len(X2)}, val={"accuracy": acc})
    return acc


def lora_adapters_frozen(watch, seed, fault):
    """115. The model is frozen after LoRA was attached, so the adapters are frozen as well; only the norm layers left open by name can learn."""
    torch.manual_seed(seed)
    Xa, Xb, ya, yb = digits_split(seed)
    X, Xt = torch.tensor(Xa) / 16, torch.tensor(Xb) / 16
    Y, Yt = torch.tensor(ya), torch.tensor(yb)

    class Block(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.fc1, self.fc2 = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

        def forward(self, x):
            b, t, d = x.shape
            q, k, v = self.qkv(self.n1(x)).view(b, t, 3, 4, d // 4).permute(2, 0, 3, 1, 4)
            x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, d))
            return x + self.fc2(F.gelu(self.fc1(self.n2(x))))

    class ViT(nn.Module):
        def __init__(self, d=32):
            super().__init__()
            self.patch = nn.Linear(4, d)
            self.pos = nn.Parameter(torch.randn(1, 16, d) * 0.1)
            self.blocks = nn.ModuleList([Block(d), Block(d)])
            self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 10)

        def forward(self, x):
            h = self.patch(x.view(-1, 4, 2, 4, 2).permute(0, 1, 3, 2, 4).reshape(-1, 16, 4)) + self.pos
            for b in self.blocks:
                h = b(h)
            return self.head(self.norm(h.mean(1)))

    vit = ViT()
    pre = torch.optim.Adam(vit.parameters(), 4e-3)
    for _ in range(7):
        for i in torch.randperm(len(X)).split(64):
            pre.zero_grad()
            F.cross_entropy(vit(X[i]), Y[i]).backward()
            pre.step()
    X2, Xt2 = X.transpose(1, 2).flip(1), Xt.transpose(1, 2).flip(1)  # turned digits

    def freeze(m):
        for n, p in m.named_parameters():
            p.requires_grad = n.startswith("norm")

    def attach(m):
        for b in m.blocks:
            for name in ("qkv", "proj", "fc1", "fc2"):
                setattr(b, name, LoRALinear(getattr(b, name)))

    if fault:
        attach(vit)
        freeze(vit)
    else:
        freeze(vit)
        attach(vit)
        for b in vit.blocks:
            for l in b.modules():
                if isinstance(l, LoRALinear):
                    for p in l.base.parameters():
                        p.requires_grad = False
    opt = torch.optim.AdamW(vit.parameters(), lr=5e-3)
    with watch(vit, opt) as w:
        for epoch in range(14):
            tot = 0
            for i in torch.randperm(len(X2)).split(64):
                o = vit(X2[i])
                loss = F.cross_entropy(o, Y[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                tot += loss.item() * len(i)
                w.step(loss=loss, inputs=X2[i], targets=Y[i], outputs=o)
            with torch.no_grad():
                acc = (vit(Xt2).argmax(1) == Yt).float().mean().item()
            w.epoch(train={"loss": tot / len(X)}, val={"accuracy": acc})
    return acc


PROGRAMS = [pure_bf16_small_lr, lora_adapters_frozen]
