"""Sound programs: quantisation aware to sam two step."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.sound.habits_parts import _digits
from sklearn.datasets import load_breast_cancer, make_classification
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset


def quantisation_aware(watch, seed, fault):
    """11. Quantisation-aware training: four-bit weights and activations with a straight-through estimator after a float start."""
    torch.manual_seed(seed)
    Xtr, Xte, ytr, yte = _digits(seed)

    def fake_quant(t, bits=4, signed=True):
        hi = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
        scale = t.detach().abs().max().clamp_min(1e-8) / hi
        q = (t / scale).round().clamp(-hi - 1 if signed else 0, hi) * scale
        return t + (q - t).detach()

    class QLinear(nn.Linear):
        quant = False

        def forward(self, x):
            return F.linear(x, fake_quant(self.weight) if self.quant else self.weight, self.bias)

    class QNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = QLinear(64, 64), QLinear(64, 48), QLinear(48, 10)
            self.quant = False

        def forward(self, x):
            for l in (self.a, self.b):
                x = F.relu(l(x))
                if self.quant:
                    x = fake_quant(x, signed=False)
            return self.c(x)

        def enable(self):
            self.quant = True
            for l in (self.a, self.b, self.c):
                l.quant = True

    net = QNet()
    opt = torch.optim.Adam(net.parameters(), lr=2e-3)
    dl = DataLoader(TensorDataset(Xtr, ytr), batch_size=50, shuffle=True)
    with watch(net, opt) as w:
        for epoch in range(10):
            if epoch == 4:
                net.enable()
                opt.param_groups[0]["lr"] = 5e-4
            s = 0.0
            for x, y in dl:
                o = net(x)
                loss = F.cross_entropy(o, y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                s += loss.item() / len(dl)
                w.step(loss=loss, inputs=x, targets=y, outputs=o)
            with torch.no_grad():
                o = net(Xte)
                acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": s}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


def lbfgs_closure(watch, seed, fault):
    """12. L-BFGS with strong Wolfe line search and a closure: logistic regression with a small hidden layer on breast cancer."""
    torch.manual_seed(seed)
    X, y = load_breast_cancer(return_X_y=True)
    Xtr, Xte, ytr, yte = train_test_split(X, y, test_size=0.3, stratify=y, random_state=seed)
    s = StandardScaler().fit(Xtr)
    Xtr, Xte = torch.tensor(s.transform(Xtr)), torch.tensor(s.transform(Xte))
    ytr, yte = torch.tensor(ytr).double(), torch.tensor(yte).double()
    net = nn.Sequential(nn.Linear(30, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    opt = torch.optim.LBFGS(net.parameters(), lr=1.0, max_iter=1, history_size=10, line_search_fn="strong_wolfe")
    with watch(net, opt) as w:
        for it in range(60):

            def closure():
                opt.zero_grad()
                l2 = sum((p**2).sum() for p in net.parameters())
                l = F.binary_cross_entropy_with_logits(net(Xtr).squeeze(1), ytr) + 1e-2 * l2
                l.backward()
                return l

            loss = opt.step(closure)
            w.step(loss=loss, inputs=Xtr, targets=ytr)
            if it % 10 == 9:
                with torch.no_grad():
                    o, ov = net(Xtr).squeeze(1), net(Xte).squeeze(1)
                    w.epoch(
                        train={
                            "loss": F.binary_cross_entropy_with_logits(o, ytr).item(),
                            "accuracy": ((o > 0) == ytr.bool()).double().mean().item(),
                        },
                        val={
                            "loss": F.binary_cross_entropy_with_logits(ov, yte).item(),
                            "accuracy": ((ov > 0) == yte.bool()).double().mean().item(),
                        },
                    )
    with torch.no_grad():
        return ((net(Xte).squeeze(1) > 0) == yte.bool()).double().mean().item()


def sam_two_step(watch, seed, fault):
    """13. Sharpness-aware minimisation in two passes around SGD, with a cosine to zero and an average of the weights."""
    torch.manual_seed(seed)
    X, y = make_classification(
        2000, 20, n_informative=10, n_classes=4, n_clusters_per_class=2, class_sep=1.8, flip_y=0.0, random_state=seed
    )
    Xtr, Xte, ytr, yte = train_test_split(X, y, test_size=0.25, random_state=seed)
    s = StandardScaler().fit(Xtr)
    Xtr, Xte = torch.tensor(s.transform(Xtr)).float(), torch.tensor(s.transform(Xte)).float()
    ytr, yte = torch.tensor(ytr), torch.tensor(yte)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    base = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    loader = DataLoader(TensorDataset(Xtr, ytr), batch_size=75, shuffle=True)
    epochs, rho = 15, 0.05
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(base, epochs * len(loader))
    ema = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.95))
    with watch(model, base) as w:
        for epoch in range(epochs):
            tl = tc = 0.0
            for x, y in loader:
                out = model(x)
                loss = F.cross_entropy(out, y)
                base.zero_grad()
                loss.backward()
                with torch.no_grad():
                    gn = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
                    eps = [p.grad * (rho / (gn + 1e-12)) for p in model.parameters()]
                    torch._foreach_add_(list(model.parameters()), eps)
                base.zero_grad()
                F.cross_entropy(model(x), y).backward()
                with torch.no_grad():
                    torch._foreach_sub_(list(model.parameters()), eps)
                base.step()
                sched.step()
                ema.update_parameters(model)
                tl += loss.item() / len(loader)
                tc += (out.argmax(1) == y).sum().item() / len(Xtr)
                w.step(loss=loss, inputs=x, targets=y, outputs=out)
            with torch.no_grad():
                o = ema(Xte)
                acc = (o.argmax(1) == yte).float().mean().item()
            w.epoch(train={"loss": tl, "accuracy": tc}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": acc})
    return acc


PROGRAMS = [quantisation_aware, lbfgs_closure, sam_two_step]
