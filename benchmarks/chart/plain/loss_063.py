"""Programs with faults of types 63 to 65."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.loss_parts import get_digits
from torch.utils.data import DataLoader, TensorDataset


def keep_prob_as_dropout(watch, seed, fault):
    """63. A port from TensorFlow 1: keep_prob=0.95 is handed to nn.Dropout, which drops 95 % of the units."""
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)
    # sentiment from word sequences
    V, L = 60, 16
    pol = rng.randn(V)

    def reviews(n):
        s = rng.randint(0, V, (n, L))
        return torch.from_numpy(s), torch.from_numpy((pol[s].sum(1) > 0).astype(np.float32))

    Xtr, Ytr = reviews(1500)
    Xte, Yte = reviews(400)
    keep_prob = 0.95

    class GRUSentiment(nn.Module):
        def __init__(self, p):
            super().__init__()
            self.embed = nn.Embedding(V, 24)
            self.gru = nn.GRU(24, 32, batch_first=True)
            self.drop1, self.drop2 = nn.Dropout(p), nn.Dropout(p)
            self.fc = nn.Linear(32, 1)

        def forward(self, tokens):
            e = self.drop1(self.embed(tokens))
            h, _ = self.gru(e)
            return self.fc(self.drop2(h.mean(1))).squeeze(-1)

    net = GRUSentiment(p=keep_prob if fault else 1 - keep_prob)
    opt = torch.optim.Adam(net.parameters(), lr=4e-3)
    with watch(net, opt) as w:
        for epoch in range(5):
            net.train()
            running = right = 0
            for tok, lab in DataLoader(TensorDataset(Xtr, Ytr), batch_size=50, shuffle=True):
                opt.zero_grad()
                logit = net(tok)
                loss = F.binary_cross_entropy_with_logits(logit, lab)
                loss.backward()
                opt.step()
                running += loss.item() / 30
                right += ((logit > 0).float() == lab).sum().item()
                w.step(loss=loss, inputs=tok, targets=lab, outputs=logit)
            net.eval()
            with torch.no_grad():
                lv = net(Xte)
                acc = ((lv > 0).float() == Yte).float().mean().item()
            w.epoch(
                train={"loss": running, "accuracy": right / 1500},
                val={"loss": F.binary_cross_entropy_with_logits(lv, Yte).item(), "accuracy": acc},
            )
    return acc


def functional_dropout_in_eval(watch, seed, fault):
    """64. F.dropout is called without training=self.training, so the evaluation is random as well."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = get_digits(seed)

    class MNISTNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 10, kernel_size=3)
            self.conv2 = nn.Conv2d(10, 20, kernel_size=3)
            self.fc1 = nn.Linear(80, 50)
            self.fc2 = nn.Linear(50, 10)

        def forward(self, x):
            x = F.relu(self.conv1(x))
            x = F.relu(F.max_pool2d(self.conv2(x), 2))
            x = x.view(-1, 80)
            if fault:
                x = F.dropout(x, 0.4)
                x = F.relu(self.fc1(x))
                x = F.dropout(x, 0.5)
            else:
                x = F.dropout(x, 0.4, training=self.training)
                x = F.relu(self.fc1(x))
                x = F.dropout(x, 0.5, training=self.training)
            return F.log_softmax(self.fc2(x), dim=1)

    model = MNISTNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.004)
    train_loader = DataLoader(TensorDataset(xtr, ytr), batch_size=64, shuffle=True)
    test_loader = DataLoader(TensorDataset(xte, yte), batch_size=128)

    def train(w):
        model.train()
        for data, target in train_loader:
            optimizer.zero_grad()
            output = model(data)
            loss = F.nll_loss(output, target)
            loss.backward()
            optimizer.step()
            w.step(loss=loss, inputs=data, targets=target, outputs=output)
        return loss.item()

    def test():
        model.eval()
        test_loss, correct = 0, 0
        with torch.no_grad():
            for data, target in test_loader:
                output = model(data)
                test_loss += F.nll_loss(output, target, reduction="sum").item()
                correct += output.argmax(1).eq(target).sum().item()
        return test_loss / len(xte), correct / len(xte)

    with watch(model, optimizer) as w:
        for epoch in range(1, 9):
            trl = train(w)
            tel, acc = test()
            w.epoch(train={"loss": trl}, val={"loss": tel, "accuracy": acc})
    return acc


def batchnorm_batch_of_two(watch, seed, fault):
    """65. batch_size=2 (to fit in memory) in a network with batch norm: the statistics are noise."""
    torch.manual_seed(seed)
    xtr, ytr, xte, yte = get_digits(seed, flat=True)
    xtr, ytr = xtr[:800], ytr[:800]
    BATCH_SIZE = 2 if fault else 20

    class BNMLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(64, 48), nn.Linear(48, 48), nn.Linear(48, 48)])
            self.bns = nn.ModuleList([nn.BatchNorm1d(48) for _ in range(3)])
            self.final = nn.Linear(48, 10)

        def forward(self, x):
            for lin, bn in zip(self.layers, self.bns):
                x = torch.relu(bn(lin(x)))
            return self.final(x)

    model = BNMLP()
    opt = torch.optim.Adam(model.parameters(), lr=2e-3)
    loader = DataLoader(TensorDataset(xtr, ytr), batch_size=BATCH_SIZE, shuffle=True, drop_last=True)
    with watch(model, opt) as w:
        for epoch in range(3):
            model.train()
            sl = sa = n = 0
            for xb, yb in loader:
                out = model(xb)
                loss = F.cross_entropy(out, yb)
                opt.zero_grad()
                loss.backward()
                opt.step()
                sl += loss.item() * len(xb)
                sa += (out.argmax(1) == yb).sum().item()
                n += len(xb)
                w.step(loss=loss, inputs=xb, targets=yb, outputs=out)
            model.eval()
            with torch.no_grad():
                o = model(xte)
                va = (o.argmax(1) == yte).float().mean().item()
            w.epoch(
                train={"loss": sl / n, "accuracy": sa / n}, val={"loss": F.cross_entropy(o, yte).item(), "accuracy": va}
            )
    return va


PROGRAMS = [keep_prob_as_dropout, functional_dropout_in_eval, batchnorm_batch_of_two]
