"""Faulty rates, schedules and clearing of a second author, each with a sound twin.

See `benchmarks/chart/second.py`.
"""

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import (
    SecondCases,
    accuracy,
    cancer,
    convs,
    dense,
    digits,
    draws,
    explained,
    fit,
    gaits,
    housing,
    signs,
    wine,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = SecondCases("second")


TOO_HIGH = ["lr-too-high", "lr-trial-rises"]
TOO_LOW = ["lr-too-low", "lr-trial-idle"]


@cases.pair("mlp", 0.85, accepts=TOO_HIGH, number=9)
def adam_at_a_tenth(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Adam with the rate that was good for SGD, about thirty times too high."""
    model = dense(64, 64, 64, 64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1 if wrong else 3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False))


@cases.pair("housing", 0.7, accepts=TOO_HIGH, number=9)
def momentum_after_plain_descent(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The rate of plain gradient descent is kept when momentum of 0.95 comes in: twenty times too high."""
    model = dense(6, 48, 48, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3 if wrong else 0.01, momentum=0.95)
    return fit(harness, model, optimizer, F.mse_loss, housing(), score=explained, metric="r2")


@cases.pair("gru", 0.75, accepts=TOO_HIGH, number=9)
def recurrent_at_ten_times(harness: Harness, seed: int, wrong: bool) -> float | None:
    """RMSprop at 0.1 on a GRU."""
    rnn, head = nn.GRU(3, 32, batch_first=True), nn.Linear(32, 4)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = rnn, head

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0].mean(1))

    model = Net()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.1 if wrong else 5e-3)
    return fit(harness, model, optimizer, F.cross_entropy, gaits(), epochs=10)


@cases.pair("mlp", 0.85, accepts=TOO_LOW, number=10)
def rate_of_fine_tuning(harness: Harness, seed: int, wrong: bool) -> float | None:
    """From scratch with 2e-5, as one fine-tunes."""
    model = dense(64, 64, 10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5 if wrong else 3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False), epochs=5)


@cases.pair("cnn", 0.85, accepts=TOO_LOW, number=10)
def descent_at_adams_rate(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Plain SGD at 3e-4, Adam's rate."""
    model = convs(norm=lambda c: nn.GroupNorm(4, c))
    optimizer = torch.optim.SGD(model.parameters(), lr=3e-4 if wrong else 0.1)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard"), epochs=5)


@cases.pair("mlp", 0.85, accepts=["lr-decays-too-fast"], number=12)
def exponential_at_every_batch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """ExponentialLR of 0.8 is stepped at every batch instead of every epoch."""
    model = dense(64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = lr_scheduler.ExponentialLR(optimizer, 0.8)
    per = "batch" if wrong else "epoch"
    return fit(harness, model, optimizer, F.cross_entropy, digits(image=False), scheduler=schedule, per=per)


@cases.pair("housing", 0.7, accepts=["lr-decays-too-fast"], number=12)
def milestones_in_batches(harness: Harness, seed: int, wrong: bool) -> float | None:
    """MultiStepLR at 4 and 7 means epochs and is stepped by batch: the rate is a hundredth from batch 7 on."""
    model = dense(6, 48, 48, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    schedule = lr_scheduler.MultiStepLR(optimizer, [4, 7], 0.1)
    per = "batch" if wrong else "epoch"
    return fit(
        harness, model, optimizer, F.huber_loss, housing(), score=explained, metric="r2", scheduler=schedule, per=per
    )


@cases.pair("cnn", 0.85, accepts=["lr-too-low", "lr-trial-idle", "scheduler-never-called"], number=None)
def one_cycle_by_epoch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """OneCycleLR is planned for batches and stepped by epoch: the rate never leaves its low start."""
    model = convs(norm=lambda c: nn.GroupNorm(4, c))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    cycle = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=5 * 33, div_factor=500)
    per = "epoch" if wrong else "batch"
    return fit(harness, model, optimizer, F.cross_entropy, digits(), scheduler=cycle, per=per, epochs=5)


@cases.pair("wine", 0.85, accepts=["lr-zero", "scheduler-never-called"], number=11)
def warm_up_never_goes_on(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A warm-up from 0 is built and nobody steps it."""
    model = dense(13, 24, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, i / 10))
    per = "never" if wrong else "batch"
    return fit(harness, model, optimizer, F.cross_entropy, wine(), scheduler=schedule, per=per, size=16, epochs=15)


def by_hand(
    harness: Harness, model: nn.Module, optimizer: torch.optim.Optimizer, parts: tuple[Tensor, ...], clear: str
) -> float:
    """A loop that clears gradients at every batch, once per epoch, never, or between backward and step."""
    x, y, vx, vy = parts
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(8):
        model.train()
        if clear == "epoch":
            optimizer.zero_grad()
        for inputs, targets in draws(x, y):
            if clear == "batch":
                optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss.item(), inputs=inputs, targets=targets, outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx)
            harness.epoch(val={"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)})
    return accuracy(out, vy)


@cases.pair("mlp", 0.85, accepts=["gradients-not-cleared"], number=1)
def cleared_once_per_epoch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """zero_grad stands in the loop over epochs, not in that over batches."""
    model = dense(64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    return by_hand(harness, model, optimizer, digits("standard", False), "epoch" if wrong else "batch")


@cases.pair("cancer", 0.9, accepts=["gradients-not-cleared"], number=1)
def never_cleared_under_adam(harness: Harness, seed: int, wrong: bool) -> float | None:
    """No zero_grad at all, with Adam, which hides much of it."""
    model = dense(30, 24, 2, act=nn.Tanh)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return by_hand(harness, model, optimizer, cancer(), "never" if wrong else "batch")


@cases.pair("gan", 0.5, accepts=["gradients-not-cleared"], number=1)
def generator_gradients_left_in_judge(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Both zero_grad calls are of the generator's optimizer, so that the judge's gradients pile up."""
    x, _, vx, _ = digits("signed", image=False)
    generator, judge = nn.Sequential(dense(8, 64, 64), nn.Tanh()), dense(64, 64, 1, act=nn.LeakyReLU)
    g, d = (torch.optim.Adam(m.parameters(), lr=1e-3, betas=(0.5, 0.9)) for m in (generator, judge))
    harness.begin([generator, judge], [g, d])
    one = torch.ones(32, 1)
    for _ in range(6):
        for real, _ in draws(x, x, whole=True):
            fake = generator(torch.randn(32, 8))
            (g if wrong else d).zero_grad()
            judge_loss = F.binary_cross_entropy_with_logits(judge(real), one)
            judge_loss = judge_loss + F.binary_cross_entropy_with_logits(judge(fake.detach()), 0 * one)
            judge_loss.backward()
            d.step()
            g.zero_grad()
            loss = F.binary_cross_entropy_with_logits(judge(fake), one)
            loss.backward()
            g.step()
            harness.step(loss=loss, inputs=real)
    with torch.no_grad():
        made = generator(torch.randn(400, 8))
    return float(1 - (made.mean(0) - vx.mean(0)).square().mean().sqrt() / vx.std())


@cases.pair(
    "cnn", 0.85, accepts=["parameters-missing-from-optimizer", "optimizer-holds-stale-tensors"], number=5, place="9"
)
def head_replaced_too_late(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The optimizer is made, then the head of 1000 classes is replaced; the body's rate is low."""
    model = convs(classes=1000)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    model[-1] = nn.Linear(128, 10)
    if not wrong:
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("signed"), epochs=4)


@cases.pair("multihead", 0.85, accepts=["unregistered-layers", "parameters-missing-from-optimizer"], number=32)
def heads_in_a_dict(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The heads of two tasks stand in a plain dict, not in a ModuleDict."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = dense(64, 48, 32)
            heads = {"kind": dense(32, 24, 10), "odd": nn.Linear(32, 2)}
            self.heads = heads if wrong else nn.ModuleDict(heads)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = F.relu(self.body(x))
            return self.heads["kind"](h), self.heads["odd"](h)

    model = Two()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return fit(
        harness, model, optimizer, lambda o, y: F.cross_entropy(o[0], y) + F.cross_entropy(o[1], y % 2),
        digits("standard", False), score=lambda o, y: accuracy(o[0], y), epochs=6,
    )  # fmt: skip


@cases.pair("cnn", 0.8, accepts=["only-norms-train", "layer-without-gradient", "pretrained-not-loaded"], number=7)
def only_biases_left_to_train(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Everything whose name has "weight" in it was frozen, meant for the backbone's weights of an earlier training."""
    model = convs(3, 4)
    if wrong:
        for name, p in model.named_parameters():
            p.requires_grad_("weight" not in name)
    x, y, vx, vy = signs()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    return fit(harness, model, optimizer, F.cross_entropy, (x * 2 - 1, y, vx * 2 - 1, vy), epochs=6)
