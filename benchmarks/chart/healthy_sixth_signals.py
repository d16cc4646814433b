"""Sounds, sensors, forecasts and written lines, by a sixth author, without any threshold. See `healthy_sixth.py`."""

import copy

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_sixth import block, course, iterate, pick, tones
from benchmarks.chart.second import SecondCases, accuracy, cut, digits, explained, gaits
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("sixth")


class LogMel(nn.Module):
    """The logarithm of a short-time spectrum in 16 bands, (N, 1, bands, frames)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(64))
        bank = torch.zeros(16, 33)
        for i in range(16):
            bank[i, 2 * i : 2 * i + 3] = torch.tensor([0.5, 1.0, 0.5])
        self.register_buffer("bank", bank)

    def forward(self, x: Tensor) -> Tensor:
        """Without a gradient."""
        with torch.no_grad():
            power = torch.stft(x, 64, 32, window=self.window, return_complex=True).abs().square()
            return (self.bank @ power + 1e-4).log()[:, None]


@cases.recipe("cnn", 0.85)
def sounds_by_log_mel(harness: Harness, seed: int) -> float:
    """The spectrum is the model's first layer, then BatchNorm2d on one channel and two convolutions; Adam at 2e-3."""
    model = nn.Sequential(LogMel(), nn.BatchNorm2d(1), block(1, 16), nn.MaxPool2d(2), block(16, 32),
                          nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 6))  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), tones(), epochs=6, size=24)


@cases.recipe("cnn", 0.8)
def sounds_by_raw_waves(harness: Harness, seed: int) -> float:
    """M5: a first filter of 40 samples with a stride of 4 on raw waves, batch norm, pools of 4, log_softmax, NLL."""
    x, y, vx, vy = tones(900)

    def layer(into: int, out: int, width: int, stride: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv1d(into, out, width, stride), nn.BatchNorm1d(out), nn.ReLU(), nn.MaxPool1d(4))

    model = nn.Sequential(layer(1, 16, 40, 4), layer(16, 32, 3, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
                          nn.Linear(32, 6), nn.LogSoftmax(1))  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.1)
    split = (x[:, None], y, vx[:, None], vy)
    return course(harness, model, optimizer, nn.NLLLoss(), split, epochs=8, scheduler=scheduler, tell="it")


@cases.recipe("rnn", 0.85)
def wake_word(harness: Harness, seed: int) -> float:
    """A rising tone is the word, all else is not: a GRU over frames of the spectrum, one logit, clip at 1."""
    x, y, vx, vy = tones(900)
    front = LogMel()

    def frames(a: Tensor) -> Tensor:
        return (front(a)[:, 0].transpose(1, 2) + 2) / 3

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(16, 32, batch_first=True), nn.Linear(32, 1)

        def forward(self, a: Tensor) -> Tensor:
            return self.head(self.rnn(a)[1][0]).squeeze(1)

    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    split = (frames(x), (y == 1).float(), frames(vx), (vy == 1).float())

    def f1(out: Tensor, goal: Tensor) -> float:
        hit = float(((out > 0) & (goal > 0.5)).sum())
        return 2 * hit / max(float((out > 0).sum() + goal.sum()), 1.0)

    loss_fn = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0))
    return course(harness, model, optimizer, loss_fn, split, epochs=8, clip=1.0, score=f1, key="f1")


@cases.recipe("autoencoder", 0.6)
def speech_is_cleaned(harness: Harness, seed: int) -> float:
    """A mask between 0 and 1 for the spectrum of a noisy wave, L1 of magnitudes to clean ones, new noise each time."""
    x, y, vx, vy = tones()
    x, vx = x[y < 5], vx[vy < 5]
    window = torch.hann_window(64)

    def spectrum(a: Tensor) -> Tensor:
        return torch.stft(a, 64, 32, window=window, return_complex=True).abs()

    model = nn.Sequential(nn.Conv1d(33, 64, 5, padding=2), nn.ReLU(), nn.Conv1d(64, 64, 3, padding=1), nn.ReLU(),
                          nn.Conv1d(64, 33, 1), nn.Sigmoid())  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def compute(i: int) -> dict[str, Tensor]:
        (clean,) = pick(16, x)
        noisy, goal = spectrum(clean + 0.3 * torch.randn_like(clean)), spectrum(clean)
        out = noisy * model(noisy.log1p())
        return {"loss": F.l1_loss(out, goal), "inputs": noisy, "targets": goal, "outputs": out}

    iterate(harness, model, optimizer, compute, 200)
    noisy, goal = spectrum(vx + 0.3 * torch.randn_like(vx)), spectrum(vx)
    with torch.no_grad():
        after = noisy * model(noisy.log1p())
    return float(1 - (after - goal).square().mean() / (noisy - goal).square().mean())


@cases.recipe("rnn", 0.85)
def steps_by_stacked_lstm(harness: Harness, seed: int) -> float:
    """Activity from three axes: two LSTM layers with dropout between, the mean of hidden states, Adam at 5e-3."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.fc = nn.LSTM(3, 32, 2, batch_first=True, dropout=0.2), nn.Linear(32, 5)

        def forward(self, x: Tensor) -> Tensor:
            h0 = torch.zeros(2, len(x), 32)
            out, _ = self.lstm(x, (h0, torch.zeros_like(h0)))
            return self.fc(out.mean(1))

    draw, t = np.random.default_rng(71), np.arange(40)[None]
    kind = draw.integers(0, 5, 900)
    size = np.array([0.05, 0.1, 0.5, 0.8, 0.6])[kind] * draw.uniform(0.8, 1.2, 900)
    rate = np.array([0.1, 0.1, 0.4, 0.8, 0.4])[kind] * draw.uniform(0.9, 1.1, 900)
    phase = rate[:, None] * t + draw.uniform(0, 6.28, (900, 1))
    lean = np.array([[0, 0, 1], [0.7, 0, 0.7], [0, 0, 1], [0.2, 0, 1], [0, 0.5, 0.9]])[kind]
    moves = np.stack([np.sin(phase), np.cos(phase), np.sin(2 * phase)], 2) * size[:, None, None]
    x = lean[:, None] + moves + draw.normal(0, 0.15, (900, 40, 3))
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), cut(x, kind), epochs=10, clip=5.0, tell="it")


@cases.recipe("cnn", 0.85)
def inception_over_time(harness: Harness, seed: int) -> float:
    """InceptionTime's module: bottleneck, three widths and a pooled path joined, batch norm, a shortcut; autocast."""

    class Inception(nn.Module):
        def __init__(self, into: int) -> None:
            super().__init__()
            self.squeeze = nn.Conv1d(into, 8, 1, bias=False)
            self.arms = nn.ModuleList(nn.Conv1d(8, 8, k, padding=k // 2, bias=False) for k in (3, 7, 15))
            self.pooled = nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.Conv1d(into, 8, 1, bias=False))
            self.norm = nn.BatchNorm1d(32)
            self.short = nn.Sequential(nn.Conv1d(into, 32, 1, bias=False), nn.BatchNorm1d(32))

        def forward(self, x: Tensor) -> Tensor:
            s = self.squeeze(x)
            h = self.norm(torch.cat([arm(s) for arm in self.arms] + [self.pooled(x)], 1))
            return F.relu(h + self.short(x))

    x, y, vx, vy = gaits()
    model = nn.Sequential(Inception(3), Inception(32), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    split = (x.transpose(1, 2), y, vx.transpose(1, 2), vy)
    return course(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=5, size=16, drop_last=True, cast=True)


def passengers(count: int = 1200) -> Tensor:
    """A monthly series of mean 0 and deviation 1: trend, year, a slower wave, noise."""
    draw, t = np.random.default_rng(67), np.arange(count)
    wave = np.sin(2 * np.pi * t / 12) + 0.4 * np.sin(4 * np.pi * t / 12 + 1) + 0.6 * np.sin(2 * np.pi * t / 55)
    wave = wave + draw.normal(0, 0.12, count)
    return torch.tensor((wave - wave.mean()) / wave.std(), dtype=torch.float32)


def lags(length: int, ahead: int) -> tuple[Tensor, ...]:
    """Windows and what follows them; the last quarter of time is held out."""
    rows = passengers().unfold(0, length + ahead, 1)
    at = int(len(rows) * 0.75)
    train, val = rows[: at - length], rows[at:]
    return train[:, :length], train[:, length:], val[:, :length], val[:, length:]


@cases.recipe("rnn", 0.8)
def next_month_by_lstm(harness: Harness, seed: int) -> float:
    """The blog post: 24 months in, one out, LSTM of 32, mean squared error, batches of 32, fifteen epochs."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.linear = nn.LSTM(1, 32, batch_first=True), nn.Linear(32, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(self.lstm(x[..., None])[0][:, -1])

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return course(harness, model, optimizer, nn.MSELoss(), lags(24, 1), epochs=12, score=explained, key=None)


@cases.recipe("mlp", 0.8)
def half_a_year_ahead(harness: Harness, seed: int) -> float:
    """An MLP gives six months at once; windows of 36 are shuffled, smooth L1, SGD with momentum and cosine."""
    model = nn.Sequential(nn.Linear(36, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 6))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    return course(
        harness, model, optimizer, nn.SmoothL1Loss(), lags(36, 6), epochs=12, scheduler=scheduler, score=explained,
        key="r2", report="val",
    )  # fmt: skip


@cases.recipe("transformer", 0.75)
def decoder_of_the_future(harness: Harness, seed: int) -> float:
    """An encoder with sines of places reads 24 values, mean of states gives four ahead; pre-norm, warm-up of 40."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into = nn.Linear(1, 32)
            t = torch.arange(24)[:, None] / 10000 ** (torch.arange(0, 32, 2) / 32)
            self.register_buffer("place", torch.cat([t.sin(), t.cos()], 1))
            layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True, norm_first=True)
            self.body, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32 * 24, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(self.into(x[..., None]) + self.place).flatten(1))

    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, 1.0, total_iters=40)
    return course(
        harness, model, optimizer, nn.MSELoss(), lags(24, 4), epochs=6, scheduler=scheduler, each_step=True,
        score=explained, key=None, clip=1.0,
    )  # fmt: skip


def lines(count: int = 700, seed: int = 68) -> tuple[Tensor, ...]:
    """Lines (N, 1, 8, 44) of three to five real digits at uneven distances; labels (N, 5) with -1 behind, lengths."""
    x, y, vx, vy = digits()
    draw = np.random.default_rng(seed)
    out: list[Tensor] = []
    for images, labels, n in ((x, y, count), (vx, vy, count // 4)):
        page, text, length = torch.zeros(n, 1, 8, 44), torch.full((n, 5), -1), torch.zeros(n, dtype=torch.long)
        for i in range(n):
            k = int(draw.integers(3, 6))
            length[i] = k
            at = int(draw.integers(0, 44 - 8 * k + 1)) // 2
            for j, row in enumerate(draw.integers(0, len(images), k)):
                page[i, 0, :, at : at + 8] = images[row, 0]
                text[i, j] = labels[row]
                at += 8 + (int(draw.integers(0, 2)) if at + 9 + 8 * (k - j - 1) <= 44 else 0)
        out += [page, text, length]
    return tuple(out)


@cases.recipe("ocr", 0.6)
def lines_of_digits(harness: Harness, seed: int) -> float:
    """CRNN: convolutions keep 22 columns, a two-way GRU, CTC with blank 0; the score is the share of right lines."""
    x, y, n, vx, vy, vn = lines(400)

    class Crnn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Sequential(block(1, 16), nn.MaxPool2d(2), block(16, 32), nn.MaxPool2d((4, 1)))
            self.rnn, self.head = nn.GRU(32, 32, bidirectional=True, batch_first=True), nn.Linear(64, 11)

        def forward(self, a: Tensor) -> Tensor:
            return self.head(self.rnn(self.conv(a)[:, :, 0].transpose(1, 2))[0]).log_softmax(2)

    model = Crnn()
    criterion = nn.CTCLoss(blank=0, zero_infinity=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def compute(i: int) -> dict[str, Tensor]:
        a, b, k = pick(16, x, y, n)
        out = model(a)
        frames = torch.full((len(a),), out.shape[1])
        flat = torch.cat([row[:size] + 1 for row, size in zip(b, k.tolist(), strict=True)])
        return {"loss": criterion(out.transpose(0, 1), flat, frames, k), "inputs": a}

    iterate(harness, model, optimizer, compute, 200, clip=5.0)
    with torch.no_grad():
        best = model.eval()(vx).argmax(2)
    right = 0
    for row, goal, k in zip(best, vy, vn.tolist(), strict=True):
        read = [int(c) - 1 for c in torch.unique_consecutive(row) if c]
        right += read == goal[:k].tolist()
    return right / len(vx)


@cases.recipe("ocr", 0.75)
def three_places_of_a_plate(harness: Harness, seed: int) -> float:
    """Plates of fixed length, shaken by a pixel: three heads on one trunk, cross-entropies added."""
    x, y, vx, vy = digits()
    draw = np.random.default_rng(70)

    def plates(images: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        rows = torch.tensor(draw.integers(0, len(images), (count, 3)))
        pages = torch.cat([images[rows[:, i]] for i in range(3)], 3)
        moves = draw.integers(-1, 2, count).tolist()
        return torch.stack([page.roll(m, 2) for page, m in zip(pages, moves, strict=True)]), labels[rows]

    class Plate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(
                block(1, 16), nn.MaxPool2d(2), block(16, 32), nn.MaxPool2d((2, 1)), nn.Flatten(), nn.Dropout(0.4)
            )
            self.heads = nn.ModuleList(nn.Linear(32 * 2 * 12, 10) for _ in range(3))

        def forward(self, a: Tensor) -> Tensor:
            h = self.trunk(a)
            return torch.stack([head(h) for head in self.heads], 2)

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        return sum((F.cross_entropy(out[:, :, i], goal[:, i]) for i in range(3)), torch.zeros(()))

    model = Plate()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    split = (*plates(x, y, 1200), *plates(vx, vy, 300))
    return course(harness, model, optimizer, loss_fn, split, epochs=6, size=25)


@cases.recipe("autoencoder", 0.8)
def faulty_machines_by_error(harness: Harness, seed: int) -> float:
    """A convolutional autoencoder learns spectra of single tones; noise and chirps stand out by their error."""
    x, y, vx, vy = tones(900)
    front = LogMel()
    a, va = ((front(part)[..., :16] + 3) / 3 for part in (x, vx))
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 12),
        nn.Linear(12, 256), nn.ReLU(), nn.Unflatten(1, (16, 4, 4)), nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(8, 1, 4, 2, 1),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    normal, vnormal = a[y == 0], va[vy == 0]
    split = (normal, normal, vnormal, vnormal)
    course(
        harness, model, optimizer, nn.MSELoss(), split, epochs=40, size=16, score=lambda o, t: explained(o, t),
        key=None,
    )  # fmt: skip
    with torch.no_grad():
        error = (model(va) - va).square().mean((1, 2, 3))
    return float((error[vy > 0][:, None] > error[vy == 0]).float().mean())


@cases.recipe("regression", 0.65)
def how_high_is_the_tone(harness: Harness, seed: int) -> float:
    """Pitch in units of 100 Hz from raw waves by convolutions and a mean over time, a copy by moving average judged."""
    draw = np.random.default_rng(69)
    pitch, t = draw.uniform(200, 800, 800), np.arange(256)[None] / 4000
    wave = np.sin(2 * np.pi * pitch[:, None] * t + draw.uniform(0, 6.28, (800, 1)))
    wave = wave * draw.uniform(0.4, 1, (800, 1)) + draw.normal(0, 0.1, (800, 256))
    x, y, vx, vy = cut(wave[:, None], pitch[:, None] / 100)
    model = nn.Sequential(
        nn.Conv1d(1, 32, 32, 4), nn.BatchNorm1d(32), nn.ReLU(), nn.Conv1d(32, 32, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1),
    )  # fmt: skip
    slow = copy.deepcopy(model)

    def follow() -> None:
        with torch.no_grad():
            for p, q in zip(slow.state_dict().values(), model.state_dict().values(), strict=True):
                if p.is_floating_point():
                    p.lerp_(q, 0.1)

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    split = (x, y, vx, vy)
    return course(
        harness, model, optimizer, nn.MSELoss(), split, epochs=28, score=explained, key=None, after=follow, judge=slow
    )


@cases.recipe("cnn", 0.85)
def sounds_without_some_bands(harness: Harness, seed: int) -> float:
    """SpecAugment: a strip of bands and one of frames are set to the mean in training; SGD with Nesterov."""
    x, y, vx, vy = tones()
    front = LogMel()
    a, va = front(x), front(vx)
    mean, std = a.mean(), a.std()
    a, va = (a - mean) / std, (va - mean) / std

    def mask(batch: Tensor) -> Tensor:
        batch = batch.clone()
        band, frame = int(torch.randint(13, ())), int(torch.randint(13, ()))
        batch[:, :, band : band + 3] = 0
        batch[..., frame : frame + 3] = 0
        return batch

    model = nn.Sequential(block(1, 16, 2), block(16, 32, 2), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 6))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), (a, y, va, vy), epochs=8, transform=mask, tell="o",
        score=accuracy,
    )  # fmt: skip
