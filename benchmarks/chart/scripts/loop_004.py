"""Programs with faults of types 4 to 5."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision
from benchmarks.chart.scripts.first_author import digits_images, shape_pictures
from torch.utils.data import DataLoader, TensorDataset


def gpt_accumulation_never_reaches_step(watch, seed, fault):
    """4. A small GPT with gradient accumulation: the window (64) is longer than the epoch (40 batches) and the counter restarts, so step is never reached."""
    torch.manual_seed(seed)
    V, T = 12, 16
    accum = 64 if fault else 1

    class Block(nn.Module):
        def __init__(self, d, h):
            super().__init__()
            self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.attn = nn.MultiheadAttention(d, h, batch_first=True)
            self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
            self.register_buffer("mask", torch.triu(torch.ones(T, T, dtype=torch.bool), 1))

        def forward(self, x):
            n = self.ln1(x)
            x = x + self.attn(n, n, n, attn_mask=self.mask, need_weights=False)[0]
            return x + self.mlp(self.ln2(x))

    class GPT(nn.Module):
        def __init__(self, d=32):
            super().__init__()
            self.tok, self.pos = nn.Embedding(V, d), nn.Embedding(T, d)
            self.blocks = nn.Sequential(Block(d, 4), Block(d, 4))
            self.ln = nn.LayerNorm(d)
            self.lm_head = nn.Linear(d, V, bias=False)

        def forward(self, i):
            return self.lm_head(self.ln(self.blocks(self.tok(i) + self.pos(torch.arange(i.shape[1])))))

    def batch(n):
        a = torch.randint(0, V, (n, 1))
        s = torch.randint(1, 4, (n, 1))
        seq = (a + s * torch.arange(T + 1)) % V
        return seq[:, :-1], seq[:, 1:]

    model = GPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    xv, yv = batch(200)
    with watch(model, optimizer) as w:
        for epoch in range(3):
            optimizer.zero_grad()
            for it in range(40):
                x, y = batch(32)
                logits = model(x)
                loss = F.cross_entropy(logits.reshape(-1, V), y.reshape(-1)) / accum
                loss.backward()
                if (it + 1) % accum == 0:
                    optimizer.step()
                    optimizer.zero_grad()
                w.step(loss=loss * accum, inputs=x, targets=y, outputs=logits)
            with torch.no_grad():
                lv = model(xv)
            acc = (lv.argmax(-1) == yv)[:, 2:].float().mean().item()
            w.epoch(
                train={"loss": loss.item() * accum},
                val={"loss": F.cross_entropy(lv.reshape(-1, V), yv.reshape(-1)).item(), "accuracy": acc},
            )
    return acc


def head_replaced_after_optimizer(watch, seed, fault):
    """5. Fine-tuning: the backbone is frozen, and the new head is put on after the optimizer was built, so nothing that trains is in it."""
    torch.manual_seed(seed)
    X, Y, Xt, Yt = digits_images(seed, keep=[0, 1, 2, 3, 4])
    backbone = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 48, 3, padding=1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.Flatten(),
    )

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.fc = backbone, nn.Linear(48 * 16, 5)

        def forward(self, x):
            return self.fc(self.backbone(x))

    model = Net()
    pre = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(3):
        for i in range(0, len(X), 32):
            pre.zero_grad()
            F.cross_entropy(model(X[i : i + 32]), Y[i : i + 32]).backward()
            pre.step()
    # ---- transfer to digits 5..9
    X, Y, Xt, Yt = digits_images(seed, keep=[5, 6, 7, 8, 9])
    for p in model.backbone.parameters():
        p.requires_grad_(False)
    if fault:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        model.fc = nn.Linear(48 * 16, 5)
    else:
        model.fc = nn.Linear(48 * 16, 5)
        optimizer = torch.optim.Adam(model.fc.parameters(), lr=1e-3)
    with watch(model, optimizer) as w:
        for epoch in range(5):
            model.train()
            model.backbone.eval()
            for xb, yb in DataLoader(TensorDataset(X, Y), 32, shuffle=True):
                optimizer.zero_grad()
                o = model(xb)
                loss = F.cross_entropy(o, yb)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=o)
            model.eval()
            with torch.no_grad():
                acc = (model(Xt).argmax(1) == Yt).float().mean().item()
            w.epoch(val={"accuracy": acc})
    return acc


def optimizer_holds_only_frozen(watch, seed, fault):
    """5. torchvision ResNet-18: filter() over the wrong condition hands the frozen parameters to the optimizer, the trainable ones are left out."""
    torch.manual_seed(seed)
    X, Y, _, _ = shape_pictures(560, seed + 3, size=32, noise=0.1)
    model = torchvision.models.resnet18(num_classes=4)
    model.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
    model.layer3 = nn.Identity()
    model.layer4 = nn.Identity()
    model.fc = nn.Linear(128, 4)
    for p in list(model.conv1.parameters()) + list(model.bn1.parameters()):
        p.requires_grad = False
    if fault:
        params = filter(lambda p: not p.requires_grad, model.parameters())
    else:
        params = filter(lambda p: p.requires_grad, model.parameters())
    optimizer = torch.optim.SGD(params, lr=0.01, momentum=0.9)
    lossf = nn.CrossEntropyLoss()
    with watch(model, optimizer) as w:
        for epoch in range(6):
            model.train()
            tl = []
            for k in torch.randperm(480).split(32):
                out = model(X[k])
                loss = lossf(out, Y[k])
                model.zero_grad()
                loss.backward()
                optimizer.step()
                tl.append(loss.item())
                w.step(loss=loss, inputs=X[k], targets=Y[k], outputs=out)
            model.eval()
            with torch.no_grad():
                out = model(X[480:])
            acc = (out.argmax(1) == Y[480:]).float().mean().item()
            w.epoch(train={"loss": np.mean(tl)}, val={"loss": lossf(out, Y[480:]).item(), "accuracy": acc})
    return acc


PROGRAMS = [gpt_accumulation_never_reaches_step, head_replaced_after_optimizer, optimizer_holds_only_frozen]
