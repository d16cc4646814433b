"""What several programs of `scenes_*.py` share."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import Dataset
from torchvision.ops import box_iou


def mask_of(kind, cy, cx, r, size):
    yy, xx = np.mgrid[0:size, 0:size].astype(np.float32)
    dy, dx = yy - cy, xx - cx
    if kind == 0:
        return dy**2 + dx**2 <= r**2
    if kind == 1:
        return (np.abs(dy) <= r) & (np.abs(dx) <= r)
    return (dy <= r * 0.9) & (dy >= -r + 1.9 * np.abs(dx))


COLOURS = np.array([[0.9, 0.25, 0.2], [0.2, 0.8, 0.3], [0.25, 0.35, 0.95]])


def scene(rng, size, n_obj, classes=3, rmin=0.1, rmax=0.22, apart=True, colour_by_class=False):
    """A picture (3, S, S), a label map (0 is background), boxes (xyxy, pixels) and their labels (1..classes)."""
    img = np.ones((3, size, size)) * rng.uniform(0.05, 0.35, (3, 1, 1))
    lab = np.zeros((size, size), np.int64)
    boxes, labels = [], []
    for _ in range(n_obj):
        for _try in range(30):
            r = rng.uniform(rmin, rmax) * size
            cy, cx = rng.uniform(r + 1, size - r - 2, 2)
            k = int(rng.integers(0, classes))
            m = mask_of(k, cy, cx, r, size)
            if not apart or not (lab[m] > 0).any():
                break
        else:
            continue
        col = COLOURS[k] + rng.uniform(-0.1, 0.1, 3) if colour_by_class else rng.uniform(0.55, 1.0, 3)
        img = np.where(m[None], col[:, None, None], img)
        lab[m] = k + 1
        ys, xs = np.where(m)
        boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        labels.append(k + 1)
    img = np.clip(img + rng.normal(0, 0.04, img.shape), 0, 1)
    return (img.astype(np.float32), lab, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64))


def det_data(n, size, seed, n_obj=(1, 3), normal=True, **kw):
    rng = np.random.default_rng(seed)
    xs, ts = [], []
    for _ in range(n):
        i, _, b, l = scene(rng, size, int(rng.integers(n_obj[0], n_obj[1] + 1)), **kw)
        xs.append(i)
        ts.append({"boxes": torch.from_numpy(b), "labels": torch.from_numpy(l)})
    x = torch.from_numpy(np.stack(xs))
    return ((x - 0.35) / 0.25 if normal else x), ts


def f1_at_half(preds, targets):
    """F1 of detections at IoU 0.5 with the right class; preds: list of (boxes, labels) already thresholded."""
    tp = n_pred = n_true = 0
    for (pb, pl), t in zip(preds, targets):
        n_pred += len(pb)
        n_true += len(t["boxes"])
        if len(pb) == 0 or len(t["boxes"]) == 0:
            continue
        iou = box_iou(pb, t["boxes"]) * (pl[:, None] == t["labels"][None])
        taken = set()
        for row in iou:
            v, j = row.max(0)
            if v >= 0.5 and int(j) not in taken:
                taken.add(int(j))
                tp += 1
    return 2 * tp / max(1, n_pred + n_true)


def cbr(i, o, stride=1, dil=1):
    return nn.Sequential(nn.Conv2d(i, o, 3, stride, dil, dil, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


class UNet(nn.Module):
    def __init__(self, cin, cout, w=8):
        super().__init__()
        self.d1 = nn.Sequential(cbr(cin, w), cbr(w, w))
        self.d2 = nn.Sequential(cbr(w, 2 * w), cbr(2 * w, 2 * w))
        self.mid = nn.Sequential(cbr(2 * w, 4 * w), cbr(4 * w, 4 * w))
        self.up2 = nn.ConvTranspose2d(4 * w, 2 * w, 2, 2)
        self.u2 = cbr(4 * w, 2 * w)
        self.up1 = nn.ConvTranspose2d(2 * w, w, 2, 2)
        self.u1 = nn.Sequential(cbr(2 * w, 2 * w), cbr(2 * w, 2 * w))
        self.out = nn.Conv2d(2 * w, cout, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(F.max_pool2d(a, 2))
        c = self.mid(F.max_pool2d(b, 2))
        c = self.u2(torch.cat([self.up2(c), b], 1))
        return self.out(self.u1(torch.cat([self.up1(c), a], 1)))


class DetSet(Dataset):
    def __init__(self, x, t):
        self.x, self.t = x, t

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.t[i]
