"""Watched loops with faults of initialisation, architecture and activations, and sound ones that look alike."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import snellen
from snellen.facts import Facts
from tests.rules.run_injections import Block, Gru, Make, batches, cnn, digits, mlp, resnet, seeded, sgd

Change = Callable[[nn.Module], Any]


def watched(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    steps: int = 40,
    size: int = 32,
    x: Tensor | None = None,
    y: Tensor | None = None,
    loss: Callable[[Any, Tensor], Tensor] = F.cross_entropy,
    validate: Callable[[nn.Module], None] | None = None,
) -> list[Facts]:
    """A plain loop over digits, or over `x` and `y`."""
    optimizer = optimizer or torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=3e-3)
    pick = torch.Generator().manual_seed(0)
    source = batches(steps, size)
    with snellen.watch(model, optimizer, every=5, trials=False) as watch:
        for _ in range(steps):
            a, b = next(source)
            if x is not None and y is not None:
                rows = torch.randint(len(x), (size,), generator=pick)
                a, b = x[rows], y[rows]
            out = model(a)
            value = loss(out, b)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            watch.step(loss=value, inputs=a, targets=b, outputs=out)
        if validate:
            validate(model)
            with torch.no_grad():
                held = float(loss(model(digits()[0][:64] * 0.97), digits()[1][:64]))
            watch.epoch(train={"loss": value.item()}, val={"loss": held})
    return [watch.facts()]


def changed(model: nn.Module, change: Change, **more: Any) -> list[Facts]:
    """Train `model` after `change`."""
    change(model)
    return watched(model, **more)


def each_weight(call: Callable[[Tensor], Any]) -> Change:
    """Do something to every weight matrix."""

    def change(model: nn.Module) -> None:
        with torch.no_grad():
            for p in model.parameters():
                if p.dim() > 1:
                    call(p)

    return change


class Attention(nn.Module):
    """Attention written out, with what people get wrong as switches."""

    def __init__(self, width: int, scale: bool = True, causal: bool = False, heads: int = 1) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.scale, self.causal, self.heads = scale, causal, heads

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = (p(x).view(n, t, self.heads, -1).transpose(1, 2) for p in (self.query, self.key, self.value))
        scores = q @ k.transpose(-2, -1)
        if self.scale:
            scores = scores / math.sqrt(q.shape[-1])
        if self.causal:
            scores = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), -1e9)
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, d))


class Layer(nn.Module):
    """A transformer block; `residual` and `norm` as switches."""

    def __init__(self, width: int, residual: bool = True, norm: nn.Module | None = None, **more: Any) -> None:
        super().__init__()
        self.attention, self.residual = Attention(width, **more), residual
        self.norm1, self.norm2 = norm or nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        if not self.residual:
            return self.mlp(self.norm2(self.attention(self.norm1(x))))
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Rows(nn.Module):
    """A transformer over the eight rows of a digit, 32 wide."""

    def __init__(self, depth: int = 2, **more: Any) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(8, 32), nn.Parameter(torch.randn(8, 32) * 0.02)
        self.blocks, self.head = nn.Sequential(*(Layer(32, **more) for _ in range(depth))), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.embed(x.view(-1, 8, 8)) + self.place).mean(1))


class Language(nn.Module):
    """A language model of 12 words."""

    def __init__(self, causal: bool = True, tied: str = "", **more: Any) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(12, 32), nn.Parameter(torch.randn(16, 32) * 0.02)
        self.blocks = nn.Sequential(*(Layer(32, causal=causal, **more) for _ in range(2)))
        self.head = nn.Linear(32, 12, bias=False)
        if tied:
            nn.init.normal_(self.embed.weight, std=0.05)
            weight = self.embed.weight
            self.head.weight = weight if tied == "shared" else nn.Parameter(weight.detach().clone())

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.blocks(self.embed(tokens) + self.place[: tokens.shape[1]]))


class Letters(nn.Module):
    """A language model that reads recurrently."""

    def __init__(self, both: bool = False) -> None:
        super().__init__()
        self.embed, self.rnn = nn.Embedding(12, 16), nn.LSTM(16, 24, batch_first=True, bidirectional=both)
        self.head = nn.Linear(48 if both else 24, 12)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(tokens))[0])


def language(model: nn.Module) -> list[Facts]:
    """Foretell the next word of a counting text with noise."""
    pick = torch.Generator().manual_seed(0)
    start, noise = torch.randint(12, (400, 1), generator=pick), torch.rand(400, 17, generator=pick) < 0.1
    text = torch.where(noise, torch.randint(12, (400, 17), generator=pick), (start + 5 * torch.arange(17)) % 12)
    return watched(
        model, x=text[:, :-1], y=text[:, 1:], loss=lambda out, y: F.cross_entropy(out.flatten(0, 1), y.flatten())
    )


class Sentences(nn.Module):
    """Classes of padded sentences by nn.TransformerEncoder."""

    def __init__(self, mask: str, fused: bool = False) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(12, 32, padding_idx=0), nn.Parameter(torch.randn(16, 32) * 0.1)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head, self.mask = nn.Linear(32, 2), mask

    def forward(self, tokens: Tensor) -> Tensor:
        real = tokens != 0
        mask = {"right": ~real, "inverted": real, "none": None}[self.mask]
        x = self.encoder(self.embed(tokens) + self.place, src_key_padding_mask=mask)
        return self.head((x * real[..., None]).sum(1) / real.sum(1, keepdim=True))


def sentences(model: nn.Module) -> list[Facts]:
    """Does word 1 occur? Sentences of 6 to 16 words, padded with 0."""
    pick = torch.Generator().manual_seed(0)
    x = torch.randint(1, 12, (400, 16), generator=pick)
    x = x.masked_fill(torch.arange(16) >= torch.randint(6, 17, (400, 1), generator=pick), 0)
    return watched(model, x=x, y=(x == 1).any(1).long())


class Unrolled(nn.Module):
    """A plain recurrent network with ReLU over a long sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.RNN(1, 24, batch_first=True, nonlinearity="relu"), nn.Linear(24, 10)
        nn.init.eye_(self.rnn.weight_hh_l0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x[..., None])[0][:, -1])


def exploding() -> list[Facts]:
    """The long sequence, trained without clipping."""
    model = Unrolled()
    return watched(model, sgd(model, 0.01))


class Rounded(nn.Module):
    """Rounds; with `through`, passes the gradient on."""

    def __init__(self, through: bool = False) -> None:
        super().__init__()
        self.through = through

    def forward(self, x: Tensor) -> Tensor:
        rounded = (x * 4).round() / 4
        return x + (rounded - x).detach() if self.through else rounded


class NormOverPlaces(nn.Module):
    """Layer norm along the eight rows. 11 of them, so that no layer is as wide."""

    def __init__(self, places: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(places)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class Eleven(Rows):
    """Eleven tokens: eight rows and three of its own."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.own = nn.Parameter(torch.randn(3, 32))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x.view(-1, 8, 8)) + self.place
        return self.head(self.blocks(torch.cat([self.own.expand(len(x), -1, -1), tokens], 1)).mean(1))


def partly_loaded() -> list[Facts]:
    """A trained and frozen body of which one layer was initialised again."""
    model = mlp(depth=2)
    watched(model)
    for module in model[:-1]:
        module.requires_grad_(False)
    model[2].reset_parameters()
    model[-1].reset_parameters()
    return watched(model)


def loaded() -> list[Facts]:
    """A trained and frozen body, and a new head."""
    model = mlp(depth=2)
    watched(model, steps=80)
    for module in model[:-1]:
        module.requires_grad_(False)
    model[-1].reset_parameters()
    return watched(model)


def never_loaded() -> list[Facts]:
    """A random and frozen body."""
    model = mlp(depth=2)
    for module in model[:-1]:
        module.requires_grad_(False)
    return watched(model)


def stem_and_hidden(times: int, shared: bool) -> nn.Sequential:
    """`times` hidden layers, one and the same if `shared`."""
    hidden = nn.Linear(64, 64)
    layers = [m for _ in range(times) for m in (hidden if shared else nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), *layers, nn.Linear(64, 10))


def narrow(width: int) -> nn.Sequential:
    """A hidden layer of `width` units."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 10))


def pooled(last: int) -> nn.Sequential:
    """Three convolutions; the map before the last has `last` cells a side."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(last),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


def momentum(value: float | None) -> Change:
    """Set the momentum of every batch norm."""

    def change(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = value

    return change


def dead_query(model: Any) -> None:
    """The query of the first block gets a gradient of zero."""
    for parameter in model.blocks[0].attention.query.parameters():
        parameter.register_hook(lambda gradient: 0 * gradient)


class Experts(nn.Module):
    """A mixture of eight experts, of which the router sends each sample to one; some are never chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.router = nn.Linear(64, 32), nn.Linear(32, 8)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(32, 32), nn.ReLU()) for _ in range(8))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        weight, chosen = self.router(x).softmax(-1).max(-1)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            rows = (chosen == i).nonzero()[:, 0]
            if len(rows):
                out = out.index_add(0, rows, expert(x[rows]) * weight[rows, None])
        return self.head(out)


class Modulated(nn.Module):
    """adaLN-zero: branches whose gates, and the head, begin at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.condition = nn.Linear(64, 32), nn.Linear(8, 32)
        self.norms = nn.ModuleList(nn.LayerNorm(32, elementwise_affine=False) for _ in range(3))
        self.branches = nn.ModuleList(nn.Sequential(nn.Linear(32, 64), nn.SiLU(), nn.Linear(64, 32)) for _ in range(3))
        self.gates, self.head = nn.ModuleList(nn.Linear(32, 96) for _ in range(3)), nn.Linear(32, 10)
        for gate in (*self.gates, self.head):
            nn.init.zeros_(gate.weight)
            nn.init.zeros_(gate.bias)

    def forward(self, x: Tensor) -> Tensor:
        condition, h = F.silu(self.condition(x[:, :8])), self.embed(x)
        for norm, branch, modulation in zip(self.norms, self.branches, self.gates, strict=True):
            shift, scale, gate = modulation(condition).chunk(3, -1)
            h = h + gate * branch(norm(h) * (1 + scale) + shift)
        return self.head(h)


class Universal(nn.Module):
    """One block applied four times on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.head = nn.Linear(64, 32), nn.Linear(32, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        for _ in range(4):
            x = x + self.block(x).relu()
        return self.head(x)


class Squeezed(nn.Module):
    """Attention pooling: one score a place, and a gate of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.score, self.gate = nn.Linear(8, 32), nn.Linear(32, 1), nn.Linear(32, 1)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x.view(-1, 8, 8)).relu()
        h = (self.score(h).softmax(1) * h).sum(1)
        return self.head(h * self.gate(h).sigmoid())


def autoencoder() -> list[Facts]:
    """Sigmoid on the output, a code of two numbers."""
    model = nn.Sequential(
        nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 2), nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 64), nn.Sigmoid()
    )
    x = (digits()[0] * 6.017 + 4.884) / 16
    return watched(model, x=x, y=x, loss=F.mse_loss, steps=80)


def with_eval(call: bool) -> list[Facts]:
    """A network with batch norm and dropout, validated after training, in eval mode or not."""
    model = nn.Sequential(mlp()[:2], nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Linear(64, 10))
    return watched(model, validate=(lambda m: m.eval()) if call else (lambda m: None))


def deep(depth: int, act: type[nn.Module], init: Callable[[Tensor], Any] | None) -> nn.Sequential:
    """Many layers without norms."""
    model = mlp(64, act, depth)
    if init:
        each_weight(init)(model)
    return model


def deep_resnet() -> nn.Sequential:
    """Ten residual blocks."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3, padding=1), *(Block(8) for _ in range(10)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip


def lora(model: nn.Sequential) -> None:
    """A trained, frozen body with low-rank branches that begin at zero."""
    watched(model)
    for module in model:
        module.requires_grad_(False)

    class Adapted(nn.Module):
        def __init__(self, base: nn.Module) -> None:
            super().__init__()
            self.base, self.down, self.up = base, nn.Linear(64, 4, bias=False), nn.Linear(4, 64, bias=False)
            nn.init.zeros_(self.up.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + self.up(self.down(x))

    model[0], model[2] = Adapted(model[0]), Adapted(model[2])


def siamese() -> list[Facts]:
    """One encoder for two views, as in contrastive learning."""

    class Twins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = mlp()[:4], nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.encoder(x) + self.encoder(x.flip(1)))

    return watched(Twins())


CLEAN: dict[str, Make] = {
    "watched MLP": seeded(lambda: watched(mlp())),
    "watched CNN with batch norm, batches of 8": seeded(lambda: watched(cnn(nn.BatchNorm2d), size=8)),
    "watched CNN with group norm": seeded(lambda: watched(cnn(lambda c: nn.GroupNorm(4, c)))),
    "deep ResNet": seeded(lambda: watched(deep_resnet(), steps=15)),
    "zero-init residual": seeded(lambda: watched(resnet(zero=True))),
    "adaLN-zero": seeded(lambda: watched(Modulated())),
    "momentum None": seeded(lambda: changed(resnet(), momentum(None))),
    "deep tanh with Glorot": seeded(lambda: watched(deep(6, nn.Tanh, nn.init.xavier_normal_))),
    "deep ReLU with He": seeded(lambda: watched(deep(8, nn.ReLU, nn.init.kaiming_normal_))),
    "deep SELU": seeded(lambda: watched(deep(8, nn.SELU, lambda w: nn.init.normal_(w, std=w.shape[1] ** -0.5)))),
    "four layers with torch's defaults": seeded(lambda: watched(mlp(depth=3))),
    "orthogonal": seeded(lambda: watched(deep(2, nn.ReLU, nn.init.orthogonal_))),
    "normal with std 0.02": seeded(lambda: changed(Rows(), each_weight(lambda w: nn.init.normal_(w, std=0.02)))),
    "sigmoid output, code of two numbers": seeded(autoencoder),
    "watched GRU": seeded(lambda: watched(Gru())),
    "watched LSTM language model": seeded(lambda: language(Letters())),
    "language model with causal mask": seeded(lambda: language(Language())),
    "tied weights": seeded(lambda: language(Language(tied="shared"))),
    "transformer over rows": seeded(lambda: watched(Rows())),
    "transformer with four heads": seeded(lambda: watched(Rows(heads=4))),
    "padding mask": seeded(lambda: sentences(Sentences("right"))),
    "mixture of experts": seeded(lambda: watched(Experts())),
    "one block four times on purpose": seeded(lambda: watched(Universal())),
    "one encoder for two views": seeded(siamese),
    "scores and gates of one number": seeded(lambda: watched(Squeezed())),
    "two units in the middle": seeded(lambda: watched(narrow(4))),
    "straight-through rounding": seeded(lambda: watched(nn.Sequential(mlp()[:4], Rounded(True), nn.Linear(64, 10)))),
    "dropout of a half": seeded(lambda: watched(nn.Sequential(mlp()[:2], nn.Dropout(0.5), nn.Linear(64, 10)))),
    "loaded and frozen body": seeded(loaded),
    "low-rank adapters": seeded(lambda: changed(mlp(), lora)),
    "validation in eval mode": seeded(lambda: with_eval(True)),
    "low final loss": seeded(lambda: watched(mlp(), steps=300, size=64)),
}

SICK: dict[str, Make] = {
    "symmetric-units": seeded(lambda: changed(mlp(), each_weight(lambda w: nn.init.constant_(w, 0.1)))),
    "initial-weights-off-scale": seeded(lambda: changed(mlp(), each_weight(lambda w: w.mul_(50)))),
    "signal-lost-in-depth": seeded(lambda: watched(deep(16, nn.ReLU, None))),
    "exploding-gradient": seeded(exploding),
    "pretrained-not-loaded": seeded(never_loaded),
    "frozen-layers-partly-random": seeded(partly_loaded),
    "same-layer-repeated": seeded(lambda: watched(stem_and_hidden(3, True))),
    "tie-broken": seeded(lambda: language(Language(tied="copied"))),
    "dropout-drops-most": seeded(lambda: watched(nn.Sequential(mlp()[:2], nn.Dropout(0.95), nn.Linear(64, 10)))),
    "batchnorm-few-samples": seeded(lambda: watched(cnn(nn.BatchNorm2d), size=2)),
    "running-statistics-unusable": seeded(lambda: changed(resnet(), momentum(0.0))),
    "norm-over-wrong-axis": seeded(lambda: watched(Eleven(norm=NormOverPlaces(11)))),
    "residual-missing": seeded(lambda: watched(Rows(depth=3, residual=False))),
    "attention-not-scaled": seeded(lambda: watched(Rows(scale=False))),
    "future-visible": seeded(lambda: language(Language(causal=False))),
    "attention-on-padding": seeded(lambda: sentences(Sentences("none"))),
    "projection-dead": seeded(lambda: changed(Rows(), dead_query)),
    "map-of-one-cell": seeded(lambda: watched(pooled(1))),
    "one-number-bottleneck": seeded(lambda: watched(narrow(1))),
    "step-function-in-forward": seeded(lambda: watched(nn.Sequential(mlp()[:4], Rounded(), nn.Linear(64, 10)))),
    "validation-in-train-mode": seeded(lambda: with_eval(False)),
}
ALSO: dict[str, set[str]] = {}
