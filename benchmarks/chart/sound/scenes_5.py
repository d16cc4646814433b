"""Sound programs: fcos to fcos."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.scenes_parts import cbr, det_data, f1_at_half
from torch.utils.data import DataLoader, TensorDataset
from torchvision.ops import generalized_box_iou_loss, nms, sigmoid_focal_loss


def fcos(watch, seed, fault):
    """12. FCOS: per-pixel distances with GIoU loss, centre-ness and focal loss with a prior bias."""
    torch.manual_seed(seed)
    S, st, C = 48, 4, 3
    G = S // st
    kw = dict(n_obj=(1, 2), rmin=0.12, rmax=0.22, colour_by_class=True)
    xtr, ttr = det_data(600, S, seed + 7, **kw)
    xva, tva = det_data(100, S, seed + 10_007, **kw)
    c = (torch.arange(G) + 0.5) * st
    cy, cx = torch.meshgrid(c, c, indexing="ij")
    pts = torch.stack([cx.reshape(-1), cy.reshape(-1)], 1)

    def assign(t):
        b = t["boxes"]
        l = pts[:, None, 0] - b[None, :, 0]
        tt = pts[:, None, 1] - b[None, :, 1]
        r = b[None, :, 2] - pts[:, None, 0]
        bo = b[None, :, 3] - pts[:, None, 1]
        d = torch.stack([l, tt, r, bo], -1)
        inside = d.min(-1).values > 0
        area = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]))[None].expand(len(pts), -1)
        area = torch.where(inside, area, torch.full_like(area, 1e8))
        a, j = area.min(1)
        fg = a < 1e8
        dist = d[torch.arange(len(pts)), j].clamp(min=0.01)
        ctr = (
            (dist[:, [0, 2]].min(1).values / dist[:, [0, 2]].max(1).values)
            * (dist[:, [1, 3]].min(1).values / dist[:, [1, 3]].max(1).values)
        ).sqrt()
        lab = torch.where(fg, t["labels"][j], torch.zeros_like(j))
        return lab, dist, ctr

    def prepare(ts):
        z = [assign(t) for t in ts]
        return [torch.stack(u) for u in zip(*z)]

    class FCOS(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(cbr(3, 12, 2), cbr(12, 24, 2), cbr(24, 24), cbr(24, 24, dil=2))
            self.tower = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1), nn.GroupNorm(4, 24), nn.ReLU())
            self.cls = nn.Conv2d(24, C, 3, padding=1)
            self.reg = nn.Conv2d(24, 4, 3, padding=1)
            self.ctr = nn.Conv2d(24, 1, 3, padding=1)
            self.scale = nn.Parameter(torch.tensor(1.0))
            nn.init.constant_(self.cls.bias, -math.log((1 - 0.01) / 0.01))

        def forward(self, x):
            h = self.tower(self.body(x))
            f = lambda t: t.flatten(2).transpose(1, 2)
            return f(self.cls(h)), f(torch.exp((self.scale * self.reg(h)).clamp(max=4)) * st), f(self.ctr(h))[..., 0]

    def to_boxes(d):
        return torch.stack(
            [pts[:, 0] - d[..., 0], pts[:, 1] - d[..., 1], pts[:, 0] + d[..., 2], pts[:, 1] + d[..., 3]], -1
        )

    def loss_fn(out, lab, dist, ctr):
        cls, reg, cn = out
        fg = lab > 0
        n = fg.sum().clamp(min=1)
        onehot = F.one_hot(lab, C + 1)[..., 1:].float()
        l_cls = sigmoid_focal_loss(cls, onehot, reduction="sum") / n
        giou = generalized_box_iou_loss(to_boxes(reg)[fg], to_boxes(dist)[fg], reduction="none")
        l_reg = (giou * ctr[fg]).sum() / ctr[fg].sum().clamp(min=1e-6)
        l_ctr = F.binary_cross_entropy_with_logits(cn[fg], ctr[fg])
        return l_cls + l_reg + l_ctr

    model = FCOS()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    tr, va = prepare(ttr), prepare(tva)
    loader = DataLoader(TensorDataset(xtr, *tr), batch_size=24, shuffle=True)
    score = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            run = 0.0
            for x, lab, dist, ctr in loader:
                out = model(x)
                loss = loss_fn(out, lab, dist, ctr)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 10.0)
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=lab, outputs=out[0])
                run += loss.item() / len(loader)
            model.eval()
            with torch.no_grad():
                out = model(xva)
                vl = loss_fn(out, *va).item()
                p, k = out[0].sigmoid().max(-1)
                p = (p * out[2].sigmoid()).sqrt()
                boxes = to_boxes(out[1])
            preds = []
            for b, s, q in zip(boxes, p, k):
                keep = s > 0.5
                i = nms(b[keep], s[keep], 0.3)
                preds.append((b[keep][i], q[keep][i] + 1))
            score = f1_at_half(preds, tva)
            w.epoch(train={"loss": run}, val={"loss": vl, "f1": score})
    return score


PROGRAMS = [fcos]
