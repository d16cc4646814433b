"""Faulty loops by an eighth author, who had not read the rules, each with a sound twin: checkpoints, resuming.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import copy
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eighth import held_out
from benchmarks.chart.second import SecondCases, accuracy, dense, digits, draws, fit
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("eighth")


@cases.pair("mlp", 0.85, accepts=["optimizer-holds-stale-tensors", "parameters-missing-from-optimizer"])
def resumed_model_old_optimizer(harness: Harness, seed: int, wrong: bool) -> float | None:
    """On resuming the model is built anew from the checkpoint, but the optimizer still holds the old one's weights."""
    model = dense(64, 48, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    saved = copy.deepcopy(model.state_dict())
    model = dense(64, 48, 10)
    model.load_state_dict(saved)
    if not wrong:
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.cross_entropy, digits("unit", image=False), epochs=5)


@cases.pair("mlp", 0.75, accepts=["no-such-rule"])
def best_weights_by_reference(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The best weights are kept as `model.state_dict()` without a copy: at the end the last, overfitted ones return."""
    x, y, vx, vy = digits("standard", image=False)
    x, y = x[:260], y[:260].clone()
    y[::5] = torch.randint(10, (len(y[::5]),))
    y[1::5] = torch.randint(10, (len(y[1::5]),))
    model = dense(64, 256, 256, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    best, kept = 0.0, model.state_dict()
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(25):
        for inputs, targets in draws(x, y, 32):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        with torch.no_grad():
            out = model(vx)
        value = accuracy(out, vy)
        harness.epoch(val={"loss": float(F.cross_entropy(out, vy)), "accuracy": value})
        if value > best:
            best, kept = value, model.state_dict() if wrong else copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return held_out(model, (x, y, vx, vy))


@cases.pair("mlp", 0.75, accepts=["worst-checkpoint-kept"])
def worst_weights_kept(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The comparison for the best checkpoint is turned round: the weights of the highest validation loss are kept."""
    x, y, vx, vy = digits("unit", image=False)
    model = dense(64, 48, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    best, kept = (0.0 if wrong else float("inf")), {k: v.clone() for k, v in model.state_dict().items()}
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(10):
        total, count = 0.0, 0
        for inputs, targets in draws(x, y):
            optimizer.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            total, count = total + loss.item(), count + 1
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        with torch.no_grad():
            out = model(vx)
        val_loss = float(F.cross_entropy(out, vy))
        harness.epoch(train={"loss": total / count}, val={"loss": val_loss, "accuracy": accuracy(out, vy)})
        if (val_loss > best) if wrong else (val_loss < best):
            best, kept = val_loss, {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(kept)
    return held_out(model, (x, y, vx, vy))


@cases.pair("mlp", 0.85, accepts=["lr-too-low"])
def checkpoint_brings_its_rate(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Training on with a new rate, but `optimizer.load_state_dict` brings back the decayed rate of 1e-7."""
    split = digits("unit", image=False)
    model = dense(64, 48, 10)
    earlier = torch.optim.Adam(model.parameters(), lr=1e-7)
    for x, y in list(draws(*split[:2]))[:5]:
        earlier.zero_grad()
        F.cross_entropy(model(x), y).backward()
        earlier.step()
    saved: dict[str, Any] = copy.deepcopy(earlier.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    optimizer.load_state_dict(saved)
    if not wrong:
        optimizer.param_groups[0]["lr"] = 3e-3
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=5)
