"""Programs with faults of types 8 to 10."""

import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.first_author import conv_bn, shape_pictures
from sklearn.datasets import load_diabetes
from torch.utils.data import DataLoader, TensorDataset


def frozen_encoder_bn_moves(watch, seed, fault):
    """8. The frozen encoder of a segmentation net has requires_grad=False, but model.train() each epoch lets its batch-norm statistics drift to the darker pictures; the old decoder on the same encoder suffers (score: mean of both)."""
    torch.manual_seed(seed)
    X, _, M, _ = shape_pictures(300, seed + 1, size=24, noise=0.1, rmin=3, rmax=7)
    encoder = nn.Sequential(conv_bn(3, 16), conv_bn(16, 24, 2), conv_bn(24, 32))
    decoder = nn.Sequential(
        nn.Conv2d(32, 16, 3, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(16, 5, 3, padding=1)
    )
    model = nn.Sequential(encoder, decoder)
    o = torch.optim.Adam(model.parameters(), 3e-3)
    wt = torch.tensor([0.3, 1, 1, 1, 1.0])
    for _ in range(10):
        for k in torch.randperm(240).split(24):
            l = F.cross_entropy(model(X[k]), M[k], weight=wt)
            o.zero_grad()
            l.backward()
            o.step()
    for p in encoder.parameters():
        p.requires_grad = False
    bright, old_decoder = X, copy.deepcopy(decoder)
    X = X * 0.4
    opt = torch.optim.SGD(decoder.parameters(), lr=0.02, momentum=0.9)
    with watch(model, opt) as w:
        for epoch in range(2):
            model.train()
            if not fault:
                encoder.eval()
            for i in torch.randperm(240).split(4):
                p = model(X[i])
                loss = F.cross_entropy(p, M[i], weight=wt)
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=X[i], targets=M[i], outputs=p)
            model.eval()
            with torch.no_grad():
                pv = model(X[240:])
            fg = M[240:] > 0
            score = (pv.argmax(1) == M[240:])[fg].float().mean().item()
            w.epoch(val={"loss": F.cross_entropy(pv, M[240:], weight=wt).item(), "fg_accuracy": score})
    with torch.no_grad():
        old = (old_decoder(encoder(bright[240:])).argmax(1) == M[240:])[fg].float().mean().item()
    return (score + old) / 2


def lr_for_sgd_given_to_adamw(watch, seed, fault):
    """9. A ViT on shapes: the learning rate 0.1 of the SGD recipe is used with AdamW, a hundred times too high."""
    torch.manual_seed(seed)
    X, Y, _, _ = shape_pictures(1200, seed, size=24, noise=0.1, rmin=6, rmax=9)

    class ViT(nn.Module):
        def __init__(self, dim=48, p=4):
            super().__init__()
            self.patch = nn.Conv2d(3, dim, p, p)
            self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
            self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 37, dim))
            self.blocks = nn.ModuleList(
                [
                    nn.TransformerEncoderLayer(dim, 4, 96, 0.0, "gelu", batch_first=True, norm_first=True)
                    for _ in range(3)
                ]
            )
            self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 4)

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
            for b in self.blocks:
                x = b(x)
            return self.head(self.norm(x)[:, 0])

    model = ViT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1 if fault else 1e-3, weight_decay=0.01)
    tr = DataLoader(TensorDataset(X[:1000], Y[:1000]), batch_size=50, shuffle=True)
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            tot = c = 0
            for xb, yb in tr:
                optimizer.zero_grad()
                out = model(xb)
                loss = F.cross_entropy(out, yb)
                loss.backward()
                optimizer.step()
                tot += loss.item()
                c += (out.argmax(1) == yb).sum().item()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=out)
            model.eval()
            with torch.no_grad():
                o = model(X[1000:])
            acc = (o.argmax(1) == Y[1000:]).float().mean().item()
            w.epoch(
                train={"loss": tot / 20, "accuracy": c / 1000},
                val={"loss": F.cross_entropy(o, Y[1000:]).item(), "accuracy": acc},
            )
    return acc


def lr_scaled_twice(watch, seed, fault):
    """9. Box regression of one object: the learning rate is multiplied by the batch size although the loss is already a mean (0.02 becomes 0.96)."""
    torch.manual_seed(seed)
    X, _, _, B = shape_pictures(600, seed + 2, size=32)
    B = B / 32
    net = nn.Sequential(
        nn.Conv2d(3, 16, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 4),
    )
    bs = 48
    lr = 0.02
    if fault:
        lr = lr * bs
    sgd = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    l1 = nn.SmoothL1Loss(beta=0.1)
    with watch(net, sgd) as w:
        for epoch in range(12):
            for k in torch.randperm(500).split(bs):
                sgd.zero_grad()
                pred = net(X[k])
                loss = l1(pred, B[k])
                loss.backward()
                sgd.step()
                w.step(loss=loss, inputs=X[k], targets=B[k], outputs=pred)
            with torch.no_grad():
                pv = net(X[500:])
            w.epoch(train={"loss": loss.item()}, val={"loss": l1(pv, B[500:]).item()})
    return 1 - ((pv - B[500:])[:, :2] ** 2).mean().item() / B[500:, :2].var(0).mean().item()


def denoiser_tiny_lr(watch, seed, fault):
    """10. Denoising autoencoder: lr=1e-3 divided by the number of pictures ('because the loss is a sum' - it is not), 1e-6 results."""
    torch.manual_seed(seed)
    clean, _, _, _ = shape_pictures(600, seed, size=24, noise=0.0, rmin=4, rmax=8)
    noisy = clean + 0.4 * torch.randn_like(clean)
    ae = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1),
        nn.PReLU(),
        nn.Conv2d(24, 24, 3, stride=2, padding=1),
        nn.PReLU(),
        nn.Conv2d(24, 24, 3, padding=1),
        nn.PReLU(),
        nn.ConvTranspose2d(24, 24, 2, 2),
        nn.PReLU(),
        nn.Conv2d(24, 3, 3, padding=1),
    )
    lr = 3e-3
    if fault:
        lr = lr / (500 * 24)
    optimizer = torch.optim.Adam(ae.parameters(), lr=lr)
    mse = nn.MSELoss()
    with watch(ae, optimizer) as w:
        for epoch in range(5):
            agg = 0.0
            for n, c in DataLoader(TensorDataset(noisy[:500], clean[:500]), batch_size=25, shuffle=True):
                optimizer.zero_grad()
                rec = ae(n)
                loss = mse(rec, c)
                loss.backward()
                optimizer.step()
                agg += loss.item() / 20
                w.step(loss=loss, inputs=n, targets=c, outputs=rec)
            with torch.no_grad():
                v = mse(ae(noisy[500:]), clean[500:]).item()
            w.epoch(train={"loss": agg}, val={"loss": v})
    return 1 - v / clean[500:].var().item()


def diabetes_lr_from_yaml(watch, seed, fault):
    """10. Regression on the diabetes table with lr '1e-7' taken from the configuration of a fine-tuning job."""
    torch.manual_seed(seed)
    cfg = {"optimizer": {"lr": 1e-7 if fault else 1e-3, "betas": [0.9, 0.99]}, "batch_size": 20, "epochs": 12}
    d = load_diabetes()
    X = torch.tensor((d.data - d.data.mean(0)) / d.data.std(0)).float()
    y = torch.tensor((d.target - d.target.mean()) / d.target.std()).float()
    i = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
    tr, te = i[:340], i[340:]
    mlp = nn.Sequential(nn.Linear(10, 32), nn.SiLU(), nn.Linear(32, 1))
    opt = torch.optim.Adam(mlp.parameters(), lr=cfg["optimizer"]["lr"], betas=tuple(cfg["optimizer"]["betas"]))
    with watch(mlp, opt) as w:
        for e in range(cfg["epochs"]):
            for k in tr[torch.randperm(len(tr))].split(cfg["batch_size"]):
                pred = mlp(X[k])[:, 0]
                loss = F.mse_loss(pred, y[k])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=X[k], targets=y[k], outputs=pred)
            with torch.no_grad():
                tl, vl = [F.mse_loss(mlp(X[s])[:, 0], y[s]).item() for s in (tr, te)]
            w.epoch(train={"loss": tl}, val={"loss": vl})
    return 1 - vl / y[te].var().item()


PROGRAMS = [
    frozen_encoder_bn_moves,
    lr_for_sgd_given_to_adamw,
    lr_scaled_twice,
    denoiser_tiny_lr,
    diabetes_lr_from_yaml,
]
