"""Programs with faults of types 40 to 41."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.second_author import digits_images, draw
from torch.utils.data import DataLoader, TensorDataset


def reinit_after_loading(watch, seed, fault):
    """40. Fine-tuning: after loading the pretrained checkpoint the whole net goes through the init function meant for the new head."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)

    class Net(nn.Module):
        def __init__(self, n_out):
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(1, 24, 3, padding=1),
                nn.BatchNorm2d(24),
                nn.ReLU(),
                nn.Conv2d(24, 48, 3, padding=1, stride=2),
                nn.BatchNorm2d(48),
                nn.ReLU(),
                nn.Conv2d(48, 64, 3, padding=1, stride=2),
                nn.BatchNorm2d(64),
                nn.ReLU(),
                nn.Flatten(),
            )
            self.fc = nn.Linear(256, n_out)

        def forward(self, x):
            return self.fc(self.features(x))

    def init_weights(m):
        if isinstance(m, (nn.Linear, nn.Conv2d)):
            nn.init.normal_(m.weight, 0, 0.02)
            nn.init.zeros_(m.bias)

    # pretraining on the ten digits
    src = Net(10)
    o = torch.optim.Adam(src.parameters(), 2e-3)
    for _ in range(4):
        for i in torch.randperm(1200).split(64):
            o.zero_grad()
            F.cross_entropy(src(xtr[i]), ytr[i]).backward()
            o.step()
    checkpoint = {k: v for k, v in src.state_dict().items() if not k.startswith("fc.")}

    # new camera: dim and noisy digits, forty labelled pictures
    g = torch.Generator().manual_seed(seed)
    xtr, xte = [0.6 * t + 0.1 + 0.1 * torch.randn(t.shape, generator=g) for t in (xtr, xte)]
    model = Net(10)
    model.load_state_dict(checkpoint, strict=False)
    if fault:
        model.apply(init_weights)
    else:
        model.fc.apply(init_weights)
    xs, ys = xtr[1200:1240], ytr[1200:1240]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    with watch(model, optimizer) as w:
        for epoch in range(15):
            model.train()
            tot, hit = 0.0, 0
            for idx in torch.randperm(40).split(8):
                optimizer.zero_grad()
                out = model(xs[idx])
                loss = F.cross_entropy(out, ys[idx])
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=xs[idx], targets=ys[idx], outputs=out)
                tot += loss.item() * len(idx)
                hit += (out.argmax(1) == ys[idx]).sum().item()
            model.eval()
            with torch.no_grad():
                lo = model(xte)
                vl = F.cross_entropy(lo, yte).item()
                va = (lo.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": tot / 40, "accuracy": hit / 40}, val={"loss": vl, "accuracy": va})
    return va


def backbone_prefix(watch, seed, fault):
    """41. A backbone saved from a wrapped model ('module.' prefix) is loaded with strict=False, so no key matches; the frozen backbone stays random."""
    torch.manual_seed(seed)

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            chs = [3, 16, 32, 32]
            self.stages = nn.ModuleList(
                nn.Sequential(
                    nn.Conv2d(a, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True), nn.MaxPool2d(2)
                )
                for a, b in zip(chs, chs[1:])
            )

        def forward(self, x):
            for s in self.stages:
                x = s(x)
            return F.adaptive_max_pool2d(x, 1).flatten(1)

    class Wrapped(nn.Module):
        def __init__(self, m):
            super().__init__()
            self.module = m

        def forward(self, x):
            return self.module(x)

    bx, bk, _, _ = draw(1200, 24, seed + 1)
    wrapped = Wrapped(Backbone())
    lin = nn.Linear(32, 4)
    o = torch.optim.Adam([*wrapped.parameters(), *lin.parameters()], 4e-3)
    for _ in range(6):
        for i in torch.randperm(1200).split(48):
            o.zero_grad()
            F.cross_entropy(lin(wrapped(bx[i])), bk[i]).backward()
            o.step()
    state = wrapped.state_dict()

    bb = Backbone()
    if not fault:
        state = {k.replace("module.", "", 1): v for k, v in state.items()}
    bb.load_state_dict(state, strict=False)
    for p in bb.parameters():
        p.requires_grad_(False)
    model = nn.Sequential(bb, nn.Linear(32, 3))
    tx, tk, _, _ = draw(400, 24, seed + 2, classes=3, noise=0.2)
    vx, vk, _, _ = draw(300, 24, seed + 3, classes=3, noise=0.2)
    loader = DataLoader(TensorDataset(tx, tk), 20, shuffle=True)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    with watch(model, optimizer) as w:
        for ep in range(6):
            model.train()
            bb.eval()
            for xb, yb in loader:
                optimizer.zero_grad(set_to_none=True)
                pred = model(xb)
                loss = criterion(pred, yb)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=pred)
            model.eval()
            with torch.no_grad():
                acc = (model(vx).argmax(1) == vk).float().mean().item()
            w.epoch(val={"accuracy": acc})
    return acc


PROGRAMS = [reinit_after_loading, backbone_prefix]
