"""Schedules, averages, clipping, precision and batches of a second author, on which NO threshold is ever set.

See `healthy_second.py`.
"""

import copy
import math

import torch
from benchmarks.chart.case import Harness
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
    wine,
)
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler, swa_utils

cases = SecondCases("second")


@cases.recipe("mlp", 0.85)
def warm_up_from_nought(harness: Harness, seed: int) -> float | None:
    """The first step has a rate of exactly 0; linear warm-up, then inverse square root."""
    model = dense(64, 80, 80, 10, act=nn.SiLU)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    schedule = lr_scheduler.LambdaLR(optimizer, lambda i: i / 40 if i < 40 else (40 / i) ** 0.5)
    return fit(
        harness, model, optimizer, F.cross_entropy, digits("signed", False), scheduler=schedule, per="batch", epochs=6
    )


@cases.recipe("cnn", 0.85)
def warm_restarts(harness: Harness, seed: int) -> float | None:
    """Cosine with restarts that double in length, by batch."""
    model = convs()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 33, 2)
    return fit(harness, model, optimizer, F.cross_entropy, digits(), scheduler=schedule, per="batch", epochs=5)


@cases.recipe("mlp", 0.85)
def triangles(harness: Harness, seed: int) -> float | None:
    """Cyclic rate, triangular, between 0.01 and 0.2."""
    model = dense(64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.8)
    schedule = lr_scheduler.CyclicLR(optimizer, 0.01, 0.2, step_size_up=40, cycle_momentum=True, base_momentum=0.7)
    return fit(
        harness, model, optimizer, F.cross_entropy, digits("standard", False), scheduler=schedule, per="batch", epochs=5
    )


@cases.recipe("housing", 0.7)
def plateau_and_early_stop(harness: Harness, seed: int) -> float | None:
    """ReduceLROnPlateau on the validation loss, early stopping, best weights restored."""
    x, y, vx, vy = housing()
    model = dense(6, 64, 64, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, patience=1, factor=0.3)
    harness.begin(model, optimizer, loss_fn=F.l1_loss)
    best, kept, waited = math.inf, copy.deepcopy(model.state_dict()), 0
    for _ in range(20):
        model.train()
        for inputs, targets in draws(x, y, 50):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.l1_loss(out, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        model.eval()
        with torch.no_grad():
            val = float(F.l1_loss(model(vx), vy))
        harness.epoch(train={"loss": loss.item()}, val={"loss": val})
        schedule.step(val)
        waited += 1
        if val < best:
            best, kept, waited = val, copy.deepcopy(model.state_dict()), 0
        if waited == 4:
            break
    model.load_state_dict(kept)
    with torch.no_grad():
        return explained(model(vx), vy)


@cases.recipe("mlp", 0.85)
def stable_then_cool_down(harness: Harness, seed: int) -> float | None:
    """Warm-up, constant, linear to 0 in the last fifth (SequentialLR)."""
    model = dense(64, 64, 64, 10, act=nn.GELU)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = lr_scheduler.SequentialLR(
        optimizer,
        [
            lr_scheduler.LinearLR(optimizer, 0.01, 1.0, 10),
            lr_scheduler.ConstantLR(optimizer, 1.0, 1),
            lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 40),
        ],
        milestones=[10, 158],
    )
    return fit(
        harness, model, optimizer, F.cross_entropy, digits(image=False), scheduler=schedule, per="batch", epochs=6
    )


@cases.recipe("mlp", 0.85)
def rate_set_by_hand(harness: Harness, seed: int) -> float | None:
    """No scheduler object: the loop writes polynomial decay into param_groups."""
    x, y, vx, vy = digits("signed", image=False)
    model = dense(64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    harness.begin(model, optimizer, loss_fn=nn.CrossEntropyLoss())
    total, i = 6 * 33, 0
    for _ in range(6):
        model.train()
        for inputs, targets in draws(x, y):
            for group in optimizer.param_groups:
                group["lr"] = 0.2 * (1 - i / total) ** 0.9
            out = model(inputs)
            loss = nn.functional.cross_entropy(out, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, outputs=out)
            i += 1
    with torch.no_grad():
        return accuracy(model.eval()(vx), vy)


@cases.recipe("cnn", 0.85)
def weights_averaged_at_the_end(harness: Harness, seed: int) -> float | None:
    """SWA over the last two epochs with a constant rate, batch norm statistics taken anew."""
    x, y, vx, vy = digits("standard")
    model = convs()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    mean = swa_utils.AveragedModel(model)
    slow = swa_utils.SWALR(optimizer, swa_lr=0.02, anneal_epochs=1)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for epoch in range(5):
        model.train()
        losses = []
        for inputs, targets in draws(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        if epoch >= 3:
            mean.update_parameters(model)
            slow.step()
        harness.epoch(train={"loss": sum(losses) / len(losses)})
    swa_utils.update_bn([b for b, _ in draws(x, y)], mean)
    mean.eval()
    with torch.no_grad():
        return accuracy(mean(vx), vy)


@cases.recipe("cnn", 0.85)
def moving_average_is_judged(harness: Harness, seed: int) -> float | None:
    """An exponential average of weights and statistics is what is validated."""
    model = convs()
    average = copy.deepcopy(model).requires_grad_(False)

    def follow() -> None:
        with torch.no_grad():
            for a, b in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
                a.lerp_(b, 0.05) if a.is_floating_point() else a.copy_(b)

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("signed"), after=follow, judge=average, epochs=5)


@cases.recipe("mlp", 0.85)
def clipped_hard_under_adam(harness: Harness, seed: int) -> float | None:
    """Norm clipped at 0.1 at every step, which Adam's scale makes good again."""
    model = dense(64, 64, 10)

    def clip() -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False), clip=clip, epochs=5)


@cases.recipe("cnn", 0.85)
def accumulated_over_four(harness: Harness, seed: int) -> float | None:
    """Four micro-batches of 8 per step, the loss divided by 4, GroupNorm, step told once per micro-batch group."""
    x, y, vx, vy = digits("standard")
    model = convs(norm=lambda c: nn.GroupNorm(4, c))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(4):
        model.train()
        optimizer.zero_grad()
        mean = 0.0
        for i, (inputs, targets) in enumerate(draws(x, y, 8, whole=True)):
            out = model(inputs)
            loss = F.cross_entropy(out, targets) / 4
            loss.backward()
            mean += loss.item()
            if i % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
                harness.step(loss=mean, inputs=inputs, targets=targets, outputs=out)
                mean = 0.0
        model.eval()
        with torch.no_grad():
            out = model(vx)
            harness.epoch(val={"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)})
    return accuracy(out, vy)


@cases.recipe("cnn", 0.85)
def brain_float_autocast(harness: Harness, seed: int) -> float | None:
    """bfloat16 autocast, one cycle."""
    model = convs()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    cycle = lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=4 * 33)
    return fit(
        harness, model, optimizer, F.cross_entropy, digits(), scheduler=cycle, per="batch", epochs=4,
        cast=torch.bfloat16,
    )  # fmt: skip


@cases.recipe("diabetes", 0.25)
def double_precision(harness: Harness, seed: int) -> float | None:
    """Everything in float64, raw targets of 25..346, output bias started at their mean."""
    x, y, vx, vy = (part.double() for part in diabetes(raw=True))
    model = dense(10, 32, 1, act=nn.Tanh).double()
    nn.init.constant_(model[-1].bias, float(y.mean()))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    return fit(harness, model, optimizer, F.mse_loss, (x, y, vx, vy), score=explained, metric="r2", epochs=15)


@cases.recipe("mlp", 0.8)
def whole_set_in_one_batch(harness: Harness, seed: int) -> float | None:
    """Gradient descent with momentum on all 1050 samples at once."""
    model = dense(64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    return fit(harness, model, optimizer, F.cross_entropy, digits("standard", False), size=2000, epochs=60)


@cases.recipe("wine", 0.85)
def two_samples_a_step(harness: Harness, seed: int) -> float | None:
    """Batches of 2 with LayerNorm and plain SGD."""
    model = nn.Sequential(nn.Linear(13, 24), nn.LayerNorm(24), nn.ReLU(), nn.Linear(24, 3))
    return fit(harness, model, torch.optim.SGD(model.parameters(), lr=0.02), F.cross_entropy, wine(), size=2, epochs=5)
