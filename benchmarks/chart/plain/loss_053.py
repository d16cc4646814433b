"""Programs with faults of types 53 to 55."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.plain.loss_parts import get_digits
from torch.utils.data import DataLoader, Dataset


def autoencoder_sum_loss(watch, seed, fault):
    """53. MSELoss(reduction='sum') with a learning rate chosen for the mean: the gradient is batch x pixels times too large."""
    torch.manual_seed(seed)
    x, _, xv, _ = get_digits(seed)

    class ConvAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(
                nn.Conv2d(1, 16, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(16, 16, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(64, 24),
            )
            self.decoder = nn.Sequential(
                nn.Linear(24, 64),
                nn.ReLU(),
                nn.Unflatten(1, (16, 2, 2)),
                nn.ConvTranspose2d(16, 16, 2, stride=2),
                nn.ReLU(),
                nn.ConvTranspose2d(16, 1, 2, stride=2),
            )

        def forward(self, im):
            return self.decoder(self.encoder(im))

    ae = ConvAE()
    opt = torch.optim.SGD(ae.parameters(), lr=0.2, momentum=0.9)
    criterion = nn.MSELoss(reduction="sum" if fault else "mean")
    loader = DataLoader(x, batch_size=70, shuffle=True)
    with watch(ae, opt) as w:
        for epoch in range(15):
            s = 0
            for img in loader:
                rec = ae(img)
                loss = criterion(rec, img)
                opt.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(ae.parameters(), 50.0)
                opt.step()
                s += loss.item()
                w.step(loss=loss, inputs=img, targets=img, outputs=rec)
            with torch.no_grad():
                r = ae(xv)
            w.epoch(train={"loss": s / len(loader)}, val={"loss": criterion(r, xv).item()})
    return 1 - (((r - xv) ** 2).sum() / ((xv - xv.mean(0)) ** 2).sum()).item()


def keyword_log_spectrogram(watch, seed, fault):
    """54. The spectrogram layer takes log(power) without an epsilon: a clip with digital silence gives -inf, the normalisation NaN."""
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)

    def clips(n):
        y = rng.randint(0, 4, n)
        t = np.arange(512)
        f = np.array([0.03, 0.07, 0.12, 0.2])[y] * rng.uniform(0.9, 1.1, n)
        a = np.sin(2 * np.pi * f[:, None] * t + rng.uniform(0, 6, (n, 1))) + 0.3 * rng.randn(n, 512)
        length = np.where(rng.rand(n) < 0.05, 384, 512)  # short clips are zero padded
        a[t[None] >= length[:, None]] = 0
        return torch.tensor(a, dtype=torch.float32), torch.tensor(y)

    class LogSpec(nn.Module):
        def __init__(self, n_fft=64):
            super().__init__()
            self.n_fft = n_fft
            self.register_buffer("window", torch.hann_window(n_fft))

        def forward(self, wav):
            frames = wav.unfold(-1, self.n_fft, self.n_fft) * self.window
            power = torch.fft.rfft(frames).abs().pow(2)
            return torch.log(power) if fault else torch.log(power + 1e-4)

    class InstanceScale(nn.Module):
        def forward(self, s):
            return (s - s.mean((1, 2), keepdim=True)) / (s.std((1, 2), keepdim=True) + 1e-5)

    class KWS(nn.Module):
        def __init__(self):
            super().__init__()
            self.spec = LogSpec()
            self.scale = InstanceScale()
            self.conv = nn.Conv1d(33, 24, 3, padding=1)
            self.fc = nn.Linear(24, 4)

        def forward(self, wav):
            s = self.scale(self.spec(wav))
            return self.fc(F.relu(self.conv(s.transpose(1, 2))).amax(-1))

    X, Y = clips(600)
    Xt, Yt = clips(200)
    net = KWS()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    with watch(net, optimizer) as w:
        for epoch in range(5):
            for idx in torch.randperm(600).split(30):
                optimizer.zero_grad()
                out = net(X[idx])
                loss = F.cross_entropy(out, Y[idx])
                loss.backward()
                optimizer.step()
                w.step(loss=loss, inputs=X[idx], targets=Y[idx], outputs=out)
            with torch.no_grad():
                o = net(Xt)
                acc = (o.argmax(1) == Yt).float().mean().item()
            w.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(o, Yt).item(), "accuracy": acc})
    return acc


def sft_prompt_mask_everything(watch, seed, fault):
    """55. Prompt masking for instruction tuning sets every label to -100 (prompt length taken as the whole row), no target is counted."""
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)
    IGN, SEP, V = -100, 10, 11

    class Pairs(Dataset):
        """prompt: 5 digits, SEP, answer: the digits sorted"""

        def __init__(self, n):
            self.rows = []
            for _ in range(n):
                p = rng.randint(0, 10, 5)
                self.rows.append((list(p) + [SEP], list(np.sort(p))))

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, i):
            prompt, answer = self.rows[i]
            ids = torch.tensor(prompt + answer)
            labels = ids.clone()
            prompt_len = len(ids) if fault else len(prompt)
            labels[:prompt_len] = IGN
            return ids, labels

    class LM(nn.Module):
        def __init__(self, d=48):
            super().__init__()
            self.tok, self.pos = nn.Embedding(V, d), nn.Embedding(11, d)
            layer = nn.TransformerEncoderLayer(d, 4, 2 * d, dropout=0.0, batch_first=True, norm_first=True)
            self.tr = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.lm = nn.Linear(d, V)

        def forward(self, ids):
            T = ids.shape[1]
            m = torch.triu(torch.ones(T, T, dtype=torch.bool), 1)
            return self.lm(self.tr(self.tok(ids) + self.pos.weight[:T], mask=m))

    def shifted_loss(logits, labels):
        tgt = labels[:, 1:].reshape(-1)
        tot = F.cross_entropy(logits[:, :-1].reshape(-1, V), tgt, ignore_index=IGN, reduction="sum")
        return tot / (tgt != IGN).sum().clamp(min=1)

    lm = LM()
    opt = torch.optim.AdamW(lm.parameters(), lr=3e-3)
    dl = DataLoader(Pairs(2400), batch_size=40, shuffle=True)
    test = Pairs(200)
    with watch(lm, opt) as w:
        for ep in range(5):
            lm.train()
            for ids, labels in dl:
                logits = lm(ids)
                loss = shifted_loss(logits, labels)
                opt.zero_grad()
                loss.backward()
                opt.step()
                w.step(loss=loss, inputs=ids, targets=labels, outputs=logits)
            w.epoch(train={"loss": loss.item()})
        lm.eval()
        with torch.no_grad():
            ids = torch.tensor([r[0] for r in test.rows])
            gold = torch.tensor(np.array([r[1] for r in test.rows]))
            for _ in range(5):
                ids = torch.cat([ids, lm(ids)[:, -1:].argmax(-1)], 1)
    return (ids[:, 6:] == gold).float().mean().item()


PROGRAMS = [autoencoder_sum_loss, keyword_log_spectrogram, sft_prompt_mask_everything]
