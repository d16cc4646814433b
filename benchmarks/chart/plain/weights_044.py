"""Programs with faults of types 44 to 46."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.weights_parts import digits
from torch.utils.data import DataLoader, TensorDataset


def cnn_softmax_head(watch, seed, fault):
    """44. The CNN ends in nn.Softmax(dim=1) and its output goes into nn.CrossEntropyLoss."""
    torch.manual_seed(seed)
    X_train, y_train, X_test, y_test = digits(seed)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 12, 3)
            self.conv2 = nn.Conv2d(12, 24, 3)
            self.fc1 = nn.Linear(24 * 4, 60)
            self.fc2 = nn.Linear(60, 10)
            self.softmax = nn.Softmax(dim=1)

        def forward(self, x):
            x = F.relu(self.conv1(x))
            x = F.max_pool2d(F.relu(self.conv2(x)), 2)
            x = torch.flatten(x, 1)
            x = self.fc2(F.relu(self.fc1(x)))
            if fault:
                return self.softmax(x)
            return x

    net = Net()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    trainloader = DataLoader(TensorDataset(X_train, y_train), batch_size=32, shuffle=True)
    with watch(net, optimizer) as w:
        for epoch in range(4):
            running_loss, correct = 0.0, 0
            for i, data in enumerate(trainloader, 0):
                inputs, labels = data
                optimizer.zero_grad()
                outputs = net(inputs)
                loss = criterion(outputs, labels)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=inputs, targets=labels, outputs=outputs)
                running_loss += loss.item()
                correct += (outputs.argmax(1) == labels).sum().item()
            with torch.no_grad():
                out = net(X_test)
                acc = (out.argmax(1) == y_test).float().mean().item()
                val_loss = criterion(out, y_test).item()
            w.epoch(
                train={"loss": running_loss / (i + 1), "accuracy": correct / len(X_train)},
                val={"loss": val_loss, "accuracy": acc},
            )
    return acc


def mlp_relu_everywhere(watch, seed, fault):
    """45. The loop that builds the MLP puts a ReLU after every Linear, the last one included."""
    torch.manual_seed(seed)
    Xtr, Ytr, Xva, Yva = digits(seed, flat=True)
    sizes = [64, 96, 48, 10]
    layers = []
    for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:])):
        layers.append(nn.Linear(a, b))
        if fault or i < len(sizes) - 2:
            layers.append(nn.ReLU(inplace=True))
    mlp = nn.Sequential(*layers)
    opt = torch.optim.RMSprop(mlp.parameters(), lr=1e-3)
    bs = 40
    with watch(mlp, opt) as w:
        for epoch in range(6):
            perm = torch.randperm(len(Xtr))
            hist = []
            for s in range(0, len(Xtr), bs):
                xb, yb = Xtr[perm[s : s + bs]], Ytr[perm[s : s + bs]]
                logits = mlp(xb)
                loss = F.cross_entropy(logits, yb)
                opt.zero_grad()
                loss.backward()
                opt.step()
                hist.append((loss.item(), (logits.argmax(1) == yb).float().mean().item()))
                w.step(loss=loss, inputs=xb, targets=yb, outputs=logits)
            with torch.no_grad():
                lv = mlp(Xva)
            tr = np.mean(hist, 0)
            acc = (lv.argmax(1) == Yva).float().mean().item()
            w.epoch(
                train={"loss": float(tr[0]), "accuracy": float(tr[1])},
                val={"loss": F.cross_entropy(lv, Yva).item(), "accuracy": acc},
            )
    return acc


def vit_log_softmax_dim0(watch, seed, fault):
    """46. log_softmax is taken over the batch (dim=0) instead of over the classes."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits(seed)
    axis = 0 if fault else 1

    class MiniViT(nn.Module):
        def __init__(self, dim=32):
            super().__init__()
            self.patch = nn.Conv2d(1, dim, 2, stride=2)
            self.cls = nn.Parameter(torch.zeros(1, 1, dim))
            self.pos = nn.Parameter(torch.randn(1, 17, dim) * 0.02)
            enc = nn.TransformerEncoderLayer(dim, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
            self.enc = nn.TransformerEncoder(enc, 2, enable_nested_tensor=False)
            self.head = nn.Linear(dim, 10)

        def forward(self, img):
            t = self.patch(img).flatten(2).transpose(1, 2)
            t = torch.cat([self.cls.expand(len(t), -1, -1), t], 1) + self.pos
            return F.log_softmax(self.head(self.enc(t)[:, 0]), dim=axis)

    vit = MiniViT()
    optim = torch.optim.Adam(vit.parameters(), lr=2e-3)
    loss_fn = nn.NLLLoss()
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=64, shuffle=True, drop_last=True)
    with watch(vit, optim) as w:
        for ep in range(9):
            vit.train()
            for img, lab in loader:
                optim.zero_grad()
                logp = vit(img)
                loss = loss_fn(logp, lab)
                loss.backward()
                optim.step()
                w.step(loss=loss, inputs=img, targets=lab, outputs=logp)
            vit.eval()
            with torch.no_grad():
                lp = vit(xte)
                score = (lp.argmax(1) == yte).float().mean().item()
            w.epoch(val={"loss": loss_fn(lp, yte).item(), "accuracy": score})
    with torch.no_grad():  # in use the pictures come one at a time
        one = torch.cat([vit(p[None]).argmax(1) for p in xte[:200]])
    return (one == yte[:200]).float().mean().item()


PROGRAMS = [cnn_softmax_head, mlp_relu_everywhere, vit_log_softmax_dim0]
