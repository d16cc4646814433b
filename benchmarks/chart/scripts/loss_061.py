"""Programs with faults of types 61 to 64."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.second_author import digits_images, draw
from torch.utils.data import DataLoader, TensorDataset


def prior_bias_everywhere(watch, seed, fault):
    """61. CenterNet-like detector: the focal-loss prior bias is written into every convolution instead of only the last, so all ReLUs are dead from the first step."""
    torch.manual_seed(seed)
    X, _, _, B = draw(500, 32, seed)
    gy, gx = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    cx, cy = B[:, 0] / 4 - 0.5, B[:, 1] / 4 - 0.5
    H = torch.exp(-((gx - cx[:, None, None]) ** 2 + (gy - cy[:, None, None]) ** 2) / 2.0)
    cell = H.flatten(1).argmax(1)

    class Center(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, 1),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, 2, 1),
                nn.ReLU(),
                nn.Conv2d(32, 32, 3, 1, 1),
                nn.ReLU(),
                nn.Conv2d(32, 32, 3, 1, 1),
                nn.ReLU(),
            )
            self.hm = nn.Conv2d(32, 1, 1)
            prior = -math.log((1 - 0.01) / 0.01)
            if fault:
                for m in self.modules():
                    if isinstance(m, nn.Conv2d):
                        nn.init.constant_(m.bias, prior)
            else:
                nn.init.constant_(self.hm.bias, prior)

        def forward(self, x):
            return self.hm(self.trunk(x))[:, 0]

    model = Center()
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, opt) as w:
        for epoch in range(10):
            model.train()
            for s in range(0, 400, 20):
                z = model(X[s : s + 20])
                loss = F.binary_cross_entropy_with_logits(z, H[s : s + 20])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=X[s : s + 20], targets=H[s : s + 20], outputs=z)
            model.eval()
            with torch.no_grad():
                hit = (model(X[400:]).flatten(1).argmax(1) == cell[400:]).float().mean().item()
            w.epoch(val={"hit": hit})
    return hit


def lr_ten_instead_of_tenth(watch, seed, fault):
    """62. At the first decay epoch the code sets g['lr'] = 10 where g['lr'] /= 10 was meant; for that epoch the huge updates kill the ReLUs."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    base = 0.2
    opt = torch.optim.SGD(net.parameters(), lr=base)
    with watch(net, opt) as w:
        for epoch in range(10):
            if epoch == 5:
                for g in opt.param_groups:
                    if fault:
                        g["lr"] = 10
                    else:
                        g["lr"] /= 10
            if epoch == 6:
                for g in opt.param_groups:
                    g["lr"] = base / 100
            net.train()
            for i in torch.randperm(1400).split(50):
                out = net(xtr[i])
                loss = F.cross_entropy(out, ytr[i])
                opt.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
                opt.step()
                w.step(loss=loss, inputs=xtr[i], targets=ytr[i], outputs=out)
            net.eval()
            with torch.no_grad():
                o = net(xte)
            acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


def keep_prob_as_drop_prob(watch, seed, fault):
    """63. A VGG-like net ported from old TensorFlow: keep_prob=0.95 is passed to nn.Dropout, which drops 95 %."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)
    keep_prob = 0.95
    p = keep_prob if fault else 1 - keep_prob

    class VGG(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1_1, self.conv1_2 = nn.Conv2d(1, 24, 3, padding=1), nn.Conv2d(24, 24, 3, padding=1)
            self.conv2_1 = nn.Conv2d(24, 48, 3, padding=1)
            self.fc6, self.fc7, self.fc8 = nn.Linear(192, 96), nn.Linear(96, 96), nn.Linear(96, 10)
            self.drop6, self.drop7 = nn.Dropout(p), nn.Dropout(p)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.conv1_2(F.relu(self.conv1_1(x)))), 2)
            x = F.max_pool2d(F.relu(self.conv2_1(x)), 2).flatten(1)
            x = self.drop6(F.relu(self.fc6(x)))
            x = self.drop7(F.relu(self.fc7(x)))
            return self.fc8(x)

    vgg = VGG()
    optimizer = torch.optim.Adam(vgg.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=40, shuffle=True)
    with watch(vgg, optimizer) as w:
        for epoch in range(6):
            vgg.train()
            tl = ta = 0
            for x, y in loader:
                optimizer.zero_grad()
                out = vgg(x)
                loss = criterion(out, y)
                loss.backward()
                optimizer.step()
                tl += loss.item() * len(x) / 1400
                ta += (out.argmax(1) == y).sum().item() / 1400
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            vgg.eval()
            with torch.no_grad():
                o = vgg(xte)
            acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": tl, "accuracy": ta}, val={"loss": criterion(o, yte).item(), "accuracy": acc})
    return acc


def functional_dropout_in_eval(watch, seed, fault):
    """64. A GRU over picture rows uses F.dropout without training=self.training, so dropout also runs in evaluation."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)

    class RowGRU(nn.Module):
        def __init__(self):
            super().__init__()
            self.proj = nn.Linear(8, 32)
            self.rnn = nn.GRU(32, 64, batch_first=True)
            self.fc = nn.Linear(64, 10)

        def forward(self, x):
            h = F.relu(self.proj(x[:, 0]))
            h = F.dropout(h, 0.4) if fault else F.dropout(h, 0.4, self.training)
            h, _ = self.rnn(h)
            h = h[:, -1]
            h = F.dropout(h, 0.4) if fault else F.dropout(h, 0.4, self.training)
            return self.fc(h)

    model = RowGRU()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    with watch(model, optimizer) as w:
        for epoch in range(10):
            model.train()
            for x, y in DataLoader(TensorDataset(xtr, ytr), batch_size=50, shuffle=True):
                out = model(x)
                loss = F.cross_entropy(out, y)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            model.eval()
            with torch.no_grad():
                o = model(xte)
                acc = (o.argmax(1) == yte).float().mean().item()
                w.epoch(val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


PROGRAMS = [prior_bias_everywhere, lr_ten_instead_of_tenth, keep_prob_as_drop_prob, functional_dropout_in_eval]
