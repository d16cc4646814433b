"""Habits of loops and of logs, by a fifth author, without any threshold. See `healthy_fifth.py`."""

import copy
import io
import itertools
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fifth import evaluate, fabrics, flipped, normal, pick
from benchmarks.chart.healthy_fifth_steps import small
from benchmarks.chart.healthy_fifth_tables import rides
from benchmarks.chart.healthy_fifth_waves import tones
from benchmarks.chart.second import (
    SecondCases,
    accuracy,
    by_train,
    cancer,
    convs,
    dense,
    digits,
    explained,
    gaits,
    housing,
    wine,
)
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, RandomSampler, TensorDataset, random_split

cases = SecondCases("fifth")


@cases.recipe("cnn", 0.85)
def stopped_and_gone_on(harness: Harness, seed: int) -> float:
    """Three epochs, model, optimizer and scheduler saved; loaded into new ones and watched from there."""
    x, y, vx, vy = normal(fabrics())
    loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)

    def build() -> tuple[nn.Module, Any, Any]:
        model = small()
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
        return model, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)

    def epoch(model: nn.Module, optimizer: Any, tell: Callable[..., None]) -> float:
        model.train()
        losses = []
        for a, b in loader:
            out = model(a)
            loss = F.cross_entropy(out, b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            tell(loss=loss, inputs=a, targets=b, outputs=out)
        return float(np.mean(losses))

    model, optimizer, scheduler = build()
    for _ in range(3):
        epoch(model, optimizer, lambda **told: None)
        scheduler.step()
    saved = io.BytesIO()
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    torch.save({"epoch": 3} | {k: v.state_dict() for k, v in parts.items()}, saved)
    saved.seek(0)
    loaded = torch.load(saved, weights_only=False)
    model, optimizer, scheduler = build()
    for key, part in (("model", model), ("optimizer", optimizer), ("scheduler", scheduler)):
        part.load_state_dict(loaded[key])
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(loaded["epoch"], 12):
        mean = epoch(model, optimizer, harness.step)
        scheduler.step()
        held, right = evaluate(model, F.cross_entropy, [(vx, vy)], accuracy)
        harness.epoch(train={"loss": mean}, val={"loss": held, "accuracy": right})
    return right


@cases.recipe("mlp", 0.85)
def phases_in_one_loop(harness: Harness, seed: int) -> float:
    """for phase in ['train', 'val'] with set_grad_enabled, running sums, the best weights deep-copied."""
    x, y, vx, vy = digits("standard", image=False)
    loaders = {
        "train": DataLoader(TensorDataset(x, y), batch_size=25, shuffle=True),
        "val": DataLoader(TensorDataset(vx, vy), batch_size=25),
    }
    model = dense(64, 64, 10)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    harness.begin(model, optimizer, loss_fn=criterion)
    best, weights = 0.0, {}
    for _ in range(8):
        told: dict[str, dict[str, float]] = {}
        for phase, loader in loaders.items():
            model.train(phase == "train")
            running_loss, running_corrects, seen = 0.0, 0, 0
            for inputs, labels in loader:
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    loss = criterion(outputs, labels)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                        harness.step(loss=loss, inputs=inputs, targets=labels, outputs=outputs)
                running_loss += loss.item() * len(inputs)
                running_corrects += int((outputs.argmax(1) == labels).sum())
                seen += len(inputs)
            told[phase] = {"loss": running_loss / seen, "accuracy": running_corrects / seen}
        harness.epoch(**told)
        if told["val"]["accuracy"] > best:
            best, weights = told["val"]["accuracy"], copy.deepcopy(model.state_dict())
    model.load_state_dict(weights)
    return accuracy(model(vx), vy)


@cases.recipe("cnn", 0.85)
def callbacks_and_meters(harness: Harness, seed: int) -> float:
    """A Trainer with hooks and average meters; the loss told is a mean of 20 steps; model in DataParallel."""
    x, y, vx, vy = normal(fabrics())

    class Meter:
        def __init__(self) -> None:
            self.total, self.count = 0.0, 0

        def update(self, value: float, n: int) -> None:
            self.total, self.count = self.total + value * n, self.count + n

    class Trainer:
        def __init__(self, model: nn.Module, optimizer: Any) -> None:
            self.model, self.optimizer = model, optimizer
            self.hooks: dict[str, list[Callable[[Trainer], None]]] = defaultdict(list)
            self.window: deque[float] = deque(maxlen=20)
            self.val: dict[str, float] = {}

        def call(self, name: str) -> None:
            for hook in self.hooks[name]:
                hook(self)

        def run(self, loader: Any, epochs: int) -> None:
            for _ in range(epochs):
                self.model.train()
                self.meter = Meter()
                for a, b in loader:
                    self.optimizer.zero_grad(set_to_none=False)
                    loss = F.cross_entropy(self.model(a), b)
                    loss.backward()
                    self.optimizer.step()
                    self.window.append(loss.item())
                    self.meter.update(loss.item(), len(a))
                    self.call("after_step")
                self.call("after_epoch")

    model = nn.DataParallel(small())
    trainer = Trainer(model, torch.optim.Adam(model.parameters(), lr=2e-3))

    def validate(t: Trainer) -> None:
        held, right = evaluate(t.model, F.cross_entropy, [(vx, vy)], accuracy)
        t.val = {"loss": held, "accuracy": right}
        harness.epoch(train={"loss": t.meter.total / t.meter.count}, val=t.val)

    harness.begin(model, trainer.optimizer)
    trainer.hooks["after_step"].append(lambda t: harness.step(loss=float(np.mean(t.window))))
    trainer.hooks["after_epoch"].append(validate)
    trainer.run(DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True), 8)
    return trainer.val["accuracy"]


@cases.recipe("mlp", 0.85)
def last_of_four_is_told(harness: Harness, seed: int) -> float:
    """Gradients of four batches of 8 are added, each loss divided by 4; the last one's loss is told."""
    x, y, vx, vy = digits(image=False)
    model = nn.Sequential(nn.Linear(64, 80), nn.LayerNorm(80), nn.ReLU(), nn.Linear(80, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader = DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True, drop_last=True)
    harness.begin(model, optimizer)
    for _ in range(4):
        total = 0.0
        for i, (a, b) in enumerate(itertools.islice(loader, 128)):
            out = model(a)
            loss = F.cross_entropy(out, b)
            (loss / 4).backward()
            if (i + 1) % 4 == 0:
                optimizer.step()
                optimizer.zero_grad()
                harness.step(loss=loss, inputs=a, targets=b, outputs=out)
            total += loss.item()
        held, right = evaluate(model, F.cross_entropy, [(vx, vy)], accuracy)
        harness.epoch(train={"loss": total / 128}, val={"loss": held, "accuracy": right})
    return right


@cases.recipe("regression", 0.7)
def metrics_in_real_units(harness: Harness, seed: int) -> float:
    """Standardised targets in training, mean absolute error of rides logged in rides, early stop on it, Adam."""
    x, y, vx, vy = by_train(rides())
    mean, std = y.mean(), y.std()
    model = nn.Sequential(nn.Linear(8, 96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU(), nn.Linear(48, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(x, (y - mean) / std), batch_size=32, shuffle=True)
    harness.begin(model, optimizer)
    best, waited = float("inf"), 0
    for _ in range(15):
        model.train()
        losses = []
        for a, b in loader:
            out = model(a)
            loss = F.mse_loss(out, b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx) * std + mean
        mae = float((out - vy).abs().mean())
        harness.epoch(train={"loss": float(np.mean(losses))}, val={"mae": mae})
        best, waited = (mae, 0) if mae < best else (best, waited + 1)
        if waited == 4:
            break
    return explained(out, vy)


@cases.recipe("cnn", 0.75)
def labelled_and_unlabelled_loaders(harness: Harness, seed: int) -> float:
    """FixMatch: two loaders zipped, sure answers on plain images teach noisy ones; three losses go to the log."""
    x, y, vx, vy = normal(fabrics(1000))
    few = DataLoader(TensorDataset(x[:150], y[:150]), batch_size=16, sampler=RandomSampler(x[:150], True, 16 * 150))
    many = DataLoader(TensorDataset(x[150:]), batch_size=48, sampler=RandomSampler(x[150:], True, 48 * 150))
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4)
    harness.begin(model, optimizer)
    model.train()
    log = []
    for (a, b), (u,) in zip(few, many, strict=True):
        weak, strong = flipped(u), (flipped(u) + 0.3 * torch.randn_like(u)) * (0.7 + 0.6 * torch.rand(len(u), 1, 1, 1))
        logits, plain, noisy = model(torch.cat([flipped(a), weak, strong])).split([len(a), len(u), len(u)])
        sure, guess = plain.detach().softmax(1).max(1)
        supervised = F.cross_entropy(logits, b)
        consistent = (F.cross_entropy(noisy, guess, reduction="none") * (sure > 0.95)).mean()
        loss = supervised + consistent
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        log.append((loss.item(), supervised.item(), consistent.item()))
        harness.step(loss=loss, inputs=a, targets=b, outputs=logits)
    held, right = evaluate(model, F.cross_entropy, [(vx, vy)], accuracy)
    harness.epoch(train={"loss": float(np.mean(log[-50:], axis=0)[0])}, val={"loss": held, "accuracy": right})
    return right


@cases.recipe("mlp", 0.9)
def best_of_four_trials(harness: Harness, seed: int) -> float:
    """Four random settings are tried for 60 steps each, then the best one is trained from new and watched."""
    x, y, vx, vy = cancer()
    goal, v_goal = y.float(), vy.float()

    def trial(width: int, rate: float, steps: int, tell: bool) -> float:
        model = nn.Sequential(nn.Linear(30, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 1), nn.Flatten(0))
        optimizer = torch.optim.Adam(model.parameters(), lr=rate, weight_decay=1e-3)
        if tell:
            harness.begin(model, optimizer, loss_fn=F.binary_cross_entropy_with_logits)
        for _ in range(steps):
            a, b = pick(32, x, goal)
            out = model(a)
            loss = F.binary_cross_entropy_with_logits(out, b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if tell:
                harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        model.eval()
        with torch.no_grad():
            return float(((model(vx) > 0) == (v_goal > 0.5)).float().mean())

    settings = [(int(2 ** np.random.randint(4, 7)), float(10 ** np.random.uniform(-3, -2.3))) for _ in range(4)]
    best = max(settings, key=lambda s: trial(*s, 60, False))
    return trial(*best, 180, True)


@cases.recipe("series", 0.8)
def split_by_the_library_and_half_validated(harness: Harness, seed: int) -> float:
    """random_split of one data set, validation twice per epoch in the middle and at the end, accuracies in percent."""
    x, y, vx, vy = gaits(900)
    whole = TensorDataset(torch.cat([x, vx]).mT.contiguous(), torch.cat([y, vy]))
    train, val = random_split(whole, [0.8, 0.2], torch.Generator().manual_seed(42))
    loader, val_loader = DataLoader(train, 20, shuffle=True, drop_last=True), DataLoader(val, 60)
    model = nn.Sequential(
        nn.Conv1d(3, 24, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(24, 32, 5, padding=2), nn.ReLU(),
        nn.AdaptiveMaxPool1d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 4),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer)
    for _ in range(9):
        losses, hits = [], []
        for i, (a, b) in enumerate(loader):
            model.train()
            out = model(a)
            loss = F.cross_entropy(out, b)
            model.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            hits.append(100 * accuracy(out, b))
            harness.step(loss=loss.item(), targets=b, outputs=out)
            if i % 18 == 17:
                held, right = evaluate(model, F.cross_entropy, val_loader, accuracy)
                train_log = {"loss": float(np.mean(losses[-18:])), "accuracy": float(np.mean(hits[-18:]))}
                harness.epoch(train=train_log, val={"loss": held, "accuracy": 100 * right})
    return right


@cases.recipe("mlp", 0.85)
def gradients_by_the_function(harness: Harness, seed: int) -> float:
    """torch.autograd.grad, gradients put into .grad by the loop, SGD with momentum 0.5."""
    x, y, vx, vy = digits("unit", image=False)
    model = dense(64, 64, 10, act=nn.Tanh)
    params = list(model.parameters())
    optimizer = torch.optim.SGD(params, lr=0.2, momentum=0.5)
    harness.begin(model, optimizer)
    for _ in range(8):
        for rows in torch.randperm(len(x)).split(32):
            out = model(x[rows])
            loss = F.cross_entropy(out, y[rows])
            for p, g in zip(params, torch.autograd.grad(loss, params), strict=True):
                p.grad = g
            optimizer.step()
            harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
    return accuracy(model(vx), vy)


@cases.recipe("ensemble", 0.9)
def five_networks_in_one_list(harness: Harness, seed: int) -> float:
    """A deep ensemble of five, each on its own bootstrap rows, one optimizer over all, the sum of losses is told."""
    x, y, vx, vy = wine()
    models = nn.ModuleList(dense(13, 16, 3) for _ in range(5))
    rows = [torch.randint(len(x), (len(x),)) for _ in models]
    optimizer = torch.optim.Adam(models.parameters(), lr=3e-3, weight_decay=1e-3)
    harness.begin(models, optimizer)
    for i in range(200):
        batch = torch.randint(len(x), (20,))
        parts = [F.cross_entropy(m(x[r[batch]]), y[r[batch]]) for m, r in zip(models, rows, strict=True)]
        loss = torch.stack(parts).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss)
        if i % 50 == 49:
            with torch.no_grad():
                mean = torch.stack([m(vx).softmax(1) for m in models]).mean(0)
            harness.epoch(val={"loss": F.nll_loss(mean.log(), vy).item(), "accuracy": accuracy(mean, vy)})
    return accuracy(mean, vy)


@cases.recipe("cnn", 0.85)
def half_floats_with_a_scaler_that_is_off(harness: Harness, seed: int) -> float:
    """A script for graphics cards run without one: bfloat16 autocast, GradScaler(enabled=False), unscale and clip."""
    x, y, vx, vy = digits("signed")
    model = convs(width=12)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True)
    harness.begin(model, optimizer)
    for _ in range(7):
        model.train()
        total = torch.zeros(())
        for a, b in loader:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                out = model(a)
                loss = F.cross_entropy(out.float(), b)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            total += loss.detach()
            harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        held, right = evaluate(model, F.cross_entropy, [(vx, vy)], accuracy)
        harness.epoch(train={"loss": float(total) / len(loader)}, val={"loss": held, "accuracy": right})
    return right


@cases.recipe("audio", 0.85)
def only_the_train_curve(harness: Harness, seed: int) -> float:
    """No validation set while it trains: losses of epochs only, tested once at the end; noise and gain are drawn."""
    x, y, vx, vy = tones()
    model = nn.Sequential(
        nn.Conv1d(1, 12, 15, 3, 7), nn.BatchNorm1d(12), nn.ReLU(), nn.Conv1d(12, 24, 9, 3, 4), nn.BatchNorm1d(24),
        nn.ReLU(), nn.Conv1d(24, 32, 9, 3, 4), nn.ReLU(), nn.AdaptiveAvgPool1d(3), nn.Flatten(), nn.Linear(96, 5),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer)
    for _ in range(8):
        epoch_loss = 0.0
        for a, b in DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True):
            a = a * (0.7 + 0.6 * torch.rand(len(a), 1, 1)) + 0.02 * torch.randn_like(a)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(a), b)
            loss.backward()
            optimizer.step()
            epoch_loss += loss.item() * len(a) / len(x)
            harness.step(loss=loss, inputs=a, targets=b)
        harness.epoch(train={"loss": epoch_loss})
    return accuracy(model.eval()(vx), vy)


@cases.recipe("tabular", 0.65)
def long_and_slow(harness: Harness, seed: int) -> float:
    """Prices by 1000 small steps: SGD at 1e-2, no momentum, batches of 16, weight decay; the mean of 100 is logged."""
    x, y, vx, vy = housing()
    model = nn.Sequential(nn.Linear(6, 48), nn.LeakyReLU(), nn.Linear(48, 1))
    nn.init.constant_(model[2].bias, float(y.mean()))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, weight_decay=1e-4)
    harness.begin(model, optimizer, loss_fn=F.mse_loss)
    recent: list[float] = []
    for i in range(1000):
        a, b = pick(16, x, y)
        out = model(a)
        loss = F.mse_loss(out, b)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recent.append(loss.item())
        harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        if i % 100 == 99:
            held, _ = evaluate(model, F.mse_loss, [(vx, vy)], explained)
            harness.epoch(train={"loss": float(np.mean(recent[-100:]))}, val={"loss": held})
    return explained(model(vx).detach(), vy)
