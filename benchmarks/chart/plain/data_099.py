"""Programs with faults of types 99 to 102."""

import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.data_parts import digits
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, Dataset


class EMA:
    def __init__(self, model, decay, rebinds):
        self.shadow = copy.deepcopy(model).eval()
        for p in self.shadow.parameters():
            p.requires_grad_(False)
        self.decay, self.rebinds = decay, rebinds

    @torch.no_grad()
    def update(self, model):
        for s, p in zip(self.shadow.parameters(), model.parameters()):
            if self.rebinds:
                s = self.decay * s + (1 - self.decay) * p  # a new tensor bound to a local name
            else:
                s.mul_(self.decay).add_(p, alpha=1 - self.decay)


class ModelCheckpoint:
    def __init__(self, monitor, mode):
        self.monitor, self.mode = monitor, mode
        self.best = float("inf") if mode == "min" else -float("inf")
        self.state = None

    def __call__(self, logs, model):
        v = logs[self.monitor]
        if (v < self.best) if self.mode == "min" else (v > self.best):
            self.best, self.state = v, copy.deepcopy(model.state_dict())


def one_object(rng, n, S=32):
    """Pictures with one disc / square / triangle; boxes as x, y, w, h in pixels (COCO), category_id 1 to 3."""
    yy, xx = np.mgrid[:S, :S]
    imgs = np.zeros((n, 1, S, S), np.float32)
    anns = []
    for i in range(n):
        w, h = rng.uniform(7, 15, 2)
        x, y = rng.uniform(1, S - 1 - w), rng.uniform(1, S - 1 - h)
        c = int(rng.integers(0, 3))
        u, v = (xx + 0.5 - x) / w, (yy + 0.5 - y) / h
        inside = (u > 0) & (u < 1) & (v > 0) & (v < 1)
        m = [(u - 0.5) ** 2 + (v - 0.5) ** 2 < 0.25, inside, inside & (abs(u - 0.5) < v / 2)][c]
        imgs[i, 0] = rng.normal(0, 0.12, (S, S))
        imgs[i, 0][m] += rng.uniform(0.7, 1.2)
        anns.append({"bbox": [x, y, w, h], "category_id": c + 1})
    return torch.from_numpy(imgs), anns


def iou_xyxy(a, b):
    lt, rb = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    wh = (rb - lt).clamp(min=0)
    inter = wh[:, 0] * wh[:, 1]
    area = lambda t: (t[:, 2] - t[:, 0]).clamp(min=0) * (t[:, 3] - t[:, 1]).clamp(min=0)
    return inter / (area(a) + area(b) - inter + 1e-9)


class OneShotDetector(nn.Module):
    def __init__(self, S=32, k=3):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, 2, 1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * (S // 8) ** 2, 96),
            nn.ReLU(),
        )
        self.cls = nn.Linear(96, k)
        self.reg = nn.Linear(96, 4)

    def forward(self, x):
        f = self.backbone(x)
        return self.cls(f), self.reg(f).sigmoid()


def ema_never_moves(watch, seed, fault):
    """99. The EMA update rebinds a local name, so that validation is done on the untrained copy of the model."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = digits(seed)
    Xtr, Xte = [torch.from_numpy(a).flatten(1) / 8 - 1 for a in (Xtr, Xte)]
    ytr, yte = torch.from_numpy(ytr), torch.from_numpy(yte)
    student = nn.Sequential(
        nn.Linear(64, 80), nn.SiLU(), nn.LayerNorm(80), nn.Linear(80, 80), nn.SiLU(), nn.Linear(80, 10)
    )
    ema = EMA(student, 0.95, rebinds=fault)
    opt = torch.optim.AdamW(student.parameters(), lr=1.5e-3)
    with watch(student, opt) as w:
        for epoch in range(7):
            student.train()
            tl, ta, nb = 0.0, 0.0, 0
            for i in torch.randperm(len(Xtr)).split(36):
                o = student(Xtr[i])
                loss = F.cross_entropy(o, ytr[i], label_smoothing=0.05)
                opt.zero_grad()
                loss.backward()
                opt.step()
                ema.update(student)
                tl += loss.item()
                ta += (o.argmax(1) == ytr[i]).float().mean().item()
                nb += 1
                w.step(loss=loss, inputs=Xtr[i], targets=ytr[i], outputs=o)
            with torch.no_grad():
                v = ema.shadow(Xte)
                acc = (v.argmax(1) == yte).float().mean().item()
            w.epoch(
                train={"loss": tl / nb, "accuracy": ta / nb},
                val={"loss": F.cross_entropy(v, yte).item(), "accuracy": acc},
            )
    return acc


def checkpoint_mode_min(watch, seed, fault):
    """100. The checkpoint callback monitors val_accuracy with mode="min": the worst epoch is kept and restored at the end."""
    torch.manual_seed(seed)
    wine = load_wine()
    X = (wine.data - wine.data.mean(0)) / wine.data.std(0)
    Xt, Xv, yt, yv = train_test_split(
        torch.tensor(X, dtype=torch.float32),
        torch.tensor(wine.target),
        test_size=0.35,
        random_state=seed,
        stratify=wine.target,
    )
    clf = nn.Sequential(nn.Linear(13, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3))
    sgd = torch.optim.SGD(clf.parameters(), lr=0.03, momentum=0.8)
    ckpt = ModelCheckpoint("val_accuracy", "min" if fault else "max")
    with watch(clf, sgd) as w:
        for epoch in range(15):
            clf.train()
            run = 0.0
            for k in torch.randperm(len(Xt)).split(12):
                sgd.zero_grad()
                y_hat = clf(Xt[k])
                loss = F.cross_entropy(y_hat, yt[k])
                loss.backward()
                sgd.step()
                run += loss.item() * len(k) / len(Xt)
                w.step(loss=loss, inputs=Xt[k], targets=yt[k], outputs=y_hat)
            clf.eval()
            with torch.no_grad():
                o = clf(Xv)
            logs = {
                "val_loss": F.cross_entropy(o, yv).item(),
                "val_accuracy": (o.argmax(1) == yv).float().mean().item(),
            }
            ckpt(logs, clf)
            w.epoch(train={"loss": run}, val={"loss": logs["val_loss"], "accuracy": logs["val_accuracy"]})
        clf.load_state_dict(ckpt.state)
        with torch.no_grad():
            final = (clf(Xv).argmax(1) == yv).float().mean().item()
    return final


def coco_ids_not_mapped_back(watch, seed, fault):
    """101. The detector predicts contiguous ids 0..2, the annotations count from 1, and the evaluation does not map them: AP near 0."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    S = 32
    imgs, anns = one_object(rng, 900, S)
    cats = sorted({a["category_id"] for a in anns})
    to_idx = {c: i for i, c in enumerate(cats)}
    box = torch.tensor([a["bbox"] for a in anns])
    box = torch.cat([box[:, :2], box[:, :2] + box[:, 2:]], 1) / S
    cls = torch.tensor([to_idx[a["category_id"]] for a in anns])
    gt_ids = torch.tensor([a["category_id"] for a in anns])

    det = OneShotDetector(S)
    opt = torch.optim.Adam(det.parameters(), lr=2e-3)

    def evaluate(idx):
        det.eval()
        with torch.no_grad():
            c, b = det(imgs[idx])
        pred_id = c.argmax(1)
        if not fault:
            pred_id = torch.tensor(cats)[pred_id]
        good = (iou_xyxy(b, box[idx]) > 0.5) & (pred_id == gt_ids[idx])
        loss = F.cross_entropy(c, cls[idx]) + 5 * F.l1_loss(b, box[idx])
        return loss.item(), good.float().mean().item(), pred_id

    val = torch.arange(750, 900)
    with watch(det, opt) as w:
        for epoch in range(12):
            det.train()
            s = 0.0
            for i in torch.randperm(750).split(25):
                c, b = det(imgs[i])
                loss = F.cross_entropy(c, cls[i]) + 5 * F.l1_loss(b, box[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                s += loss.item() / 30
                w.step(
                    loss=loss,
                    inputs=imgs[i],
                    targets={"boxes": box[i], "labels": cls[i]},
                    outputs={"logits": c, "boxes": b},
                )
            vl, ap, _ = evaluate(val)
            w.epoch(train={"loss": s}, val={"loss": vl, "AP50": ap})
    return ap


def xywh_taken_for_xyxy(watch, seed, fault):
    """102. COCO boxes (x, y, w, h) go into the targets as if they were (x1, y1, x2, y2)."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    S = 32
    imgs, anns = one_object(rng, 900, S)

    class Coco(Dataset):
        def __init__(self, lo, hi):
            self.lo, self.hi = lo, hi

        def __len__(self):
            return self.hi - self.lo

        def __getitem__(self, i):
            a = anns[self.lo + i]
            b = torch.tensor(a["bbox"])
            if not fault:
                b = torch.cat([b[:2], b[:2] + b[2:]])
            return imgs[self.lo + i], {"boxes": b[None], "labels": torch.tensor([a["category_id"] - 1])}

    def collate(batch):
        return torch.stack([b[0] for b in batch]), [b[1] for b in batch]

    net = OneShotDetector(S)
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-3)
    dl = DataLoader(Coco(0, 740), batch_size=20, shuffle=True, collate_fn=collate)
    real = torch.tensor([a["bbox"] for a in anns[740:]])
    real = torch.cat([real[:, :2], real[:, :2] + real[:, 2:]], 1)
    with watch(net, opt) as w:
        for epoch in range(10):
            net.train()
            for x, targets in dl:
                logits, boxes = net(x)
                tb = torch.cat([t["boxes"] for t in targets]) / S
                tc = torch.cat([t["labels"] for t in targets])
                loss = F.cross_entropy(logits, tc) + 5 * F.smooth_l1_loss(boxes, tb, beta=0.05)
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x, targets=targets, outputs={"pred_logits": logits, "pred_boxes": boxes})
            net.eval()
            with torch.no_grad():
                _, b = net(imgs[740:])
                miou = iou_xyxy(b * S, real).mean().item()
            w.epoch(train={"loss": loss.item()}, val={"iou": miou})
    return miou


PROGRAMS = [ema_never_moves, checkpoint_mode_min, coco_ids_not_mapped_back, xywh_taken_for_xyxy]
