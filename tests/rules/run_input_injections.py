"""Short watched trainings whose inputs and targets do not belong together, and sound ones that look alike."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

import snellen
from snellen.facts import Facts
from tests.rules.run_data_injections import fit, parts, seeded, shuffled
from tests.rules.run_injections import mlp

Make = Callable[[Path], list[Facts]]
SIDE = 24


def pictures(count: int = 120) -> tuple[Tensor, Tensor]:
    """Smooth coloured pictures (N, H, W, 3) with a bright disc, and its mask (N, H, W)."""
    places = torch.linspace(0, 1, SIDE)
    slope = torch.randn(count, 3, 2)
    ramp = slope[:, None, None, :, 0] * places[:, None, None] + slope[:, None, None, :, 1] * places[None, :, None]
    middle = torch.rand(count, 2) * 0.6 + 0.2
    far = (places[None, :, None] - middle[:, 0, None, None]) ** 2 + (places[None, None] - middle[:, 1, None, None]) ** 2
    mask = far < 0.03
    colour = torch.tensor([2.0, -1.0, 0.5])
    return ramp + colour * mask[..., None] + 0.05 * torch.randn(count, SIDE, SIDE, 3), mask.long()


def planes(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2).contiguous()


def scrambled(x: Tensor) -> Tensor:
    return x.reshape(len(x), 3, SIDE, SIDE)


def segmented(
    flip: str = "",
    order: Callable[[Tensor], Tensor] = planes,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> list[Facts]:
    """A small network for masks; `flip`: "" none, "both", or "image" alone."""
    x, y = pictures()
    x = order(x)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 2, 1)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with snellen.watch(model, optimizer, trials=False) as watch:
        for _ in range(8):
            for rows in torch.randperm(len(x)).split(20):
                a, b = x[rows], y[rows]
                axes = [axis for axis in (-1, -2) if flip and torch.rand(()) < 0.5]
                a, b = a.flip(axes), b.flip(axes) if flip == "both" else b
                optimizer.zero_grad()
                out = model(a)
                value = loss(out, b)
                value.backward()
                optimizer.step()
                watch.step(loss=value, inputs=a, targets=b, outputs=out)
            watch.epoch(train={"loss": value.item()})
        return [watch.facts()]


def wrong_labels(x: Tensor, y: Tensor, vx: Tensor, vy: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The encoder of the validation part counts the classes from the other end."""
    return x, y, vx, 9 - vy


def forecast(shift: int) -> list[Facts]:
    """The next value of a noisy wave from the sixteen before it; `shift` 1 moves the window on to the answer."""
    t = torch.arange(1000)
    wave = torch.sin(1.3 * t) + 0.5 * torch.sin(2.1 * t) + 0.15 * torch.randn(1000)
    rows = range(16, 998)
    x = torch.stack([wave[i - 16 + shift : i + shift] for i in rows])
    return values(x, wave[16:998, None])


def values(x: Tensor, y: Tensor, model: nn.Module | None = None) -> list[Facts]:
    """A network of numbers."""
    model = model or nn.Sequential(nn.Linear(x.shape[1], 48), nn.ReLU(), nn.Linear(48, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with snellen.watch(model, optimizer, trials=False) as watch:
        for _ in range(6):
            for rows in torch.randperm(len(x)).split(32):
                optimizer.zero_grad()
                out = model(x[rows])
                value = F.mse_loss(out, y[rows])
                value.backward()
                optimizer.step()
                watch.step(loss=value, inputs=x[rows], targets=y[rows], outputs=out)
            watch.epoch(train={"loss": value.item()})
        return [watch.facts()]


def answered(last: nn.Module) -> list[Facts]:
    x = torch.randn(600, 8)
    y = x[:, :1] * 2 - x[:, 1:2] + 0.3 * torch.randn(600, 1) + 3
    return values(x, y, nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 1), last))


def plateau(mode: str) -> list[Facts]:
    """A scheduler that is given the accuracy of each epoch."""
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, mode=mode, factor=0.3, patience=1)
    x, y, vx, vy = parts()
    with snellen.watch(model, optimizer, trials=False) as watch:
        for _ in range(6):
            for a, b in shuffled(x, y):
                optimizer.zero_grad()
                out = model(a)
                value = F.cross_entropy(out, b)
                value.backward()
                optimizer.step()
                watch.step(loss=value, inputs=a, targets=b, outputs=out)
            with torch.no_grad():
                right = float((model(vx).argmax(1) == vy).float().mean())
            scheduler.step(right)
            watch.epoch(train={"loss": value.item()}, val={"accuracy": right})
        return [watch.facts()]


def decayed(gamma: float) -> list[Facts]:
    """An exponential decay by epochs."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma)
    x, y, _, _ = parts()
    with snellen.watch(model, optimizer, trials=False) as watch:
        for _ in range(12):
            for a, b in shuffled(x, y, 96):
                optimizer.zero_grad()
                out = model(a)
                value = F.cross_entropy(out, b)
                value.backward()
                optimizer.step()
                watch.step(loss=value, inputs=a, targets=b, outputs=out)
            scheduler.step()
            watch.epoch(train={"loss": value.item()})
        return [watch.facts()]


def written(last: Callable[[Tensor], Tensor]) -> list[Facts]:
    """Lines of three words, each spoken for four frames; `last` makes the loss's input of the outputs."""
    codes = torch.randn(6, 10)
    model = nn.Sequential(nn.Linear(10, 48), nn.ReLU(), nn.Linear(48, 7))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with snellen.watch(model, optimizer, trials=False) as watch:
        for _ in range(80):
            words = torch.randint(1, 6, (24, 3)).cumsum(1) % 6
            frames = codes[words].repeat_interleave(4, 1) + 0.3 * torch.randn(24, 12, 10)
            optimizer.zero_grad()
            out = model(frames)
            value = F.ctc_loss(last(out).transpose(0, 1), words + 1, torch.full((24,), 12), torch.full((24,), 3))
            value.backward()
            optimizer.step()
            watch.step(loss=value, inputs=frames, targets=words + 1, outputs=out)
        return [watch.facts()]


def beside_an_old_scaler() -> list[Facts]:
    """Full precision, while the scaler of another training is still there, as in a notebook."""
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(torch.ones(()))
    found = prices(1.0)
    assert scaler.get_scale() > 1
    return found


class Reader(nn.Module):
    """A GRU over series (N, T, F), told of its first axis or not."""

    def __init__(self, batch_first: bool, turn: bool = False) -> None:
        super().__init__()
        self.gru, self.head, self.turn = nn.GRU(3, 24, batch_first=batch_first), nn.Linear(24, 1), turn

    def forward(self, x: Tensor) -> Tensor:
        out = self.gru(x.transpose(0, 1))[0].transpose(0, 1) if self.turn else self.gru(x)[0]
        return self.head(out[:, -1])


def series(model: nn.Module) -> list[Facts]:
    x = torch.randn(600, 9, 3)
    return values(x, x[:, -1, :1] + 0.5 * x[:, -2, 1:2] + 0.1 * torch.randn(600, 1), model)


def overlap(out: Tensor, y: Tensor) -> Tensor:
    """Dice of the second class (Milletari et al. 2016)."""
    p = out.softmax(1)[:, 1]
    return (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)


def two_numbers(*, paired: bool) -> list[Facts]:
    """The place of a point from distances to five others, or from those of another point."""
    places, point = torch.randn(5, 2), torch.randn(640, 2)
    x = (point[:, None] - places).norm(dim=-1)
    model = nn.Sequential(nn.Linear(5, 48), nn.ReLU(), nn.Linear(48, 2))
    return values(x, point if paired else point[torch.randperm(640)], model)


def prices(unit: float) -> list[Facts]:
    x = torch.randn(640, 6)
    y = 2.0 + 0.6 * x[:, :1] + 0.3 * x[:, 1:2].abs() + 0.1 * torch.randn(640, 1)
    return values(x, unit * y)


class Heads(nn.Module):
    """Five numbers by five heads, or by one five times."""

    def __init__(self, one: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 32), nn.ReLU())
        self.heads = nn.ModuleList([nn.Linear(32, 1)] * 5 if one else [nn.Linear(32, 1) for _ in range(5)])

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        return torch.cat([head(h) for head in self.heads], 1)


def five(*, one: bool) -> list[Facts]:
    x = torch.randn(640, 8)
    return values(x, torch.tanh(x @ torch.randn(8, 5)), Heads(one))


def probabilities(last: Callable[[Tensor], Tensor]) -> list[Facts]:
    """Two classes by one output, which `last` brings into 0..1."""
    x = torch.randn(640, 8)
    y = (x[:, 0] + 0.5 * x[:, 1] > 0).float()
    model = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with snellen.watch(model, optimizer, trials=False) as watch:
        for _ in range(4):
            for rows in torch.randperm(640).split(32):
                optimizer.zero_grad()
                out = last(model(x[rows])).flatten()
                value = F.binary_cross_entropy(out, y[rows])
                value.backward()
                optimizer.step()
                watch.step(loss=value, inputs=x[rows], targets=y[rows], outputs=out)
        return [watch.facts()]


def normed(width: int) -> list[Facts]:
    """Series of `width` numbers through a layer norm of theirs."""
    x = torch.randn(640, 9, width)
    model = nn.Sequential(nn.LayerNorm(width), nn.Flatten(), nn.Linear(9 * width, 24), nn.ReLU(), nn.Linear(24, 1))
    return values(x, x[:, -1, :1] - x[:, -2, :1], model)


def two_optimizers(*, both: bool) -> list[Facts]:
    encoder, decoder = nn.Sequential(nn.Linear(64, 12), nn.Tanh()), nn.Linear(12, 10)
    model = nn.Sequential(encoder, decoder)
    optimizers = [torch.optim.Adam(part.parameters(), lr=5e-3) for part in (encoder, decoder)]
    x, y, _, _ = parts()
    with snellen.watch(model, optimizers, trials=False) as watch:
        for _ in range(3):
            for a, b in shuffled(x, y):
                for optimizer in optimizers:
                    optimizer.zero_grad()
                out = model(a)
                value = F.cross_entropy(out, b)
                value.backward()
                for optimizer in optimizers if both else optimizers[1:]:
                    optimizer.step()
                watch.step(loss=value, inputs=a, targets=b, outputs=out)
        return [watch.facts()]


class Pair(nn.Module):
    """One number of two rows."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.head = nn.Bilinear(64, 64, 12), nn.Linear(12, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.head(self.both(a, b).relu())[:, 0]


def twins() -> list[Facts]:
    """Whether two rows are of one class, from both."""
    x, y, _, _ = parts()
    model = Pair()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with snellen.watch(model, optimizer, trials=False) as watch:
        for _ in range(4):
            for rows in torch.randperm(len(x)).split(32):
                other = torch.where(torch.rand(len(rows)) < 0.5, rows, torch.randint(len(x), rows.shape))
                same = (y[rows] == y[other]).float()
                optimizer.zero_grad()
                out = model(x[rows], x[other])
                value = F.binary_cross_entropy_with_logits(out, same)
                value.backward()
                optimizer.step()
                watch.step(loss=value, inputs=(x[rows], x[other]), targets=same, outputs=out)
        return [watch.facts()]


class Copier(nn.Module):
    """Reads a line and writes it backwards, fed with what should stand before each letter."""

    def __init__(self, inside: bool) -> None:
        super().__init__()
        self.inside = inside
        self.table, self.head = nn.Embedding(9, 16), nn.Linear(32, 8)
        self.reader, self.writer = nn.GRU(16, 32, batch_first=True), nn.GRU(16, 32, batch_first=True)

    def forward(self, read: Tensor, fed: Tensor) -> Tensor:
        fed = torch.cat([torch.full_like(fed[:, :1], 8), fed[:, :-1]], 1) if self.inside else fed
        return self.head(self.writer(self.table(fed), self.reader(self.table(read))[1])[0])


def translated(*, begin: bool, inside: bool = False) -> list[Facts]:
    model = Copier(inside)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with snellen.watch(
        model, optimizer, loss_fn=lambda out, y: F.cross_entropy(out.flatten(0, 1), y.flatten())
    ) as watch:
        for _ in range(60):
            read = torch.randint(0, 8, (32, 5))
            target = read.flip(1)
            fed = torch.cat([torch.full((32, 1), 8), target[:, :-1]], 1) if begin else target
            optimizer.zero_grad()
            out = model(read, fed)
            value = F.cross_entropy(out.flatten(0, 1), target.flatten())
            value.backward()
            optimizer.step()
            watch.step(loss=value, inputs=(read, fed), targets=target, outputs=out)
        return [watch.facts()]


SICK: dict[str, Make] = {
    "validation-unlike-training": seeded(lambda: fit(change=wrong_labels, lr=1e-2)),
    "channels-interleaved": seeded(lambda: segmented(order=scrambled)),
    "masks-not-augmented": seeded(lambda: segmented("image")),
    "answer-in-input": seeded(lambda: forecast(1)),
    "dropout-on-outputs": seeded(lambda: answered(nn.Dropout(0.5))),
    "plateau-mode-reversed": seeded(lambda: plateau("min")),
    "target-scale-off": seeded(lambda: prices(1e5)),
    "loss-against-targets": seeded(lambda: segmented(loss=overlap)),
}

MORE: dict[str, tuple[str, Make]] = {
    "the loss of lines gets raw outputs": ("nll-without-log-softmax", seeded(lambda: written(lambda out: out))),
    "two numbers of another row": ("labels-carry-no-information", seeded(lambda: two_numbers(paired=False))),
    "a decoder is fed with its answer": ("future-visible", seeded(lambda: translated(begin=False))),
    "five heads are one": ("same-layer-repeated", seeded(lambda: five(one=True))),
    "outputs are cut to 0..1": ("binary-loss-of-wrong-outputs", seeded(lambda: probabilities(lambda o: o.clamp(0, 1)))),
    "a softmax of one number": ("single-output-cross-entropy", seeded(lambda: probabilities(lambda o: o.softmax(1)))),
    "a layer norm of one number": ("norm-over-wrong-axis", seeded(lambda: normed(1))),
    "one of two optimizers is forgotten": ("optimizer-never-steps", seeded(lambda: two_optimizers(both=False))),
    "a rate is a tenth after each epoch": ("lr-decays-too-fast", seeded(lambda: decayed(0.1))),
    "a GRU runs over the batch": ("samples-mixed", seeded(lambda: series(Reader(False)))),
}
"""Rules that are injected elsewhere, from another side."""

ALSO: dict[str, set[str]] = {}

CLEAN: dict[str, Make] = {
    "image and mask are flipped": seeded(lambda: segmented("both")),
    "nothing is flipped": seeded(segmented),
    "one minus the overlap": seeded(lambda: segmented(loss=lambda out, y: 1 - overlap(out, y))),
    "two numbers of a row": seeded(lambda: two_numbers(paired=True)),
    "a decoder is fed with what stands before": seeded(lambda: translated(begin=True)),
    "a decoder moves on what it is fed with": seeded(lambda: translated(begin=False, inside=True)),
    "prices in units of their own": seeded(lambda: prices(1.0)),
    "a scaler is left over": seeded(beside_an_old_scaler),
    "five heads": seeded(lambda: five(one=False)),
    "a sigmoid of one number": seeded(lambda: probabilities(torch.sigmoid)),
    "a layer norm of three numbers": seeded(lambda: normed(3)),
    "two optimizers": seeded(lambda: two_optimizers(both=True)),
    "pairs of rows": seeded(twins),
    "a rate falls slowly": seeded(lambda: decayed(0.9)),
    "a wave is foretold": seeded(lambda: forecast(0)),
    "dropout before the last layer": seeded(lambda: answered(nn.Identity())),
    "a plateau of the accuracy": seeded(lambda: plateau("max")),
    "the loss of lines gets log-probabilities": seeded(lambda: written(lambda out: out.log_softmax(-1))),
    "a GRU runs over time": seeded(lambda: series(Reader(True))),
    "a GRU gets its series turned": seeded(lambda: series(Reader(False, turn=True))),
}
