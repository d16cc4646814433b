"""Programs with faults of types 33 to 35."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.first_author import digits_images
from torch.utils.data import DataLoader, TensorDataset


def running_mean_with_graph(watch, seed, fault):
    """33. Bag-of-words classifier with a penalty against a running mean of the embeddings; the mean is carried over with its graph and backward(retain_graph=True) walks ever further back."""
    torch.manual_seed(seed)
    V = 40
    x = torch.randint(0, V, (1000, 10))
    y = ((x < 10).sum(1) > (x > 29).sum(1)).long()
    emb, head = nn.Embedding(V, 16), nn.Linear(16, 2)
    model = nn.ModuleList([emb, head])
    opt = torch.optim.Adam(model.parameters(), lr=1e-2)
    running = torch.zeros(16)
    with watch(model, opt) as w:
        for epoch in range(8):
            for k in torch.randperm(800).split(25):
                e = emb(x[k]).mean(1)
                running = 0.9 * running + 0.1 * e.mean(0)
                out = head(e)
                loss = F.cross_entropy(out, y[k]) + 0.01 * running.pow(2).sum()
                opt.zero_grad()
                if fault:
                    loss.backward(retain_graph=True)
                else:
                    loss.backward()
                    running = running.detach()
                opt.step()
                w.step(loss=loss, inputs=x[k], targets=y[k], outputs=out)
            with torch.no_grad():
                acc = (head(emb(x[800:]).mean(1)).argmax(1) == y[800:]).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"accuracy": acc})
    return acc


def epoch_loss_keeps_graph(watch, seed, fault):
    """34. VAE on digits: `epoch_loss += loss` and a history list of loss tensors keep every graph of the run alive (memory grows, score unchanged)."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)
    xa, xb = Xtr.flatten(1), Xte.flatten(1)

    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.mu, self.lv = nn.Linear(64, 128), nn.Linear(128, 8), nn.Linear(128, 8)
            self.d = nn.Sequential(nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 64), nn.Sigmoid())

        def forward(self, x):
            h = F.relu(self.e(x))
            mu, lv = self.mu(h), self.lv(h)
            return self.d(mu + torch.randn_like(mu) * (0.5 * lv).exp()), mu, lv

    vae = VAE()
    opt = torch.optim.Adam(vae.parameters(), lr=3e-3)
    history = 0
    with watch(vae, opt) as w:
        for epoch in range(10):
            epoch_loss = 0
            for k in torch.randperm(len(xa)).split(64):
                r, mu, lv = vae(xa[k])
                loss = F.mse_loss(r, xa[k], reduction="sum") / len(k) - 0.02 * (1 + lv - mu**2 - lv.exp()).sum(1).mean()
                opt.zero_grad()
                loss.backward()
                opt.step()
                epoch_loss += loss if fault else loss.item()
                w.step(loss=loss, inputs=xa[k], targets=xa[k], outputs=r)
            history = history + epoch_loss
            with torch.no_grad():
                r, mu, lv = vae(xb)
                v = F.mse_loss(vae.d(mu), xb).item()
            w.epoch(train={"loss": float(epoch_loss) / 22}, val={"loss": v})
    return 1 - v / xb.var(0).mean().item()


def deep_sigmoid_mlp(watch, seed, fault):
    """35. A ten-layer MLP with sigmoids (sound: ReLU) on digits as a table: the gradient vanishes towards the input."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)
    Xtr, Xte = Xtr.flatten(1), Xte.flatten(1)
    act = nn.Sigmoid if fault else nn.ReLU
    layers, c = [], 64
    for _ in range(9):
        lin = nn.Linear(c, 64)
        nn.init.xavier_uniform_(lin.weight, 1.0 if fault else 2**0.5)
        layers += [lin, act()]
        c = 64
    net = nn.Sequential(*layers, nn.Linear(64, 10))
    opt = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9)
    with watch(net, opt) as w:
        for epoch in range(10):
            t = 0
            for x, y in DataLoader(TensorDataset(Xtr, ytr), 64, shuffle=True):
                o = net(x)
                loss = F.cross_entropy(o, y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                t += loss.item() / 22
                w.step(loss=loss, inputs=x, targets=y, outputs=o)
            with torch.no_grad():
                o = net(Xte)
            acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": t}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


def plain_deep_cnn_sigmoid(watch, seed, fault):
    """35. A plain CNN of ten layers without norm and skips uses sigmoid after each convolution: the first layers learn nothing (sound: ReLU)."""
    torch.manual_seed(seed)
    Xtr, ytr, Xte, yte = digits_images(seed)

    class Plain(nn.Module):
        def __init__(self, depth=10):
            super().__init__()
            self.convs = nn.ModuleList([nn.Conv2d(1 if i == 0 else 16, 16, 3, 1, 1) for i in range(depth)])
            for cv in self.convs:
                nn.init.kaiming_normal_(cv.weight)
                nn.init.zeros_(cv.bias)
            self.fc = nn.Linear(16 * 16, 10)

        def forward(self, x):
            for i, cv in enumerate(self.convs):
                x = cv(x)
                x = torch.sigmoid(x) if fault else F.relu(x)
            return self.fc(F.avg_pool2d(x, 2).flatten(1))

    net = Plain()
    opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    with watch(net, opt) as w:
        for epoch in range(6):
            for k in torch.randperm(len(Xtr)).split(32):
                o = net(Xtr[k])
                loss = F.cross_entropy(o, ytr[k])
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=Xtr[k], targets=ytr[k], outputs=o)
            with torch.no_grad():
                acc = (net(Xte).argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"accuracy": acc})
    return acc


PROGRAMS = [running_mean_with_graph, epoch_loss_keeps_graph, deep_sigmoid_mlp, plain_deep_cnn_sigmoid]
