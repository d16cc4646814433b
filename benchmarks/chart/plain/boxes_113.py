"""Programs with faults of types 113 to 115."""

import copy
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.boxes_parts import digits


class LoRALinear(nn.Module):
    def __init__(self, base, r=4, alpha=8):
        super().__init__()
        self.base = base
        self.lora_A = nn.Parameter(torch.randn(r, base.in_features) / math.sqrt(base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))
        self.scale = alpha / r

    def forward(self, x):
        return self.base(x) + (x @ self.lora_A.t() @ self.lora_B.t()) * self.scale


def unsynced_batch_norm(watch, seed, fault):
    """113. Batch norm with 2 pictures for each of 8 (simulated) ranks, whose cameras differ; the sound twin normalises over all 16 (SyncBN)."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = digits(seed)
    R, B = 8, 2
    gain, shift = np.geomspace(0.4, 2.5, R), np.linspace(-2.0, 2.0, R)
    rng = np.random.default_rng(seed)
    x = Xtr / 8 - 1
    cam = rng.integers(0, R, len(x))
    x = torch.from_numpy((x * gain[cam][:, None, None] + shift[cam][:, None, None]).astype(np.float32))[:, None]
    y = torch.from_numpy(ytr)
    shards = [torch.from_numpy(np.flatnonzero(cam == r)) for r in range(R)]
    cam_v = rng.integers(0, R, len(Xte))
    xv = torch.from_numpy(
        ((Xte / 8 - 1) * gain[cam_v][:, None, None] + shift[cam_v][:, None, None]).astype(np.float32)
    )[:, None]
    yv = torch.from_numpy(yte)

    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    # one replica for each rank: parameters are shared (as after DDP's all-reduce), buffers are the rank's own
    replicas = [net]
    for _ in range(R - 1):
        other = copy.deepcopy(net)
        for a, b in zip(net.modules(), other.modules()):
            for name in list(b._parameters):
                b._parameters[name] = a._parameters[name]
        replicas.append(other)
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    n_iter = min(map(len, shards)) // B
    acc = 0.0
    with watch(net, opt) as w:
        for epoch in range(5):
            for m in replicas:
                m.train()
            orders = [s[torch.randperm(len(s))] for s in shards]
            for k in range(n_iter):
                parts = [o[k * B : (k + 1) * B] for o in orders]
                opt.zero_grad()
                if fault:
                    outs = [m(x[p]) for m, p in zip(replicas, parts)]
                else:
                    outs = net(x[torch.cat(parts)]).split(B)
                loss = sum(F.cross_entropy(o, y[p]) for o, p in zip(outs, parts)) / R
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x[parts[0]], targets=y[parts[0]], outputs=outs[0])
            net.eval()
            with torch.no_grad():
                o = net(xv)
                acc = (o.argmax(1) == yv).float().mean().item()
                w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(o, yv).item(), "accuracy": acc})
    return acc


def bf16_weights_tiny_lr(watch, seed, fault):
    """114. The whole model is cast to bfloat16 and Adam runs with LR 2e-5: nearly every update is rounded away."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = digits(seed)
    dtype = torch.bfloat16 if fault else torch.float32
    T = lambda a: (torch.from_numpy(a).flatten(1) / 8 - 1).to(dtype)
    Xtr, Xte, ytr, yte = T(Xtr), T(Xte), torch.from_numpy(ytr), torch.from_numpy(yte)
    model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)).to(dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, betas=(0.9, 0.95), weight_decay=0.0)
    acc = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(15):
            tl = n = 0
            for i in torch.randperm(len(Xtr)).split(32):
                logits = model(Xtr[i])
                loss = F.cross_entropy(logits.float(), ytr[i])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                tl += loss.item() * len(i)
                n += len(i)
                w.step(loss=loss, inputs=Xtr[i], targets=ytr[i], outputs=logits)
            with torch.no_grad():
                o = model(Xte).float()
                acc = (o.argmax(1) == yte).float().mean().item()
                w.epoch(train={"loss": tl / n}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


def lora_frozen_with_base(watch, seed, fault):
    """115. "Freeze all but the head" runs after the LoRA layers were put in: the adapters are frozen too, only the head is tuned."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = digits(seed)
    T = lambda a: torch.from_numpy(np.ascontiguousarray(a)) / 8 - 1
    ytr, yte = torch.from_numpy(ytr), torch.from_numpy(yte)

    class SeqNet(nn.Module):  # a digit is a sequence of 8 rows
        def __init__(self, d=48):
            super().__init__()
            self.inp = nn.Linear(8, d)
            self.pos = nn.Parameter(torch.randn(8, d) * 0.02)
            self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
            self.up, self.down = nn.Linear(d, 2 * d), nn.Linear(2 * d, d)
            self.n1, self.n2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.head = nn.Linear(d, 10)

        def forward(self, x):
            h = self.inp(x) + self.pos
            z = self.n1(h)
            a = (self.q(z) @ self.k(z).transpose(1, 2) / math.sqrt(z.shape[-1])).softmax(-1)
            h = h + self.o(a @ self.v(z))
            h = h + self.down(F.gelu(self.up(self.n2(h))))
            return self.head(h.mean(1))

    net = SeqNet()
    # pretraining on the upright digits 0 to 4 only, unwatched
    pre = torch.optim.Adam(net.parameters(), lr=3e-3)
    first = torch.where(ytr < 5)[0]
    xa = T(Xtr)[first]
    for _ in range(6):
        for i in torch.randperm(len(first)).split(32):
            l = F.cross_entropy(net(xa[i]), ytr[first[i]])
            pre.zero_grad()
            l.backward()
            pre.step()

    # fine-tuning on all digits, transposed and inverted
    x, xv = -T(Xtr.transpose(0, 2, 1)), -T(Xte.transpose(0, 2, 1))
    if not fault:
        for name, p in net.named_parameters():
            p.requires_grad = name.startswith("head")
    for name in ("inp", "q", "k", "v", "o", "up", "down"):
        setattr(net, name, LoRALinear(getattr(net, name)))
    if fault:
        for name, p in net.named_parameters():
            p.requires_grad = name.startswith("head")
    opt = torch.optim.AdamW(filter(lambda p: p.requires_grad, net.parameters()), lr=4e-3, weight_decay=0.0)
    acc = 0.0
    with watch(net, opt) as w:
        for epoch in range(8):
            net.train()
            for i in torch.randperm(len(x)).split(32):
                out = net(x[i])
                loss = F.cross_entropy(out, ytr[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x[i], targets=ytr[i], outputs=out)
            net.eval()
            with torch.no_grad():
                o = net(xv)
                acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


PROGRAMS = [unsynced_batch_norm, bf16_weights_tiny_lr, lora_frozen_with_base]
