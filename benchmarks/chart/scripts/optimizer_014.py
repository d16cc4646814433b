"""Programs with faults of types 14 to 16."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.first_author import cbr, digits_images, shape_pictures
from torch.utils.data import DataLoader, TensorDataset


class CausalBlock(nn.Module):
    def __init__(self, d, h):
        super().__init__()
        self.h = h
        self.ln_1, self.ln_2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.fc, self.fc2 = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(self.ln_1(x)).view(B, T, 3, self.h, D // self.h).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, D)
        x = x + self.proj(a)
        return x + self.fc2(F.gelu(self.fc(self.ln_2(x))))


class SmallGPT(nn.Module):
    def __init__(self, vocab, T, d=32, layers=2):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, d), nn.Embedding(T, d)
        self.h = nn.ModuleList([CausalBlock(d, 4) for _ in range(layers)])
        self.ln_f = nn.LayerNorm(d)
        self.lm_head = nn.Linear(d, vocab, bias=False)

    def forward(self, idx):
        x = self.wte(idx) + self.wpe(torch.arange(idx.shape[1]))
        for b in self.h:
            x = b(x)
        return self.lm_head(self.ln_f(x))


def fcn_weight_decay_one(watch, seed, fault):
    """14. FCN segmentation with SGD and weight_decay=1.0 (a zero too few behind the point): all weights shrink, the net predicts background only."""
    torch.manual_seed(seed)
    X, _, M, _ = shape_pictures(300, seed, size=24, noise=0.1, rmin=4, rmax=8)
    M[:, -1] = 255
    model = nn.Sequential(
        cbr(3, 16),
        cbr(16, 32, 2),
        cbr(32, 32),
        nn.Conv2d(32, 32, 3, padding=2, dilation=2),
        nn.ReLU(),
        nn.Conv2d(32, 5, 1),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1.0 if fault else 1e-4)
    crit = nn.CrossEntropyLoss(weight=torch.tensor([0.3, 1, 1, 1, 1]), ignore_index=255)
    with watch(model, optimizer) as w:
        for epoch in range(14):
            model.train()
            acc_loss = 0
            for img, msk in DataLoader(TensorDataset(X[:240], M[:240]), batch_size=24, shuffle=True):
                out = model(img)
                loss = crit(out, msk)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                acc_loss += loss.item() / 10
                w.step(loss=loss, inputs=img, targets=msk, outputs=out)
            model.eval()
            with torch.no_grad():
                pv = model(X[240:])
            fg = (M[240:] > 0) & (M[240:] < 255)
            score = (pv.argmax(1) == M[240:])[fg].float().mean().item()
            w.epoch(train={"loss": acc_loss}, val={"loss": crit(pv, M[240:]).item(), "fg_accuracy": score})
    return score


def l2_penalty_by_hand(watch, seed, fault):
    """14. An L2 penalty summed over all weights is added to the loss with factor 1 and drowns the data term of a digits MLP."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)
    Xtr, Xte = Xtr.flatten(1), Xte.flatten(1)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    lam = 1.0 if fault else 1e-5
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    with watch(net, opt) as w:
        for epoch in range(8):
            for k in torch.randperm(len(Xtr)).split(64):
                out = net(Xtr[k])
                loss = F.cross_entropy(out, ytr[k]) + lam * sum((p**2).sum() for p in net.parameters())
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=Xtr[k], targets=ytr[k], outputs=out)
            with torch.no_grad():
                o = net(Xte)
            a = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": a})
    return a


def gpt_decays_everything(watch, seed, fault):
    """15. A small GPT: AdamW(weight_decay=0.3) on model.parameters(), so LayerNorm gains, biases and the embeddings are decayed as well (a slip, small drop)."""
    torch.manual_seed(seed)
    V, T = 16, 20
    model = SmallGPT(V, T)
    if fault:
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.3)
    else:
        decay = [
            p
            for n, p in model.named_parameters()
            if p.dim() >= 2 and not n.startswith("wte") and not n.startswith("wpe")
        ]
        rest = [p for n, p in model.named_parameters() if p.dim() < 2 or n.startswith("wte") or n.startswith("wpe")]
        optimizer = torch.optim.AdamW(
            [{"params": decay, "weight_decay": 0.3}, {"params": rest, "weight_decay": 0.0}], lr=3e-3
        )

    def get_batch(n):
        s = torch.randint(0, V, (n, T // 2 + 1))
        s = torch.cat([s[:, : T // 2], s[:, : T // 2], s[:, :1]], 1)
        return s[:, :-1], s[:, 1:]

    xv, yv = get_batch(100)
    with watch(model, optimizer) as w:
        for it in range(350):
            xb, yb = get_batch(32)
            logits = model(xb)
            loss = F.cross_entropy(logits.reshape(-1, V), yb.reshape(-1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            w.step(loss=loss, inputs=xb, targets=yb, outputs=logits)
            if it % 50 == 49:
                with torch.no_grad():
                    lv = model(xv)
                w.epoch(
                    train={"loss": loss.item()}, val={"loss": F.cross_entropy(lv.reshape(-1, V), yv.reshape(-1)).item()}
                )
    return (lv.argmax(-1) == yv)[:, T // 2 :].float().mean().item()


def cnn_strong_decay_on_bn(watch, seed, fault):
    """15. Residual net on shapes: weight decay 0.1 is also put on the batch-norm gains and biases because the group condition looks for 'norm' in leaf parameter names ('weight', 'bias') and matches none (a slip, small drop)."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)

    class Res(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.c1, self.b1, self.c2, self.b2 = (
                nn.Conv2d(c, c, 3, 1, 1, bias=False),
                nn.BatchNorm2d(c),
                nn.Conv2d(c, c, 3, 1, 1, bias=False),
                nn.BatchNorm2d(c),
            )

        def forward(self, x):
            return F.relu(x + self.b2(self.c2(F.relu(self.b1(self.c1(x))))))

    net = nn.Sequential(
        nn.Conv2d(1, 24, 3, 1, 1),
        Res(24),
        nn.MaxPool2d(2),
        Res(24),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    )
    yes, no = [], []
    for m in net.modules():
        for n, p in m.named_parameters(recurse=False):
            if fault:
                (no if n == "norm" else yes).append(p)
            else:
                (no if n == "bias" or isinstance(m, nn.BatchNorm2d) else yes).append(p)
    groups = [{"params": yes, "weight_decay": 0.1}] + ([{"params": no, "weight_decay": 0.0}] if no else [])
    opt = torch.optim.AdamW(groups, lr=4e-3)
    with watch(net, opt) as w:
        for epoch in range(5):
            net.train()
            for k in torch.randperm(len(Xtr)).split(64):
                o = net(Xtr[k])
                loss = F.cross_entropy(o, ytr[k])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=Xtr[k], targets=ytr[k], outputs=o)
            net.eval()
            with torch.no_grad():
                o = net(Xte)
            a = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": a})
    return a


def vit_adam_with_l2(watch, seed, fault):
    """16. The decay 0.05 of a ViT recipe (made for AdamW) is handed to torch.optim.Adam, where it is coupled L2."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)

    class ViT(nn.Module):
        def __init__(self, dim=48):
            super().__init__()
            self.proj = nn.Linear(4, dim)
            self.pos = nn.Parameter(torch.randn(16, dim) * 0.02)
            self.enc = nn.ModuleList(
                [
                    nn.TransformerEncoderLayer(dim, 4, 96, 0.0, F.gelu, batch_first=True, norm_first=True)
                    for _ in range(2)
                ]
            )
            self.ln, self.fc = nn.LayerNorm(dim), nn.Linear(dim, 10)

        def forward(self, img):
            p = img.unfold(2, 2, 2).unfold(3, 2, 2).reshape(len(img), 16, 4)
            z = self.proj(p) + self.pos
            for e in self.enc:
                z = e(z)
            return self.fc(self.ln(z).mean(1))

    vit = ViT()
    cls = torch.optim.Adam if fault else torch.optim.AdamW
    opt = cls(vit.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05)
    with watch(vit, opt) as w:
        for epoch in range(8):
            tot = 0
            for x, y in DataLoader(TensorDataset(Xtr, ytr), 32, shuffle=True):
                out = vit(x)
                loss = F.cross_entropy(out, y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                tot += loss.item()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            with torch.no_grad():
                o = vit(Xte)
            acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": tot / 43}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


PROGRAMS = [fcn_weight_decay_one, l2_penalty_by_hand, gpt_decays_everything, cnn_strong_decay_on_bn, vit_adam_with_l2]
