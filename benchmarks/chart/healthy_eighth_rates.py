"""Faulty loops by an eighth author, who had not read the rules, each with a sound twin: rates, clipping, precision.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eighth import Columns, held_out, orders
from benchmarks.chart.second import SecondCases, accuracy, convs, cut, dense, digits, draws, explained, fit
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = SecondCases("eighth")


@cases.pair("cnn", 0.85, accepts=["lr-decays-too-fast"])
def step_schedule_per_batch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A StepLR meant in epochs is stepped after every batch: the rate is gone within the first epoch."""
    model = convs()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.1)
    per = "batch" if wrong else "epoch"
    return fit(harness, model, optimizer, F.cross_entropy, digits(), epochs=4, scheduler=scheduler, per=per)


@cases.pair("mlp", 0.85, accepts=["lr-too-low"])
def one_cycle_per_epoch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """OneCycleLR is made for all steps but stepped once per epoch: the rate never leaves its low beginning."""
    split = digits("unit", image=False)
    model = dense(64, 48, 48, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=6 * (len(split[0]) // 32 + 1))
    per = "epoch" if wrong else "batch"
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=6, scheduler=scheduler, per=per)


@cases.pair("mlp", 0.85, accepts=["lr-decays-too-fast", "plateau-mode-reversed"])
def plateau_of_an_accuracy(harness: Harness, seed: int, wrong: bool) -> float | None:
    """ReduceLROnPlateau in its default mode "min" is given the accuracy: the better it gets, the lower the rate."""
    split = digits("unit", image=False)
    model = dense(64, 48, 48, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.8)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, mode="min" if wrong else "max", factor=0.1, patience=1)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(14):
        total, count = 0.0, 0
        for x, y in draws(*split[:2], 64):
            optimizer.zero_grad()
            out = model(x)
            loss = F.cross_entropy(out, y)
            loss.backward()
            optimizer.step()
            total, count = total + loss.item(), count + 1
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        value = held_out(model, split)
        scheduler.step(value)
        harness.epoch(train={"loss": total / count}, val={"accuracy": value})
    return held_out(model, split)


@cases.pair("mlp", 0.85, accepts=["lr-too-low"])
def lambda_gives_the_rate_itself(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The function of a LambdaLR returns the rate where a factor is wanted, so that the rate is squared."""
    model = dense(64, 48, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def warm(step: int) -> float:
        share = min(1.0, (step + 1) / 20)
        return 3e-3 * share if wrong else share

    scheduler = lr_scheduler.LambdaLR(optimizer, warm)
    split = digits("unit", image=False)
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=5, scheduler=scheduler, per="batch")


@cases.pair("cnn", 0.85, accepts=["lr-too-low"])
def warm_up_of_another_job(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A warm-up of 10000 steps copied from a large job: the run of 160 steps never comes near its rate."""
    model = convs()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    length = 10_000 if wrong else 30
    scheduler = lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / length))
    return fit(harness, model, optimizer, F.cross_entropy, digits(), epochs=4, scheduler=scheduler, per="batch")


@cases.pair("mlp", 0.85, accepts=["weight-decay-dominates", "lr-too-low"])
def rate_and_decay_swapped(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The numbers for the learning rate and the weight decay are swapped in the configuration."""
    model = dense(64, 48, 10)
    config = {"lr": 5e-4, "weight_decay": 0.1} if wrong else {"lr": 0.1, "weight_decay": 5e-4}
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9, **config)
    return fit(harness, model, optimizer, F.cross_entropy, digits("unit", image=False), epochs=5)


@cases.pair("mlp", 0.85, accepts=["coupled-decay", "weight-decay-dominates"])
def adam_decay_far_too_strong(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Adam's L2 penalty is set to 0.5, where AdamW with a decay of 0.1 was meant: the weights shrink to nothing."""
    model = dense(64, 64, 10)
    kind, decay = (torch.optim.Adam, 0.5) if wrong else (torch.optim.AdamW, 0.1)
    optimizer = kind(model.parameters(), lr=2e-3, weight_decay=decay)
    return fit(harness, model, optimizer, F.cross_entropy, digits("unit", image=False), epochs=8)


@cases.pair("mlp", 0.85, accepts=["clipping-dominates"])
def norm_clipped_to_a_thousandth(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The gradient's norm is clipped to 0.001, so that plain SGD hardly moves."""
    model = dense(64, 48, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    top = 1e-3 if wrong else 1.0
    return fit(
        harness, model, optimizer, F.cross_entropy, digits("unit", image=False), epochs=5,
        clip=lambda: nn.utils.clip_grad_norm_(model.parameters(), top),
    )  # fmt: skip


@cases.pair("regression", 0.6, accepts=["exploding-gradient", "clip-after-step"])
def clipped_before_backward(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The gradients are clipped before `backward` has made them, so that outliers throw the weights about."""
    draw = np.random.default_rng(84)
    x = draw.normal(0, 1, (1200, 8))
    y = x[:, :3].sum(1) + draw.normal(0, 0.2, 1200)
    wild = draw.random(1200) < 0.02
    split = cut(x, np.where(wild, 400.0 * draw.standard_t(2, 1200), y)[:, None])
    calm = split[3].abs().flatten() < 6
    split = split[0], split[1], split[2][calm], split[3][calm]
    model = dense(8, 32, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    harness.begin(model, optimizer, loss_fn=F.mse_loss)
    for _ in range(8):
        total, count = 0.0, 0
        for inputs, targets in draws(*split[:2]):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.mse_loss(out, targets)
            if wrong:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            loss.backward()
            if not wrong:
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            total, count = total + loss.item(), count + 1
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        with torch.no_grad():
            harness.epoch(train={"loss": total / count}, val={"loss": float(F.mse_loss(model(split[2]), split[3]))})
    return held_out(model, split, explained)


def accumulated(harness: Harness, micro: int, lr: float, clear_always: bool, divide: bool) -> float:
    """Digits in batches of 8, of which `micro` make one step."""
    split = digits("standard", image=False)
    model = dense(64, 48, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(6):
        total, count = 0.0, 0
        optimizer.zero_grad()
        for i, (x, y) in enumerate(draws(*split[:2], 8, whole=True)):
            if clear_always:
                optimizer.zero_grad()
            out = model(x)
            loss = F.cross_entropy(out, y)
            (loss / micro if divide else loss).backward()
            total, count = total + loss.item(), count + 1
            if (i + 1) % micro == 0:
                optimizer.step()
                optimizer.zero_grad()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(train={"loss": total / count}, val={"accuracy": held_out(model, split)})
    return held_out(model, split)


@cases.pair("mlp", 0.85, accepts=["accumulation-not-averaged"])
def accumulated_without_dividing(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Gradients of 16 small batches are added up and never divided by 16: the steps are 16 times too large."""
    return accumulated(harness, 16, 0.3, clear_always=False, divide=not wrong)


@cases.pair("mlp", 0.85, accepts=["gradients-erased"])
def accumulation_cleared_each_time(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`zero_grad` stands in the inner loop of an accumulation: of 16 batches only the last, a sixteenth, counts."""
    return accumulated(harness, 16, 0.1, clear_always=wrong, divide=True)


@cases.pair("mlp", 0.85, accepts=["clip-before-unscale"])
def clipped_while_scaled(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Gradients are clipped while they still bear the loss scale of 65536; `unscale_` is missing."""
    return scaled(harness, wrong, clip=True, bypass=False)


@cases.pair("mlp", 0.85, accepts=["scaler-bypassed"])
def scaled_but_stepped_directly(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The loss is scaled for mixed precision, but `optimizer.step()` is called in place of `scaler.step(optimizer)`."""
    return scaled(harness, wrong, clip=False, bypass=wrong)


def scaled(harness: Harness, wrong: bool, clip: bool, bypass: bool) -> float:
    """Digits under autocast with a gradient scaler."""
    split = digits("unit", image=False)
    model = dense(64, 48, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(4):
        total, count = 0.0, 0
        for x, y in draws(*split[:2]):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                out = model(x)
                loss = F.cross_entropy(out, y)
            scaler.scale(loss).backward()
            if clip:
                if not wrong:
                    scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            if bypass:
                optimizer.step()
            else:
                scaler.step(optimizer)
                scaler.update()
            total, count = total + loss.item(), count + 1
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(train={"loss": total / count}, val={"accuracy": held_out(model, split)})
    return held_out(model, split)


@cases.pair("orders", 0.8, accepts=["update-below-resolution"])
def weights_kept_in_bfloat16(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The weights themselves are cast to bfloat16, whose grid is coarser than a step: most updates are rounded away."""
    model = Columns(4, 25, plain=False)
    if wrong:
        model = model.bfloat16()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(harness, model, optimizer, F.cross_entropy, orders(), epochs=25)


@cases.pair("series", 0.9, accepts=["no-such-rule"])
def clock_in_bfloat16(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Minutes of the year are cast to bfloat16 before the hour is taken from them: the hour is lost in the rounding."""
    draw = np.random.default_rng(85)
    minute = torch.tensor(draw.integers(0, 525_600, 1600), dtype=torch.float32)
    busy = ((minute % 1440) / 60 > 8) & ((minute % 1440) / 60 < 19)
    column = minute.bfloat16().float() if wrong else minute
    turn = (column % 1440) / 1440 * 2 * torch.pi
    split = cut(torch.stack([turn.sin(), turn.cos(), column / 525_600], 1), busy.long())
    model = dense(3, 32, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=8, score=accuracy)


def _mean_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs, targets)


@cases.pair("regression", 0.8, accepts=["loss-summed-over-batch", "loss-scales-with-batch"])
def summed_loss_rate_for_a_mean(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The loss is summed over a batch of 64 (reduction="sum") while the rate was tuned for the mean."""
    draw = np.random.default_rng(86)
    x = draw.normal(0, 1, (1200, 8))
    split = cut(x, (x[:, 0] * x[:, 1] + x[:, 2])[:, None])
    model = dense(8, 48, 48, 1)

    def summed(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs, targets, reduction="sum")

    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loss_fn = summed if wrong else _mean_loss
    return fit(harness, model, optimizer, loss_fn, split, epochs=12, size=64, score=explained, metric=None)
