"""Programs with faults of types 106 to 107."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.third_author import draw
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.ops import box_convert, box_iou


def classes_without_comma(watch, seed, fault):
    """106. CLASSES = ('ship') is a string: the category table becomes s, h, i, p and the annotations 'ship' are filtered out as unknown."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    CLASSES = ("ship") if fault else ("ship",)
    S, G = 32, 4
    ann, pic = [], []
    for i in range(320):
        im, _m, b = draw(rng, 1, S, rng.uniform(0.5, 1, 3), bg=0.2)
        pic.append(im)
        ann.append([{"name": "ship", "bbox": b}])

    class FCOSData(Dataset):
        METAINFO = CLASSES

        def __init__(self, ids, classes):
            self.ids = ids
            self.cat2label = {c: i for i, c in enumerate(classes)}

        def __len__(self):
            return len(self.ids)

        def __getitem__(self, k):
            i = self.ids[k]
            cls = torch.zeros(len(self.cat2label), G, G)
            ltrb = torch.zeros(4, G, G)
            for a in ann[i]:
                if a["name"] not in self.cat2label:
                    continue
                x1, y1, x2, y2 = a["bbox"]
                gx, gy = min(int((x1 + x2) / 2 / 8), 3), min(int((y1 + y2) / 2 / 8), 3)
                px, py = gx * 8 + 4, gy * 8 + 4
                cls[self.cat2label[a["name"]], gy, gx] = 1
                ltrb[:, gy, gx] = torch.tensor([px - x1, py - y1, x2 - px, y2 - py]) / 8.0
            return torch.from_numpy(pic[i].transpose(2, 0, 1)) - 0.3, cls, ltrb

    train = DataLoader(FCOSData(list(range(240)), CLASSES), 12, shuffle=True)
    nc = len(CLASSES)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 48, 3, 2, 1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.Conv2d(48, 48, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(48, nc + 4, 1),
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    test_x = torch.from_numpy(np.stack(pic[240:]).transpose(0, 3, 1, 2)) - 0.3
    with watch(net, optimizer) as w:
        for epoch in range(10):
            net.train()
            ep = []
            for x, cls, ltrb in train:
                o = net(x)
                p = o[:, :nc].sigmoid()
                focal = -(
                    cls * (1 - p) ** 2 * torch.log(p + 1e-6) + 0.5 * (1 - cls) * p**2 * torch.log(1 - p + 1e-6)
                ).sum()
                m = cls.sum(1, keepdim=True) > 0
                box = (F.smooth_l1_loss(o[:, nc:], ltrb, reduction="none") * m).sum()
                loss = (focal + box) / m.sum().clamp(min=1)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                ep.append(loss.item())
                w.step(loss=loss, inputs=x, targets=cls, outputs=o)
            net.eval()
            with torch.no_grad():
                o = net(test_x)
            hit = 0
            for n in range(80):
                s = o[n, :nc].sigmoid().amax(0).flatten()
                j = int(s.argmax())
                if s[j] < 0.3:
                    continue
                gy, gx = divmod(j, G)
                l, t, r, b = (o[n, nc:, gy, gx] * 8).tolist()
                px, py = gx * 8 + 4, gy * 8 + 4
                hit += (
                    box_iou(
                        torch.tensor([[px - l, py - t, px + r, py + b]]),
                        torch.tensor([ann[240 + n][0]["bbox"]]).float(),
                    ).item()
                    > 0.5
                )
            w.epoch(train={"loss": np.mean(ep)}, val={"ap50": hit / 80})
    return hit / 80


def zero_width_box(watch, seed, fault):
    """107. A handful of annotations have zero width (a click instead of a drag); log(w / anchor) is -inf and the box loss NaN."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    S = 32
    ims, bx = [], []
    for i in range(400):
        im, _m, b = draw(rng, rng.integers(0, 3), S, rng.uniform(0.5, 1, 3))
        ims.append(im.transpose(2, 0, 1))
        bx.append(b)
    X, B = torch.tensor(np.stack(ims)).float(), torch.tensor(bx).float()
    if fault:
        for i in (57, 131, 266):
            B[i, 2] = B[i, 0]
    ANCHOR = 16.0

    def encode(b):
        c = box_convert(b, "xyxy", "cxcywh")
        return torch.cat([(c[:, :2] - S / 2) / ANCHOR, torch.log(c[:, 2:] / ANCHOR)], 1)

    def decode(t):
        return box_convert(torch.cat([t[:, :2] * ANCHOR + S / 2, torch.exp(t[:, 2:]) * ANCHOR], 1), "cxcywh", "xyxy")

    class BoxHead(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, 2, 1)
            self.conv2 = nn.Conv2d(16, 32, 3, 2, 1)
            self.fc = nn.Linear(32 * 64, 64)
            self.box = nn.Linear(64, 4)

        def forward(self, x):
            x = F.relu(self.conv2(F.relu(self.conv1(x))))
            return self.box(F.relu(self.fc(x.flatten(1))))

    model = BoxHead()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for_train = TensorDataset(X[:320], B[:320])
    with watch(model, optimizer) as w:
        for epoch in range(8):
            run = 0.0
            for x, b in DataLoader(for_train, batch_size=16, shuffle=True):
                deltas = model(x)
                loss = F.mse_loss(deltas, encode(b))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run += loss.item()
                w.step(loss=loss, inputs=x, targets=b, outputs=deltas)
            with torch.no_grad():
                iou = box_iou(decode(model(X[320:])), B[320:]).diagonal().nan_to_num(0.0).mean().item()
            w.epoch(train={"loss": run / 20}, val={"iou": iou})
    return iou


PROGRAMS = [classes_without_comma, zero_width_box]
