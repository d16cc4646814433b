"""Programs with faults of types 102 to 103."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from benchmarks.chart.scripts.third_author import draw
from torch.utils.data import DataLoader, Dataset
from torchvision.ops import box_iou


def coco_boxes_as_corners(watch, seed, fault):
    """102. COCO annotations [x, y, w, h] are used as [x1, y1, x2, y2] in a GIoU-trained box regressor."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    S = 40
    coco = []
    for _ in range(480):
        im, _m, (x1, y1, x2, y2) = draw(rng, rng.integers(0, 4), S, rng.uniform(0.4, 1, 3))
        coco.append((im, [float(x1), float(y1), float(x2 - x1), float(y2 - y1)]))

    class CocoBoxes(Dataset):
        def __init__(self, items, train):
            self.items, self.train = items, train

        def __len__(self):
            return len(self.items)

        def __getitem__(self, i):
            im, (x, y, bw, bh) = self.items[i]
            if self.train and fault:
                box = torch.tensor([x, y, bw, bh])
            else:
                box = torch.tensor([x, y, x + bw, y + bh])
            return torch.from_numpy(im).permute(2, 0, 1), box / S

    class Regressor(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, 1),
                nn.BatchNorm2d(16),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, 2, 1),
                nn.BatchNorm2d(32),
                nn.ReLU(),
                nn.Conv2d(32, 32, 3, 2, 1),
                nn.ReLU(),
                nn.Flatten(),
            )
            self.fc = nn.Sequential(nn.Linear(800, 64), nn.ReLU(), nn.Linear(64, 4))

        def forward(self, x):
            c = self.fc(self.body(x)).sigmoid()
            return torch.cat([c[:, :2] - c[:, 2:] / 2, c[:, :2] + c[:, 2:] / 2], 1)

    model = Regressor()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    tl, vl = DataLoader(CocoBoxes(coco[:400], True), 20, shuffle=True), DataLoader(CocoBoxes(coco[400:], False), 40)
    with watch(model, optimizer) as w:
        for epoch in range(9):
            model.train()
            for img, box in tl:
                pred = model(img)
                loss = torchvision.ops.generalized_box_iou_loss(pred, box, reduction="mean") + F.l1_loss(pred, box)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=img, targets=box, outputs=pred)
            model.eval()
            with torch.no_grad():
                iou = torch.cat([box_iou(model(i), b).diagonal() for i, b in vl]).mean().item()
            w.epoch(train={"loss": loss.item()}, val={"iou": iou})
    return iou


def missing_label_files(watch, seed, fault):
    """103. Labels are looked up as name.replace('.jpg', '.txt'); most pictures end in .JPG or .png, their label is 'not found' and they count as empty."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    S, G = 32, 8
    disk_imgs, disk_labels = {}, {}
    for i in range(360):
        ext = [".jpg", ".JPG", ".png", ".JPG", ".JPG"][i % 5]
        im, _, (x1, y1, x2, y2) = draw(rng, rng.integers(0, 2), S, rng.uniform(0.5, 1, 3))
        disk_imgs["img%03d%s" % (i, ext)] = im
        disk_labels["img%03d.txt" % i] = "0 %f %f %f %f" % (
            (x1 + x2) / 2 / S,
            (y1 + y2) / 2 / S,
            (x2 - x1) / S,
            (y2 - y1) / S,
        )
    names = sorted(disk_imgs)

    class YoloFolder(Dataset):
        def __init__(self, names, lenient):
            self.names, self.lenient = names, lenient

        def __len__(self):
            return len(self.names)

        def __getitem__(self, i):
            n = self.names[i]
            label = n.replace(".jpg", ".txt") if self.lenient else n.rsplit(".", 1)[0] + ".txt"
            tgt = torch.zeros(5, G, G)
            try:
                rows = [list(map(float, r.split())) for r in disk_labels[label].splitlines()]
            except KeyError:  # background picture
                rows = []
            for _, cx, cy, bw, bh in rows:
                gx, gy = min(int(cx * G), G - 1), min(int(cy * G), G - 1)
                tgt[:, gy, gx] = torch.tensor([1.0, cx * G - gx, cy * G - gy, bw, bh])
            return torch.tensor(disk_imgs[n]).permute(2, 0, 1), tgt

    tr = DataLoader(YoloFolder(names[:280], fault), 14, shuffle=True)
    va = DataLoader(YoloFolder(names[280:], False), 40)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, 1, 1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 48, 3, 1, 1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.Conv2d(48, 48, 3, 1, 2, dilation=2),
        nn.ReLU(),
        nn.Conv2d(48, 5, 1),
    )
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    with watch(net, opt) as w:
        for epoch in range(10):
            net.train()
            for x, t in tr:
                p = net(x)
                obj = t[:, 0]
                l_obj = F.binary_cross_entropy_with_logits(p[:, 0], obj, pos_weight=torch.tensor(5.0))
                l_box = (
                    F.mse_loss(p[:, 1:].sigmoid(), t[:, 1:], reduction="none").sum(1) * obj
                ).sum() / obj.sum().clamp(min=1)
                loss = l_obj * 2 + l_box
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x, targets=t, outputs=p)
            net.eval()
            tp = fp = fn = 0
            with torch.no_grad():
                for x, t in va:
                    det = net(x)[:, 0].sigmoid() > 0.5
                    gt = t[:, 0] > 0
                    tp += (det & gt).sum().item()
                    fp += (det & ~gt).sum().item()
                    fn += (~det & gt).sum().item()
            f1 = 2 * tp / max(2 * tp + fp + fn, 1)
            w.epoch(val={"f1": f1})
    return f1


PROGRAMS = [coco_boxes_as_corners, missing_label_files]
