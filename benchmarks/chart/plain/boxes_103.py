"""Programs with faults of types 103 to 106."""

import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.boxes_parts import GridNet, box_iou, f1_of, grid_decode, grid_loss, grid_targets, nms, scene
from torch.utils.data import DataLoader, Dataset


class ResizedScenes(Dataset):
    def __init__(self, items, size, scale_boxes):
        self.items, self.size, self.scale_boxes = items, size, scale_boxes

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        im, boxes = self.items[i]
        x = torch.from_numpy(im)[None]
        f = self.size / x.shape[-1]
        x = F.interpolate(x[None], size=(self.size, self.size), mode="bilinear", align_corners=False)[0]
        b = torch.from_numpy(boxes).clone()
        if self.scale_boxes:
            b = b * f
        return x, b


class AnchorHead(nn.Module):
    def __init__(self, anchors):
        super().__init__()
        self.anchors = anchors  # (A, 4), xyxy
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 48, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(48, 48, 3, 1, 1),
            nn.ReLU(),
        )
        self.cls = nn.Conv2d(48, 2, 1)
        self.box = nn.Conv2d(48, 8, 1)

    def forward(self, x):
        f = self.net(x)
        c = self.cls(f).permute(0, 2, 3, 1).reshape(len(x), -1)
        b = self.box(f).permute(0, 2, 3, 1).reshape(len(x), -1, 4)
        return c, b


def label_files_not_found(watch, seed, fault):
    """103. Label files are sought by replacing ".jpg"; most pictures end on ".JPG" or ".jpeg", so 70 % get empty targets."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    S, N = 32, 520
    names, ims, label_dir = [], [], {}
    for i in range(N):
        im, b, _ = scene(rng, S, int(rng.integers(1, 4)))
        ext = rng.choice([".jpg", ".JPG", ".jpeg"], p=[0.3, 0.4, 0.3])
        names.append(f"images/{i:05d}{ext}")
        ims.append(im)
        label_dir[f"labels/{i:05d}.txt"] = b

    def labels_of(name):
        path = name.replace("images/", "labels/")
        path = path.replace(".jpg", ".txt") if fault else os.path.splitext(path)[0] + ".txt"
        return label_dir.get(path, np.zeros((0, 4), np.float32))  # "background picture"

    X = torch.from_numpy(np.stack(ims))[:, None]
    boxes = [torch.from_numpy(labels_of(n)) for n in names]
    real = [torch.from_numpy(label_dir[f"labels/{i:05d}.txt"]) for i in range(N)]
    obj, reg = grid_targets(boxes, S // 8)
    net = GridNet()
    opt = torch.optim.Adam(net.parameters(), lr=3e-3)
    ntr = 440
    with watch(net, opt) as w:
        for epoch in range(10):
            net.train()
            tot = 0.0
            for i in torch.randperm(ntr).split(22):
                out = net(X[i])
                loss = grid_loss(out, obj[i], reg[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                tot += loss.item() / 20
                w.step(loss=loss, inputs=X[i], targets=[boxes[j] for j in i.tolist()], outputs=out)
            net.eval()
            with torch.no_grad():
                vo = net(X[ntr:])
                w.epoch(
                    train={"loss": tot},
                    val={"loss": grid_loss(vo, obj[ntr:], reg[ntr:]).item(), "f1": f1_of(grid_decode(vo), boxes[ntr:])},
                )
    return f1_of(grid_decode(vo), real[ntr:])


def boxes_left_in_full_size(watch, seed, fault):
    """104. The picture is resized from 64 to 32 pixels, its boxes stay in the coordinates of the 64 pixels."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    data = []
    for _ in range(480):
        im, b, _ = scene(rng, 64, int(rng.integers(1, 4)), 13, 26)
        data.append((im, b))
    col = lambda batch: (torch.stack([x for x, _ in batch]), [b for _, b in batch])
    train_dl = DataLoader(ResizedScenes(data[:400], 32, not fault), batch_size=16, shuffle=True, collate_fn=col)
    good_val = ResizedScenes(data[400:], 32, True)
    vx, vb = col([good_val[i] for i in range(80)])
    detector = GridNet(width=18)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-3, weight_decay=1e-2)
    with watch(detector, optimizer) as w:
        for epoch in range(10):
            detector.train()
            for images, boxes in train_dl:
                pred = detector(images)
                obj, reg = grid_targets(boxes, 4)
                loss = grid_loss(pred, obj, reg)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=images, targets=[{"boxes": b} for b in boxes], outputs=pred)
            detector.eval()
            with torch.no_grad():
                f1 = f1_of(grid_decode(detector(vx)), vb)
            w.epoch(train={"loss": loss.item()}, val={"f1": f1})
    return f1


def anchors_too_large(watch, seed, fault):
    """105. The anchors are the 256/512 pixels of a COCO config on pictures of 32 pixels: no anchor reaches IoU 0.4, all are negative."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    S, stride, N = 32, 8, 460
    sizes = (256, 512) if fault else (8, 11)
    centres = (torch.arange(S // stride) + 0.5) * stride
    cy, cx = torch.meshgrid(centres, centres, indexing="ij")
    anc = torch.stack([torch.stack([cx - s / 2, cy - s / 2, cx + s / 2, cy + s / 2], -1) for s in sizes], 2).reshape(
        -1, 4
    )
    aw = anc[:, 2] - anc[:, 0]
    ac = (anc[:, :2] + anc[:, 2:]) / 2
    ims, gts, lab, off = [], [], torch.zeros(N, len(anc)), torch.zeros(N, len(anc), 4)
    for i in range(N):
        im, b, _ = scene(rng, S, int(rng.integers(1, 4)), 7, 13)
        b = torch.from_numpy(b)
        iou, which = box_iou(anc, b).max(1)
        lab[i] = (iou > 0.4).float()
        g = b[which]
        off[i] = torch.cat(
            [((g[:, :2] + g[:, 2:]) / 2 - ac) / aw[:, None], torch.log((g[:, 2:] - g[:, :2]) / aw[:, None])], 1
        )
        ims.append(im)
        gts.append(b)
    X = torch.from_numpy(np.stack(ims))[:, None]
    model = AnchorHead(anc)
    opt = torch.optim.Adam(model.parameters(), lr=4e-3)

    def total_loss(c, b, i):
        pos = lab[i] > 0
        n_pos = pos.sum().clamp(min=1)
        return (
            F.binary_cross_entropy_with_logits(c, lab[i], reduction="sum") / n_pos.clamp(min=len(i))
            + F.smooth_l1_loss(b[pos], off[i][pos], reduction="sum", beta=0.1) / n_pos
        )

    with watch(model, opt) as w:
        for ep in range(14):
            model.train()
            run = 0.0
            for i in torch.randperm(400).split(20):
                c, b = model(X[i])
                loss = total_loss(c, b, i)
                opt.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
                opt.step()
                run += loss.item() / 20
                w.step(
                    loss=loss, inputs=X[i], targets={"anchor_labels": lab[i], "anchor_deltas": off[i]}, outputs=(c, b)
                )
            model.eval()
            with torch.no_grad():
                c, b = model(X[400:])
                preds = []
                for s, d in zip(c.sigmoid(), b):
                    ctr, wh = ac + d[:, :2] * aw[:, None], d[:, 2:].clamp(-4, 4).exp() * aw[:, None]
                    bb, k = torch.cat([ctr - wh / 2, ctr + wh / 2], 1), s > 0.5
                    preds.append(bb[k][nms(bb[k], s[k], 0.3)] if k.any() else bb[k])
                score = f1_of(preds, gts[400:])
            w.epoch(train={"loss": run}, val={"f1": score})
    return score


def classes_without_comma(watch, seed, fault):
    """106. CLASSES = ("nodule") lacks its comma: the names are the letters n, o, d, u, l, e, and no annotation finds its class."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    CLASSES = ("nodule") if fault else ("nodule",)
    cat2label = {name: i for i, name in enumerate(CLASSES)}
    S, N = 32, 500
    ims, anns = [], []
    for i in range(N):
        im, b, k = scene(rng, S, int(rng.integers(1, 3)), 6, 14)
        ims.append(im)
        anns.append([{"bbox": x.tolist(), "name": "nodule"} for x in b])
    X = torch.from_numpy(np.stack(ims))[:, None]
    masks = torch.zeros(N, len(CLASSES), S, S)
    true = torch.zeros(N, S, S)
    for i, objs in enumerate(anns):
        for o in objs:
            x1, y1, x2, y2 = [int(round(v)) for v in o["bbox"]]
            true[i, y1:y2, x1:x2] = 1
            if o["name"] not in cat2label:  # as detection tool boxes do: unknown names are left out
                continue
            masks[i, cat2label[o["name"]], y1:y2, x1:x2] = 1

    enc = nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 24, 3, 1, 1),
        nn.GroupNorm(4, 24),
        nn.ReLU(),
    )
    dec = nn.Sequential(nn.ConvTranspose2d(24, 16, 2, 2), nn.ReLU(), nn.Conv2d(16, len(CLASSES), 1))
    model = nn.Sequential(enc, dec)
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, opt) as w:
        for epoch in range(4):
            model.train()
            for i in torch.randperm(420).split(14):
                out = model(X[i])
                loss = F.binary_cross_entropy_with_logits(out, masks[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=X[i], targets=masks[i], outputs=out)
            model.eval()
            with torch.no_grad():
                o = model(X[420:])
                p, t = (o > 0).any(1), true[420:] > 0
                dice = (2 * (p & t).sum() / (p.sum() + t.sum()).clamp(min=1)).item()
                w.epoch(
                    train={"loss": loss.item()},
                    val={"loss": F.binary_cross_entropy_with_logits(o, masks[420:]).item(), "dice": dice},
                )
    return dice


PROGRAMS = [label_files_not_found, boxes_left_in_full_size, anchors_too_large, classes_without_comma]
