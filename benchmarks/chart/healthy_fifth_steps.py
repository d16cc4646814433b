"""Optimizers and schedules, by a fifth author, without any threshold. See `healthy_fifth.py`."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from benchmarks.chart import data
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fifth import course, evaluate, fabrics, normal, pick
from benchmarks.chart.healthy_fifth_images import unit
from benchmarks.chart.healthy_fifth_tables import Coded, auc, leavers, rides
from benchmarks.chart.healthy_fifth_waves import tones
from benchmarks.chart.second import SecondCases, accuracy, by_train, cancer, convs, dense, digits, explained, housing
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.data import DataLoader, TensorDataset

cases = SecondCases("fifth")


def small(classes: int = 5, channels: int = 3) -> nn.Sequential:
    """Three convolutions for images of 16 pixels."""
    return nn.Sequential(
        unit(channels, 12), nn.MaxPool2d(2), unit(12, 24), nn.MaxPool2d(2), unit(24, 24), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(96, classes),
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def no_decay_for_norms_and_biases(harness: Harness, seed: int) -> float:
    """AdamW with two groups, decay 0.1 for matrices only; warm-up by a lambda, then cosine to a tenth; clipping."""
    model = small()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95), eps=1e-8)

    def rate(i: int) -> float:
        return (i + 1) / 20 if i < 20 else 0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, (i - 20) / 160)))

    scheduler = lr_scheduler.LambdaLR(optimizer, rate)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), normal(fabrics()), epochs=9, size=32, scheduler=scheduler,
        when="batch", clip=1.0, zero="after",
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def plateau_of_the_accuracy(harness: Harness, seed: int) -> float:
    """ReduceLROnPlateau in mode max on validation accuracy, SGD 0.1 without momentum, factor 0.2, the best is kept."""
    x, y, vx, vy = normal(fabrics())
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", factor=0.2, patience=2)
    loader = DataLoader(TensorDataset(x, y), batch_size=40, shuffle=True, drop_last=True)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    best = 0.0
    for _ in range(11):
        model.train()
        correct, total = 0, 0.0
        for a, b in loader:
            optimizer.zero_grad()
            out = model(a)
            loss = F.cross_entropy(out, b)
            loss.backward()
            optimizer.step()
            total, correct = total + loss.item(), correct + int((out.argmax(1) == b).sum())
            harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        held, right = evaluate(model, F.cross_entropy, [(vx, vy)], accuracy)
        scheduler.step(right)
        best = max(best, right)
        train = {"loss": total / len(loader), "accuracy": correct / (40 * len(loader))}
        harness.epoch(train=train, val={"loss": held, "accuracy": right})
    return best


@cases.recipe("mlp", 0.85)
def rate_scaled_with_the_batch(harness: Harness, seed: int) -> float:
    """Batches of 256: 0.1 times 256 / 64 after five epochs of linear warm-up, Nesterov, cosine after; 24 epochs."""
    model = nn.Sequential(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.4, momentum=0.9, nesterov=True, weight_decay=1e-4)
    warm = lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5)
    scheduler = lr_scheduler.SequentialLR(optimizer, [warm, lr_scheduler.CosineAnnealingLR(optimizer, 19)], [5])
    split = digits("standard", image=False, count=1700)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=24, size=256, scheduler=scheduler, every=4
    )  # fmt: skip


@cases.recipe("tabular", 0.8)
def slower_with_amsgrad(harness: Harness, seed: int) -> float:
    """Adam with amsgrad, an epsilon of 1e-3 and L2 decay, a constant rate of 1e-3, small batches of 10."""
    model = Coded(32, 16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-3, weight_decay=1e-4, amsgrad=True)
    return course(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), leavers(), epochs=5, size=10, metric=auc, name="auc",
        tell="number",
    )  # fmt: skip


@cases.recipe("tabular", 0.7)
def stepped_by_a_dictionary(harness: Harness, seed: int) -> float:
    """The rate is looked up in a dictionary of epochs and written into all groups; damped SGD, standard prices."""
    x, y, vx, vy = housing()
    mean, std = y.mean(), y.std()
    model = dense(6, 64, 32, 1, act=nn.Tanh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, dampening=0.5)
    rates = {0: 0.05, 2: 0.1, 10: 0.03, 14: 0.01}
    loader = DataLoader(TensorDataset(x, (y - mean) / std), batch_size=36, shuffle=True)
    harness.begin(model, optimizer, loss_fn=nn.MSELoss())
    for epoch in range(17):
        for g in optimizer.param_groups:
            g["lr"] = rates.get(epoch, g["lr"])
        total = 0.0
        for a, b in loader:
            out = model(a)
            loss = F.mse_loss(out, b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(a)
            harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        with torch.no_grad():
            out = model(vx)
        held = F.mse_loss(out, (vy - mean) / std).item()
        harness.epoch(train={"loss": total / len(x)}, val={"loss": held})
    return explained(out * std + mean, vy)


class Yogi(torch.optim.Optimizer):
    """Adam with a second moment that changes by its sign."""

    def __init__(self, params: Iterable[Any], lr: float = 1e-2, eps: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step for every parameter."""
        for g in self.param_groups:
            for p in g["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state.update(t=0, m=torch.zeros_like(p), v=p.grad.square())
                state["t"] += 1
                square = p.grad.square()
                state["m"].lerp_(p.grad, 0.1)
                state["v"].addcmul_((state["v"] - square).sign(), square, value=-0.001)
                m = state["m"] / (1 - 0.9 ** state["t"])
                p.addcdiv_(m, state["v"].sqrt() + g["eps"], value=-g["lr"])


@cases.recipe("cnn", 0.85)
def an_optimizer_from_a_paper(harness: Harness, seed: int) -> float:
    """Yogi written out as an Optimizer, digits in a plain network of two convolutions, ExponentialLR."""
    model = convs(width=12)
    optimizer = Yogi(model.parameters(), lr=1e-2)
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.85)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), digits(), epochs=7, size=48, scheduler=scheduler
    )  # fmt: skip


class Adan(torch.optim.Optimizer):
    """Adaptive Nesterov momentum: averages of the gradient, of its change, and of the square of both."""

    def __init__(self, params: Iterable[Any], lr: float = 2e-3, weight_decay: float = 0.02) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step for every parameter."""
        for g in self.param_groups:
            for p in (p for p in g["params"] if p.grad is not None):
                s = self.state[p]
                if not s:
                    s.update(
                        t=0, m=torch.zeros_like(p), d=torch.zeros_like(p), n=torch.zeros_like(p), old=p.grad.clone()
                    )
                s["t"] += 1
                change = p.grad - s["old"]
                s["m"].lerp_(p.grad, 0.02)
                s["d"].lerp_(change, 0.08)
                s["n"].lerp_((p.grad + 0.92 * change).square(), 0.01)
                m, d, n = (s[k] / (1 - b ** s["t"]) for k, b in (("m", 0.98), ("d", 0.92), ("n", 0.99)))
                p.sub_(g["lr"] * (m + 0.92 * d) / (n.sqrt() + 1e-8)).div_(1 + g["lr"] * g["weight_decay"])
                s["old"].copy_(p.grad)


@cases.recipe("audio", 0.85)
def nesterov_and_adaptive(harness: Harness, seed: int) -> float:
    """Adan by hand with a decay that divides, on sounds by strided convolutions with group norm, warm-up."""
    layers: list[nn.Module] = []
    for into, out in ((1, 16), (16, 24), (24, 32)):
        layers += [nn.Conv1d(into, out, 9, 4, 4), nn.GroupNorm(4, out), nn.SiLU()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(192, 5))
    optimizer = Adan(model.parameters(), lr=4e-3)
    scheduler = lr_scheduler.LinearLR(optimizer, 0.1, 1.0, total_iters=15)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), tones(), epochs=10, size=32, scheduler=scheduler, when="batch"
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def averaged_from_two_thirds_on(harness: Harness, seed: int) -> float:
    """The library's SWA: cosine, then SWALR and AveragedModel by epoch, update_bn at the end; the average is scored."""
    x, y, vx, vy = normal(fabrics())
    model = small()
    swa = AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    cosine, flat = lr_scheduler.CosineAnnealingLR(optimizer, T_max=6), SWALR(optimizer, swa_lr=0.02, anneal_epochs=2)
    loader = DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True, drop_last=True)
    criterion = nn.CrossEntropyLoss()
    harness.begin(model, optimizer, loss_fn=criterion)
    for epoch in range(10):
        model.train()
        losses = []
        for a, b in loader:
            optimizer.zero_grad()
            out = model(a)
            loss = criterion(out, b)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        if epoch >= 6:
            swa.update_parameters(model)
            flat.step()
        else:
            cosine.step()
        held, right = evaluate(model, criterion, [(vx, vy)], accuracy)
        harness.epoch(train={"loss": float(torch.stack(losses).mean())}, val={"loss": held, "accuracy": right})
    update_bn(loader, swa)
    return evaluate(swa, criterion, [(vx, vy)], accuracy)[1]


@cases.recipe("regression", 0.7)
def full_batch_with_heavy_momentum(harness: Harness, seed: int) -> float:
    """Rides by gradient descent on the whole table, momentum 0.95, Xavier's weights, sigmoid units, 400 steps."""
    x, y, vx, vy = by_train(rides(1200))
    scale = y.mean()
    model = nn.Sequential(nn.Linear(8, 40), nn.Sigmoid(), nn.Linear(40, 1))
    for layer in (model[0], model[2]):
        nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.95)
    harness.begin(model, optimizer)
    for i in range(500):
        loss = F.mse_loss(model(x), y / scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss)
        if i % 100 == 99:
            with torch.no_grad():
                held = F.mse_loss(model(vx), vy / scale).item()
            harness.epoch(train={"loss": loss.item()}, val={"loss": held})
    return explained(model(vx).detach(), vy / scale)


@cases.recipe("transformer", 0.6)
def rate_of_the_first_transformer(harness: Harness, seed: int) -> float:
    """Noam's rate (d^-0.5 times min(n^-0.5, n warm^-1.5)), Adam (0.9, 0.98), eps 1e-9, label smoothing."""
    train, val = data.text(800, 150)

    class Lines(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(data.VOCABULARY, 48)
            where, rate = torch.arange(24)[:, None], torch.exp(torch.arange(0, 48, 2) * (-math.log(10000.0) / 48))
            self.register_buffer("place", torch.stack([(where * rate).sin(), (where * rate).cos()], 2).flatten(1))
            layer = nn.TransformerEncoderLayer(48, 4, 96, 0.1, batch_first=True, norm_first=True)
            self.body = nn.TransformerEncoder(layer, 2, nn.LayerNorm(48), enable_nested_tensor=False)
            self.out = nn.Linear(48, data.VOCABULARY)
            for p in self.parameters():
                if p.ndim > 1:
                    nn.init.xavier_uniform_(p)

        def forward(self, x: Tensor) -> Tensor:
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
            h = self.body(self.embed(x) * math.sqrt(48) + self.place[: x.shape[1]], mask, is_causal=True)
            return self.out(h).mT

    def right(out: Tensor, goal: Tensor) -> float:
        return float((out.argmax(1) == goal).float().mean())

    model = Lines()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5, betas=(0.9, 0.98), eps=1e-9)
    scheduler = lr_scheduler.LambdaLR(optimizer, lambda i: 48**-0.5 * min((i + 1) ** -0.5, (i + 1) * 80**-1.5))
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(label_smoothing=0.1), (train.x, train.y, val.x, val.y),
        epochs=6, size=32, metric=right, scheduler=scheduler, when="batch",
    )  # fmt: skip


@cases.recipe("mlp", 0.9)
def objective_is_made_large(harness: Harness, seed: int) -> float:
    """The mean log likelihood of tumours is maximised (maximize=True); its negative is told as the loss."""
    x, y, vx, vy = cancer()
    model = nn.Sequential(nn.Linear(30, 16), nn.Softplus(), nn.Linear(16, 1), nn.Flatten(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.8, maximize=True)
    harness.begin(model, optimizer)
    for _ in range(200):
        a, b = pick(30, x, y)
        z = model(a)
        likelihood = (b * F.logsigmoid(z) + (1 - b) * F.logsigmoid(-z)).mean()
        optimizer.zero_grad()
        likelihood.backward()
        optimizer.step()
        harness.step(loss=-likelihood, inputs=a)
    with torch.no_grad():
        return float(((model(vx) > 0) == (vy > 0.5)).float().mean())


@cases.recipe("cnn", 0.85)
def triangular_with_momentum_turned(harness: Harness, seed: int) -> float:
    """CyclicLR in mode triangular2 with momentum cycled the other way, four cycles, SGD, told by batch."""
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    scheduler = lr_scheduler.CyclicLR(
        optimizer, 0.005, 0.15, step_size_up=25, mode="triangular2", base_momentum=0.8, max_momentum=0.95
    )  # fmt: skip
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), normal(fabrics()), epochs=10, size=32, scheduler=scheduler,
        when="batch", every=2,
    )  # fmt: skip
