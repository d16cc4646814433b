"""Programs with faults of types 91 to 91."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from benchmarks.chart.scripts.third_author import digits_split
from torch.utils.data import DataLoader, Dataset


def late_binding_readers(watch, seed, fault):
    """91. The picture readers are lambdas made in a loop without binding the index: all of them read the last picture."""
    torch.manual_seed(seed)
    Xa, Xb, ya, yb = digits_split(seed)

    class LazyDigits(Dataset):
        def __init__(self, images, labels):
            self.readers = []
            for k in range(len(images)):
                if fault:
                    self.readers.append(lambda: images[k])
                else:
                    self.readers.append(lambda k=k: images[k])
            self.labels = labels

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, i):
            return torch.from_numpy(self.readers[i]())[None] / 16.0, torch.tensor(self.labels[i])

    trainset, valset = LazyDigits(Xa, ya), LazyDigits(Xb, yb)
    tl, vl = DataLoader(trainset, 50, shuffle=True), DataLoader(valset, 200)

    class Rows(nn.Module):
        """reads the digit row by row"""

        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(8, 64, batch_first=True, bidirectional=True)
            self.fc = nn.Linear(128, 10)

        def forward(self, x):
            h, _ = self.rnn(x.squeeze(1))
            return self.fc(h.mean(1))

    m = Rows()
    o = torch.optim.Adam(m.parameters(), lr=1e-2)
    with watch(m, o) as w:
        for epoch in range(11):
            for x, y in tl:
                z = m(x)
                loss = F.cross_entropy(z, y)
                o.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(m.parameters(), 1.0)
                o.step()
                w.step(loss=loss, inputs=x, targets=y, outputs=z)
            ok = 0
            with torch.no_grad():
                for x, y in vl:
                    ok += (m(x).argmax(1) == y).sum().item()
            w.epoch(val={"accuracy": ok / len(valset)})
    return ok / len(valset)


PROGRAMS = [late_binding_readers]
