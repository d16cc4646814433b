"""Programs with faults of types 107 to 112."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.boxes_parts import (
    GridNet,
    box_iou,
    digits,
    f1_of,
    grid_decode,
    grid_loss,
    grid_targets,
    scene,
)
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def zero_area_box(watch, seed, fault):
    """107. One annotation is a click (x1 == x2, y1 == y2): log(w) is -inf in the box target, and the box loss is NaN or inf."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    S, N = 32, 500
    X = torch.zeros(N, 1, S, S)
    boxes = torch.zeros(N, 4)
    for i in range(N):
        im, b, _ = scene(rng, S, 1, 7, 15)
        X[i, 0], boxes[i] = torch.from_numpy(im), torch.from_numpy(b[0])
    if fault:
        boxes[123, 2:] = boxes[123, :2]
    anchor = 10.0

    def encode(b):
        c = (b[:, :2] + b[:, 2:]) / 2
        return torch.cat([(c - S / 2) / anchor, torch.log((b[:, 2:] - b[:, :2]) / anchor)], 1)

    def decode(t):
        c, wh = t[:, :2] * anchor + S / 2, t[:, 2:].exp() * anchor
        return torch.cat([c - wh / 2, c + wh / 2], 1)

    class Locator(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(
                nn.Conv2d(1, 16, 3, 2, 1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, 2, 1),
                nn.ReLU(),
                nn.Conv2d(32, 32, 3, 2, 1),
                nn.ReLU(),
            )
            self.g = nn.Sequential(nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 4))

        def forward(self, x):
            return self.g(self.f(x))

    net = Locator()
    opt = torch.optim.Adam(net.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(X[:420], boxes[:420]), batch_size=12, shuffle=True)
    with watch(net, opt) as w:
        for epoch in range(10):
            tot = 0.0
            for img, bx in loader:
                pred = net(img)
                loss = ((pred - encode(bx)) ** 2).mean()
                opt.zero_grad()
                loss.backward()
                opt.step()
                tot += loss.item() / len(loader)
                w.step(loss=loss, inputs=img, targets=bx, outputs=pred)
            with torch.no_grad():
                iou = box_iou(decode(net(X[420:])), boxes[420:]).diagonal().mean().item()
            w.epoch(train={"loss": tot}, val={"iou": iou})
    return iou


def threshold_hides_all(watch, seed, fault):
    """108. The confidence threshold is given in per cent (50) to a decoder that compares it with probabilities: no box is left."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    cfg = {"epochs": 9, "batch": 20, "lr": 3e-3, "test": {"score_thr": 50 if fault else 0.5, "nms": 0.4}}
    ims, gt = [], []
    for _ in range(500):
        im, b, _ = scene(rng, 32, int(rng.integers(1, 4)))
        ims.append(im)
        gt.append(torch.from_numpy(b))
    X = torch.from_numpy(np.stack(ims))[:, None]
    model = GridNet()
    opt = torch.optim.Adam(model.parameters(), lr=cfg["lr"])
    f1 = 0.0
    with watch(model, opt) as w:
        for epoch in range(cfg["epochs"]):
            model.train()
            hist = []
            for idx in torch.randperm(420).split(cfg["batch"]):
                batch_gt = [gt[j] for j in idx.tolist()]
                raw = model(X[idx])
                loss = grid_loss(raw, *grid_targets(batch_gt, 4))
                opt.zero_grad()
                loss.backward()
                opt.step()
                hist.append(loss.item())
                w.step(loss=loss, inputs=X[idx], targets=batch_gt, outputs=raw)
            model.eval()
            with torch.no_grad():
                raw = model(X[420:])
                vloss = grid_loss(raw, *grid_targets(gt[420:], 4)).item()
                dets = grid_decode(raw, conf=cfg["test"]["score_thr"], iou=cfg["test"]["nms"])
                f1 = f1_of(dets, gt[420:])
            w.epoch(
                train={"loss": float(np.mean(hist))}, val={"loss": vloss, "f1": f1, "detections": sum(map(len, dets))}
            )
    return f1


def lr_of_eight_gpus(watch, seed, fault):
    """110. The LR of the 8-GPU config (0.1 * 256 / 32 of a large batch) is used with one GPU and batch 8."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = digits(seed)
    mean, std = Xtr.mean(), Xtr.std()
    f = lambda a: torch.from_numpy((a - mean) / std)[:, None]
    Xtr, Xte, ytr, yte = f(Xtr), f(Xte), torch.from_numpy(ytr), torch.from_numpy(yte)
    base_lr, base_batch = 0.8, 512  # 8 GPUs x 64
    batch = 8
    lr = base_lr if fault else base_lr * batch / base_batch

    class Basic(nn.Module):
        def __init__(self, i, o, s):
            super().__init__()
            self.a, self.b = nn.Conv2d(i, o, 3, s, 1), nn.Conv2d(o, o, 3, 1, 1)
            self.n, self.m = nn.GroupNorm(4, o), nn.GroupNorm(4, o)
            self.s = nn.Identity() if i == o else nn.Conv2d(i, o, 1, s)

        def forward(self, x):
            return F.relu(self.m(self.b(F.relu(self.n(self.a(x))))) + self.s(x))

    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1),
        nn.ReLU(),
        Basic(16, 16, 1),
        Basic(16, 32, 2),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    opt = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
    acc = 0.0
    with watch(net, opt) as w:
        for epoch in range(2):
            net.train()
            t = k = 0
            for i in torch.randperm(len(Xtr)).split(batch):
                out = net(Xtr[i])
                loss = F.cross_entropy(out, ytr[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                t += loss.item()
                k += 1
                w.step(loss=loss, inputs=Xtr[i], targets=ytr[i], outputs=out)
            net.eval()
            with torch.no_grad():
                o = net(Xte)
                acc = (o.argmax(1) == yte).float().mean().item()
                w.epoch(train={"loss": t / k}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


def sampler_without_set_epoch(watch, seed, fault):
    """112. DistributedSampler(num_replicas=8, rank=0) without sampler.set_epoch: the same order, and the same eighth of the data, in every epoch."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = digits(seed, 0.3)
    ds = TensorDataset(torch.from_numpy(Xtr).flatten(1) / 16, torch.from_numpy(ytr))
    test_x, test_y = torch.from_numpy(Xte).flatten(1) / 16, torch.from_numpy(yte)
    sampler = DistributedSampler(ds, num_replicas=8, rank=0, shuffle=True, seed=seed)
    loader = DataLoader(ds, batch_size=8, sampler=sampler, drop_last=True)

    class MLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2, self.fc3 = nn.Linear(64, 128), nn.Linear(128, 64), nn.Linear(64, 10)
            self.drop = nn.Dropout(0.1)

        def forward(self, x):
            return self.fc3(self.drop(F.relu(self.fc2(F.relu(self.fc1(x))))))

    model = MLP()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.3)
    acc = 0.0
    with watch(model, optimizer) as w:
        for epoch in range(15):
            if not fault:
                sampler.set_epoch(epoch)
            model.train()
            losses = []
            for x, y in loader:
                logits = model(x)
                loss = F.cross_entropy(logits, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                w.step(loss=loss, inputs=x, targets=y, outputs=logits)
            scheduler.step()
            model.eval()
            with torch.no_grad():
                o = model(test_x)
                acc = (o.argmax(1) == test_y).float().mean().item()
                w.epoch(
                    train={"loss": float(np.mean(losses))},
                    val={"loss": F.cross_entropy(o, test_y).item(), "accuracy": acc},
                )
    return acc


PROGRAMS = [zero_area_box, threshold_hides_all, lr_of_eight_gpus, sampler_without_set_epoch]
