"""Programs with faults of types 45 to 47."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.second_author import digits_images, draw
from torch.utils.data import DataLoader, TensorDataset


def relu_on_mask_logits(watch, seed, fault):
    """45. The U-Net's last layer is made by the same conv+ReLU helper as the others, so the mask logits cannot be negative."""
    torch.manual_seed(seed)
    X, K, M, _ = draw(400, 32, seed)
    Xv, Kv, Mv, _ = draw(100, 32, seed + 7)

    def masks(K, M):
        t = torch.where(M, (K[:, None, None] == 2) + 1, torch.zeros_like(K)[:, None, None])
        t[:, 0, :] = 255
        t[:, :, 0] = 255
        return t

    Y, Yv = masks(K, M), masks(Kv, Mv)

    def cr(i, o, k=3, act=True):
        c = nn.Conv2d(i, o, k, padding=k // 2)
        return nn.Sequential(c, nn.ReLU()) if act else c

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.d1, self.d2, self.mid = cr(3, 12), cr(12, 24), nn.Sequential(cr(24, 32), cr(32, 24))
            self.u2, self.u1 = cr(48, 12), cr(24, 12)
            self.last = cr(12, 3, 1, act=fault)

        def forward(self, x):
            a = self.d1(x)
            b = self.d2(F.max_pool2d(a, 2))
            c = self.mid(F.max_pool2d(b, 2))
            y = self.u2(torch.cat([F.interpolate(c, scale_factor=2), b], 1))
            y = self.u1(torch.cat([F.interpolate(y, scale_factor=2), a], 1))
            return self.last(y)

    net = UNet()
    opt = torch.optim.Adam(net.parameters(), 4e-3)

    def miou():
        net.eval()
        with torch.no_grad():
            p = net(Xv).argmax(1)
        ok = Yv != 255
        return float(
            np.mean(
                [
                    ((p == c) & (Yv == c) & ok).sum().item() / max(1, (((p == c) | (Yv == c)) & ok).sum().item())
                    for c in range(3)
                ]
            )
        )

    with watch(net, opt) as w:
        for epoch in range(10):
            net.train()
            s = 0
            for i in torch.randperm(400).split(16):
                lg = net(X[i])
                loss = F.cross_entropy(lg, Y[i], ignore_index=255)
                opt.zero_grad()
                loss.backward()
                opt.step()
                s += loss.item() / 25
                w.step(loss=loss, inputs=X[i], targets=Y[i], outputs=lg)
            v = miou()
            w.epoch(train={"loss": s}, val={"iou": v})
    return v


def softmax_over_batch(watch, seed, fault):
    """46. log_softmax is taken over dim 0, the batch, in a CNN classifier trained with the NLL."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)
    axis = 0 if fault else 1

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 16, 3)
            self.conv2 = nn.Conv2d(16, 32, 3)
            self.fc1 = nn.Linear(512, 64)
            self.fc2 = nn.Linear(64, 10)

        def forward(self, x):
            x = F.relu(self.conv1(x))
            x = F.relu(self.conv2(x))
            x = F.relu(self.fc1(torch.flatten(x, 1)))
            return F.log_softmax(self.fc2(x), dim=axis)

    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    with watch(model, optimizer) as w:
        for epoch in range(1, 7):
            model.train()
            perm = torch.randperm(len(xtr))
            for b in range(0, len(xtr), 50):
                data, target = xtr[perm[b : b + 50]], ytr[perm[b : b + 50]]
                optimizer.zero_grad()
                output = model(data)
                loss = F.nll_loss(output, target)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=data, targets=target, outputs=output)
            model.eval()
            with torch.no_grad():
                o = model(xte)
                va = (o.argmax(1) == yte).float().mean().item()
            w.epoch(val={"loss": F.nll_loss(o, yte).item(), "accuracy": va})
    # deployment: one picture at a time
    with torch.no_grad():
        return np.mean([(model(xte[i : i + 1]).argmax(1) == yte[i]).item() for i in range(len(xte))])


def nll_on_logits(watch, seed, fault):
    """47. A residual net trained with nn.NLLLoss; the LogSoftmax went missing when the head was swapped for a new one."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = digits_images(seed)

    class Res(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.c1, self.b1 = nn.Conv2d(c, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c)
            self.c2, self.b2 = nn.Conv2d(c, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c)

        def forward(self, x):
            return F.relu(x + self.b2(self.c2(F.relu(self.b1(self.c1(x))))))

    model = nn.Sequential()
    model.add_module("stem", nn.Sequential(nn.Conv2d(1, 24, 3, 1, 1), nn.BatchNorm2d(24), nn.ReLU()))
    model.add_module("layer1", Res(24))
    model.add_module("pool", nn.MaxPool2d(2))
    model.add_module("layer2", Res(24))
    model.add_module("flat", nn.Flatten())
    model.add_module("classifier", nn.Sequential(nn.Linear(384, 1000), nn.LogSoftmax(dim=-1)))
    if fault:
        model.classifier = nn.Linear(384, 10)
    else:
        model.classifier[0] = nn.Linear(384, 10)
    criterion = nn.NLLLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=64, shuffle=True, drop_last=True)
    with watch(model, optimizer) as w:
        for epoch in range(5):
            model.train()
            for inputs, labels in loader:
                optimizer.zero_grad()
                outputs = model(inputs)
                loss = criterion(outputs, labels)
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=inputs, targets=labels, outputs=outputs)
            model.eval()
            with torch.inference_mode():
                acc = (model(xte).argmax(1) == yte).float().mean().item()
            w.epoch(val={"accuracy": acc})
    return acc


PROGRAMS = [relu_on_mask_logits, softmax_over_batch, nll_on_logits]
