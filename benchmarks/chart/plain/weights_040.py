"""Programs with faults of types 40 to 41."""

import copy
from collections import OrderedDict

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.weights_parts import digits
from torch.utils.data import DataLoader, TensorDataset


def shapes(n, seed, size=16):
    """0 square, 1 frame, 2 cross, 3 disc, drawn at random places on noise"""
    rng = np.random.RandomState(seed)
    x = rng.normal(0, 0.15, (n, 1, size, size)).astype(np.float32)
    y = rng.randint(0, 4, n)
    yy, xx = np.mgrid[:size, :size]
    for i in range(n):
        r = rng.randint(3, 5)
        cy, cx = rng.randint(r, size - r, 2)
        m = np.maximum(abs(yy - cy), abs(xx - cx))
        if y[i] == 0:
            mask = m <= r - 1
        elif y[i] == 1:
            mask = m == r - 1
        elif y[i] == 2:
            mask = ((yy == cy) | (xx == cx)) & (m <= r)
        else:
            mask = (yy - cy) ** 2 + (xx - cx) ** 2 <= r * r
        x[i, 0][mask] += 1.0
    return torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))


def finetune_after_reinit(watch, seed, fault):
    """40. After the pretrained weights are loaded the model is run once more through model.apply(init_weights)."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits(seed)

    def build():
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )

    def init_weights(m):
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(m.weight, 0.0, 0.05)
            nn.init.zeros_(m.bias)

    # --- "pretraining" on the large part of the data
    pre = build()
    opt = torch.optim.Adam(pre.parameters(), 2e-3)
    for _ in range(8):
        for idx in torch.randperm(1200).split(64):
            opt.zero_grad()
            F.cross_entropy(pre(xtr[idx]), ytr[idx]).backward()
            opt.step()
    checkpoint = copy.deepcopy(pre.state_dict())

    # --- fine tuning on 200 pictures of a slightly changed domain (inverted contrast is mild: darker strokes)
    xs, ys = 0.7 * xtr[1200:] + 0.1, ytr[1200:]
    xt = 0.7 * xte + 0.1
    net = build()
    if not fault:
        net.apply(init_weights)
    net.load_state_dict(checkpoint)
    if fault:
        net.apply(init_weights)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.005, momentum=0.9)
    loader = DataLoader(TensorDataset(xs, ys), batch_size=20, shuffle=True)
    with watch(net, optimizer) as w:
        for epoch in range(6):
            tot = cor = n = 0
            for x, y in loader:
                optimizer.zero_grad()
                out = net(x)
                loss = F.cross_entropy(out, y)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
                tot += loss.item() * len(x)
                n += len(x)
                cor += (out.argmax(1) == y).sum().item()
            with torch.no_grad():
                o = net(xt)
                vl, acc = F.cross_entropy(o, yte).item(), (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": tot / n, "accuracy": cor / n}, val={"loss": vl, "accuracy": acc})
    return acc


def probe_with_dataparallel_prefix(watch, seed, fault):
    """41. The checkpoint's keys still carry 'module.encoder.' and load_state_dict(strict=False) silently matches none of them."""
    torch.manual_seed(seed)

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
            self.bn1 = nn.BatchNorm2d(16)
            self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
            self.bn2 = nn.BatchNorm2d(32)
            self.conv3 = nn.Conv2d(32, 48, 3, padding=1)
            self.bn3 = nn.BatchNorm2d(48)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
            x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
            x = F.relu(self.bn3(self.conv3(x)))
            return F.adaptive_max_pool2d(x, 1).flatten(1)

    class Classifier(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.encoder = Encoder()
            self.fc = nn.Linear(48, n)

        def forward(self, x):
            return self.fc(self.encoder(x))

    px, py = shapes(1200, seed + 100)
    big = Classifier(4)
    o = torch.optim.AdamW(big.parameters(), 3e-3)
    for _ in range(6):
        for i in torch.randperm(len(px)).split(64):
            o.zero_grad()
            F.cross_entropy(big(px[i]), py[i]).backward()
            o.step()
    saved = OrderedDict(("module." + k, v.clone()) for k, v in big.state_dict().items())

    # downstream task: 96 labelled pictures
    tx, ty = shapes(96, seed + 200)
    vx, vy = shapes(400, seed + 300)
    model = Classifier(4)
    prefix = "encoder." if fault else "module.encoder."
    sd = {(k[len(prefix) :] if k.startswith(prefix) else k): v for k, v in saved.items()}
    model.encoder.load_state_dict(sd, strict=False)

    opt = torch.optim.Adam(
        [{"params": model.encoder.parameters(), "lr": 1e-4}, {"params": model.fc.parameters(), "lr": 1e-2}]
    )
    with watch(model, opt) as w:
        for ep in range(15):
            model.train()
            for i in torch.randperm(96).split(16):
                logits = model(tx[i])
                loss = F.cross_entropy(logits, ty[i])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=tx[i], targets=ty[i], outputs=logits)
            model.eval()
            with torch.no_grad():
                vo = model(vx)
                va = (vo.argmax(-1) == vy).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(vo, vy).item(), "accuracy": va})
    return va


PROGRAMS = [finetune_after_reinit, probe_with_dataparallel_prefix]
