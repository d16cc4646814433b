"""Programs with faults of types 1 to 4."""

import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.first_author import digits_images, shape_pictures
from torch.utils.data import DataLoader, TensorDataset


class BasicBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.short = nn.Identity()
        if stride != 1 or cin != cout:
            self.short = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.short(x))


class HourGlass(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(1, 32, batch_first=True)
        self.fc = nn.Linear(32, 1)

    def forward(self, x):
        h, _ = self.gru(x)
        return self.fc(h[:, -1]).squeeze(-1)


class TinyUNet(nn.Module):
    def __init__(self, classes, c=12):
        super().__init__()

        def double(i, o):
            return nn.Sequential(
                nn.Conv2d(i, o, 3, padding=1, bias=False),
                nn.BatchNorm2d(o),
                nn.ReLU(inplace=True),
                nn.Conv2d(o, o, 3, padding=1, bias=False),
                nn.BatchNorm2d(o),
                nn.ReLU(inplace=True),
            )

        self.d1, self.d2, self.d3 = double(3, c), double(c, 2 * c), double(2 * c, 4 * c)
        self.pool = nn.MaxPool2d(2)
        self.up2 = nn.ConvTranspose2d(4 * c, 2 * c, 2, 2)
        self.u2 = double(4 * c, 2 * c)
        self.up1 = nn.ConvTranspose2d(2 * c, c, 2, 2)
        self.u1 = double(2 * c, c)
        self.out = nn.Conv2d(c, classes, 1)

    def forward(self, x):
        a = self.d1(x)
        b = self.d2(self.pool(a))
        z = self.d3(self.pool(b))
        z = self.u2(torch.cat([self.up2(z), b], 1))
        z = self.u1(torch.cat([self.up1(z), a], 1))
        return self.out(z)


def miou(logits, masks, classes):
    p = logits.argmax(1)
    ok = masks != 255
    ious = []
    for c in range(classes):
        inter = ((p == c) & (masks == c) & ok).sum().item()
        union = (((p == c) | (masks == c)) & ok).sum().item()
        if union:
            ious.append(inter / union)
    return sum(ious) / len(ious)


class GridDetector(nn.Module):
    """YOLO v1 in miniature: 4x4 cells, each (objectness, dx, dy, size, 4 classes)."""

    def __init__(self):
        super().__init__()
        layers, c = [], 3
        for o in (16, 32, 48):
            layers += [nn.Conv2d(c, o, 3, 2, 1, bias=False), nn.BatchNorm2d(o), nn.LeakyReLU(0.1)]
            c = o
        self.body = nn.Sequential(
            *layers, nn.Conv2d(48, 48, 3, 1, 1, bias=False), nn.BatchNorm2d(48), nn.LeakyReLU(0.1)
        )
        self.head = nn.Conv2d(48, 8, 1)

    def forward(self, x):
        return self.head(self.body(x)).permute(0, 2, 3, 1)


class YoloTrainer:
    def __init__(self, model, lr, mixed, forget_backward):
        self.model = model
        self.opt = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4)
        self.mixed = mixed
        self.forget_backward = forget_backward
        self.scaler = torch.amp.GradScaler("cpu", enabled=mixed)

    def targets(self, boxes, labels):
        n = len(labels)
        t = torch.zeros(n, 4, 4, 5)
        cx, cy = boxes[:, 0] / 8, boxes[:, 1] / 8
        gx, gy = cx.long().clamp(max=3), cy.long().clamp(max=3)
        i = torch.arange(n)
        t[i, gy, gx, 0] = 1
        t[i, gy, gx, 1] = cx - gx
        t[i, gy, gx, 2] = cy - gy
        t[i, gy, gx, 3] = boxes[:, 2] / 10
        t[i, gy, gx, 4] = labels.float()
        return t

    def loss(self, p, t):
        obj = t[..., 0] > 0
        l_obj = F.binary_cross_entropy_with_logits(p[..., 0], t[..., 0])
        l_box = F.mse_loss(p[..., 1:4][obj], t[..., 1:4][obj])
        l_cls = F.cross_entropy(p[..., 4:][obj], t[..., 4][obj].long())
        return l_obj + 2 * l_box + l_cls

    def train_step(self, x, boxes, labels):
        self.opt.zero_grad()
        p = self.model(x)
        t = self.targets(boxes, labels)
        loss = self.loss(p, t)
        if self.mixed:
            self.scaler.scale(loss).backward()
            self.scaler.step(self.opt)
            self.scaler.update()
        else:
            if not self.forget_backward:
                loss.backward()
            self.opt.step()
        return loss, p, t

    @torch.no_grad()
    def evaluate(self, x, boxes, labels):
        self.model.eval()
        p = self.model(x)
        l = self.loss(p, self.targets(boxes, labels)).item()
        n = len(x)
        best = p[..., 0].reshape(n, -1).argmax(1)
        sel = p.reshape(n, 16, 8)[torch.arange(n), best]
        cx = (best % 4 + sel[:, 1]) * 8
        cy = (best // 4 + sel[:, 2]) * 8
        near = ((cx - boxes[:, 0]).abs() < 4) & ((cy - boxes[:, 1]).abs() < 4)
        good = near & (sel[:, 4:].argmax(1) == labels)
        self.model.train()
        return l, good.float().mean().item()


def zero_grad_once_per_epoch(watch, seed, fault):
    """1. A small ResNet on digits clears the gradients at the top of each epoch only, so they pile up over the batches."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)
    train_loader = DataLoader(TensorDataset(Xtr, ytr), batch_size=64, shuffle=True)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        BasicBlock(16, 16, 1),
        BasicBlock(16, 32, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    with watch(net, optimizer) as w:
        for epoch in range(6):
            net.train()
            optimizer.zero_grad()
            tot, hit = 0.0, 0
            for images, labels in train_loader:
                if not fault:
                    optimizer.zero_grad()
                logits = net(images)
                loss = F.cross_entropy(logits, labels)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=images, targets=labels, outputs=logits)
                tot += loss.item() * len(labels)
                hit += (logits.argmax(1) == labels).sum().item()
            net.eval()
            with torch.no_grad():
                out = net(Xte)
                vl, va = F.cross_entropy(out, yte).item(), (out.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": tot / len(ytr), "accuracy": hit / len(ytr)}, val={"loss": vl, "accuracy": va})
    return va


def zero_grad_on_wrong_object(watch, seed, fault):
    """1. zero_grad is called on a frozen copy of the net (the EMA) and not on the GRU that is trained, so gradients accumulate."""
    torch.manual_seed(seed)
    g = np.random.RandomState(seed)
    phase = g.uniform(0, 6.28, 1200)
    freq = g.uniform(0.2, 0.5, 1200)
    t = np.arange(25)
    series = np.sin(phase[:, None] + freq[:, None] * t) + g.normal(0, 0.05, (1200, 25))
    x = torch.tensor(series[:, :24], dtype=torch.float32).unsqueeze(-1)
    y = torch.tensor(series[:, 24], dtype=torch.float32)
    student = HourGlass()
    ema = copy.deepcopy(student)
    opt = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9)
    crit = nn.MSELoss()
    with watch(student, opt) as w:
        for epoch in range(8):
            perm = torch.randperm(1000)
            losses = []
            for i in range(0, 1000, 40):
                idx = perm[i : i + 40]
                (ema if fault else student).zero_grad()
                pred = student(x[idx])
                loss = crit(pred, y[idx])
                loss.backward()
                opt.step()
                with torch.no_grad():
                    for pe, ps in zip(ema.parameters(), student.parameters()):
                        pe.lerp_(ps, 0.05)
                w.step(loss=loss, inputs=x[idx], targets=y[idx], outputs=pred)
                losses.append(loss.item())
            with torch.no_grad():
                val = crit(student(x[1000:]), y[1000:]).item()
            w.epoch(train={"loss": float(np.mean(losses))}, val={"loss": val})
    return 1 - val / y[1000:].var().item()


def unet_zero_before_step(watch, seed, fault):
    """2. U-Net on shapes: zero_grad is called between backward and step, the optimizer sees no gradients."""
    torch.manual_seed(seed)
    X, _, M, _ = shape_pictures(360, seed, size=24, noise=0.1, rmin=4, rmax=8)
    M[:, :1] = 255  # border is not labelled
    train = DataLoader(TensorDataset(X[:300], M[:300]), batch_size=20, shuffle=True, drop_last=True)
    model = TinyUNet(5)
    optim = torch.optim.Adam(model.parameters(), 4e-3)
    criterion = nn.CrossEntropyLoss(ignore_index=255)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optim, 11)
    with watch(model, optim) as w:
        for epoch in range(11):
            model.train()
            s = 0
            for img, mask in train:
                pred = model(img)
                loss = criterion(pred, mask)
                if fault:
                    loss.backward()
                    optim.zero_grad()
                    optim.step()
                else:
                    optim.zero_grad()
                    loss.backward()
                    optim.step()
                s += loss.item()
                w.step(loss=loss, inputs=img, targets=mask, outputs=pred)
            cosine.step()
            model.eval()
            with torch.no_grad():
                pv = model(X[300:])
            score = miou(pv, M[300:], 5)
            w.epoch(train={"loss": s / len(train)}, val={"loss": criterion(pv, M[300:]).item(), "miou": score})
    return score


def yolo_without_backward(watch, seed, fault):
    """3. A YOLO-grid detector whose trainer calls backward only in the mixed-precision branch; here it runs in float32."""
    torch.manual_seed(seed)
    X, Y, _, B = shape_pictures(700, seed)
    tr = YoloTrainer(GridDetector(), 3e-3, mixed=False, forget_backward=fault)
    with watch(tr.model, tr.opt) as w:
        for epoch in range(12):
            order = torch.randperm(600)
            running = 0
            for i in range(0, 600, 30):
                b = order[i : i + 30]
                loss, p, t = tr.train_step(X[b], B[b], Y[b])
                running += float(loss.detach())
                w.step(loss=loss, inputs=X[b], targets=t, outputs=p)
            vl, acc = tr.evaluate(X[600:], B[600:], Y[600:])
            w.epoch(train={"loss": running / 20}, val={"loss": vl, "hit_rate": acc})
    return acc


def heatmap_step_without_parentheses(watch, seed, fault):
    """4. Keypoint heat maps: `opt.step` stands there without parentheses, so the weights never move."""
    torch.manual_seed(seed)
    X, _, _, B = shape_pictures(400, seed + 7, size=24, rmin=3, rmax=6)
    grid = torch.arange(24.0)
    H = torch.exp(
        -((grid[None, None, :] - B[:, 0, None, None]) ** 2 + (grid[None, :, None] - B[:, 1, None, None]) ** 2) / 8
    )
    net = nn.Sequential(
        nn.Conv2d(3, 16, 5, padding=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 5, padding=2),
        nn.ReLU(),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Conv2d(32, 1, 3, padding=1),
    )
    opt = torch.optim.NAdam(net.parameters(), lr=4e-4)
    with watch(net, opt) as w:
        for ep in range(8):
            net.train()
            for xb, hb in DataLoader(TensorDataset(X[:320], H[:320]), 32, shuffle=True):
                opt.zero_grad(set_to_none=True)
                yhat = net(xb).squeeze(1)
                loss = ((yhat - hb) ** 2).mean() * 10
                loss.backward()
                if fault:
                    opt.step
                else:
                    opt.step()
                w.step(loss=loss, inputs=xb, targets=hb, outputs=yhat)
            net.eval()
            with torch.no_grad():
                yv = net(X[320:]).squeeze(1)
                am = yv.flatten(1).argmax(1)
                d = torch.hypot(am % 24 - B[320:, 0], am // 24 - B[320:, 1])
                pck = (d < 3).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": ((yv - H[320:]) ** 2).mean().item() * 10, "pck": pck})
    return pck


PROGRAMS = [
    zero_grad_once_per_epoch,
    zero_grad_on_wrong_object,
    unet_zero_before_step,
    yolo_without_backward,
    heatmap_step_without_parentheses,
]
