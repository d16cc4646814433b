"""Programs with faults of types 75 to 77."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.architecture_parts import load
from torch.utils.data import DataLoader, TensorDataset


def zero_init_query_and_key(watch, seed, fault):
    """75. 'Zero init for stability' hits both the query and the key projection: neither ever gets a gradient, attention stays uniform."""
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    T, K = 10, 6

    def batch(n):
        """one marked item among T; say the marked item's value"""
        val = torch.randint(0, K, (n, T), generator=g)
        mark = torch.randint(0, T, (n,), generator=g)
        feat = torch.cat([F.one_hot(val, K).float(), F.one_hot(mark, T).float().unsqueeze(-1)], -1)
        return feat, val[torch.arange(n), mark]

    class Pool(nn.Module):
        def __init__(self, d=32):
            super().__init__()
            self.inp = nn.Linear(K + 1, d)
            self.query = nn.Linear(d, d)
            self.key = nn.Linear(d, d)
            self.value = nn.Linear(d, d)
            self.seed_vec = nn.Parameter(torch.randn(1, 1, d))
            self.classify = nn.Linear(d, K)
            if fault:
                for lin in (self.query, self.key):
                    nn.init.zeros_(lin.weight)
                    nn.init.zeros_(lin.bias)

        def forward(self, items):
            h = self.inp(items)
            q, k, v = self.query(self.seed_vec), self.key(h), self.value(h)
            a = (q @ k.transpose(1, 2) / math.sqrt(k.size(-1))).softmax(-1)
            return self.classify((a @ v).squeeze(1))

    net = Pool()
    adam = torch.optim.Adam(net.parameters(), lr=5e-3)
    tx, ty = batch(500)
    with watch(net, adam) as w:
        for step in range(300):
            xb, yb = batch(64)
            pred = net(xb)
            loss = F.cross_entropy(pred, yb)
            adam.zero_grad()
            loss.backward()
            adam.step()
            w.step(loss=loss, inputs=xb, targets=yb, outputs=pred)
            if step % 60 == 59:
                with torch.no_grad():
                    p = net(tx)
                    acc = (p.argmax(-1) == ty).float().mean().item()
                w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(p, ty).item(), "accuracy": acc})
    return acc


def gru_batch_first_forgotten(watch, seed, fault):
    """76. The rows of a digit go into a GRU as (batch, time, features) but batch_first is missing: it recurs over the batch."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = load(seed, shape=(8, 8))
    seq_len, input_size, hidden_size, num_classes = 8, 8, 48, 10

    class RNN(nn.Module):
        def __init__(self):
            super().__init__()
            kw = {} if fault else {"batch_first": True}
            self.gru = nn.GRU(input_size, hidden_size, num_layers=1, **kw)
            self.fc = nn.Linear(hidden_size, num_classes)

        def forward(self, x):
            out, _ = self.gru(x)
            return self.fc(out[:, -1, :])

    model = RNN()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train_loader = DataLoader(TensorDataset(xtr, ytr), batch_size=56, shuffle=True)
    test_loader = DataLoader(TensorDataset(xte, yte), batch_size=100)
    with watch(model, optimizer) as w:
        for epoch in range(6):
            for i, (images, labels) in enumerate(train_loader):
                images = images.reshape(-1, seq_len, input_size)
                outputs = model(images)
                loss = criterion(outputs, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=images, targets=labels, outputs=outputs)
            with torch.no_grad():
                correct = vl = 0
                for images, labels in test_loader:
                    o = model(images)
                    vl += criterion(o, labels).item() * len(labels)
                    correct += (o.argmax(1) == labels).sum().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": vl / len(xte), "accuracy": correct / len(xte)})
    return correct / len(xte)


def box_net_pooled_to_a_point(watch, seed, fault):
    """77. A box regressor pools its feature map down to 1x1 right after the first convolutions: where the object is gets lost."""
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)
    S = 16

    def scene(n):
        img = 0.2 * rng.rand(n, 1, S, S)
        wh = rng.randint(4, 9, (n, 2))
        xy = (rng.rand(n, 2) * (S - wh + 1)).astype(int)
        for i in range(n):
            img[i, 0, xy[i, 1] : xy[i, 1] + wh[i, 1], xy[i, 0] : xy[i, 0] + wh[i, 0]] += 0.8
        return torch.tensor(img, dtype=torch.float32), torch.tensor(np.c_[xy, xy + wh] / S, dtype=torch.float32)

    def iou(a, b):
        lt, rb = torch.max(a[:, :2], b[:, :2]), torch.min(a[:, 2:], b[:, 2:])
        inter = (rb - lt).clamp(min=0).prod(1)
        area = lambda t: (t[:, 2:] - t[:, :2]).clamp(min=0).prod(1)
        return (inter / (area(a) + area(b) - inter + 1e-6)).mean().item()

    class BoxNet(nn.Module):
        def __init__(self, pool):
            super().__init__()
            self.backbone = nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1),
                nn.BatchNorm2d(16),
                nn.ReLU(),
                nn.MaxPool2d(pool),
                nn.Conv2d(16, 32, 3, padding=1),
                nn.BatchNorm2d(32),
                nn.ReLU(),
                nn.MaxPool2d(pool),
            )
            side = S // pool // pool
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(32 * side * side, 64), nn.ReLU(), nn.Linear(64, 4))

        def forward(self, im):
            return self.head(self.backbone(im))

    model = BoxNet(pool=4 if fault else 2)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3)
    X, B = scene(1200)
    Xv, Bv = scene(300)
    loader = DataLoader(TensorDataset(X, B), batch_size=40, shuffle=True)
    with watch(model, opt) as w:
        for epoch in range(6):
            model.train()
            tl = 0
            for im, box in loader:
                pred = model(im)
                loss = F.smooth_l1_loss(pred, box, beta=0.1)
                opt.zero_grad()
                loss.backward()
                opt.step()
                tl += loss.item() / len(loader)
                w.step(loss=loss, inputs=im, targets=box, outputs=pred)
            model.eval()
            with torch.no_grad():
                pv = model(Xv)
            w.epoch(train={"loss": tl}, val={"loss": F.smooth_l1_loss(pv, Bv, beta=0.1).item(), "iou": iou(pv, Bv)})
    return iou(pv, Bv)


PROGRAMS = [zero_init_query_and_key, gru_batch_first_forgotten, box_net_pooled_to_a_point]
