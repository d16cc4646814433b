"""Programs with faults of types 12 to 13."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.loop_parts import digits
from torch.utils.data import DataLoader, TensorDataset


def steplr_inside_the_batch_loop(watch, seed, fault):
    """12. StepLR(step_size=4 epochs) is stepped after every batch instead of every epoch, the learning rate is gone in one epoch."""
    torch.manual_seed(seed)
    xtr, xte, ytr, yte = digits(seed)
    xtr = xtr + 0.5 * torch.randn_like(xtr)

    class LeNetish(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
            self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
            self.fc1 = nn.Linear(64, 50)
            self.fc2 = nn.Linear(50, 10)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.conv1(x)), 2)
            x = F.max_pool2d(F.relu(self.conv2(x)), 2)
            return F.log_softmax(self.fc2(F.relu(self.fc1(x.flatten(1)))), dim=1)

    model = LeNetish()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.3)
    train_loader = DataLoader(TensorDataset(xtr, ytr), batch_size=48, shuffle=True)

    with watch(model, optimizer) as w:
        for epoch in range(1, 11):
            model.train()
            sl, sc = 0.0, 0
            for batch_idx, (data, target) in enumerate(train_loader):
                optimizer.zero_grad()
                output = model(data)
                loss = F.nll_loss(output, target)
                loss.backward()
                optimizer.step()
                if fault:
                    scheduler.step()
                sl += loss.item() * len(data)
                sc += output.argmax(1).eq(target).sum().item()
                w.step(loss=loss, inputs=data, targets=target, outputs=output)
            if not fault:
                scheduler.step()
            model.eval()
            with torch.no_grad():
                output = model(xte)
                test_loss = F.nll_loss(output, yte).item()
                acc = output.argmax(1).eq(yte).float().mean().item()
            w.epoch(train={"loss": sl / len(xtr), "accuracy": sc / len(xtr)}, val={"loss": test_loss, "accuracy": acc})
    return acc


def onecycle_never_advanced(watch, seed, fault):
    """13. OneCycleLR is created but its step() is never called: the run stays at max_lr / 25 of the warm-up's begin (LSTM tagger)."""
    torch.manual_seed(seed)
    T, V = 16, 10
    words = torch.randint(0, V, (1200, T))
    tags = words + torch.roll(words, 1, dims=1)
    tags[:, 0] = words[:, 0]
    tags = tags % 4  # tag = (this word + previous word) mod 4
    tr, te = slice(0, 1000), slice(1000, None)

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(V, 32)
            self.lstm = nn.LSTM(32, 64, batch_first=True)
            self.out = nn.Linear(64, 4)

        def forward(self, s):
            h, _ = self.lstm(self.emb(s))
            return self.out(h)

    class Runner:
        def __init__(self, epochs=12, bs=50):
            self.epochs, self.bs = epochs, bs
            self.net = Tagger()
            self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)
            self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
                self.optimizer, max_lr=1e-2, total_steps=epochs * 1000 // bs
            )

        def step(self, s, t):
            self.optimizer.zero_grad()
            logits = self.net(s)
            loss = F.cross_entropy(logits.reshape(-1, 4), t.reshape(-1))
            loss.backward()
            self.optimizer.step()
            if not fault:
                self.scheduler.step()
            return loss, logits

    r = Runner()
    W, G = words[tr], tags[tr]
    with watch(r.net, r.optimizer) as w:
        for ep in range(r.epochs):
            tot = 0.0
            for b in torch.randperm(1000).split(r.bs):
                loss, logits = r.step(W[b], G[b])
                tot += loss.item()
                w.step(loss=loss, inputs=W[b], targets=G[b].reshape(-1), outputs=logits.reshape(-1, 4))
            with torch.no_grad():
                p = r.net(words[te])
                acc = (p.argmax(-1) == tags[te]).float().mean().item()
                vl = F.cross_entropy(p.reshape(-1, 4), tags[te].reshape(-1)).item()
            w.epoch(train={"loss": tot / 20}, val={"loss": vl, "accuracy": acc})
    return acc


PROGRAMS = [steplr_inside_the_batch_loop, onecycle_never_advanced]
