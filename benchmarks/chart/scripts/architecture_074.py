"""Programs with faults of types 74 to 76."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.second_author import digits_images
from torch.utils.data import DataLoader, TensorDataset


def shapes_grid(n, seed, cell=8):
    """four cells, each with one of 3 forms (all different) in one of 4 colours"""
    r = np.random.RandomState(seed)
    yy, xx = np.mgrid[:cell, :cell] - (cell - 1) / 2
    forms = np.stack(
        [
            (abs(xx) <= 2.5) & (abs(yy) <= 2.5),
            (abs(xx) < 1) | (abs(yy) < 1),
            abs(xx) + abs(yy) <= 3,
            (abs(xx) > 2.5) | (abs(yy) > 2.5),
        ]
    ).astype(np.float32)
    cols = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], np.float32)
    f = np.stack([r.permutation(4) for _ in range(n)])
    c = r.randint(0, 4, (n, 4))
    img = forms[f][:, :, None] * cols[c][:, :, :, None, None]  # n,4,3,h,w
    img = img.reshape(n, 2, 2, 3, cell, cell).transpose(0, 3, 1, 4, 2, 5).reshape(n, 3, 2 * cell, 2 * cell)
    q = r.randint(0, 4, n)
    ans = c[np.arange(n), (f == q[:, None]).argmax(1)]
    return torch.tensor(img + 0.1 * r.randn(*img.shape), dtype=torch.float32), torch.tensor(q), torch.tensor(ans)


def position_not_added(watch, seed, fault):
    """74. A ViT computes the sum with its position embedding but throws the result away, so patches have no place."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)

    class AddPosition(nn.Module):
        def __init__(self, n, d):
            super().__init__()
            pos = torch.arange(n)[:, None] * torch.exp(torch.arange(0, d, 2) * (-math.log(100.0) / d))
            self.register_buffer("pe", torch.cat([pos.sin(), pos.cos()], 1)[None])

        def forward(self, x):
            return x + self.pe[:, : x.size(1)]

    class PatchTransformer(nn.Module):
        def __init__(self, d=32):
            super().__init__()
            self.to_patch = nn.Linear(4, d)
            self.position = AddPosition(16, d)
            layer = nn.TransformerEncoderLayer(d, 4, 64, 0.0, batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 10))

        def forward(self, img):
            B = img.shape[0]
            p = img.reshape(B, 4, 2, 4, 2).permute(0, 1, 3, 2, 4).reshape(B, 16, 4)
            x = self.to_patch(p)
            if fault:
                self.position(x)
            else:
                x = self.position(x)
            return self.head(self.encoder(x).mean(dim=1))

    model = PatchTransformer()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    train_dl, val_dl = DataLoader(TensorDataset(xtr, ytr), 40, shuffle=True), DataLoader(TensorDataset(xte, yte), 100)
    with watch(model, optimizer) as w:
        for ep in range(8):
            model.train()
            for xb, yb in train_dl:
                out = model(xb)
                loss = F.cross_entropy(out, yb)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=out)
            model.eval()
            good = 0
            with torch.no_grad():
                for xb, yb in val_dl:
                    good += (model(xb).argmax(1) == yb).sum().item()
            w.epoch(val={"accuracy": good / len(xte)})
    return good / len(xte)


def query_key_zero_init(watch, seed, fault):
    """75. Visual question answering (what colour has form q): query and key projections are both initialised to zero, so neither ever gets a gradient and attention stays uniform."""
    torch.manual_seed(seed)
    img, q, ans = shapes_grid(2000, seed)
    vi, vq, va = shapes_grid(400, seed + 1)

    class VQA(nn.Module):
        def __init__(self, d=48):
            super().__init__()
            self.cnn = nn.Sequential(nn.Conv2d(3, 24, 3, 1, 1), nn.ReLU(), nn.Conv2d(24, d, 8, 8), nn.ReLU())
            self.question = nn.Embedding(4, d)
            self.wq, self.wk, self.wv = (
                nn.Linear(d, d, bias=False),
                nn.Linear(d, d, bias=False),
                nn.Linear(d, d, bias=False),
            )
            self.out = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 4))
            if fault:
                nn.init.zeros_(self.wq.weight)
                nn.init.zeros_(self.wk.weight)

        def forward(self, img, q):
            f = self.cnn(img).flatten(2).transpose(1, 2)
            a = (self.wq(self.question(q))[:, None] @ self.wk(f).transpose(1, 2) / math.sqrt(f.shape[-1])).softmax(-1)
            return self.out((a @ self.wv(f))[:, 0])

    model = VQA()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            for i in torch.randperm(2000).split(50):
                out = model(img[i], q[i])
                loss = F.cross_entropy(out, ans[i])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=(img[i], q[i]), targets=ans[i], outputs=out)
            model.eval()
            with torch.no_grad():
                acc = (model(vi, vq).argmax(1) == va).float().mean().item()
            w.epoch(val={"accuracy": acc})
    return acc


def crnn_view_for_permute(watch, seed, fault):
    """76. CRNN with CTC reading three digits: (B, C, T) is brought to (T, B, C) with view instead of permute, which mixes the samples."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)
    g = torch.Generator().manual_seed(seed)

    def lines(x, y, n):
        i = torch.randint(0, len(x), (n, 3), generator=g)
        return torch.cat([x[i[:, j]] for j in range(3)], 3), y[i] + 1

    X, Y = lines(xtr, ytr, 1200)
    Xv, Yv = lines(xte, yte, 200)

    class CRNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Sequential(
                nn.Conv2d(1, 24, 3, 1, 1),
                nn.BatchNorm2d(24),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(24, 48, 3, 1, 1),
                nn.BatchNorm2d(48),
                nn.ReLU(),
                nn.Conv2d(48, 64, (4, 3), 1, (0, 1)),
                nn.ReLU(),
            )
            self.rnn = nn.GRU(64, 48, bidirectional=True)
            self.fc = nn.Linear(96, 11)

        def forward(self, x):
            f = self.conv(x).squeeze(2)
            b, c, t = f.shape
            f = f.contiguous().view(t, b, c) if fault else f.permute(2, 0, 1)
            h, _ = self.rnn(f)
            return self.fc(h).log_softmax(2)

    model = CRNN()
    opt = torch.optim.Adam(model.parameters(), 4e-3)
    ctc = nn.CTCLoss(blank=0, zero_infinity=True)
    with watch(model, opt) as w:
        for epoch in range(10):
            model.train()
            for i in torch.randperm(1200).split(40):
                lp = model(X[i])
                loss = ctc(lp, Y[i], torch.full((len(i),), lp.shape[0]), torch.full((len(i),), 3))
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5)
                opt.step()
                w.step(loss=loss, inputs=X[i], targets=Y[i], outputs=lp)
            model.eval()
            with torch.no_grad():
                best = model(Xv).argmax(2).t()
            ok = 0
            for row, t in zip(best.tolist(), Yv.tolist()):
                dec = [c for j, c in enumerate(row) if c and (j == 0 or row[j - 1] != c)]
                ok += dec == t
            w.epoch(val={"sequence_accuracy": ok / 200})
    return ok / 200


PROGRAMS = [position_not_added, query_key_zero_init, crnn_view_for_permute]
