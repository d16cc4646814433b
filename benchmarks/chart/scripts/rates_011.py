"""Programs with faults of types 11 to 12."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.first_author import conv_bn, digits_images, shape_pictures
from torch.utils.data import DataLoader, TensorDataset


def warmup_integer_division(watch, seed, fault):
    """11. Warm-up lambda with `//`: step // warmup is 0 for all steps of the run, the learning rate is zero throughout."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)
    warm = 150

    def factor(step):
        if fault:
            return min(1, step // warm)
        return min(1.0, (step + 1) / 20)

    class DWBlock(nn.Module):  # mobilenet-like
        def __init__(self, i, o, s):
            super().__init__()
            self.dw, self.pw = nn.Conv2d(i, i, 3, s, 1, groups=i, bias=False), nn.Conv2d(i, o, 1, bias=False)
            self.b1, self.b2 = nn.BatchNorm2d(i), nn.BatchNorm2d(o)

        def forward(self, x):
            return F.hardswish(self.b2(self.pw(F.hardswish(self.b1(self.dw(x))))))

    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1),
        DWBlock(16, 32, 1),
        DWBlock(32, 64, 2),
        DWBlock(64, 64, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    loader = DataLoader(TensorDataset(Xtr, ytr), batch_size=64, shuffle=True, drop_last=True)
    with watch(net, optimizer) as w:
        for epoch in range(7):
            net.train()
            for x, y in loader:
                optimizer.zero_grad()
                out = net(x)
                loss = F.cross_entropy(out, y, label_smoothing=0.05)
                loss.backward()
                optimizer.step()
                scheduler.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            net.eval()
            with torch.no_grad():
                o = net(Xte)
            acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


def multiplicative_scheduler_zeroes(watch, seed, fault):
    """11. MultiplicativeLR with the function of LambdaLR: the lambda max(0, 1 - e) multiplies the LR by 0 from the first scheduler step on, so all epochs after the first run at LR 0."""
    torch.manual_seed(seed)
    X, Y, M, _ = shape_pictures(300, seed + 5, size=24, rmin=4, rmax=8)
    fcn = nn.Sequential(
        conv_bn(3, 16),
        conv_bn(16, 32, 2),
        conv_bn(32, 32),
        nn.Conv2d(32, 32, 3, padding=2, dilation=2, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 5, 1),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    )
    opt = torch.optim.SGD(fcn.parameters(), lr=0.1, momentum=0.9)
    epochs = 20
    if fault:
        sched = torch.optim.lr_scheduler.MultiplicativeLR(opt, lambda e: max(0.0, 1 - e))
    else:
        sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda e: 1 - e / epochs)
    with watch(fcn, opt) as w:
        for epoch in range(epochs):
            fcn.train()
            run = 0
            for k in torch.randperm(240).split(24):
                pred = fcn(X[k])
                loss = F.cross_entropy(pred, M[k])
                opt.zero_grad()
                loss.backward()
                opt.step()
                run += loss.item() / 10
                w.step(loss=loss, inputs=X[k], targets=M[k], outputs=pred)
            sched.step()
            fcn.eval()
            with torch.no_grad():
                pv = fcn(X[240:])
            fg = M[240:] > 0
            acc = (pv.argmax(1) == M[240:])[fg].float().mean().item()
            w.epoch(train={"loss": run}, val={"loss": F.cross_entropy(pv, M[240:]).item(), "fg_accuracy": acc})
    return acc


def steplr_in_batch_loop(watch, seed, fault):
    """12. StepLR(step_size=4 epochs) is stepped inside the batch loop: after 16 batches the learning rate is 1e-4 of itself."""
    torch.manual_seed(seed)
    X, Y, _, _ = shape_pictures(700, seed + 9, size=32, noise=0.1)
    model = nn.Sequential(
        conv_bn(3, 16, 2),
        conv_bn(16, 32),
        conv_bn(32, 32, 2),
        conv_bn(32, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 4),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-4, nesterov=True)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.1)
    train_dl = DataLoader(TensorDataset(X[:600], Y[:600]), batch_size=32, shuffle=True)

    for_log = []
    with watch(model, optimizer) as w:
        for epoch in range(8):
            model.train()
            for x, y in train_dl:
                optimizer.zero_grad()
                logits = model(x)
                loss = F.cross_entropy(logits, y)
                loss.backward()
                optimizer.step()
                if fault:
                    scheduler.step()
                for_log.append(loss.item())
                w.step(loss=loss, inputs=x, targets=y, outputs=logits)
            if not fault:
                scheduler.step()
            model.eval()
            with torch.no_grad():
                lo = model(X[600:])
            acc = (lo.argmax(1) == Y[600:]).float().mean().item()
            w.epoch(
                train={"loss": float(np.mean(for_log[-19:]))},
                val={"loss": F.cross_entropy(lo, Y[600:]).item(), "accuracy": acc},
            )
    return acc


def exponential_per_batch(watch, seed, fault):
    """12. ExponentialLR(0.8), meant for epochs, is stepped after each batch of an LSTM tagger."""
    torch.manual_seed(seed)
    x = torch.randint(0, 15, (900, 14))
    y = (x + torch.roll(x, 1, 1)) % 3
    y[:, 0] = -100

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb, self.rnn, self.out = nn.Embedding(15, 24), nn.LSTM(24, 48, batch_first=True), nn.Linear(48, 3)

        def forward(self, s):
            return self.out(self.rnn(self.emb(s))[0])

    tagger = Tagger()
    opt = torch.optim.Adam(tagger.parameters(), lr=0.02)
    sch = torch.optim.lr_scheduler.ExponentialLR(opt, 0.8)
    with watch(tagger, opt) as w:
        for ep in range(10):
            for i in range(0, 800, 40):
                opt.zero_grad()
                o = tagger(x[i : i + 40])
                loss = F.cross_entropy(o.transpose(1, 2), y[i : i + 40])
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=x[i : i + 40], targets=y[i : i + 40], outputs=o)
                if fault:
                    sch.step()
            if not fault:
                sch.step()
            with torch.no_grad():
                ov = tagger(x[800:])
            acc = (ov.argmax(-1) == y[800:])[:, 1:].float().mean().item()
            w.epoch(
                train={"loss": loss.item()},
                val={"loss": F.cross_entropy(ov.transpose(1, 2), y[800:]).item(), "accuracy": acc},
            )
    return acc


PROGRAMS = [warmup_integer_division, multiplicative_scheduler_zeroes, steplr_in_batch_loop, exponential_per_batch]
