"""Sound programs: centernet heatmaps to retinanet tiny."""

from functools import partial

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.scenes_parts import DetSet, cbr, det_data, f1_at_half
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import MultiScaleRoIAlign, box_convert


class SmallBackbone(nn.Sequential):
    def __init__(self, c=32):
        super().__init__(cbr(3, 12, 2), cbr(12, 24, 2), cbr(24, c), cbr(c, c))
        self.out_channels = c


def centernet_heatmaps(watch, seed, fault):
    """13. CenterNet: Gaussian heat maps with penalty-reduced focal loss, prior bias -2.19, L1 on sizes."""
    torch.manual_seed(seed)
    S, st, C = 48, 4, 3
    G = S // st
    kw = dict(n_obj=(1, 3), rmin=0.09, rmax=0.17, colour_by_class=True)
    xtr, ttr = det_data(600, S, seed + 8, **kw)
    xva, tva = det_data(100, S, seed + 10_008, **kw)

    def encode(ts):
        hm, wh, off, mk = (
            torch.zeros(len(ts), C, G, G),
            torch.zeros(len(ts), 2, G, G),
            torch.zeros(len(ts), 2, G, G),
            torch.zeros(len(ts), 1, G, G),
        )
        yy, xx = torch.meshgrid(torch.arange(G), torch.arange(G), indexing="ij")
        for i, t in enumerate(ts):
            for (cx, cy, bw, bh), l in zip(box_convert(t["boxes"], "xyxy", "cxcywh").tolist(), t["labels"].tolist()):
                gx, gy = int(cx / st), int(cy / st)
                g = torch.exp(-((xx - gx) ** 2 + (yy - gy) ** 2) / (2 * 0.8**2))
                hm[i, l - 1] = torch.maximum(hm[i, l - 1], g)
                wh[i, :, gy, gx] = torch.tensor([bw / 10, bh / 10])
                off[i, :, gy, gx] = torch.tensor([cx / st - gx, cy / st - gy])
                mk[i, 0, gy, gx] = 1
        return hm, wh, off, mk

    class CenterNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(cbr(3, 12, 2), cbr(12, 24, 2), cbr(24, 24), cbr(24, 24))
            self.hm, self.wh, self.off = nn.Conv2d(24, C, 1), nn.Conv2d(24, 2, 1), nn.Conv2d(24, 2, 1)
            nn.init.constant_(self.hm.bias, -2.19)

        def forward(self, x):
            h = self.body(x)
            return self.hm(h), self.wh(h), self.off(h)

    def loss_fn(out, hm, wh, off, mk):
        p = out[0].sigmoid().clamp(1e-4, 1 - 1e-4)
        pos = (hm == 1).float()
        n = pos.sum().clamp(min=1)
        l_hm = -((1 - p).pow(2) * p.log() * pos + (1 - hm).pow(4) * p.pow(2) * (1 - p).log() * (1 - pos)).sum() / n
        l_wh = (F.l1_loss(out[1], wh, reduction="none") * mk).sum() / n
        l_off = (F.l1_loss(out[2], off, reduction="none") * mk).sum() / n
        return l_hm + l_wh + l_off

    model = CenterNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    sched = torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.3)
    tr, va = encode(ttr), encode(tva)
    loader = DataLoader(TensorDataset(xtr, *tr), batch_size=20, shuffle=True)
    score = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            run = 0.0
            for x, hm, wh, off, mk in loader:
                optimizer.zero_grad()
                out = model(x)
                loss = loss_fn(out, hm, wh, off, mk)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=hm, outputs=out[0])
                run += loss.item() / len(loader)
            sched.step()
            model.eval()
            with torch.no_grad():
                out = model(xva)
                vl = loss_fn(out, *va).item()
                p = out[0].sigmoid()
                p = p * (F.max_pool2d(p, 3, 1, 1) == p)
            preds = []
            for i in range(len(xva)):
                k, gy, gx = torch.where(p[i] > 0.35)
                ctr = (torch.stack([gx, gy], 1) + out[2][i][:, gy, gx].T) * st
                whs = out[1][i][:, gy, gx].T * 10
                preds.append((torch.cat([ctr - whs / 2, ctr + whs / 2], 1), k + 1))
            score = f1_at_half(preds, tva)
            w.epoch(train={"loss": run}, val={"loss": vl, "f1": score})
    return score


def faster_rcnn_tiny(watch, seed, fault):
    """14. torchvision's Faster R-CNN with a tiny backbone and small heads on 64-pixel scenes."""
    torch.manual_seed(seed)
    kw = dict(n_obj=(1, 2), rmin=0.12, rmax=0.2, colour_by_class=True, normal=False)
    xtr, ttr = det_data(520, 48, seed + 9, **kw)
    xva, tva = det_data(50, 48, seed + 10_009, **kw)
    backbone = SmallBackbone(32)
    anchors = AnchorGenerator(sizes=((10, 16, 22),), aspect_ratios=((1.0,),))
    pool = MultiScaleRoIAlign(featmap_names=["0"], output_size=4, sampling_ratio=2)

    class BoxHead(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(32 * 16, 64)

        def forward(self, x):
            return F.relu(self.fc(x.flatten(1)))

    class Predictor(nn.Module):
        def __init__(self):
            super().__init__()
            self.cls, self.box = nn.Linear(64, 4), nn.Linear(64, 16)

        def forward(self, x):
            return self.cls(x), self.box(x)

    model = FasterRCNN(
        backbone,
        rpn_anchor_generator=anchors,
        box_roi_pool=pool,
        box_head=BoxHead(),
        box_predictor=Predictor(),
        min_size=48,
        max_size=48,
        image_mean=[0.35] * 3,
        image_std=[0.25] * 3,
        rpn_pre_nms_top_n_train=100,
        rpn_post_nms_top_n_train=40,
        rpn_pre_nms_top_n_test=60,
        rpn_post_nms_top_n_test=20,
        rpn_batch_size_per_image=64,
        box_batch_size_per_image=32,
        box_detections_per_img=10,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = DataLoader(DetSet(xtr, ttr), batch_size=8, shuffle=True, collate_fn=lambda b: tuple(zip(*b)))
    with watch(model, optimizer) as w:
        model.train()
        for epoch in range(1):
            parts = []
            for images, targets in loader:
                losses = model(list(images), list(targets))
                loss = sum(losses.values())
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                w.step(loss=loss)
                parts.append(loss.item())
            w.epoch(train={"loss": float(np.mean(parts))})
    model.eval()
    preds = []
    with torch.no_grad():
        for i in range(0, len(xva), 10):
            for o in model(list(xva[i : i + 10])):
                k = o["scores"] > 0.5
                preds.append((o["boxes"][k], o["labels"][k]))
    return f1_at_half(preds, tva)


def retinanet_tiny(watch, seed, fault):
    """15. torchvision's RetinaNet with a tiny one-level backbone on drawn scenes, AdamW with one cycle."""
    torch.manual_seed(seed)
    kw = dict(n_obj=(1, 2), rmin=0.12, rmax=0.2, colour_by_class=True, normal=False)
    xtr, ttr = det_data(960, 48, seed + 10, **kw)
    xva, tva = det_data(50, 48, seed + 10_010, **kw)
    backbone = SmallBackbone(24)
    anchors = AnchorGenerator(sizes=((10, 14, 20),), aspect_ratios=((1.0,),))
    model = RetinaNet(
        backbone,
        num_classes=4,
        anchor_generator=anchors,
        min_size=48,
        max_size=48,
        image_mean=[0.35] * 3,
        image_std=[0.25] * 3,
        detections_per_img=10,
        topk_candidates=50,
        nms_thresh=0.3,
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.4,
        head=RetinaNetHead(24, 3, 4, norm_layer=partial(nn.GroupNorm, 4)),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    warm = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=len(xtr) // 8, pct_start=0.2)
    loader = DataLoader(DetSet(xtr, ttr), batch_size=8, shuffle=True, collate_fn=lambda b: tuple(zip(*b)))
    with watch(model, optimizer) as w:
        model.train()
        for images, targets in loader:
            out = model(list(images), list(targets))
            loss = out["classification"] + out["bbox_regression"]
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            warm.step()
            w.step(loss=loss, inputs=torch.stack(images))
    model.eval()
    preds = []
    with torch.no_grad():
        for i in range(0, len(xva), 10):
            for o in model(list(xva[i : i + 10])):
                k = o["scores"] > 0.35
                preds.append((o["boxes"][k], o["labels"][k]))
    return f1_at_half(preds, tva)


PROGRAMS = [centernet_heatmaps, faster_rcnn_tiny, retinanet_tiny]
