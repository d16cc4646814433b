"""Faulty modes, graphs and optimizers of a second author, each with a sound twin.

See `benchmarks/chart/second.py`.
"""

import copy

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.faults.held_out_second import TOO_HIGH, TOO_LOW
from benchmarks.chart.second import (
    SecondCases,
    accuracy,
    convs,
    dense,
    diabetes,
    digits,
    draws,
    explained,
    fit,
    housing,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("second")


@cases.pair("cnn", 0.8, accepts=["model-in-eval-mode"], number=67)
def eval_left_on_after_first_epoch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """model.train() stands before the loop over epochs, model.eval() in the validation."""
    x, y, vx, vy = digits("raw")
    model = nn.Sequential(nn.Dropout2d(0.1), convs())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    model.train()
    for _ in range(5):
        if not wrong:
            model.train()
        for inputs, targets in draws(x / 16, y):
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx / 16)
        harness.epoch(val={"accuracy": accuracy(out, vy)})
    return accuracy(out, vy)


@cases.pair("mlp", 0.8, accepts=["validation-in-train-mode"], number=68)
def validated_with_dropout(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Nobody calls eval() before the validation; the network has dropout of 0.4 and batch norm."""
    x, y, vx, vy = digits(image=False)
    model = nn.Sequential(nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Dropout(0.4), nn.Linear(96, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer, loss_fn=nn.CrossEntropyLoss())
    for _ in range(6):
        model.train()
        total = 0.0
        for inputs, targets in draws(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            total += loss.item() / 33
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        if not wrong:
            model.eval()
        with torch.no_grad():
            out = torch.cat([model(vx[rows]) for rows in torch.arange(len(vx)).split(50)])
        harness.epoch(
            train={"loss": total}, val={"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)}
        )
    return accuracy(out, vy)


@cases.pair("mlp", 0.85, accepts=["layer-without-gradient", "forward-without-grad"], number=29, place="0")
def features_under_no_grad(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The body, which is to be trained and is in the optimizer, runs under no_grad."""
    x, y, vx, vy = digits("signed", image=False)
    body, head = dense(64, 48, 12, act=nn.Tanh), nn.Linear(12, 10)
    model = nn.Sequential(body, nn.Tanh(), head)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(6):
        for inputs, targets in draws(x, y):
            with torch.set_grad_enabled(not wrong):
                features = body(inputs).tanh()
            out = head(features)
            loss = F.cross_entropy(out, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
    with torch.no_grad():
        return accuracy(model(vx), vy)


@cases.pair("diabetes", 0.25, accepts=["loss-without-graph", "no-backward", "weights-unchanged"], number=28)
def loss_made_anew(harness: Harness, seed: int, wrong: bool) -> float | None:
    """An error about grad_fn was silenced: the loss is torch.tensor(loss.item(), requires_grad=True)."""
    x, y, vx, vy = diabetes()
    model = dense(10, 24, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    harness.begin(model, optimizer, loss_fn=F.mse_loss)
    for _ in range(10):
        for inputs, targets in draws(x, y):
            out = model(inputs)
            loss = F.mse_loss(out, targets)
            if wrong:
                loss = torch.tensor(loss.item(), requires_grad=True)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
    with torch.no_grad():
        return explained(model(vx), vy)


@cases.pair("mlp", 0.85, accepts=["layer-without-gradient"], number=27, place="first|0")
def through_numpy(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Between two halves the features go through numpy."""

    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = dense(64, 32, 8), dense(8, 32, 10)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            return self.second(torch.from_numpy(h.detach().numpy()) if wrong else h)

    model = Halves()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False))


@cases.pair("mlp", 0.85, accepts=["clipping-dominates"], number=19)
def clipped_at_a_thousandth(harness: Harness, seed: int, wrong: bool) -> float | None:
    """SGD, and the norm is clipped at 1e-3."""
    model = dense(64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    return fit(
        harness, model, optimizer, F.cross_entropy, digits("standard", False),
        clip=lambda: nn.utils.clip_grad_norm_(model.parameters(), 1e-3 if wrong else 5.0),
    )  # fmt: skip


@cases.pair("mlp", 0.85, accepts=["weight-decay-dominates"], number=14)
def decay_of_a_half(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Weight decay of 0.5 in SGD, where 0.0005 was meant."""
    model = dense(64, 64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.5 if wrong else 5e-4)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False), epochs=6)


@cases.pair("mlp", 0.8, accepts=["coupled-decay", "weight-decay-dominates"], number=16)
def adam_with_decay_of_adamw(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Adam gets the decay of 0.3 that AdamW would take."""
    kind = torch.optim.Adam if wrong else torch.optim.AdamW
    model = dense(64, 64, 64, 10, act=nn.GELU)
    optimizer = kind(model.parameters(), lr=3e-3, weight_decay=0.3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("signed", False), epochs=6)


@cases.pair("mlp", 0.85, accepts=["momentum-too-high", *TOO_HIGH], number=18)
def momentum_with_three_nines(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Momentum of 0.999, Adam's second beta, in SGD."""
    model = dense(64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.999 if wrong else 0.9)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False), epochs=6)


@cases.pair("housing", 0.7, accepts=["adam-eps-dominates", *TOO_LOW], number=17)
def epsilon_of_one(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Adam's epsilon is 1."""
    model = dense(6, 48, 48, 1, act=nn.SiLU)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, eps=1.0 if wrong else 1e-8)
    return fit(harness, model, optimizer, F.mse_loss, housing(), score=explained, metric="r2")


@cases.pair("cnn", 0.85, accepts=["accumulation-not-averaged", *TOO_HIGH], number=23)
def eight_losses_added(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Eight micro-batches are accumulated with SGD and the loss is not divided."""
    x, y, vx, vy = digits("standard")
    model = convs(norm=lambda c: nn.GroupNorm(4, c))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.15, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(7):
        model.train()
        for i, (inputs, targets) in enumerate(draws(x, y, 8, whole=True), 1):
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            (loss if wrong else loss / 8).backward()
            if i % 8 == 0:
                optimizer.step()
                optimizer.zero_grad()
                harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx)
            harness.epoch(val={"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)})
    return accuracy(out, vy)


@cases.pair("diabetes", 0.25, accepts=["loss-summed-over-batch", "loss-scales-with-batch", *TOO_HIGH], number=53)
def squares_are_summed(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Squared errors of 64 patients are summed, at the rate for their mean."""
    loss = nn.MSELoss(reduction="sum" if wrong else "mean")
    model = dense(10, 32, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    return fit(harness, model, optimizer, loss, diabetes(), score=explained, metric="r2", size=64, epochs=15)


@cases.pair("mlp", 0.85, accepts=["optimizer-state-lost"], number=25)
def optimizer_made_every_epoch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A function trains one epoch and makes its Adam anew each time; the rate is at the edge."""
    x, y, vx, vy = digits("standard", image=False)
    model = dense(64, 64, 64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(8):
        if wrong:
            optimizer.state.clear()
        for inputs, targets in draws(x, y):
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
    with torch.no_grad():
        return accuracy(model(vx), vy)


@cases.pair("mlp", 0.85, accepts=["parameter-in-two-optimizers"], number=24)
def body_in_both_optimizers(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The second optimizer was meant for the head and gets model.parameters()."""
    x, y, vx, vy = digits("standard", image=False)
    model = dense(64, 64, 10)
    first = torch.optim.SGD((model if wrong else model[0]).parameters(), lr=0.05, momentum=0.9)
    second = torch.optim.Adam((model if wrong else model[2]).parameters(), lr=3e-3)
    harness.begin(model, [first, second], loss_fn=F.cross_entropy)
    for _ in range(5):
        for inputs, targets in draws(x, y):
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            model.zero_grad()
            loss.backward()
            first.step()
            second.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
    with torch.no_grad():
        return accuracy(model(vx), vy)


@cases.pair("gaussian", 0.25, accepts=["gradient-ascent"], number=52)
def likelihood_instead_of_its_negative(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The mean log-likelihood is minimised."""

    def loss(out: Tensor, y: Tensor) -> Tensor:
        value = torch.distributions.Normal(out[:, :1], 0.7).log_prob(y).mean()
        return value if wrong else -value

    model = dense(10, 24, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, loss, diabetes(), score=explained, metric="r2", epochs=12)


@cases.pair("mlp", 0.85, accepts=["update-below-resolution"], number=114)
def half_precision_weights(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The weights are bfloat16 and the updates are a thousandth of a weight."""
    x, y, vx, vy = digits("standard", image=False)
    model = dense(64, 64, 10)
    if wrong:
        model, x, vx = model.bfloat16(), x.bfloat16(), vx.bfloat16()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return fit(harness, model, optimizer, lambda o, t: F.cross_entropy(o.float(), t), (x, y, vx, vy), epochs=14)


@cases.pair("cnn", 0.85, accepts=["validates-another-model"], number=99)
def average_that_never_follows(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The moving average is validated, and the line that updates it was lost in a merge."""
    model = convs()
    average = copy.deepcopy(model)

    def follow() -> None:
        with torch.no_grad():
            for a, b in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
                a.lerp_(b, 0.1) if a.is_floating_point() else a.copy_(b)

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(
        harness, model, optimizer, F.cross_entropy, digits("signed"),
        judge=average, after=(lambda: None) if wrong else follow, epochs=4,
    )  # fmt: skip
