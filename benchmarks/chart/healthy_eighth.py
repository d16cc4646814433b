"""Faulty loops by an eighth author, who had not read the rules, each with a sound twin: wiring and the order of a loop.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import SecondCases, Split, accuracy, convs, cut, dense, digits, draws, explained, fit
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("eighth")


def course(
    harness: Harness,
    model: nn.Module,
    optimizer: Any,
    batch: Callable[[], tuple[Tensor, Tensor]],
    loss_fn: Callable[[Any, Tensor], Tensor],
    steps: int,
    *,
    after: Callable[[], Any] = lambda: None,
    judge: Callable[[], Mapping[str, float]] | None = None,
    every: int = 50,
) -> None:
    """A loop of steps on drawn batches; `judge` measures on held-out data after every so many steps."""
    harness.begin(model, optimizer, loss_fn=loss_fn)
    total = 0.0
    for i in range(steps):
        model.train()
        inputs, targets = batch()
        outputs = model(inputs)
        loss = loss_fn(outputs, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after()
        total += loss.item()
        harness.step(loss=loss, inputs=inputs, targets=targets, outputs=outputs)
        if (i + 1) % every == 0 and judge is not None:
            model.eval()
            with torch.no_grad():
                harness.epoch(train={"loss": total / every}, val=judge())
            total = 0.0


def held_out(model: nn.Module, split: Split, score: Callable[[Any, Any], float] = accuracy) -> float:
    """Score on the validation part, in eval mode."""
    model.eval()
    with torch.no_grad():
        return score(model(split[2]), split[3])


def moons(count: int = 800) -> Split:
    """Three rings (N, 2) one inside the other, which no line parts."""
    draw = np.random.default_rng(81)
    kind, turn = draw.integers(0, 3, count), draw.uniform(0, 6.28, count)
    radius = 0.5 + 0.7 * kind + draw.normal(0, 0.12, count)
    return cut(np.stack([radius * np.cos(turn), radius * np.sin(turn)], 1), kind)


def orders(count: int = 2400, columns: int = 4, values: int = 25) -> Split:
    """Codes (N, columns) of an order; each code has an effect of its own on whether it is sent back (0 or 1)."""
    draw = np.random.default_rng(82)
    effects, codes = draw.normal(0, 1, (columns, values)), draw.integers(0, values, (count, columns))
    total = effects[np.arange(columns), codes].sum(1) + draw.normal(0, 0.3, count)
    return cut(codes, (total > 0).astype(np.int64))


class Columns(nn.Module):
    """An embedding for each column of codes and a linear head."""

    def __init__(self, columns: int, values: int, plain: bool) -> None:
        super().__init__()
        tables = [nn.Embedding(values, 1) for _ in range(columns)]
        self.tables = tables if plain else nn.ModuleList(tables)
        self.head = nn.Linear(columns, 2)

    def forward(self, codes: Tensor) -> Tensor:
        """Logits (N, 2)."""
        return self.head(torch.cat([table(codes[:, i]) for i, table in enumerate(self.tables)], 1))


@cases.pair("orders", 0.85, accepts=["unregistered-layers", "parameters-missing-from-optimizer"])
def tables_in_a_plain_list(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The embeddings stand in a Python list, so that the model and its optimizer do not know them."""
    model = Columns(4, 25, plain=wrong)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    return fit(harness, model, optimizer, F.cross_entropy, orders(), epochs=6)


class Bridged(nn.Module):
    """A narrow encoder, whose features the head takes over."""

    def __init__(self, numpy: bool) -> None:
        super().__init__()
        self.encoder, self.head, self.numpy = dense(64, 32, 4, act=nn.Tanh), dense(4, 32, 10), numpy

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        features = self.encoder(x)
        if self.numpy:
            features = torch.from_numpy(features.detach().numpy().copy())
        return self.head(features)


@cases.pair("mlp", 0.8, accepts=["layer-without-gradient"])
def features_through_numpy(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The encoder's features go through NumPy before the head, which cuts the encoder off from the gradient."""
    model = Bridged(wrong)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", image=False), epochs=10)


@cases.pair("mlp", 0.85, accepts=["loss-without-graph", "no-backward"])
def loss_from_python_numbers(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The loss is built from `.item()` numbers with requires_grad=True, and nothing reaches the model."""
    split = digits("unit", image=False)
    model = dense(64, 48, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer)
    for _ in range(5):
        total, count = 0.0, 0
        for x, y in draws(*split[:2]):
            optimizer.zero_grad()
            out = model(x)
            parts = [F.cross_entropy(out[i::4], y[i::4]) for i in range(4)]
            if wrong:
                loss = torch.tensor([part.item() for part in parts], requires_grad=True).mean()
            else:
                loss = torch.stack(parts).mean()
            loss.backward()
            optimizer.step()
            total, count = total + loss.item(), count + 1
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(train={"loss": total / count}, val={"accuracy": held_out(model, split)})
    return held_out(model, split)


@cases.pair("mlp", 0.85, accepts=["optimizer-never-steps", "gradients-erased"])
def step_outside_the_batch_loop(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`optimizer.step()` is indented one level too little: it runs once per epoch, on the last batch's gradient."""
    split = digits("unit", image=False)
    model = dense(64, 48, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(6):
        total, count = 0.0, 0
        for x, y in draws(*split[:2]):
            optimizer.zero_grad()
            out = model(x)
            loss = F.cross_entropy(out, y)
            loss.backward()
            if not wrong:
                optimizer.step()
            total, count = total + loss.item(), count + 1
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        if wrong:
            optimizer.step()
        harness.epoch(train={"loss": total / count}, val={"accuracy": held_out(model, split)})
    return held_out(model, split)


@cases.pair("cnn", 0.85, accepts=["gradients-erased", "no-backward"])
def step_before_backward(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The order is zero_grad, step, backward: the step always finds cleared gradients."""
    split = digits("unit")
    model = convs()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(3):
        model.train()
        total, count = 0.0, 0
        for x, y in draws(*split[:2]):
            out = model(x)
            loss = F.cross_entropy(out, y)
            optimizer.zero_grad()
            if wrong:
                optimizer.step()
                loss.backward()
            else:
                loss.backward()
                optimizer.step()
            total, count = total + loss.item(), count + 1
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(train={"loss": total / count}, val={"accuracy": held_out(model, split)})
    return held_out(model, split)


@cases.pair("mlp", 0.85, accepts=["epochs-without-steps"])
def generator_used_up(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The batches come from a generator made once: after the first epoch it is empty, and the others train nothing."""
    split = digits("unit", image=False)
    model = dense(64, 48, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    batches: Iterator[tuple[Tensor, Tensor]] = draws(*split[:2])
    for _ in range(14):
        total, count = 0.0, 0
        for x, y in batches:
            optimizer.zero_grad()
            out = model(x)
            loss = F.cross_entropy(out, y)
            loss.backward()
            optimizer.step()
            total, count = total + loss.item(), count + 1
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(train={"loss": total / max(count, 1)}, val={"accuracy": held_out(model, split)})
        if not wrong:
            batches = draws(*split[:2])
    return held_out(model, split)


@cases.pair("mlp", 0.85, accepts=["too-few-samples"])
def seeded_in_get_batch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`get_batch` seeds the generator each time it is called, so that every step sees the same 32 rows."""
    split = digits("unit", image=False)
    model = dense(64, 48, 10)

    def get_batch() -> tuple[Tensor, Tensor]:
        if wrong:
            torch.manual_seed(1337)
        rows = torch.randint(len(split[0]), (32,))
        return split[0][rows], split[1][rows]

    def judge() -> dict[str, float]:
        out = model(split[2])
        return {"loss": float(F.cross_entropy(out, split[3])), "accuracy": accuracy(out, split[3])}

    course(harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), get_batch, F.cross_entropy, 250, judge=judge)
    return held_out(model, split)


class Rings(nn.Module):
    """Three layers for points of the plane."""

    def __init__(self, kept: bool) -> None:
        super().__init__()
        self.one, self.two, self.three, self.kept = nn.Linear(2, 32), nn.Linear(32, 32), nn.Linear(32, 3), kept

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.one(x)
        y = F.relu(x)
        x = self.two(y if self.kept else x)
        y = F.relu(x)
        return self.three(y if self.kept else x)


@cases.pair("rings", 0.9, accepts=["linear-network"])
def activations_not_assigned(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`F.relu(x)` is called but its result is not used: the network is linear from end to end."""
    model = Rings(not wrong)
    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=1e-2), F.cross_entropy, moons(), epochs=12)


@cases.pair("regression", 0.8, accepts=["step-function-in-forward", "gradient-always-zero"])
def rounded_before_the_loss(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Predicted counts are rounded before the loss; `round` has no gradient, so that nothing is learned."""
    draw = np.random.default_rng(83)
    x = draw.normal(0, 1, (900, 6))
    y = np.round(4 + 2 * x[:, 0] - 1.5 * x[:, 1] + np.abs(x[:, 2]))[:, None]
    split = cut(x, y)
    model = dense(6, 32, 1)

    def loss_fn(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs.round() if wrong else outputs, targets)

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return fit(harness, model, optimizer, loss_fn, split, epochs=8, score=explained, metric=None)
