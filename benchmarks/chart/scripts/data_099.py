"""Programs with faults of types 99 to 101."""

import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.third_author import digits_split, draw
from torch.utils.data import DataLoader, TensorDataset
from torchvision.ops import box_iou


def ema_that_never_moves(watch, seed, fault):
    """99. The EMA copy used for validation is 'updated' by rebinding the loop variable, so it stays the untrained deepcopy."""
    torch.manual_seed(seed)
    Xa, Xb, ya, yb = digits_split(seed)

    class ModelEMA:
        def __init__(self, model, decay=0.95):
            self.module = copy.deepcopy(model).eval()
            self.decay = decay
            for p in self.module.parameters():
                p.requires_grad_(False)

        @torch.no_grad()
        def update(self, model):
            for (k, v), (k2, m) in zip(self.module.state_dict().items(), model.state_dict().items()):
                if v.dtype.is_floating_point:
                    if fault:
                        v = v * self.decay + (1 - self.decay) * m.detach()
                    else:
                        v.mul_(self.decay).add_(m.detach(), alpha=1 - self.decay)

    def inverted(i, o, s):
        return nn.Sequential(
            nn.Conv2d(i, 4 * i, 1, bias=False),
            nn.BatchNorm2d(4 * i),
            nn.Hardswish(),
            nn.Conv2d(4 * i, 4 * i, 3, s, 1, groups=4 * i, bias=False),
            nn.BatchNorm2d(4 * i),
            nn.Hardswish(),
            nn.Conv2d(4 * i, o, 1, bias=False),
            nn.BatchNorm2d(o),
        )

    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.Hardswish(),
        inverted(8, 16, 2),
        inverted(16, 24, 1),
        nn.Flatten(),
        nn.Linear(24 * 16, 10),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for mod in model.modules():
        if isinstance(mod, nn.BatchNorm2d):
            mod.momentum = 0.1
    ema = ModelEMA(model)
    up = lambda a: F.interpolate(torch.tensor(a)[:, None] / 16, size=16).repeat(1, 3, 1, 1)
    tr = DataLoader(TensorDataset(up(Xa), torch.tensor(ya)), 64, shuffle=True, drop_last=True)
    vx, vy = up(Xb), torch.tensor(yb)
    with watch(model, optimizer) as w:
        for epoch in range(10):
            model.train()
            t = 0
            for x, y in tr:
                out = model(x)
                loss = F.cross_entropy(out, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                ema.update(model)
                t += loss.item()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            with torch.no_grad():
                o = ema.module(vx)
            acc = (o.argmax(1) == vy).float().mean().item()
            w.epoch(train={"loss": t / len(tr)}, val={"loss": F.cross_entropy(o, vy).item(), "accuracy": acc})
    return acc


def checkpoint_mode_max(watch, seed, fault):
    """100. ModelCheckpoint watches the validation loss with mode='max', so the worst epoch is restored at the end."""
    torch.manual_seed(seed)
    d = np.random.default_rng(seed)
    t = np.arange(24)
    cls = d.integers(0, 3, 900)
    freq = np.array([1.0, 2.0, 3.0])[cls][:, None]
    sig = np.sin(2 * np.pi * freq * t / 24 + d.uniform(0, 6.28, (900, 1))) + d.normal(0, 0.5, (900, 24))
    X, Y = torch.tensor(sig, dtype=torch.float32)[..., None], torch.tensor(cls)

    class ModelCheckpoint:
        def __init__(self, mode="min"):
            self.better = (lambda a, b: a < b) if mode == "min" else (lambda a, b: a > b)
            self.best, self.state = None, None

        def __call__(self, model, value):
            if self.best is None or self.better(value, self.best):
                self.best = value
                self.state = {k: v.clone() for k, v in model.state_dict().items()}

    class GRUNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(1, 32, batch_first=True)
            self.lin = nn.Linear(32, 3)

        def forward(self, x):
            return self.lin(self.gru(x)[0][:, -1])

    model = GRUNet()
    opt = torch.optim.Adam(model.parameters(), lr=8e-3)
    ckpt = ModelCheckpoint(mode="max" if fault else "min")
    with watch(model, opt) as w:
        for epoch in range(12):
            model.train()
            for ix in torch.randperm(600).split(30):
                o = model(X[ix])
                loss = F.cross_entropy(o, Y[ix])
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                opt.step()
                w.step(loss=loss, inputs=X[ix], targets=Y[ix], outputs=o)
            model.eval()
            with torch.no_grad():
                o = model(X[600:750])
                vl = F.cross_entropy(o, Y[600:750]).item()
            ckpt(model, vl)
            w.epoch(
                train={"loss": loss.item()},
                val={"loss": vl, "accuracy": (o.argmax(1) == Y[600:750]).float().mean().item()},
            )
        model.load_state_dict(ckpt.state)
        with torch.no_grad():
            return (model(X[750:]).argmax(1) == Y[750:]).float().mean().item()


def coco_ids_not_mapped_back(watch, seed, fault):
    """101. A grid detector predicts contiguous ids 0..2, the annotations at evaluation carry COCO-like ids (17, 18, 44); nothing maps them back, mAP is 0."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    S, G = 32, 4
    cat_ids = [17, 18, 44]
    cat2label = {c: i for i, c in enumerate(cat_ids)}
    anns = []
    pics = []
    for i in range(420):
        k = int(rng.integers(0, 3))
        im, _, b = draw(rng, k, S, rng.uniform(0.5, 1, 3))
        pics.append(im.transpose(2, 0, 1))
        anns.append({"image_id": i, "category_id": cat_ids[k], "bbox": b})
    X = torch.tensor(np.stack(pics)).float()

    def encode(a):
        t = torch.zeros(6, G, G)  # obj, cls, dx, dy, w, h
        x1, y1, x2, y2 = a["bbox"]
        cx, cy = (x1 + x2) / 2 / S * G, (y1 + y2) / 2 / S * G
        gx, gy = min(int(cx), G - 1), min(int(cy), G - 1)
        t[:, gy, gx] = torch.tensor([1, cat2label[a["category_id"]], cx - gx, cy - gy, (x2 - x1) / S, (y2 - y1) / S])
        return t

    T = torch.stack([encode(a) for a in anns])
    net = nn.Sequential(
        *[
            l
            for i, o in ((3, 16), (16, 32), (32, 64))
            for l in (nn.Conv2d(i, o, 3, 1, 1), nn.BatchNorm2d(o), nn.LeakyReLU(0.1), nn.MaxPool2d(2))
        ],
        nn.Conv2d(64, 64, 3, 1, 1),
        nn.LeakyReLU(0.1),
        nn.Conv2d(64, 8, 1),
    )
    opt = torch.optim.Adam(net.parameters(), 3e-3)

    def yolo_loss(p, t):
        m = t[:, 0] > 0
        pos = p.permute(0, 2, 3, 1)[m]
        tp = t.permute(0, 2, 3, 1)[m]
        return (
            F.binary_cross_entropy_with_logits(p[:, 0], t[:, 0]) * 4
            + F.cross_entropy(pos[:, 1:4], tp[:, 1].long())
            + 5 * F.mse_loss(pos[:, 4:].sigmoid(), tp[:, 2:])
        )

    def results(ids):
        res = []
        with torch.no_grad():
            p = net(X[ids])
        for n, i in enumerate(ids):
            j = p[n, 0].flatten().argmax().item()
            gy, gx = divmod(j, G)
            v = p[n, :, gy, gx]
            dx, dy, bw, bh = v[4:].sigmoid().tolist()
            cx, cy = (gx + dx) / G * S, (gy + dy) / G * S
            label = int(v[1:4].argmax())
            res.append(
                {
                    "image_id": i,
                    "category_id": label if fault else cat_ids[label],
                    "bbox": (cx - bw * S / 2, cy - bh * S / 2, cx + bw * S / 2, cy + bh * S / 2),
                }
            )
        return res

    with watch(net, opt) as w:
        for epoch in range(8):
            net.train()
            tot = 0.0
            for ix in torch.randperm(320).split(16):
                out = net(X[ix])
                loss = yolo_loss(out, T[ix])
                opt.zero_grad()
                loss.backward()
                opt.step()
                tot += loss.item()
                w.step(loss=loss, inputs=X[ix], targets=T[ix], outputs=out)
            net.eval()
            ids = list(range(320, 420))
            tp = sum(
                r["category_id"] == anns[r["image_id"]]["category_id"]
                and box_iou(torch.tensor([r["bbox"]]), torch.tensor([anns[r["image_id"]]["bbox"]]).float()).item() > 0.5
                for r in results(ids)
            )
            w.epoch(train={"loss": tot / 20}, val={"map50": tp / 100})
    return tp / 100


PROGRAMS = [ema_that_never_moves, checkpoint_mode_max, coco_ids_not_mapped_back]
