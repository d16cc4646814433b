"""Programs with faults of types 14 to 18."""

import numpy as np
import torch
import torch.nn.functional as F
from benchmarks.chart.plain.optimizer_parts import digit_pictures
from sklearn.datasets import load_digits
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


class Block(nn.Module):
    def __init__(self, d, h, T):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
        self.h = h

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(self.ln1(x)).view(B, T, 3, self.h, D // self.h).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, D)
        x = x + self.proj(y)
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    def __init__(self, vocab, T, d=32, depth=2, heads=4):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, d), nn.Embedding(T, d)
        self.blocks = nn.Sequential(*[Block(d, heads, T) for _ in range(depth)])
        self.ln_f = nn.LayerNorm(d)
        self.lm_head = nn.Linear(d, vocab, bias=False)
        nn.init.normal_(self.wte.weight, std=0.1)
        nn.init.normal_(self.wpe.weight, std=0.1)

    def forward(self, idx):
        x = self.wte(idx) + self.wpe(torch.arange(idx.shape[1]))
        return self.lm_head(self.ln_f(self.blocks(x)))


def counting_text(n, T, seed, vocab=13):
    g = torch.Generator().manual_seed(seed)
    start = torch.randint(0, vocab, (n, 1), generator=g)
    stride = torch.randint(1, 5, (n, 1), generator=g)
    return (start + stride * torch.arange(T + 1)) % vocab


class VAE(nn.Module):
    def __init__(self, z=8):
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(64, 96), nn.ReLU())
        self.mu, self.logvar = nn.Linear(96, z), nn.Linear(96, z)
        self.dec = nn.Sequential(nn.Linear(z, 96), nn.ReLU(), nn.Linear(96, 64))

    def forward(self, x):
        h = self.enc(x)
        mu, lv = self.mu(h), self.logvar(h)
        z = mu + torch.randn_like(mu) * (0.5 * lv).exp() if self.training else mu
        return self.dec(z), mu, lv


def weight_decay_of_one(watch, seed, fault):
    """14. weight_decay=1.0 in SGD: the regularisation pulls all weights of the picture classifier to zero."""
    torch.manual_seed(seed)
    xa, xb, ya, yb = digit_pictures(seed)
    args = dict(lr=0.03, momentum=0.9, weight_decay=1.0 if fault else 1e-4)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=1, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )
    sgd = optim.SGD(net.parameters(), **args)
    with watch(net, sgd) as w:
        for ep in range(6):
            net.train()
            L, hit = [], 0
            for idx in torch.randperm(len(xa)).split(40):
                sgd.zero_grad()
                pred = net(xa[idx])
                loss = F.cross_entropy(pred, ya[idx])
                loss.backward()
                sgd.step()
                L.append(loss.item())
                hit += int((pred.argmax(1) == ya[idx]).sum())
                w.step(loss=loss, inputs=xa[idx], targets=ya[idx], outputs=pred)
            net.eval()
            with torch.no_grad():
                q = net(xb)
                acc = (q.argmax(1) == yb).float().mean().item()
            w.epoch(
                train={"loss": np.mean(L), "accuracy": hit / len(xa)},
                val={"loss": F.cross_entropy(q, yb).item(), "accuracy": acc},
            )
    return acc


def decay_on_norms_and_embeddings(watch, seed, fault):
    """15. All of the GPT's parameters, layer norms, biases and embeddings too, are in the group with a strong weight decay."""
    torch.manual_seed(seed)
    T, V = 12, 13
    train, val = counting_text(1500, T, seed + 1), counting_text(200, T, seed + 2)
    model = GPT(V, T)
    if fault:
        skip = ("LayerNorm.weight", "LayerNorm.bias", "embeddings")  # from a BERT script: none of our names match
        named = list(model.named_parameters())
        groups = [
            {"params": [p for n, p in named if not any(s in n for s in skip)], "weight_decay": 0.5},
            {"params": [p for n, p in named if any(s in n for s in skip)], "weight_decay": 0.0},
        ]
        groups = [g for g in groups if g["params"]]
    else:
        skip = ("ln", "bias", "wte", "wpe")
        named = list(model.named_parameters())
        groups = [
            {"params": [p for n, p in named if not any(s in n for s in skip)], "weight_decay": 0.5},
            {"params": [p for n, p in named if any(s in n for s in skip)], "weight_decay": 0.0},
        ]
    optimizer = optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95))
    with watch(model, optimizer) as w:
        for it in range(220):
            ix = torch.randint(0, len(train), (32,))
            x, y = train[ix, :-1], train[ix, 1:]
            logits = model(x)
            loss = F.cross_entropy(logits.view(-1, V), y.reshape(-1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            w.step(loss=loss, inputs=x, targets=y.reshape(-1), outputs=logits.view(-1, V))
    model.eval()
    with torch.no_grad():
        return (model(val[:, :-1])[:, 2:].argmax(-1) == val[:, 3:]).float().mean().item()


def adam_with_l2(watch, seed, fault):
    """16. Adam with weight_decay (L2 coupled into the moments) where AdamW's decoupled decay was meant."""
    torch.manual_seed(seed)
    xa, xb, ya, yb = digit_pictures(seed)
    Opt = optim.Adam if fault else optim.AdamW
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, stride=2),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    opt = Opt(model.parameters(), lr=2e-3, weight_decay=0.05)
    dl = DataLoader(TensorDataset(xa, ya), batch_size=64, shuffle=True, drop_last=True)
    best = 0.0
    with watch(model, opt) as w:
        for epoch in range(7):
            model.train()
            tot = cnt = ok = 0
            for x, y in dl:
                out = model(x)
                loss = nn.functional.cross_entropy(out, y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                tot += loss.item() * len(x)
                cnt += len(x)
                ok += (out.argmax(1) == y).sum().item()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            model.eval()
            with torch.no_grad():
                o = model(xb)
                va = (o.argmax(1) == yb).float().mean().item()
                w.epoch(
                    train={"loss": tot / cnt, "accuracy": ok / cnt},
                    val={"loss": F.cross_entropy(o, yb).item(), "accuracy": va},
                )
    return va


def eps_where_weight_decay_was_meant(watch, seed, fault):
    """17. Positional slip: the 0.1 meant as AdamW's weight decay is its eps, which drowns the root of the second moment (VAE)."""
    torch.manual_seed(seed)
    X = torch.tensor(load_digits().data / 16.0, dtype=torch.float32)
    perm = torch.from_numpy(np.random.default_rng(seed).permutation(len(X)))
    tr, te = X[perm[:1400]], X[perm[1400:]]
    vae = VAE()
    if fault:
        opt = optim.AdamW(vae.parameters(), 2e-3, (0.9, 0.999), 0.1)
    else:
        opt = optim.AdamW(vae.parameters(), 2e-3, (0.9, 0.999), 1e-8, 0.1)

    def elbo(rec, x, mu, lv):
        kl = -0.5 * (1 + lv - mu.pow(2) - lv.exp()).sum(1).mean()
        return F.mse_loss(rec, x, reduction="mean") + 1e-3 * kl / 8

    with watch(vae, opt) as w:
        for ep in range(15):
            vae.train()
            agg = []
            for i in torch.randperm(1400).split(50):
                x = tr[i]
                rec, mu, lv = vae(x)
                loss = elbo(rec, x, mu, lv)
                opt.zero_grad()
                loss.backward()
                opt.step()
                agg.append(loss.item())
                w.step(loss=loss, inputs=x, targets=x, outputs=rec)
            vae.eval()
            with torch.no_grad():
                rec, mu, lv = vae(te)
                v = elbo(rec, te, mu, lv).item()
            w.epoch(train={"loss": sum(agg) / len(agg)}, val={"loss": v})
    return 1 - ((rec - te) ** 2).mean().item() / ((te - tr.mean(0)) ** 2).mean().item()


def momentum_three_nines(watch, seed, fault):
    """18. SGD momentum is 0.999 instead of 0.9: the run oscillates, the effective learning rate is a hundred times higher."""
    torch.manual_seed(seed)
    X, y = load_digits(return_X_y=True)
    X = X.astype("float32") / 16 - 0.3
    rs = np.random.RandomState(seed)
    p = rs.permutation(len(X))
    X, y = X[p], y[p]
    X_train, y_train, X_valid, y_valid = X[:1300], y[:1300], X[1300:], y[1300:]
    mlp = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 10))
    MOMENTUM = 0.999 if fault else 0.9
    opt = optim.SGD(mlp.parameters(), lr=0.05, momentum=MOMENTUM)
    batch_size, n_epochs = 50, 10
    with watch(mlp, opt) as w:
        for e in range(n_epochs):
            order = rs.permutation(len(X_train))
            tl = ta = 0.0
            for start in range(0, len(order), batch_size):
                sel = order[start : start + batch_size]
                bx, by = torch.from_numpy(X_train[sel]), torch.from_numpy(y_train[sel])
                scores = mlp(bx)
                logp = scores - scores.logsumexp(1, keepdim=True)
                loss = -logp[torch.arange(len(by)), by].mean()
                opt.zero_grad()
                loss.backward()
                opt.step()
                tl += loss.item() * len(by)
                ta += (scores.argmax(1) == by).sum().item()
                w.step(loss=loss, inputs=bx, targets=by, outputs=scores)
            with torch.no_grad():
                s = mlp(torch.from_numpy(X_valid))
                yv = torch.from_numpy(y_valid)
                acc = (s.argmax(1) == yv).float().mean().item()
            w.epoch(
                train={"loss": tl / 1300, "accuracy": ta / 1300},
                val={"loss": F.cross_entropy(s, yv).item(), "accuracy": acc},
            )
    return acc


PROGRAMS = [
    weight_decay_of_one,
    decay_on_norms_and_embeddings,
    adam_with_l2,
    eps_where_weight_decay_was_meant,
    momentum_three_nines,
]
