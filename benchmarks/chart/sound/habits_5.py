"""Sound programs: muon and adamw to bf16 accumulate checkpoint."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.habits_parts import _digits
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr=0.02, momentum=0.95):
        super().__init__(params, dict(lr=lr, momentum=momentum))

    @staticmethod
    def orthogonalise(G, steps=5):
        a, b, c = 3.4445, -4.7750, 2.0315
        X = G / (G.norm() + 1e-7)
        t = X.size(0) > X.size(1)
        X = X.T if t else X
        for _ in range(steps):
            A = X @ X.T
            X = a * X + (b * A + c * A @ A) @ X
        return X.T if t else X

    @torch.no_grad()
    def step(self):
        for g in self.param_groups:
            for p in g["params"]:
                if p.grad is None:
                    continue
                buf = self.state[p].setdefault("m", torch.zeros_like(p))
                buf.lerp_(p.grad, 1 - g["momentum"])
                u = self.orthogonalise(p.grad.lerp(buf, g["momentum"]))
                p.add_(u, alpha=-g["lr"] * max(1, p.size(0) / p.size(1)) ** 0.5)


class AmpTrainer:
    """bfloat16 autocast, accumulation over four micro-batches, checkpointed blocks, clip per layer."""

    def __init__(self, model, optimizer, accumulate=4):
        self.model, self.opt, self.k = model, optimizer, accumulate

    def train_epoch(self, loader, w):
        self.model.train()
        losses, pending = [], []
        self.opt.zero_grad()
        for i, (x, y) in enumerate(loader):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                out = self.model(x)
            loss = F.cross_entropy(out.float(), y)
            (loss / self.k).backward()
            pending.append(loss.item())
            if (i + 1) % self.k == 0:
                for layer in self.model.children():
                    nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
                self.opt.step()
                self.opt.zero_grad()
                w.step(loss=sum(pending) / self.k, inputs=x, targets=y, outputs=out)
                losses += pending
                pending = []
        return sum(losses) / len(losses)

    @torch.no_grad()
    def evaluate(self, x, y):
        self.model.eval()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = self.model(x).float()
        return F.cross_entropy(out, y).item(), (out.argmax(1) == y).float().mean().item()


def muon_and_adamw(watch, seed, fault):
    """14. Muon for the hidden matrices and AdamW for the rest of a transformer that sorts digits; warm-up, plateau, decay to 0."""
    torch.manual_seed(seed)
    V, L, d = 10, 8, 32

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=False) for _ in range(4))
            self.up, self.down = nn.Linear(d, 4 * d, bias=False), nn.Linear(4 * d, d, bias=False)

        def forward(self, x):
            h = F.rms_norm(x, (d,))
            B, T, _ = h.shape
            q, k, v = (f(h).view(B, T, 2, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
            x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, T, d))
            return x + self.down(F.relu(self.up(F.rms_norm(x, (d,)))).square())

    class Sorter(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok = nn.Embedding(V, d)
            self.pos = nn.Parameter(torch.randn(L, d) * 0.1)
            self.blocks = nn.ModuleList([Block(), Block()])
            self.head = nn.Linear(d, V)

        def forward(self, x):
            h = self.tok(x) + self.pos
            for b in self.blocks:
                h = b(h)
            return self.head(F.rms_norm(h, (d,)))

    net = Sorter()
    hidden = list(net.blocks.parameters())
    other = [net.tok.weight, net.pos, *net.head.parameters()]
    opts = [Muon(hidden, lr=0.02), torch.optim.AdamW(other, lr=5e-3, betas=(0.8, 0.95), weight_decay=0.0)]
    total = 260
    f = lambda s: min(1.0, (s + 1) / 10, (total - s) / (0.4 * total))
    scheds = [torch.optim.lr_scheduler.LambdaLR(o, f) for o in opts]
    gen = torch.Generator().manual_seed(seed)
    test = torch.randint(0, V, (300, L), generator=torch.Generator().manual_seed(seed + 8))
    with watch(net, opts) as w:
        for it in range(total):
            x = torch.randint(0, V, (48, L), generator=gen)
            y = x.sort(1).values
            out = net(x)
            loss = F.cross_entropy(out.view(-1, V), y.view(-1))
            loss.backward()
            for o, s in zip(opts, scheds):
                o.step()
                s.step()
            net.zero_grad(set_to_none=True)
            w.step(loss=loss, inputs=x, targets=y, outputs=out)
    with torch.no_grad():
        return (net(test).argmax(-1) == test.sort(1).values).float().mean().item()


def optimizer_in_backward(watch, seed, fault):
    """15. Each parameter steps inside backward by a post-accumulate hook and frees its gradient, as to save memory."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = _digits(seed)
    model = nn.Sequential(nn.Linear(64, 96), nn.LayerNorm(96), nn.GELU(), nn.Linear(96, 10))
    opts = {p: torch.optim.AdamW([p], lr=2e-3, foreach=False) for p in model.parameters()}

    def hook(p):
        opts[p].step()
        opts[p].zero_grad()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(hook)
    loader = DataLoader(TensorDataset(Xtr, ytr), batch_size=64, shuffle=True)
    with watch(model, list(opts.values())) as w:
        for epoch in range(8):
            model.train()
            s, c = 0.0, 0
            for x, y in loader:
                out = model(x)
                loss = F.cross_entropy(out, y)
                loss.backward()
                s += loss.item() * len(y)
                c += (out.argmax(1) == y).sum().item()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            model.eval()
            with torch.no_grad():
                o = model(Xte)
            acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(
                train={"loss": s / len(Xtr), "accuracy": c / len(Xtr)},
                val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc},
            )
    return acc


def bf16_accumulate_checkpoint(watch, seed, fault):
    """16. A residual MLP under bfloat16 autocast with gradient checkpointing, accumulation and clipping per layer in a Trainer class."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = _digits(seed)

    class ResBlock(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.n, self.a, self.b = nn.LayerNorm(d), nn.Linear(d, 2 * d), nn.Linear(2 * d, d)

        def inner(self, x):
            return x + self.b(F.gelu(self.a(self.n(x))))

        def forward(self, x):
            return checkpoint(self.inner, x, use_reentrant=False) if self.training else self.inner(x)

    model = nn.Sequential(nn.Linear(64, 48), ResBlock(48), ResBlock(48), nn.LayerNorm(48), nn.Linear(48, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    loader = DataLoader(
        TensorDataset(Xtr, ytr), batch_size=16, shuffle=True, drop_last=True
    )  # 78 = 19 * 4 + 2: the rest is dropped
    trainer = AmpTrainer(model, optimizer)
    with watch(model, optimizer) as w:
        for epoch in range(7):
            tl = trainer.train_epoch(loader, w)
            vl, va = trainer.evaluate(Xte, yte)
            w.epoch(train={"loss": tl}, val={"loss": vl, "accuracy": va})
    return va


PROGRAMS = [muon_and_adamw, optimizer_in_backward, bf16_accumulate_checkpoint]
