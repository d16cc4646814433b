"""Short watched trainings on digits whose data is at fault, and ones whose data only looks so."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import snellen
from snellen.facts import Facts
from tests.rules.run_injections import SEED, cnn, digits, mlp

Make = Callable[[Path], list[Facts]]
Batches = Iterator[tuple[Tensor, Any]]
TRAIN, VAL = 960, 400


def parts() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training inputs and labels, validation inputs and labels, in random order."""
    x, y = digits()
    rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[rows], y[rows]
    return x[:TRAIN].clone(), y[:TRAIN].clone(), x[-VAL:].clone(), y[-VAL:].clone()


def shuffled(x: Tensor, y: Tensor, size: int = 32) -> Batches:
    rows = torch.randperm(len(x))
    for part in rows.split(size)[: len(x) // size]:
        yield x[part], y[part]


def fit(
    *,
    model: nn.Module | None = None,
    change: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]] | None = None,
    source: Callable[[Tensor, Tensor], Batches] = shuffled,
    augment: Callable[[int, Tensor, Tensor], tuple[Tensor, Any]] | None = None,
    loss: Callable[[Tensor, Any], Tensor] = F.cross_entropy,
    epochs: int = 4,
    lr: float = 2e-3,
    validate: bool = True,
    also_validate_training: bool = False,
) -> list[Facts]:
    model = model or mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    x, y, vx, vy = change(*parts()) if change else parts()
    step = 0
    with snellen.watch(model, optimizer, trials=False) as watch:
        for _ in range(epochs):
            model.train()
            total = []
            for a, b in source(x, y):
                a, b = augment(step, a, b) if augment else (a, b)
                optimizer.zero_grad()
                out = model(a)
                value = loss(out, b)
                value.backward()
                optimizer.step()
                watch.step(loss=value.detach(), inputs=a, targets=b, outputs=out)
                total.append(value.item())
                step += 1
            report: dict[str, float] = {}
            if validate:
                model.eval()
                with torch.no_grad():
                    out = torch.cat([model(part) for part in vx.split(100)])
                    if also_validate_training:
                        model(x[:300])
                    report = {
                        "loss": float(F.cross_entropy(out, vy)),
                        "accuracy": float((out.argmax(1) == vy).float().mean()),
                    }
            watch.epoch(train={"loss": sum(total) / len(total)}, val=report)
        return [watch.facts()]


def seeded(make: Callable[[], list[Facts]]) -> Make:
    def run(_: Path) -> list[Facts]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return make()

    return run


def on_inputs(f: Callable[[Tensor], Tensor], g: Callable[[Tensor], Tensor] | None = None) -> Any:
    """Prepare training inputs by `f` and validation inputs by `g` (as training, when left out)."""
    return lambda x, y, vx, vy: (f(x), y, (g or f)(vx), vy)


def noisy(x: Tensor, y: Tensor, vx: Tensor, vy: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    wrong = torch.rand(len(y)) < 0.3
    return x, torch.where(wrong, torch.randint(0, 10, y.shape), y), vx, vy


def leaking(x: Tensor, y: Tensor, vx: Tensor, vy: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    taken = torch.randperm(len(vx))[:200]
    return torch.cat([x, vx[taken]]), torch.cat([y, vy[taken]]), vx, vy


def labels_in_file_order(x: Tensor, y: Tensor) -> Batches:
    for (a, _), b in zip(shuffled(x, y), y.split(32), strict=False):
        yield a, b


def few_samples(x: Tensor, y: Tensor) -> Batches:
    """Each item is one of three samples, whatever its index; its label is that of the index."""
    for _, b in shuffled(x, y):
        yield x[torch.randint(0, 3, (len(b),))], b


def balanced(x: Tensor, y: Tensor) -> Batches:
    """Class k stands in places k, k + 10 and k + 20 of each batch; the rare are drawn often."""
    pools = [(y == k).nonzero()[:, 0][: 20 if k < 2 else 200] for k in range(10)]
    for _ in range(len(x) // 30):
        rows = torch.cat([torch.stack([p[torch.randint(len(p), ())] for p in pools]) for _ in range(3)])
        yield x[rows], y[rows]


def by_replacement(x: Tensor, y: Tensor) -> Batches:
    """A rare class of ten rows is half of every batch."""
    rare = (y == 7).nonzero()[:10, 0]
    for _ in range(30):
        rows = torch.cat([rare[torch.randint(10, (16,))], torch.randint(len(x), (16,))])
        yield x[rows], y[rows]


def one_batch(x: Tensor, y: Tensor) -> Batches:
    for _ in range(30):
        yield x[:32], y[:32]


def classes_of_four(x: Tensor, y: Tensor) -> Batches:
    """As metric learning draws them: four rows of each of eight classes."""
    for _ in range(30):
        kinds = torch.randperm(10)[:8]
        rows = torch.cat([(y == k).nonzero()[:, 0][torch.randint(90, (4,))] for k in kinds])
        yield x[rows], y[rows]


def workers_alike(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(step // 2))
    return x + 0.5 * noise, y


def own_noise(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x + 0.5 * torch.randn(x.shape), y


def mixup(step: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    share, other = float(torch.rand(()) * 0.5), torch.randperm(len(x))
    hot = F.one_hot(y, 10).float()
    return (1 - share) * x + share * x[other], (1 - share) * hot + share * hot[other]


def raw(x: Tensor) -> Tensor:
    return x * 6.017 + 4.884


def tokens() -> list[Facts]:
    """A model of sequences of integers that repeat themselves, without validation."""

    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(12, 24), nn.Sequential(nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 12))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.embed(x))

    model = Counter()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with snellen.watch(model, optimizer, trials=False) as watch:
        for _ in range(80):
            start = torch.randint(0, 12, (32, 1))
            lines = (start + torch.arange(9)) % 12
            optimizer.zero_grad()
            out = model(lines[:, :-1])
            value = F.cross_entropy(out.flatten(0, 1), lines[:, 1:].flatten())
            value.backward()
            optimizer.step()
            watch.step(loss=value.detach(), inputs=lines[:, :-1], targets=lines[:, 1:], outputs=out)
        return [watch.facts()]


SICK: dict[str, Make] = {
    "input-scale-off": seeded(lambda: fit(change=on_inputs(lambda x: raw(x) * 4000 + 9000))),
    "input-normalized-twice": seeded(lambda: fit(change=on_inputs(lambda x: (x - 4.884) / 6.017))),
    "train-val-inputs-differ": seeded(lambda: fit(change=on_inputs(lambda x: x, raw))),
    "labels-carry-no-information": seeded(
        lambda: fit(change=lambda x, y, vx, vy: (x, y[torch.randperm(len(y))], vx, vy))
    ),
    "rows-under-two-labels": seeded(lambda: fit(source=labels_in_file_order)),
    "noisy-labels": seeded(lambda: fit(change=noisy)),
    "repeated-rows": seeded(lambda: fit(source=few_samples)),
    "augmentation-repeats": seeded(lambda: fit(augment=workers_alike)),
    "validation-rows-in-training": seeded(lambda: fit(change=leaking)),
    "too-few-samples": seeded(
        lambda: fit(change=lambda x, y, vx, vy: (x[:64], y[:64], vx, vy), epochs=60, model=mlp(128), lr=5e-3)
    ),
}  # fmt: skip

ALSO: dict[str, set[str]] = {}

CLEAN: dict[str, Make] = {
    "digits": seeded(fit),
    "raw digits of 0 to 16": seeded(lambda: fit(change=on_inputs(raw))),
    "digits of 0 to 1": seeded(lambda: fit(change=on_inputs(lambda x: raw(x) / 16), lr=4e-3)),
    "own noise": seeded(lambda: fit(augment=own_noise)),
    "mixup": seeded(lambda: fit(augment=mixup)),
    "balanced batches with classes in their places": seeded(lambda: fit(source=balanced)),
    "a rare class drawn with replacement": seeded(lambda: fit(source=by_replacement)),
    "four of each of eight classes": seeded(lambda: fit(source=classes_of_four)),
    "one batch fitted on purpose": seeded(lambda: fit(source=one_batch, validate=False)),
    "one batch fitted on purpose, validated on itself": seeded(
        lambda: fit(source=one_batch, change=lambda x, y, vx, vy: (x, y, x[:32], y[:32]))
    ),
    "training accuracy taken beside validation": seeded(lambda: fit(also_validate_training=True)),
    "256 bright images behind batch norm": seeded(
        lambda: fit(model=nn.Sequential(nn.BatchNorm1d(64), *mlp()), change=on_inputs(lambda x: raw(x) * 16))
    ),
    "a small convolution": seeded(lambda: fit(model=cnn(nn.BatchNorm2d), lr=1e-2)),
    "tokens": seeded(tokens),
}
