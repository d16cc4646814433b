"""Programs with faults of types 104 to 105."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.third_author import draw
from torch.utils.data import DataLoader, Dataset
from torchvision.ops import box_convert, box_iou, nms


def grid_anchors(S, stride, sizes):
    c = (torch.arange(S // stride) + 0.5) * stride
    cy, cx = torch.meshgrid(c, c, indexing="ij")
    out = []
    for s in sizes:
        out.append(torch.stack([cx - s / 2, cy - s / 2, cx + s / 2, cy + s / 2], -1))
    return torch.stack(out, 2).reshape(-1, 4)


def resize_without_boxes(watch, seed, fault):
    """104. Pictures are resized from about 64-96 px to 32 px in the transform, the pixel boxes are left in the original scale."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    OUT = 32
    raw = []
    for _ in range(420):
        size = int(rng.choice([64, 80, 96]))
        im, _m, b = draw(rng, rng.integers(0, 4), size, rng.uniform(0.5, 1, 3))
        raw.append((torch.from_numpy(im).permute(2, 0, 1), torch.tensor(b, dtype=torch.float32)))

    def resize(im, box, scale_box=True):
        h = im.shape[-1]
        im = F.interpolate(im[None], size=(OUT, OUT), mode="bilinear", align_corners=False)[0]
        if scale_box:
            box = box * (OUT / h)
        return im, box

    class Train(Dataset):
        def __init__(self, part):
            self.part = part

        def __len__(self):
            return len(self.part)

        def __getitem__(self, i):
            im, box = self.part[i]
            return resize(im, box, scale_box=not fault)

    train_loader = DataLoader(Train(raw[:340]), 17, shuffle=True)
    test = [resize(*r) for r in raw[340:]]
    tx, tb = torch.stack([t[0] for t in test]), torch.stack([t[1] for t in test])
    locator = nn.Sequential(
        nn.Conv2d(3, 24, 3, 2, 1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 32, 3, 2, 1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 64, 96),
        nn.ReLU(),
        nn.Linear(96, 4),
    )
    opt = torch.optim.Adam(locator.parameters(), lr=2e-3)
    with watch(locator, opt) as w:
        for epoch in range(12):
            locator.train()
            tot = 0.0
            for im, box in train_loader:
                pred = locator(im) * 8 + 16  # pixels
                loss = F.smooth_l1_loss(pred, box)
                opt.zero_grad()
                loss.backward()
                opt.step()
                tot += loss.item()
                w.step(loss=loss, inputs=im, targets=box, outputs=pred)
            locator.eval()
            with torch.no_grad():
                p = locator(tx) * 8 + 16
                iou = box_iou(p, tb).diagonal().nan_to_num(0).mean().item()
            w.epoch(train={"loss": tot / len(train_loader)}, val={"iou": iou})
    return iou


def anchors_in_pixels_boxes_relative(watch, seed, fault):
    """105. SSD-like matching: ground-truth boxes are relative (0..1), the anchors in pixels, so no anchor ever reaches the IoU threshold and all are negative."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    S, A = 32, 2
    recs = []
    for _ in range(360):
        k = int(rng.integers(0, 2))
        im, _m, b = draw(rng, k, S, rng.uniform(0.5, 1, 3))
        recs.append((im.transpose(2, 0, 1), k + 1, b))
    X = torch.tensor(np.stack([r[0] for r in recs])).float()
    labels = torch.tensor([r[1] for r in recs])
    boxes = torch.tensor([r[2] for r in recs]).float() / S
    priors = grid_anchors(S, 4, [12, 18])
    gt_for_matching = boxes if fault else boxes * S

    def match(i):
        iou = box_iou(gt_for_matching[i][None], priors)[0]
        cls = torch.zeros(len(priors), dtype=torch.long)
        cls[iou >= 0.5] = labels[i]
        g, p = box_convert(boxes[i][None] * S, "xyxy", "cxcywh"), box_convert(priors, "xyxy", "cxcywh")
        return cls, torch.cat([(g[:, :2] - p[:, :2]) / p[:, 2:] / 0.1, torch.log(g[:, 2:] / p[:, 2:]) / 0.2], 1)

    class SSD(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(3, 16, 3, 1, 1),
                nn.BatchNorm2d(16),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(16, 32, 3, 1, 1),
                nn.BatchNorm2d(32),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(32, 48, 3, 1, 2, 2),
                nn.BatchNorm2d(48),
                nn.ReLU(),
                nn.Conv2d(48, 48, 3, 1, 1),
                nn.ReLU(),
            )
            self.cls, self.reg = nn.Conv2d(48, A * 3, 3, 1, 1), nn.Conv2d(48, A * 4, 3, 1, 1)

        def forward(self, x):
            f = self.body(x)
            return self.cls(f).permute(0, 2, 3, 1).reshape(len(x), -1, 3), self.reg(f).permute(0, 2, 3, 1).reshape(
                len(x), -1, 4
            )

    ssd = SSD()
    opt = torch.optim.SGD(ssd.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    M = [match(i) for i in range(280)]
    C, R = torch.stack([m[0] for m in M]), torch.stack([m[1] for m in M])

    def evaluate():
        ssd.eval()
        hits = 0
        with torch.no_grad():
            c, r = ssd(X[280:])
        for n in range(80):
            prob = c[n].softmax(-1)
            score, lab = prob[:, 1:].max(-1)
            keep = score > 0.4
            if not keep.any():
                continue
            p = box_convert(priors[keep], "xyxy", "cxcywh")
            b = box_convert(
                torch.cat(
                    [
                        p[:, :2] + r[n][keep][:, :2] * 0.1 * p[:, 2:],
                        p[:, 2:] * torch.exp((r[n][keep][:, 2:] * 0.2).clamp(max=3)),
                    ],
                    1,
                ),
                "cxcywh",
                "xyxy",
            )
            j = nms(b, score[keep], 0.45)[0]
            hits += bool(
                lab[keep][j] + 1 == labels[280 + n] and box_iou(b[j][None], boxes[280 + n][None] * S).item() > 0.5
            )
        return hits / 80

    with watch(ssd, opt) as w:
        for epoch in range(10):
            ssd.train()
            for ix in torch.randperm(280).split(14):
                c, r = ssd(X[ix])
                pos = C[ix] > 0
                npos = pos.sum().clamp(min=1)
                ce = F.cross_entropy(c.reshape(-1, 3), C[ix].reshape(-1), reduction="none").view(len(ix), -1)
                neg = ce.masked_fill(pos, 0).flatten().topk(int(3 * npos) if pos.any() else 42).values.sum()
                loss = (ce[pos].sum() + neg + F.smooth_l1_loss(r[pos], R[ix][pos], reduction="sum")) / npos
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(ssd.parameters(), 10.0)
                opt.step()
                w.step(loss=loss, inputs=X[ix], targets=C[ix], outputs=c)
            m = evaluate()
            w.epoch(train={"loss": loss.item()}, val={"map": m})
    return m


PROGRAMS = [resize_without_boxes, anchors_in_pixels_boxes_relative]
