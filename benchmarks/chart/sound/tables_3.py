"""Sound programs: ordinal coral to bow sgd."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset


def _reviews(n, rng, lo=6, hi=20):
    pos = ["good", "great", "lovely", "superb", "fine", "warm", "bright", "clever"]
    neg = ["bad", "poor", "dull", "awful", "weak", "cold", "boring", "stupid"]
    filler = [
        "the",
        "film",
        "was",
        "a",
        "and",
        "story",
        "actor",
        "scene",
        "plot",
        "it",
        "very",
        "with",
        "of",
        "music",
        "end",
        "long",
        "short",
        "camera",
    ]
    texts, labels = [], []
    for _ in range(n):
        lab = int(rng.integers(0, 2))
        words = list(rng.choice(filler, rng.integers(lo, hi)))
        own, other = (pos, neg) if lab else (neg, pos)
        words += list(rng.choice(own, rng.integers(2, 5))) + list(rng.choice(other, rng.integers(0, 2)))
        rng.shuffle(words)
        texts.append(" ".join(words))
        labels.append(lab)
    return texts, labels


def ordinal_coral(watch, seed, fault):
    """8. Ordinal ratings with shared weights and ordered thresholds (CORAL)."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(2000, 12))
    latent = X[:, 0] * 1.5 + np.abs(X[:, 1]) + X[:, 2] * X[:, 3] + 0.3 * rng.normal(size=2000)
    y = np.digitize(latent, np.quantile(latent, [0.2, 0.4, 0.6, 0.8]))
    X, y = torch.tensor(X).float(), torch.tensor(y)
    levels = (y[:, None] > torch.arange(4)[None]).float()

    class Coral(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(
                nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1, bias=False)
            )
            self.bias = nn.Parameter(torch.linspace(2, -2, 4))

        def forward(self, x):
            return self.f(x) + self.bias

    net = Coral()
    opt = torch.optim.NAdam(net.parameters(), lr=3e-3)
    tr = torch.arange(1500)
    with watch(net, opt) as w:
        for epoch in range(20):
            perm = tr[torch.randperm(1500)]
            losses = []
            for b in perm.split(100):
                out = net(X[b])
                loss = F.binary_cross_entropy_with_logits(out, levels[b])
                opt.zero_grad()
                loss.backward()
                opt.step()
                losses.append(loss.item())
                w.step(loss=loss, inputs=X[b], targets=levels[b], outputs=out)
            with torch.no_grad():
                ov = net(X[1500:])
                pv = (ov > 0).sum(1)
                mae = (pv - y[1500:]).abs().float().mean().item()
                vl = F.binary_cross_entropy_with_logits(ov, levels[1500:]).item()
            w.epoch(train={"loss": float(np.mean(losses))}, val={"loss": vl, "mae": mae})
    return 1.2 - mae  # guessing the middle class gives about 0


def multilabel_sklearn(watch, seed, fault):
    """9. Multi-label topics from counts with log scaling, micro F1 and label smoothing by hand."""
    torch.manual_seed(seed)
    X, Y = make_multilabel_classification(3000, 40, n_classes=8, n_labels=3, length=80, random_state=seed)
    X = np.log1p(X)
    Xtr, Xte, Ytr, Yte = train_test_split(X, Y, test_size=600, random_state=seed)
    sc = StandardScaler().fit(Xtr)
    Xtr, Xte = (torch.from_numpy(sc.transform(a)).float() for a in (Xtr, Xte))
    Ytr, Yte = (torch.from_numpy(a).float() for a in (Ytr, Yte))
    model = nn.Sequential(nn.Linear(40, 96), nn.LayerNorm(96), nn.ReLU(), nn.Dropout(0.3), nn.Linear(96, 8))
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], lr=3e-3)
    dl = DataLoader(TensorDataset(Xtr, Ytr), batch_size=96, shuffle=True)
    with watch(model, opt) as w:
        for ep in range(8):
            model.train()
            s = 0.0
            for xb, yb in dl:
                logit = model(xb)
                smooth = yb * 0.95 + 0.025
                loss = F.binary_cross_entropy_with_logits(logit, smooth)
                loss.backward()
                opt.step()
                opt.zero_grad()
                s += loss.item()
                w.step(loss=loss, inputs=xb, targets=smooth, outputs=logit)
            model.eval()
            with torch.inference_mode():
                lv = model(Xte)
                vl = F.binary_cross_entropy_with_logits(lv, Yte).item()
            f1 = f1_score(Yte.numpy(), (lv > 0).numpy(), average="micro")
            w.epoch(train={"loss": s / len(dl)}, val={"loss": vl, "f1": f1})
    return float(f1)


def listwise_ranking(watch, seed, fault):
    """10. Learning to rank: queries of ten documents, ListNet softmax, judged by NDCG."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    docs = torch.tensor(rng.normal(size=(600, 10, 12))).float()
    quality = docs[..., 0] + docs[..., 1] * docs[..., 2] + 0.5 * docs[..., 3].clamp(min=0)
    rel = torch.bucketize(quality + 0.2 * torch.randn(600, 10), torch.tensor([0.0, 0.8, 1.6, 2.5])).float()
    scorer = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))

    def ndcg(s, r):
        disc = 1 / torch.log2(torch.arange(10) + 2.0)
        gain = 2**r - 1
        dcg = (gain.gather(1, s.argsort(1, descending=True)) * disc).sum(1)
        best = (gain.sort(1, descending=True)[0] * disc).sum(1)
        keep = best > 0
        return (dcg[keep] / best[keep]).mean().item()

    opt = torch.optim.Adam(scorer.parameters(), lr=2e-3)
    loader = DataLoader(TensorDataset(docs[:480], rel[:480]), batch_size=24, shuffle=True)
    with watch(scorer, opt) as w:
        for epoch in range(15):
            scorer.train()
            for d, r in loader:
                s = scorer(d).squeeze(-1)
                p = F.softmax(r, dim=1)
                loss = -(p * F.log_softmax(s, dim=1)).sum(1).mean()
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=d, targets=p, outputs=s)
            scorer.eval()
            with torch.no_grad():
                sv = scorer(docs[480:]).squeeze(-1)
            w.epoch(val={"ndcg": ndcg(sv, rel[480:])})
    random_ndcg = ndcg(torch.rand_like(sv), rel[480:])
    return (ndcg(sv, rel[480:]) - random_ndcg) / (1 - random_ndcg)


def bow_sgd(watch, seed, fault):
    """11. Bag of words with tf scaling and one linear layer by plain SGD, batch size 1 sample at a time accumulated to 16."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    texts, labels = _reviews(900, rng)
    vocab = {v: i for i, v in enumerate(sorted({t for s in texts[:700] for t in s.split()}))}

    def vec(s):
        v = torch.zeros(len(vocab))
        for t in s.split():
            if t in vocab:
                v[vocab[t]] += 1
        return v / v.norm()

    X = torch.stack([vec(s) for s in texts])
    y = torch.tensor(labels)
    net = nn.Linear(len(vocab), 2)
    opt = torch.optim.SGD(net.parameters(), lr=2.0)
    acc_n = 16
    with watch(net, opt) as w:
        for epoch in range(5):
            order = torch.randperm(700)[:688]
            running, hits = 0.0, 0
            opt.zero_grad()
            group = 0.0
            for k, i in enumerate(order, 1):
                out = net(X[i : i + 1])
                loss = F.cross_entropy(out, y[i : i + 1])
                (loss / acc_n).backward()
                running += loss.item()
                group += loss.item() / acc_n
                hits += int(out.argmax(1) == y[i])
                if k % acc_n == 0:
                    opt.step()
                    opt.zero_grad()
                    w.step(loss=group)
                    group = 0.0
            with torch.no_grad():
                ov = net(X[700:])
                w.epoch(
                    train={"loss": running / 688, "accuracy": hits / 688},
                    val={
                        "loss": F.cross_entropy(ov, y[700:]).item(),
                        "accuracy": (ov.argmax(1) == y[700:]).float().mean().item(),
                    },
                )
    with torch.no_grad():
        return (net(X[700:]).argmax(1) == y[700:]).float().mean().item()


PROGRAMS = [ordinal_coral, multilabel_sklearn, listwise_ranking, bow_sgd]
