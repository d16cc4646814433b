"""What several programs of `boxes_*.py` share."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def digits(seed, test=0.25):
    d = load_digits()
    return train_test_split(
        d.images.astype(np.float32), d.target.astype(np.int64), test_size=test, random_state=seed, stratify=d.target
    )


def scene(rng, S, n_obj, lo=6, hi=13, kinds=1):
    """One picture with n_obj separate objects; boxes x1, y1, x2, y2 in pixels and kinds."""
    yy, xx = np.mgrid[:S, :S]
    im = rng.normal(0, 0.12, (S, S)).astype(np.float32)
    boxes, ks, tries = [], [], 0
    while len(boxes) < n_obj and tries < 30:
        tries += 1
        w, h = rng.uniform(lo, hi, 2)
        x, y = rng.uniform(0, S - w), rng.uniform(0, S - h)
        if any(x < b[2] + 1 and b[0] < x + w + 1 and y < b[3] + 1 and b[1] < y + h + 1 for b in boxes):
            continue
        k = int(rng.integers(0, kinds))
        u, v = (xx + 0.5 - x) / w, (yy + 0.5 - y) / h
        m = (u > 0) & (u < 1) & (v > 0) & (v < 1)
        if k == 1:
            m = (u - 0.5) ** 2 + (v - 0.5) ** 2 < 0.25
        im[m] += rng.uniform(0.7, 1.2)
        boxes.append([x, y, x + w, y + h])
        ks.append(k)
    return im, np.array(boxes, np.float32).reshape(-1, 4), ks


def box_iou(a, b):
    lt = torch.maximum(a[:, None, :2], b[None, :, :2])
    rb = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    wh = (rb - lt).clamp(min=0)
    inter = wh[..., 0] * wh[..., 1]
    ar = lambda t: (t[:, 2] - t[:, 0]).clamp(min=0) * (t[:, 3] - t[:, 1]).clamp(min=0)
    return inter / (ar(a)[:, None] + ar(b)[None] - inter + 1e-9)


def nms(boxes, scores, thr):
    keep = []
    order = scores.argsort(descending=True).tolist()
    while order:
        i = order.pop(0)
        keep.append(i)
        if order:
            ious = box_iou(boxes[i : i + 1], boxes[order])[0]
            order = [j for j, o in zip(order, ious.tolist()) if o < thr]
    return keep


def f1_of(preds, gts, thr=0.5):
    tp = npred = ngt = 0
    for p, g in zip(preds, gts):
        npred += len(p)
        ngt += len(g)
        if len(p) and len(g):
            tp += min(len(p), int((box_iou(g, p).max(1).values > thr).sum()))
    return 2 * tp / max(1, npred + ngt)


class GridNet(nn.Module):
    """A YOLO-like net: for each cell of 8 pixels an objectness logit and a box (offsets of the centre, log sizes)."""

    def __init__(self, n_out=5, width=16):
        super().__init__()
        c = width
        self.body = nn.Sequential(
            nn.Conv2d(1, c, 3, 2, 1, bias=False),
            nn.BatchNorm2d(c),
            nn.ReLU(),
            nn.Conv2d(c, 2 * c, 3, 2, 1, bias=False),
            nn.BatchNorm2d(2 * c),
            nn.ReLU(),
            nn.Conv2d(2 * c, 2 * c, 3, 2, 1, bias=False),
            nn.BatchNorm2d(2 * c),
            nn.ReLU(),
            nn.Conv2d(2 * c, 2 * c, 3, 1, 1, bias=False),
            nn.BatchNorm2d(2 * c),
            nn.ReLU(),
        )
        self.head = nn.Conv2d(2 * c, n_out, 1)
        nn.init.constant_(self.head.bias[:1], -2.0)

    def forward(self, x):
        return self.head(self.body(x))


def grid_targets(list_of_boxes, G, stride=8):
    obj = torch.zeros(len(list_of_boxes), G, G)
    reg = torch.zeros(len(list_of_boxes), 4, G, G)
    for i, bs in enumerate(list_of_boxes):
        for x1, y1, x2, y2 in bs.tolist():
            cx, cy = (x1 + x2) / 2 / stride, (y1 + y2) / 2 / stride
            gx, gy = min(int(cx), G - 1), min(int(cy), G - 1)
            obj[i, gy, gx] = 1
            reg[i, :, gy, gx] = torch.tensor(
                [cx - gx - 0.5, cy - gy - 0.5, math.log((x2 - x1) / stride), math.log((y2 - y1) / stride)]
            )
    return obj, reg


def grid_loss(out, obj, reg):
    lo = F.binary_cross_entropy_with_logits(out[:, 0], obj)
    m = obj[:, None].expand_as(reg) > 0
    lb = F.smooth_l1_loss(out[:, 1:5][m], reg[m], beta=0.1) if m.any() else out.sum() * 0
    return lo * 2 + lb


def grid_decode(out, stride=8, conf=0.5, iou=0.4):
    res = []
    G = out.shape[-1]
    gy, gx = torch.meshgrid(torch.arange(G), torch.arange(G), indexing="ij")
    for o in out:
        s = o[0].sigmoid()
        cx, cy = (o[1] + gx + 0.5) * stride, (o[2] + gy + 0.5) * stride
        w, h = o[3].clamp(-3, 3).exp() * stride, o[4].clamp(-3, 3).exp() * stride
        b = torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], -1)
        k = s > conf
        b, s = b[k], s[k]
        res.append(b[nms(b, s, iou)] if len(b) else b)
    return res
