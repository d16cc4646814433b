"""Sound programs: ssd anchors to ssd anchors."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.scenes_parts import cbr, det_data, f1_at_half
from torch.utils.data import DataLoader, TensorDataset
from torchvision.ops import box_convert, box_iou, nms


def ssd_anchors(watch, seed, fault):
    """11. An SSD-like detector with two anchor sizes per cell, smooth L1 and three-to-one hard negative mining."""
    torch.manual_seed(seed)
    S, G, C = 48, 12, 3
    kw = dict(n_obj=(1, 2), rmin=0.1, rmax=0.2, colour_by_class=True)
    xtr, ttr = det_data(600, S, seed + 6, **kw)
    xva, tva = det_data(100, S, seed + 10_006, **kw)
    c = (torch.arange(G) + 0.5) * (S / G)
    cy, cx = torch.meshgrid(c, c, indexing="ij")
    anchors = torch.stack(
        [torch.stack([cx, cy, torch.full_like(cx, s), torch.full_like(cx, s)], -1) for s in (11.0, 17.0)], 2
    )
    anchors = anchors.reshape(-1, 4)
    axyxy = box_convert(anchors, "cxcywh", "xyxy")
    var = torch.tensor([0.1, 0.1, 0.2, 0.2])

    def match(t):
        iou = box_iou(axyxy, t["boxes"])
        best, which = iou.max(1)
        lab = torch.where(best >= 0.5, t["labels"][which], torch.zeros_like(which))
        forced = iou.argmax(0)
        lab[forced] = t["labels"]
        which[forced] = torch.arange(len(t["boxes"]))
        g = box_convert(t["boxes"][which], "xyxy", "cxcywh")
        off = torch.cat([(g[:, :2] - anchors[:, :2]) / anchors[:, 2:], (g[:, 2:] / anchors[:, 2:]).log()], 1) / var
        return lab, off

    def prepare(ts):
        m = [match(t) for t in ts]
        return torch.stack([a for a, _ in m]), torch.stack([b for _, b in m])

    class SSD(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(cbr(3, 12, 2), cbr(12, 24, 2), cbr(24, 24), cbr(24, 24, dil=2))
            self.cls = nn.Conv2d(24, 2 * (C + 1), 3, padding=1)
            self.loc = nn.Conv2d(24, 2 * 4, 3, padding=1)

        def forward(self, x):
            h = self.body(x)
            cl = self.cls(h).permute(0, 2, 3, 1).reshape(len(x), -1, C + 1)
            lo = self.loc(h).permute(0, 2, 3, 1).reshape(len(x), -1, 4)
            return cl, lo

    def multibox(cl, lo, lab, off):
        pos = lab > 0
        n = pos.sum().clamp(min=1)
        l_loc = F.smooth_l1_loss(lo[pos], off[pos], reduction="sum") / n
        ce = F.cross_entropy(cl.transpose(1, 2), lab, reduction="none")
        neg = ce.detach().masked_fill(pos, -1.0)
        rank = neg.argsort(1, descending=True).argsort(1)
        hard = rank < (3 * pos.sum(1, keepdim=True))
        return (ce * (pos | hard)).sum() / n + l_loc

    model = SSD()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    sched = torch.optim.lr_scheduler.MultiStepLR(optimizer, [6, 8], 0.2)
    lab_tr, off_tr = prepare(ttr)
    lab_va, off_va = prepare(tva)
    loader = DataLoader(TensorDataset(xtr, lab_tr, off_tr), batch_size=24, shuffle=True)
    score = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(9):
            model.train()
            run = 0.0
            for x, lab, off in loader:
                cl, lo = model(x)
                loss = multibox(cl, lo, lab, off)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=lab, outputs=cl)
                run += loss.item() / len(loader)
            sched.step()
            model.eval()
            with torch.no_grad():
                cl, lo = model(xva)
                vl = multibox(cl, lo, lab_va, off_va).item()
                prob, k = cl.softmax(-1)[..., 1:].max(-1)
                o = lo * var
                ctr = anchors[:, :2] + o[..., :2] * anchors[:, 2:]
                wh = anchors[:, 2:] * o[..., 2:].exp()
                boxes = torch.cat([ctr - wh / 2, ctr + wh / 2], -1)
            preds = []
            for b, p, q in zip(boxes, prob, k):
                keep = p > 0.6
                idx = nms(b[keep], p[keep], 0.3)
                preds.append((b[keep][idx], q[keep][idx] + 1))
            score = f1_at_half(preds, tva)
            w.epoch(train={"loss": run}, val={"loss": vl, "f1": score})
    return score


PROGRAMS = [ssd_anchors]
