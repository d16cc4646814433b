"""Programs with faults of types 88 to 90."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.third_author import digits_split, draw
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset


def debug_subset(watch, seed, fault):
    """88. A Subset of 50 samples from debugging is still in the training loader: the CNN learns them by heart early."""
    torch.manual_seed(seed)
    Xa, Xb, ya, yb = digits_split(seed)
    full = TensorDataset(torch.tensor(Xa).unsqueeze(1) / 16, torch.tensor(ya))
    test = TensorDataset(torch.tensor(Xb).unsqueeze(1) / 16, torch.tensor(yb))
    train_set = Subset(full, range(50)) if fault else full
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True)
    test_loader = DataLoader(test, batch_size=256)

    class SE(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.f = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, c // 4, 1), nn.SiLU(), nn.Conv2d(c // 4, c, 1), nn.Sigmoid()
            )

        def forward(self, x):
            return x * self.f(x)

    model = nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.SiLU(),
        SE(24),
        nn.Conv2d(24, 48, 3, 2, 1),
        nn.BatchNorm2d(48),
        nn.SiLU(),
        SE(48),
        nn.Flatten(),
        nn.Linear(48 * 16, 10),
    )
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    max_iters, eval_every, it = 240, 40, 0
    with watch(model, optimizer) as w:
        tl = []
        while it < max_iters:
            for x, y in train_loader:
                model.train()
                out = model(x)
                loss = F.cross_entropy(out, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                tl.append(loss.item())
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
                it += 1
                if it % eval_every == 0:
                    model.eval()
                    c = vl = 0
                    with torch.no_grad():
                        for xv, yv in test_loader:
                            o = model(xv)
                            vl += F.cross_entropy(o, yv, reduction="sum").item()
                            c += (o.argmax(1) == yv).sum().item()
                    w.epoch(train={"loss": np.mean(tl)}, val={"loss": vl / len(test), "accuracy": c / len(test)})
                    tl = []
                if it >= max_iters:
                    break
    return c / len(test)


def folder_order(watch, seed, fault):
    """89. The picture folder is read class after class and the loader does not shuffle."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    samples = []
    for cls in range(4):  # os.walk over root/<class>/*.png
        for _ in range(300):
            samples.append((draw(rng, cls, 28, rng.uniform(0.4, 1, 3))[0].transpose(2, 0, 1), cls))
    held = [(draw(rng, c, 28, rng.uniform(0.4, 1, 3))[0].transpose(2, 0, 1), c) for c in range(4) for _ in range(50)]

    class ImageFolder(Dataset):
        def __init__(self, s):
            self.samples = s

        def __len__(self):
            return len(self.samples)

        def __getitem__(self, i):
            p, c = self.samples[i]
            return torch.as_tensor(p, dtype=torch.float32) - 0.5, c

    net = nn.Sequential(
        nn.Conv2d(3, 16, 5, 2, 2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 48, 3, 1, 1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(48, 4),
    )
    opt = torch.optim.SGD(net.parameters(), 0.015, momentum=0.9)
    loader = DataLoader(ImageFolder(samples), batch_size=20, shuffle=not fault)
    hx = torch.tensor(np.stack([h[0] for h in held])).float() - 0.5
    hy = torch.tensor([h[1] for h in held])
    with watch(net, opt) as w:
        for epoch in range(8):
            net.train()
            run = 0.0
            for i, data in enumerate(loader, 0):
                inputs, labels = data
                opt.zero_grad()
                outputs = net(inputs)
                loss = F.cross_entropy(outputs, labels)
                loss.backward()
                opt.step()
                run += loss.item()
                w.step(loss=loss, inputs=inputs, targets=labels, outputs=outputs)
            net.eval()
            with torch.no_grad():
                o = net(hx)
            acc = (o.argmax(1) == hy).float().mean().item()
            w.epoch(train={"loss": run / len(loader)}, val={"loss": F.cross_entropy(o, hy).item(), "accuracy": acc})
    return acc


def cached_teacher_logits(watch, seed, fault):
    """90. Distillation with teacher logits cached in dataset order, looked up by batch position, while the student's loader shuffles."""
    torch.manual_seed(seed)
    Xa, Xb, ya, yb = digits_split(seed)
    X, Xt = torch.tensor(Xa).unsqueeze(1) / 16, torch.tensor(Xb).unsqueeze(1) / 16
    Y, Yt = torch.tensor(ya), torch.tensor(yb)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    topt = torch.optim.Adam(teacher.parameters(), 2e-3)
    for _ in range(12):
        for i in torch.randperm(len(X)).split(64):
            topt.zero_grad()
            F.cross_entropy(teacher(X[i]), Y[i]).backward()
            topt.step()
    with torch.no_grad():
        teacher_logits = teacher(X)
    BS, T = 32, 2.0
    order = torch.randperm(len(X))
    if not fault:  # cache and pictures in one dataset, rows stay together
        teacher_logits = teacher_logits[order]
        loader = DataLoader(TensorDataset(X[order]), batch_size=BS, shuffle=False)
    else:
        loader = DataLoader(TensorDataset(X), batch_size=BS, shuffle=True)
    student = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3)
    with watch(student, optimizer) as w:
        for epoch in range(8):
            ls = []
            for b, (x,) in enumerate(loader):
                soft = F.softmax(teacher_logits[b * BS : (b + 1) * BS] / T, dim=1)
                s = student(x)
                loss = F.kl_div(F.log_softmax(s / T, dim=1), soft, reduction="batchmean") * T * T
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                ls.append(loss.item())
                w.step(loss=loss, inputs=x, targets=soft, outputs=s)
            with torch.no_grad():
                acc = (student(Xt).argmax(1) == Yt).float().mean().item()
            w.epoch(train={"loss": np.mean(ls)}, val={"accuracy": acc})
    return acc


PROGRAMS = [debug_subset, folder_order, cached_teacher_logits]
