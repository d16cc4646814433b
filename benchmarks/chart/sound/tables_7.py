"""Sound programs: seq2seq reverse curriculum to pos tagger ignore index."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset


def seq2seq_reverse_curriculum(watch, seed, fault):
    """18. A GRU seq2seq with teacher forcing reverses strings, lengths grow by a curriculum."""
    torch.manual_seed(seed)
    V, BOS = 10, 10

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.g = nn.Embedding(11, 24), nn.GRU(24, 64, batch_first=True)

        def forward(self, x):
            return self.g(self.e(x))

    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.g, self.o = nn.Embedding(11, 24), nn.GRU(24, 64, batch_first=True), nn.Linear(128, V)

        def forward(self, y, h, memory):
            z, h = self.g(self.e(y), h)
            att = F.softmax(z @ memory.transpose(1, 2) / 8.0, -1) @ memory
            return self.o(torch.cat([z, att], -1)), h

    enc, dec = Encoder(), Decoder()
    eo = torch.optim.Adam(enc.parameters(), lr=4e-3)
    do = torch.optim.Adam(dec.parameters(), lr=4e-3)
    gen = torch.Generator().manual_seed(seed)

    def greedy(x):
        enc.eval(), dec.eval()
        with torch.no_grad():
            mem, h = enc(x)
            tok, outs = torch.full((len(x), 1), BOS), []
            for _ in range(x.size(1)):
                lo, h = dec(tok, h, mem)
                tok = lo.argmax(-1)
                outs.append(tok)
        enc.train(), dec.train()
        return torch.cat(outs, 1)

    test = torch.randint(0, V, (200, 7), generator=torch.Generator().manual_seed(seed + 77))
    with watch([enc, dec], [eo, do]) as w:
        for step in range(420):
            L = 3 + min(4, step // 70)
            x = torch.randint(0, V, (64, L), generator=gen)
            y = x.flip(1)
            y_in = torch.cat([torch.full((64, 1), BOS), y[:, :-1]], 1)
            mem, h = enc(x)
            logits, _ = dec(y_in, h, mem)
            loss = F.cross_entropy(logits.reshape(-1, V), y.reshape(-1))
            eo.zero_grad()
            do.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(enc.parameters(), 1.0)
            nn.utils.clip_grad_norm_(dec.parameters(), 1.0)
            eo.step()
            do.step()
            w.step(loss=loss, inputs=x, targets=y, outputs=logits)
    return (greedy(test) == test.flip(1)).float().mean().item()


def pos_tagger_ignore_index(watch, seed, fault):
    """19. A BiLSTM tagger on padded sentences with ignore_index and context-dependent tags."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)

    class Sentences(Dataset):
        def __init__(self, n, rng):
            self.items = []
            for _ in range(n):
                L = int(rng.integers(4, 14))
                x = rng.integers(1, 31, L)  # 1-10 det, 11-20 noun or verb, 21-30 adjective
                t = np.zeros(L, dtype=np.int64)
                for i, v in enumerate(x):
                    if v <= 10:
                        t[i] = 0
                    elif v > 20:
                        t[i] = 3
                    else:
                        t[i] = 1 if i and (x[i - 1] <= 10 or x[i - 1] > 20) else 2
                self.items.append((torch.tensor(x), torch.tensor(t)))

        def __len__(self):
            return len(self.items)

        def __getitem__(self, i):
            return self.items[i]

    def pad(b):
        return (
            pad_sequence([x for x, _ in b], batch_first=True, padding_value=0),
            pad_sequence([t for _, t in b], batch_first=True, padding_value=-100),
        )

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(31, 20, padding_idx=0)
            self.lstm = nn.LSTM(20, 24, bidirectional=True, batch_first=True)
            self.drop = nn.Dropout(0.2)
            self.fc = nn.Linear(48, 4)

        def forward(self, x):
            return self.fc(self.drop(self.lstm(self.emb(x))[0]))

    train = DataLoader(Sentences(1000, rng), batch_size=40, shuffle=True, collate_fn=pad)
    val = DataLoader(Sentences(250, rng), batch_size=125, collate_fn=pad)
    model = Tagger()
    criterion = nn.CrossEntropyLoss(ignore_index=-100)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1, factor=0.5)
    with watch(model, optimizer) as w:
        for epoch in range(9):
            model.train()
            tl = 0.0
            for x, t in train:
                optimizer.zero_grad()
                o = model(x)
                loss = criterion(o.transpose(1, 2), t)
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                tl += loss.item()
                w.step(loss=loss, inputs=x, targets=t, outputs=o.transpose(1, 2))
            model.eval()
            c = n = 0
            vl = 0.0
            with torch.no_grad():
                for x, t in val:
                    o = model(x)
                    vl += criterion(o.transpose(1, 2), t).item()
                    m = t != -100
                    c += (o.argmax(-1)[m] == t[m]).sum().item()
                    n += m.sum().item()
            scheduler.step(vl / len(val))
            w.epoch(train={"loss": tl / len(train)}, val={"loss": vl / len(val), "accuracy": c / n})
    return c / n


PROGRAMS = [seq2seq_reverse_curriculum, pos_tagger_ignore_index]
