"""Programs with faults of types 53 to 55."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.second_author import draw
from torch.utils.data import DataLoader, TensorDataset


def summed_keypoint_loss(watch, seed, fault):
    """53. Box regression with MSE reduction='sum' at a learning rate chosen for the mean."""
    torch.manual_seed(seed)
    img, _, _, box = draw(800, 32, seed)
    tgt = box / 32
    x_tr, t_tr, x_va, t_va = img[:640], tgt[:640], img[640:], tgt[640:]
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 16, 3, 2, 1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 4),
    )
    box_loss = nn.MSELoss(reduction="sum" if fault else "mean")
    sgd = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    dl = DataLoader(TensorDataset(x_tr, t_tr), batch_size=64, shuffle=True)

    def iou(p, t):
        lo = torch.maximum(p[:, :2] - p[:, 2:] / 2, t[:, :2] - t[:, 2:] / 2)
        hi = torch.minimum(p[:, :2] + p[:, 2:] / 2, t[:, :2] + t[:, 2:] / 2)
        inter = (hi - lo).clamp(min=0).prod(1)
        return (inter / (p[:, 2:].clamp(min=0).prod(1) + t[:, 2:].prod(1) - inter)).nan_to_num(0).mean().item()

    with watch(net, sgd) as w:
        for epoch in range(15):
            net.train()
            for a, b in dl:
                sgd.zero_grad()
                p = net(a)
                l = box_loss(p, b)
                l.backward()
                sgd.step()
                w.step(loss=l, inputs=a, targets=b, outputs=p)
            net.eval()
            with torch.no_grad():
                q = net(x_va)
                score = iou(q, t_va)
            w.epoch(val={"loss": box_loss(q, t_va).item(), "iou": score})
    return score


def contrast_norm_without_eps(watch, seed, fault):
    """54. A hand-written local contrast normalisation divides by the standard deviation without an epsilon; flat patches give 0/0."""
    torch.manual_seed(seed)
    img, k, _, _ = draw(700, 24, seed, noise=0.0)
    eps = 0.0 if fault else 1e-3

    class LocalContrastNorm(nn.Module):
        def forward(self, x):
            mu = F.avg_pool2d(x, 5, 1, 2)
            d = x - mu
            sd = (F.avg_pool2d(d * d, 5, 1, 2) + eps).sqrt()
            return d / sd

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.c1, self.c2 = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3, stride=2)
            self.lcn = LocalContrastNorm()
            self.fc = nn.Linear(32, 4)

        def forward(self, x):
            x = F.relu(self.c1(x) - 0.2)
            x = self.lcn(x)
            x = F.relu(self.c2(x))
            return self.fc(F.adaptive_max_pool2d(x, 1).flatten(1))

    model = Net()
    optim = torch.optim.Adam(model.parameters(), 4e-3)
    ce = nn.CrossEntropyLoss()
    with watch(model, optim) as w:
        for epoch in range(8):
            model.train()
            for i in torch.randperm(500).split(25):
                out = model(img[i])
                loss = ce(out, k[i])
                optim.zero_grad()
                loss.backward()
                optim.step()
                w.step(loss=loss, inputs=img[i], targets=k[i], outputs=out)
            model.eval()
            with torch.no_grad():
                o = model(img[500:])
            acc = (o.argmax(1) == k[500:]).float().mean().item()
            w.epoch(val={"loss": ce(o, k[500:]).item(), "accuracy": acc})
    return acc


def charbonnier_sqrt_zero(watch, seed, fault):
    """54. Super-resolution with a Charbonnier loss sqrt(d^2) whose epsilon is missing: the gradient of sqrt at 0 is NaN on black background."""
    torch.manual_seed(seed)
    hr, _, m, _ = draw(500, 24, seed, noise=0.0)
    hr = (hr * m[:, None]).mean(1, keepdim=True)
    lr_ = F.avg_pool2d(hr, 2)

    class SR(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(
                nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=1), nn.ReLU()
            )
            self.up = nn.Conv2d(24, 4, 3, padding=1)
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

        def forward(self, x):
            return F.interpolate(x, scale_factor=2, mode="bilinear") + F.pixel_shuffle(self.up(self.f(x)), 2)

    net = SR()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    eps2 = 0.0 if fault else 1e-6

    def psnr():
        with torch.no_grad():
            return -10 * math.log10(F.mse_loss(net(lr_[400:]), hr[400:]).item())

    with watch(net, opt) as w:
        for epoch in range(6):
            for b in range(0, 400, 20):
                sr = net(lr_[b : b + 20])
                loss = torch.sqrt((sr - hr[b : b + 20]) ** 2 + eps2).mean()
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=lr_[b : b + 20], targets=hr[b : b + 20], outputs=sr)
            v = psnr()
            w.epoch(val={"psnr": v})
    return v


def everything_ignored(watch, seed, fault):
    """55. Segmentation: pixels outside the valid region become 255 (ignored); the threshold is meant for 0..255 pictures but they are already in 0..1, so all pixels are ignored."""
    torch.manual_seed(seed)
    img, k, m, _ = draw(260, 32, seed)
    img = (img.clamp(0, 1) * 255).round()
    img[:, :, :, :4] = 0.0  # black strip of the scanner
    mask = m.long()
    ims, msks = [], []
    for i in range(len(img)):
        pic, t = img[i], mask[i].clone()
        if fault:
            pic = pic / 255
            t[pic.sum(0) <= 6] = 255
        else:
            t[pic.sum(0) <= 6] = 255
            pic = pic / 255
        ims.append(pic)
        msks.append(t)
    X, Y = torch.stack(ims), torch.stack(msks)
    truth = m[200:].long()
    fcn = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=2, dilation=2),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=4, dilation=4),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 2, 1),
    )
    criterion = nn.CrossEntropyLoss(ignore_index=255)
    optimizer = torch.optim.SGD(fcn.parameters(), 0.05, momentum=0.9, weight_decay=1e-4)
    loader = DataLoader(TensorDataset(X[:200], Y[:200]), batch_size=10, shuffle=True)
    with watch(fcn, optimizer) as w:
        for epoch in range(5):
            fcn.train()
            for image, target in loader:
                output = fcn(image)
                loss = criterion(output, target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=image, targets=target, outputs=output)
            fcn.eval()
            with torch.no_grad():
                p = fcn(X[200:]).argmax(1)
            iou = ((p == 1) & (truth == 1)).sum().item() / ((p == 1) | (truth == 1)).sum().clamp(min=1).item()
            w.epoch(val={"iou": iou})
    return iou


PROGRAMS = [summed_keypoint_loss, contrast_norm_without_eps, charbonnier_sqrt_zero, everything_ignored]
