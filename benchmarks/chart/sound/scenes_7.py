"""Sound programs: detr hungarian to box centre smooth l1."""

from collections import OrderedDict

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.scenes_parts import DetSet, cbr, det_data, f1_at_half, scene
from scipy.optimize import linear_sum_assignment
from torch.utils.data import DataLoader, TensorDataset
from torchvision.ops import box_convert, box_iou, generalized_box_iou, generalized_box_iou_loss


def collate(batch):
    xs, ts = zip(*batch)
    return torch.stack(xs), list(ts)


class MiniDETR(nn.Module):
    def __init__(self, classes=3, queries=5, d=40):
        super().__init__()
        self.back = nn.Sequential(cbr(3, 16, 2), cbr(16, 32, 2), cbr(32, 32, 2), nn.Conv2d(32, d, 1))
        self.row = nn.Parameter(0.1 * torch.randn(1, d, 4, 1))
        self.col = nn.Parameter(0.1 * torch.randn(1, d, 1, 4))
        enc = nn.TransformerEncoderLayer(d, 4, 80, 0.0, batch_first=True)
        dec = nn.TransformerDecoderLayer(d, 4, 80, 0.0, batch_first=True)
        self.enc = nn.TransformerEncoder(enc, 1, enable_nested_tensor=False)
        self.dec = nn.TransformerDecoder(dec, 2)
        self.query = nn.Parameter(torch.randn(1, queries, d))
        self.cls = nn.Linear(d, classes + 1)
        self.box = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 4))

    def forward(self, x):
        f = self.back(x) + self.row + self.col
        mem = self.enc(f.flatten(2).transpose(1, 2))
        h = self.dec(self.query.expand(len(x), -1, -1), mem)
        return self.cls(h), self.box(h).sigmoid()


def single_box(n, size, seed):
    rng = np.random.default_rng(seed)
    xs, bs = [], []
    for _ in range(n):
        img, _, b, _ = scene(rng, size, 1, rmin=0.14, rmax=0.3)
        xs.append(img)
        bs.append(b[0])
    return (torch.from_numpy(np.stack(xs)) - 0.35) / 0.25, torch.from_numpy(np.stack(bs)) / size


def detr_hungarian(watch, seed, fault):
    """16. A DETR-like set predictor with Hungarian matching, L1 plus GIoU and a down-weighted 'no object' class."""
    torch.manual_seed(seed)
    S = 32
    kw = dict(n_obj=(1, 2), rmin=0.14, rmax=0.24, colour_by_class=True)
    xtr, ttr = det_data(640, S, seed + 11, **kw)
    xva, tva = det_data(100, S, seed + 10_011, **kw)
    model = MiniDETR()
    nobj = 3
    weight = torch.ones(nobj + 1)
    weight[-1] = 0.2

    def criterion(logits, boxes, targets):
        B, Q = logits.shape[:2]
        tgt = torch.full((B, Q), nobj, dtype=torch.long)
        sizes = [len(t["boxes"]) for t in targets]
        gt = box_convert(torch.cat([t["boxes"] for t in targets]), "xyxy", "cxcywh") / S
        lab = torch.cat([t["labels"] for t in targets]) - 1
        with torch.no_grad():
            flat = boxes.flatten(0, 1)
            cost = (
                -logits.flatten(0, 1).softmax(-1)[:, lab]
                + 5 * torch.cdist(flat, gt, p=1)
                - 2 * generalized_box_iou(box_convert(flat, "cxcywh", "xyxy"), box_convert(gt, "cxcywh", "xyxy"))
            )
            cost = cost.view(B, Q, -1).split(sizes, -1)
        rows, queries, truth, start = [], [], [], 0
        for b, c in enumerate(cost):
            i, j = linear_sum_assignment(c[b].numpy())
            rows += [b] * len(i)
            queries += i.tolist()
            truth += (j + start).tolist()
            start += sizes[b]
        tgt[rows, queries] = lab[truth]
        chosen, gt, n = boxes[rows, queries], gt[truth], max(1, len(rows))
        l1 = (chosen - gt).abs().sum()
        giou = generalized_box_iou_loss(
            box_convert(chosen, "cxcywh", "xyxy"), box_convert(gt, "cxcywh", "xyxy"), reduction="sum"
        )
        ce = F.cross_entropy(logits.transpose(1, 2), tgt, weight=weight)
        return ce + 5 * l1 / n + 2 * giou / n

    optimizer = torch.optim.AdamW(
        [
            {"params": model.back.parameters(), "lr": 1e-3},
            {"params": [p for k, p in model.named_parameters() if not k.startswith("back")]},
        ],
        lr=1.5e-3,
        weight_decay=1e-4,
    )
    loader = DataLoader(DetSet(xtr, ttr), batch_size=32, shuffle=True, collate_fn=collate)
    epochs = 12
    sched = torch.optim.lr_scheduler.StepLR(optimizer, 9, 0.2)
    score = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(epochs):
            model.train()
            run = 0.0
            for x, targets in loader:
                logits, boxes = model(x)
                loss = criterion(logits, boxes, targets)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                w.step(loss=loss, inputs=x, outputs=logits)
                run += loss.item() / len(loader)
            sched.step()
            model.eval()
            with torch.no_grad():
                logits, boxes = model(xva)
                vl = criterion(logits, boxes, tva).item()
                p, k = logits.softmax(-1)[..., :-1].max(-1)
                bb = box_convert(boxes, "cxcywh", "xyxy") * S
            preds = [(bb[i][p[i] > 0.5], k[i][p[i] > 0.5] + 1) for i in range(len(xva))]
            score = f1_at_half(preds, tva)
            w.epoch(train={"loss": run}, val={"loss": vl, "f1": score})
    return score


def box_giou_corners(watch, seed, fault):
    """17. One box per picture in corner form (ordered by construction), trained by GIoU loss plus a little L1."""
    torch.manual_seed(seed)
    xtr, btr = single_box(700, 32, seed + 12)
    xva, bva = single_box(150, 32, seed + 10_012)

    class BoxNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Sequential(cbr(3, 16, 2), cbr(16, 24, 2), cbr(24, 32, 2))
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, 4))

        def forward(self, x):
            o = self.head(self.conv(x))
            tl = torch.sigmoid(o[:, :2] - 0.5)
            return torch.cat([tl, tl + (1 - tl) * torch.sigmoid(o[:, 2:])], 1)

    model = BoxNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = DataLoader(TensorDataset(xtr, btr), batch_size=35, shuffle=True)
    iou = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(12):
            model.train()
            run = 0.0
            for x, b in loader:
                optimizer.zero_grad()
                out = model(x)
                loss = generalized_box_iou_loss(out, b, reduction="mean") + F.l1_loss(out, b)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=b, outputs=out)
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                out = model(xva)
                vl = (generalized_box_iou_loss(out, bva, reduction="mean") + F.l1_loss(out, bva)).item()
                iou = box_iou(out, bva).diagonal().mean().item()
            w.epoch(train={"loss": run}, val={"loss": vl, "iou": iou})
    return iou


def box_centre_smooth_l1(watch, seed, fault):
    """18. One box in centre form (cx, cy, log w, log h), standardised targets, smooth L1, SGD with momentum."""
    torch.manual_seed(seed)
    xtr, btr = single_box(700, 32, seed + 13)
    xva, bva = single_box(150, 32, seed + 10_013)

    def enc(b):
        c = box_convert(b, "xyxy", "cxcywh")
        return torch.cat([c[:, :2], c[:, 2:].log()], 1)

    ttr = enc(btr)
    mu, sd = ttr.mean(0), ttr.std(0)
    ttr, tva = (ttr - mu) / sd, (enc(bva) - mu) / sd
    net = nn.Sequential(
        OrderedDict(
            c1=nn.Conv2d(3, 12, 5, 2, 2),
            r1=nn.ReLU(),
            c2=nn.Conv2d(12, 24, 3, 2, 1),
            r2=nn.ReLU(),
            c3=nn.Conv2d(24, 24, 3, 2, 1),
            r3=nn.ReLU(),
            flat=nn.Flatten(),
            fc=nn.Linear(24 * 16, 64),
            r4=nn.ReLU(),
            out=nn.Linear(64, 4),
        )
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9)
    sched = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.93)
    iou = 0.0
    with watch(net, optimizer) as w:
        for epoch in range(16):
            net.train()
            tl = []
            for idx in torch.randperm(len(xtr)).split(28):
                pred = net(xtr[idx])
                loss = F.smooth_l1_loss(pred, ttr[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=xtr[idx], targets=ttr[idx], outputs=pred)
                tl.append(loss.item())
            sched.step()
            net.eval()
            with torch.no_grad():
                pred = net(xva)
                vl = F.smooth_l1_loss(pred, tva).item()
                raw = pred * sd + mu
                boxes = box_convert(torch.cat([raw[:, :2], raw[:, 2:].exp()], 1), "cxcywh", "xyxy")
                iou = box_iou(boxes, bva).diagonal().mean().item()
            w.epoch(train={"loss": float(np.mean(tl))}, val={"loss": vl, "iou": iou})
    return iou


PROGRAMS = [detr_hungarian, box_giou_corners, box_centre_smooth_l1]
