"""Programs with faults of types 5 to 8."""

import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.loop_parts import digits
from torch.utils.data import DataLoader, TensorDataset


class Backboned(nn.Module):
    def __init__(self, n_out):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.fc = nn.Linear(128, n_out)

    def forward(self, x):
        return self.fc(self.features(x))


class MiniViT(nn.Module):
    def __init__(self, dim=32, depth=2, classes=10):
        super().__init__()
        self.patch = nn.Conv2d(1, dim, 2, stride=2)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos = nn.Parameter(torch.randn(1, 17, dim) * 0.02)
        layer = nn.TransformerEncoderLayer(dim, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x):
        t = self.patch(x).flatten(2).transpose(1, 2)
        t = torch.cat([self.cls_token.expand(len(x), -1, -1), t], 1) + self.pos
        return self.head(self.norm(self.blocks(t))[:, 0])


class Res(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.a, self.na = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)
        self.b, self.nb = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)

    def forward(self, x):
        return F.relu(x + self.nb(self.b(F.relu(self.na(self.a(x))))))


class FineTuneNet(nn.Module):
    def __init__(self, body, n):
        super().__init__()
        self.backbone = body
        self.classifier = nn.Linear(24, n)

    def forward(self, x):
        return self.classifier(self.backbone(x))


def head_swapped_after_the_optimizer(watch, seed, fault):
    """5. Transfer learning: the new classification head is put on after the optimizer was built with the old one."""
    torch.manual_seed(seed)
    xtr, xte, ytr, yte = digits(seed)
    model = Backboned(2)
    pre = torch.optim.Adam(model.parameters(), lr=3e-3)  # "pretraining": curved or straight digits
    for _ in range(3):
        for b in torch.randperm(len(xtr)).split(64):
            pre.zero_grad()
            F.cross_entropy(model(xtr[b]), (ytr[b] > 4).long()).backward()
            pre.step()

    for p in model.features.parameters():
        p.requires_grad = False
    if fault:
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        model.fc = nn.Linear(128, 10)
    else:
        model.fc = nn.Linear(128, 10)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    train_loader = DataLoader(TensorDataset(xtr, ytr), 64, shuffle=True)
    val_loader = DataLoader(TensorDataset(xte, yte), 256)
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            s, n, ok = 0.0, 0, 0
            for x, y in train_loader:
                optimizer.zero_grad()
                out = model(x)
                loss = F.cross_entropy(out, y)
                loss.backward()
                optimizer.step()
                s += loss.item() * len(y)
                n += len(y)
                ok += (out.argmax(-1) == y).sum().item()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            model.eval()
            vs, vok, vn = 0.0, 0, 0
            with torch.no_grad():
                for x, y in val_loader:
                    o = model(x)
                    vs += F.cross_entropy(o, y, reduction="sum").item()
                    vok += (o.argmax(-1) == y).sum().item()
                    vn += len(y)
            w.epoch(train={"loss": s / n, "accuracy": ok / n}, val={"loss": vs / vn, "accuracy": vok / vn})
    return vok / vn


def optimizer_of_the_copy_left_behind(watch, seed, fault):
    """6. A prepare() helper returns a copy of the autoencoder, but the optimizer was built on the tensors of the original."""
    torch.manual_seed(seed)
    xtr, xte, _, _ = digits(seed, images=False)

    def prepare(module):
        module = copy.deepcopy(module)  # leave the caller's module alone
        return module.to(torch.float32).train()

    ae = nn.Sequential(
        nn.Linear(64, 48), nn.ELU(), nn.Linear(48, 12), nn.ELU(), nn.Linear(12, 48), nn.ELU(), nn.Linear(48, 64)
    )
    if fault:
        optim = torch.optim.RMSprop(ae.parameters(), lr=1e-3)
        ae = prepare(ae)
    else:
        ae = prepare(ae)
        optim = torch.optim.RMSprop(ae.parameters(), lr=1e-3)
    mse = nn.MSELoss()
    with watch(ae, optim) as w:
        for epoch in range(12):
            acc = 0.0
            chunks = torch.randperm(len(xtr)).split(50)
            for c in chunks:
                v = xtr[c]
                rec = ae(v)
                l = mse(rec, v)
                optim.zero_grad()
                l.backward()
                optim.step()
                acc += l.item()
                w.step(loss=l, inputs=v, targets=v, outputs=rec)
            with torch.no_grad():
                val = mse(ae(xte), xte).item()
            w.epoch(train={"loss": acc / len(chunks)}, val={"loss": val})
    return 1 - val / (xte - xtr.mean(0)).pow(2).mean().item()


def vit_trains_biases_and_norms_only(watch, seed, fault):
    """7. A loop that should only sort parameters for weight decay switches requires_grad off for all that are not bias or norm."""
    torch.manual_seed(seed)
    xtr, xte, ytr, yte = digits(seed)
    vit = MiniViT()
    decay, no_decay = [], []
    for name, param in vit.named_parameters():
        if name.endswith("bias") or "norm" in name:
            no_decay.append(param)
        else:
            if fault:
                param.requires_grad = False
            decay.append(param)
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": no_decay, "weight_decay": 0.0}], lr=3e-3
    )
    dl = DataLoader(TensorDataset(xtr, ytr), batch_size=64, shuffle=True)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.05)
    with watch(vit, optimizer) as w:
        for epoch in range(1, 11):
            vit.train()
            tl, tc = 0.0, 0
            for xb, yb in dl:
                logits = vit(xb)
                loss = loss_fn(logits, yb)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                tl += loss.item() * len(yb)
                tc += (logits.argmax(1) == yb).sum().item()
                w.step(loss=loss, inputs=xb, targets=yb, outputs=logits)
            vit.eval()
            with torch.inference_mode():
                o = vit(xte)
                v = {"loss": loss_fn(o, yte).item(), "accuracy": (o.argmax(1) == yte).float().mean().item()}
            w.epoch(train={"loss": tl / len(xtr), "accuracy": tc / len(xtr)}, val=v)
    return v["accuracy"]


def freeze_on_the_module_attribute(watch, seed, fault):
    """8. The pretrained backbone should be frozen, but `backbone.requires_grad = False` only sets an attribute of the module."""
    torch.manual_seed(seed)
    xtr, xte, ytr, yte = digits(seed)
    body = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        Res(24),
        nn.MaxPool2d(2),
        Res(24),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    pretrain = FineTuneNet(body, 10)
    o = torch.optim.Adam(pretrain.parameters(), lr=3e-3)
    for _ in range(3):
        for b in torch.randperm(len(xtr)).split(64):
            o.zero_grad()
            F.cross_entropy(pretrain(xtr[b]), ytr[b]).backward()
            o.step()

    # the small target task: 80 labelled pictures, mirrored, labels renamed
    x_small, y_small = xtr[:80].flip(-1), (ytr[:80] * 3 + 1) % 10
    x_test, y_test = xte.flip(-1), (yte * 3 + 1) % 10
    net = FineTuneNet(body, 10)
    if fault:
        net.backbone.requires_grad = False
    else:
        net.backbone.requires_grad_(False)
    opt = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    with watch(net, opt) as w:
        for epoch in range(15):
            net.train()
            net.backbone.eval()
            ls = []
            for b in torch.randperm(80).split(16):
                opt.zero_grad()
                y_hat = net(x_small[b])
                loss = F.cross_entropy(y_hat, y_small[b])
                loss.backward()
                opt.step()
                ls.append(loss.item())
                w.step(loss=loss, inputs=x_small[b], targets=y_small[b], outputs=y_hat)
            net.eval()
            with torch.no_grad():
                out = net(x_test)
            acc = (out.argmax(1) == y_test).float().mean().item()
            w.epoch(train={"loss": np.mean(ls)}, val={"loss": F.cross_entropy(out, y_test).item(), "accuracy": acc})
    return acc


PROGRAMS = [
    head_swapped_after_the_optimizer,
    optimizer_of_the_copy_left_behind,
    vit_trains_biases_and_norms_only,
    freeze_on_the_module_attribute,
]
