"""Programs with faults of types 97 to 98."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.third_author import digits_split, draw
from torch.utils.data import DataLoader, Dataset, TensorDataset


def residual_in_uint8(watch, seed, fault):
    """97. A DnCNN learns the noise `noisy - clean`, but both are uint8 arrays, so negative residuals wrap to 200 and more."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    clean = (
        np.stack(
            [(draw(rng, rng.integers(0, 4), 24, rng.uniform(0.4, 0.8, 3), noise=0.0)[0] * 255) for _ in range(200)]
        )
        + 25
    )
    clean = clean.clip(0, 220).astype(np.uint8)
    noisy = np.clip(clean.astype(np.int16) + rng.normal(0, 20, clean.shape), 0, 255).astype(np.uint8)

    class Denoise(Dataset):
        def __len__(self):
            return 160

        def __getitem__(self, i):
            n, c = noisy[i], clean[i]
            if fault:
                residual = n - c
            else:
                residual = n.astype(np.float32) - c
            return torch.tensor(n.transpose(2, 0, 1) / 255.0, dtype=torch.float32), torch.tensor(
                residual.transpose(2, 0, 1) / 255.0, dtype=torch.float32
            )

    dn = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 3, 3, padding=1),
    )
    opt = torch.optim.Adam(dn.parameters(), lr=2e-3)
    dl = DataLoader(Denoise(), batch_size=8, shuffle=True)
    vn, vc = (torch.tensor(a[160:].transpose(0, 3, 1, 2) / 255.0, dtype=torch.float32) for a in (noisy, clean))
    with watch(dn, opt) as w:
        for ep in range(8):
            dn.train()
            acc = 0
            for x, r in dl:
                rh = dn(x)
                loss = ((rh - r) ** 2).mean()
                opt.zero_grad()
                loss.backward()
                opt.step()
                acc += loss.item()
                w.step(loss=loss, inputs=x, targets=r, outputs=rh)
            dn.eval()
            with torch.no_grad():
                psnr = -10 * math.log10(((vn - dn(vn) - vc) ** 2).mean().item())
            w.epoch(train={"loss": acc / len(dl)}, val={"psnr": psnr})
    return psnr


def values_not_indices(watch, seed, fault):
    """98. The accuracy compares the maximum logit (first result of torch.max) with the label instead of its index; the loss is right."""
    torch.manual_seed(seed)
    Xa, Xb, ya, yb = digits_split(seed)
    mk = lambda a, b, sh: DataLoader(
        TensorDataset(torch.tensor(a)[:, None] / 16, torch.tensor(b)), batch_size=48, shuffle=sh
    )
    loaders = {"train": mk(Xa, ya, True), "val": mk(Xb, yb, False)}

    class MBConv(nn.Module):
        def __init__(self, c, e=3):
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(c, c * e, 1, bias=False),
                nn.BatchNorm2d(c * e),
                nn.SiLU(),
                nn.Conv2d(c * e, c * e, 3, 1, 1, groups=c * e, bias=False),
                nn.BatchNorm2d(c * e),
                nn.SiLU(),
                nn.Conv2d(c * e, c, 1, bias=False),
                nn.BatchNorm2d(c),
            )

        def forward(self, x):
            return x + self.net(x)

    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1), MBConv(16), nn.MaxPool2d(2), MBConv(16), nn.Flatten(), nn.Linear(256, 10)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    criterion = nn.CrossEntropyLoss()
    with watch(model, optimizer) as w:
        for epoch in range(7):
            stats = {}
            for phase in ("train", "val"):
                model.train(phase == "train")
                running_loss, running_corrects, n = 0.0, 0, 0
                for inputs, labels in loaders[phase]:
                    optimizer.zero_grad()
                    with torch.set_grad_enabled(phase == "train"):
                        outputs = model(inputs)
                        if fault:
                            preds, _ = torch.max(outputs, 1)
                        else:
                            _, preds = torch.max(outputs, 1)
                        loss = criterion(outputs, labels)
                        if phase == "train":
                            loss.backward()
                            optimizer.step()
                            w.step(loss=loss, inputs=inputs, targets=labels, outputs=outputs)
                    running_loss += loss.item() * inputs.size(0)
                    running_corrects += torch.sum(preds == labels.data).item()
                    n += len(labels)
                stats[phase] = {"loss": running_loss / n, "accuracy": running_corrects / n}
            w.epoch(train=stats["train"], val=stats["val"])
    return stats["val"]["accuracy"]


def argmax_over_width(watch, seed, fault):
    """98. Segmentation pixel accuracy: the arg max runs over the width axis of the probabilities instead of the class axis."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    data = []
    for _ in range(200):
        k = int(rng.integers(0, 3))
        im, m, _b = draw(rng, k, 20, rng.uniform(0.5, 1, 3))
        t = m.astype(np.int64) * (k + 1)
        t[0, :] = 255
        data.append((torch.tensor(im).permute(2, 0, 1), torch.tensor(t)))
    X, T = torch.stack([d[0] for d in data]), torch.stack([d[1] for d in data])
    net = nn.Sequential(
        nn.Conv2d(3, 24, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=2, dilation=2),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=4, dilation=4),
        nn.ReLU(),
        nn.Conv2d(24, 20, 1),
        nn.ReLU(),
        nn.Conv2d(20, 20, 1),
    )  # 20 classes in the shared label map
    opt = torch.optim.Adam(net.parameters(), 4e-3)

    def pixel_acc(scores, t):
        prob = F.softmax(scores, 1)
        pred = prob.argmax(-1) if fault else prob.argmax(1)
        ok = t != 255
        return (pred[ok] == t[ok]).float().mean().item()

    with watch(net, opt) as w:
        for epoch in range(10):
            accs, ls = [], []
            for ix in torch.randperm(160).split(8):
                s = net(X[ix])
                loss = F.cross_entropy(s, T[ix], ignore_index=255)
                opt.zero_grad()
                loss.backward()
                opt.step()
                accs.append(pixel_acc(s.detach(), T[ix]))
                ls.append(loss.item())
                w.step(loss=loss, inputs=X[ix], targets=T[ix], outputs=s)
            with torch.no_grad():
                s = net(X[160:])
                va, vl = pixel_acc(s, T[160:]), F.cross_entropy(s, T[160:], ignore_index=255).item()
            w.epoch(train={"loss": np.mean(ls), "accuracy": np.mean(accs)}, val={"loss": vl, "accuracy": va})
    return va


PROGRAMS = [residual_in_uint8, values_not_indices, argmax_over_width]
