"""Watched loops of losses, outputs and labels: each fault once, and healthy losses of many kinds."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from snellen.facts import Facts
from snellen.watching.watch import watch
from tests.rules.run_injections import Make, batches, digits, mlp, seeded

Loss = Callable[[Any, Any], Tensor]
Spoil = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Source = Iterator[tuple[Tensor, Tensor]]


def loop(
    model: nn.Module,
    loss: Loss = F.cross_entropy,
    *,
    source: Source | None = None,
    spoil: Spoil | None = None,
    steps: int = 60,
    size: int = 32,
    lr: float = 3e-3,
    optimizer: type[torch.optim.Optimizer] = torch.optim.Adam,
    give: bool = True,
    epochs: int = 0,
    told: Callable[[int, float], dict[str, float]] | None = None,
    after: Callable[[Any], None] | None = None,
    **options: Any,
) -> list[Facts]:
    """A watched loop: `told` says the validation's numbers of an epoch, `after` what comes when training is done."""
    chosen = optimizer(model.parameters(), lr=lr, **options)
    source = source or batches(steps, size)
    with watch(model, chosen, loss_fn=loss, trials=False) as seen:
        for number, (x, y) in enumerate(source):
            x, y = spoil(x, y) if spoil else (x, y)
            out = model(x)
            value = loss(out, y)
            chosen.zero_grad()
            value.backward()
            chosen.step()
            seen.step(loss=value.detach(), inputs=x, targets=y if give else None, outputs=out)
            if epochs and (number + 1) % (steps // epochs) == 0:
                seen.epoch(val=told(number, value.item()) if told else None)
        if after:
            after(seen)
    return [seen.facts()]


def diabetes(steps: int = 60, size: int = 32, scale: float = 1.0, flat: bool = False) -> Source:
    """Ten features and a target of mean 0 and deviation `scale`, (N, 1) or flat (N,)."""
    data, target = load_diabetes(return_X_y=True)
    x = torch.tensor(data / data.std(0), dtype=torch.float32)
    y = torch.tensor((target - target.mean()) / target.std() * scale, dtype=torch.float32)
    pick = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(x), (size,), generator=pick)
        yield x[rows], y[rows] if flat else y[rows, None]


def some(steps: int = 120) -> Source:
    """Batches of the first 1200 digits; the others are for validation."""
    x, y = digits()
    pick = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(1200, (32,), generator=pick)
        yield x[rows], y[rows]


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))


def head(outputs: int, *more: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs), *more)


def odd(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x, (y % 2).float()[:, None]


def rare(share: float = 0.02) -> Source:
    """Noise of two classes, the second rare and hardly different."""
    pick = torch.Generator().manual_seed(0)
    for _ in range(80):
        y = (torch.rand(64, generator=pick) < share).long()
        yield torch.randn(64, 64, generator=pick) + 0.02 * y[:, None], y


def unequal(steps: int = 60) -> Source:
    """Digits 0 to 3, nine in ten of them 0."""
    x, y = digits()
    pick = torch.Generator().manual_seed(0)
    zero, rest = (y == 0).nonzero()[:, 0], ((y > 0) & (y < 4)).nonzero()[:, 0]
    for _ in range(steps):
        a = zero[torch.randint(len(zero), (44,), generator=pick)]
        b = rest[torch.randint(len(rest), (20,), generator=pick)]
        rows = torch.cat([a, b])
        yield x[rows], y[rows]


def scenes(steps: int = 20, wrap: bool = False) -> Source:
    """Smooth byte images (N, 3, 16, 16), brighter on one side; the class says on which."""
    pick = torch.Generator().manual_seed(0)
    ramp = torch.linspace(-1, 1, 16)
    for _ in range(steps):
        y = torch.randint(2, (32,), generator=pick)
        slope = (2.0 * y - 1)[:, None, None, None] * ramp * 90
        noise = torch.randn(32, 3, 16, 16, generator=pick) * 6
        x = (128 + slope + 25 * torch.randn(32, 3, 1, 1, generator=pick) + noise).clamp(0, 255).to(torch.uint8)
        yield ((x - 128).float() / 60 if wrap else (x.float() - 128) / 60), y


def convolution(outputs: int = 2) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(2048, outputs),
    )  # fmt: skip


def lines(steps: int = 40, pad: int = 0) -> Source:
    """Counting sequences of tokens 1..11 and of different lengths; targets are the next tokens, then padding."""
    pick = torch.Generator().manual_seed(0)
    for _ in range(steps):
        start = torch.randint(11, (16, 1), generator=pick)
        tokens = (start + torch.arange(13)) % 11 + 1
        short = torch.randint(5, 13, (16, 1), generator=pick)
        tokens = torch.where(torch.arange(13) < short, tokens, 0)
        x, y = tokens[:, :-1], tokens[:, 1:]
        yield x, torch.where(y == 0, pad, y)


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.gru, self.out = nn.Embedding(12, 24), nn.GRU(24, 32, batch_first=True), nn.Linear(32, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.gru(self.embed(x))[0])


def tokens_loss(**options: Any) -> Loss:
    return lambda out, y: F.cross_entropy(out.flatten(0, 1), y.flatten(), **options)


def pixels(steps: int = 40, void: float = 0.0) -> Source:
    """Images of digits and which of their pixels are dark, mid or bright; some pixels are 255, not labelled."""
    pick = torch.Generator().manual_seed(0)
    for x, _ in batches(steps, 16):
        image = x.view(-1, 1, 8, 8)
        y = (image[:, 0] > 0).long() + (image[:, 0] > 1).long()
        yield image, torch.where(torch.rand(y.shape, generator=pick) < void, 255, y)


def segmenter() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 3, 3, padding=1))


def focal(out: Tensor, y: Tensor) -> Tensor:
    each = F.cross_entropy(out, y, reduction="none")
    return ((1 - (-each).exp()) ** 2 * each).mean()


def dice(out: Tensor, y: Tensor) -> Tensor:
    p = out.sigmoid()
    return 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)


def contrastive(out: Tensor, y: Tensor) -> Tensor:
    """Supervised contrastive loss of normalised embeddings."""
    z = F.normalize(out, dim=1)
    alike = z @ z.T / 0.2 - 1e9 * torch.eye(len(z))
    same = (y[:, None] == y) & ~torch.eye(len(z), dtype=torch.bool)
    return -(F.log_softmax(alike, 1) * same).sum() / same.sum().clamp_min(1)


class Vae(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.back = nn.Linear(64, 16), nn.Linear(8, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_var = self.into(x).chunk(2, 1)
        return self.back(mean + torch.randn_like(mean) * (log_var / 2).exp()), mean, log_var


def vae_loss(out: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
    rebuilt, mean, log_var = out
    kl = -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(1)
    return (F.mse_loss(rebuilt, x, reduction="none").sum(1) + kl).mean()


def mixed() -> list[Facts]:
    """Mixup: the loss is a mixture for two labels, of which the loop tells one."""
    pick = torch.Generator().manual_seed(3)
    state: dict[str, Any] = {}

    def spoil(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        part = float(torch.rand((), generator=pick))
        other = torch.randperm(len(x), generator=pick)
        state.update(part=part, other=y[other])
        return part * x + (1 - part) * x[other], y

    def loss(out: Tensor, y: Tensor) -> Tensor:
        part = state["part"]
        return part * F.cross_entropy(out, y) + (1 - part) * F.cross_entropy(out, state["other"])

    return loop(mlp(), loss, spoil=spoil)


def gaussian(out: Tensor, y: Tensor) -> Tensor:
    """The likelihood of a density, legally negative."""
    return (0.5 * ((y - out[:, :1]) ** 2 / out[:, 1:].exp() + out[:, 1:])).mean()


def bad_pixel(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if bool((y[0] == 7) & (y[1] == 2)) or bad_pixel.__dict__.setdefault("count", 0) == 20:
        x = x.clone()
        x[5, 3] = float("nan")
    bad_pixel.__dict__["count"] += 1
    return x, y


def nan_data() -> list[Facts]:
    bad_pixel.__dict__["count"] = 0
    return loop(mlp(), spoil=bad_pixel)


def validated(measure: Callable[[Tensor, Tensor], float], **more: Any) -> list[Facts]:
    """A run that is validated four times, with an accuracy computed by `measure`."""
    x, y = digits()
    model = mlp()

    def told(number: int, loss: float) -> dict[str, float]:
        with torch.no_grad():
            out = model(x[1200:])
        return {"loss": F.cross_entropy(out, y[1200:]).item(), "accuracy": measure(out, y[1200:])}

    return loop(model, source=some(), steps=120, epochs=4, told=told, **more)


def right(out: Tensor, y: Tensor) -> float:
    return float((out.argmax(1) == y).float().mean())


def kept(best: Callable[[list[float]], float]) -> list[Facts]:
    """Eight epochs; then the checkpoint with the "best" validation loss is loaded and evaluated."""
    x, y = digits()
    model = mlp()
    losses: list[float] = []
    states: list[dict[str, Tensor]] = []

    def evaluate() -> dict[str, float]:
        with torch.no_grad():
            out = model(x[1200:])
        return {"loss": F.cross_entropy(out, y[1200:]).item(), "accuracy": right(out, y[1200:])}

    def told(number: int, loss: float) -> dict[str, float]:
        scores = evaluate()
        losses.append(scores["loss"])
        states.append({name: v.clone() for name, v in model.state_dict().items()})
        return scores

    def after(seen: Any) -> None:
        model.load_state_dict(states[losses.index(best(losses))])
        seen.epoch(val=evaluate())

    return loop(model, source=some(), steps=120, epochs=8, told=told, after=after)


def summed(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out, y, reduction="sum")


CLEAN: dict[str, Make] = {
    "cross-entropy": seeded(lambda: loop(mlp())),
    "raw regression": seeded(lambda: loop(small(), F.mse_loss, source=diabetes(scale=77.0), lr=1e-2)),
    "regression, flat and squeezed": seeded(
        lambda: loop(nn.Sequential(small(), nn.Flatten(0)), F.smooth_l1_loss, source=diabetes(flat=True))
    ),
    "absolute error": seeded(lambda: loop(small(), F.l1_loss, source=diabetes())),
    "negative likelihood": seeded(
        lambda: loop(nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2)), gaussian, source=diabetes())
    ),
    "focal": seeded(lambda: loop(mlp(), focal)),
    "label smoothing 0.1": seeded(lambda: loop(mlp(), lambda a, b: F.cross_entropy(a, b, label_smoothing=0.1))),
    "label smoothing 0.3": seeded(lambda: loop(mlp(), lambda a, b: F.cross_entropy(a, b, label_smoothing=0.3))),
    "mixup": seeded(mixed),
    "sum by intent": seeded(lambda: loop(mlp(), summed, optimizer=torch.optim.SGD, lr=0.003)),
    "sum under Adam": seeded(lambda: loop(mlp(), summed)),
    "multilabel": seeded(
        lambda: loop(
            head(4),
            F.binary_cross_entropy_with_logits,
            spoil=lambda x, y: (x, torch.stack([y % 2, y % 3 == 0, y > 4, y < 2], 1).float()),
        )
    ),
    "binary": seeded(lambda: loop(head(1), F.binary_cross_entropy_with_logits, spoil=odd)),
    "binary, probabilities": seeded(lambda: loop(head(1, nn.Sigmoid()), F.binary_cross_entropy, spoil=odd)),
    "log-softmax and nll": seeded(lambda: loop(head(10, nn.LogSoftmax(1)), F.nll_loss)),
    "softmax and nll of its logarithm": seeded(
        lambda: loop(head(10, nn.Softmax(1)), lambda out, y: F.nll_loss((out + 1e-12).log(), y))
    ),
    "segmentation with ignored pixels": seeded(
        lambda: loop(
            segmenter(), lambda out, y: F.cross_entropy(out, y, ignore_index=255), source=pixels(void=0.3), lr=1e-2
        )
    ),
    "dice": seeded(
        lambda: loop(
            nn.Sequential(*list(segmenter())[:-1], nn.Conv2d(12, 1, 3, padding=1)),
            dice,
            source=pixels(),
            lr=1e-2,
            spoil=lambda x, y: (x, (y > 0).float()[:, None]),
        )
    ),
    "contrastive": seeded(lambda: loop(head(16), contrastive)),
    "VAE": seeded(lambda: loop(Vae(), vae_loss, spoil=lambda x, y: (x, x))),
    "autoencoder in 0..1": seeded(
        lambda: loop(head(64, nn.Sigmoid()), F.mse_loss, spoil=lambda x, y: ((x + 1) / 4, (x + 1) / 4))
    ),
    "class weights by inverse frequency": seeded(
        lambda: loop(
            head(4), lambda out, y: F.cross_entropy(out, y, weight=torch.tensor([0.2, 1.0, 1.1, 0.9])), source=unequal()
        )
    ),
    "imbalanced and learned": seeded(lambda: loop(head(4), source=unequal())),
    "language model, padding ignored": seeded(
        lambda: loop(Reader(), tokens_loss(ignore_index=0), source=lines(), lr=1e-2)
    ),
    "language model, padding at -100": seeded(lambda: loop(Reader(), tokens_loss(), source=lines(pad=-100), lr=1e-2)),
    "byte images": seeded(lambda: loop(convolution(), source=scenes())),
    "validated four times": seeded(lambda: validated(right)),
    "percent": seeded(lambda: validated(lambda out, y: 100 * right(out, y))),
    "the best checkpoint": seeded(lambda: kept(min)),
    "divided for accumulation": seeded(lambda: loop(mlp(), lambda out, y: F.cross_entropy(out, y) / 4)),
    "maximised log-likelihood": seeded(lambda: loop(mlp(), lambda out, y: -F.cross_entropy(out, y), maximize=True)),
    "outputs not given": seeded(lambda: loop(mlp(), give=False)),
}

SICK: dict[str, Make] = {
    "gradient-ascent": seeded(
        lambda: loop(mlp(), lambda out, y: -F.cross_entropy(out, y), optimizer=torch.optim.SGD, lr=0.01)
    ),
    "nll-without-log-softmax": seeded(lambda: loop(mlp(), F.nll_loss)),
    "binary-loss-of-wrong-outputs": seeded(
        lambda: loop(head(1, nn.Sigmoid()), F.binary_cross_entropy_with_logits, spoil=odd)
    ),
    "single-output-cross-entropy": seeded(lambda: loop(head(1), F.cross_entropy, spoil=odd)),
    "squared-loss-on-classes": seeded(
        lambda: loop(mlp(), lambda out, y: F.mse_loss(out.softmax(1), F.one_hot(y, 10).float()))
    ),
    "cross-entropy-of-numbers": seeded(lambda: loop(small(), F.binary_cross_entropy_with_logits, source=diabetes())),
    "loss-summed-over-batch": seeded(lambda: loop(mlp(), summed, optimizer=torch.optim.SGD, lr=0.1)),
    "label-smoothing-too-strong": seeded(lambda: loop(mlp(), lambda a, b: F.cross_entropy(a, b, label_smoothing=0.9))),
    "class-weights-off": seeded(
        lambda: loop(
            head(4), lambda out, y: F.cross_entropy(out, y, weight=torch.tensor([6.0, 1.0, 1.0, 1.0])), source=unequal()
        )
    ),
    "targets-ignored": seeded(lambda: loop(mlp(), spoil=lambda x, y: (x, torch.full_like(y, -100)))),
    "unused-outputs": seeded(lambda: loop(head(40))),
    "labels-start-at-one": seeded(lambda: loop(head(11), spoil=lambda x, y: (x, y + 1))),
    "output-cannot-reach-targets": seeded(
        lambda: loop(nn.Sequential(small(), nn.Tanh()), F.mse_loss, source=diabetes(scale=100.0))
    ),
    "one-class-targets": seeded(lambda: loop(mlp(), spoil=lambda x, y: (x, torch.zeros_like(y)))),
    "majority-predicted": seeded(lambda: loop(head(2), source=rare(), optimizer=torch.optim.SGD, lr=0.01)),
    "non-finite-data": seeded(nan_data),
    "unsigned-wraparound": seeded(lambda: loop(convolution(), source=scenes(wrap=True))),
    "padding-as-target": seeded(lambda: loop(Reader(), tokens_loss(), source=lines(), lr=1e-2)),
    "metric-contradicts-loss": seeded(
        lambda: validated(lambda out, y: float((out.argmax(0)[:10] == y[:10]).float().mean()))
    ),
    "worst-checkpoint-kept": seeded(lambda: kept(max)),
}

ALSO: dict[str, set[str]] = {}
