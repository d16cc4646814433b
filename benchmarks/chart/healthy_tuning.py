"""Healthy loops that train only a part, or with more than one optimizer, loss or copy of the weights.

Thresholds may be set on them, as on `healthy.py`.
"""

import copy

import torch
from benchmarks.chart import data, networks
from benchmarks.chart.case import Cases, Harness
from benchmarks.chart.healthy_loops import epochs_of, score
from benchmarks.chart.program import Data
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

cases = Cases("healthy")


def pretrained(seed: int) -> nn.Sequential:
    """An MLP trained on the first five digits, with a fresh head of ten."""
    train, _ = data.digits()
    keep = train.y < 5
    model = networks.mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in epochs_of(Data(train.x[keep], train.y[keep]), 4):
        for x, y in epoch:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    model[-1] = nn.Linear(64, 10)
    return model


@cases.healthy_loop("mlp")
def frozen_backbone(harness: Harness, seed: int) -> float | None:
    """A trained backbone is frozen, and only the new head learns."""
    train, val = data.digits()
    model = pretrained(seed)
    for p in model[:-1].parameters():
        p.requires_grad = False
    optimizer = torch.optim.Adam(model[-1].parameters(), lr=1e-2)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for epoch in epochs_of(train, 4):
        for x, y in epoch:
            out = model(x)
            loss = F.cross_entropy(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(val=score(model, val))
    return score(model, val)["accuracy"]


@cases.healthy_loop("mlp")
def lora(harness: Harness, seed: int) -> float | None:
    """Low-rank adapters beside frozen layers; one factor starts at zero, so the other gets no gradient at first."""
    train, val = data.digits()

    class Lora(nn.Module):
        def __init__(self, base: nn.Linear, rank: int = 4) -> None:
            super().__init__()
            self.base = base.requires_grad_(False)
            self.lora_A = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
            self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank))

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + 2.0 * x @ self.lora_A.T @ self.lora_B.T

    model = pretrained(seed)
    for i in (0, 2):
        model[i] = Lora(model[i])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for epoch in epochs_of(train, 4):
        for x, y in epoch:
            out = model(x)
            loss = F.cross_entropy(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(val=score(model, val))
    return score(model, val)["accuracy"]


@cases.healthy_loop("mlp")
def averaged_weights(harness: Harness, seed: int) -> float | None:
    """An exponential average of the weights is kept beside the model, and the average is validated."""
    train, val = data.digits()
    model = networks.mlp()
    average = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for epoch in epochs_of(train, 5):
        for x, y in epoch:
            out = model(x)
            loss = F.cross_entropy(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                    slow.lerp_(fast, 0.1)
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(val=score(average, val))
    return score(average, val)["accuracy"]


@cases.healthy_loop("mlp")
def distillation(harness: Harness, seed: int) -> float | None:
    """A small network learns from labels and from a trained one, which runs in eval mode without gradients."""
    train, val = data.digits()
    teacher = pretrained(seed)
    first = torch.optim.Adam(teacher.parameters(), lr=3e-3)
    for epoch in epochs_of(train, 3):
        for x, y in epoch:
            first.zero_grad()
            F.cross_entropy(teacher(x), y).backward()
            first.step()
    teacher.eval()
    model = networks.mlp(width=32)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer)
    for epoch in epochs_of(train, 4):
        for x, y in epoch:
            with torch.no_grad():
                soft = teacher(x)
            out = model(x)
            loss = 0.5 * F.cross_entropy(out, y) + 2.0 * F.kl_div(
                (out / 2).log_softmax(1), (soft / 2).softmax(1), reduction="batchmean"
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(val=score(model, val))
    return score(model, val)["accuracy"]


@cases.healthy_loop("mlp")
def two_tasks(harness: Harness, seed: int) -> float | None:
    """A shared trunk with a head for the class and one for the brightness; the losses are added with weights."""
    train, val = data.digits()
    trunk, kind, bright = nn.Sequential(nn.Linear(64, 64), nn.ReLU()), nn.Linear(64, 10), nn.Linear(64, 1)
    model = nn.ModuleDict({"trunk": trunk, "kind": kind, "bright": bright})
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer)
    for epoch in epochs_of(train, 4):
        for x, y in epoch:
            h = trunk(x)
            out, light = kind(h), bright(h)
            loss = F.cross_entropy(out, y) + 0.3 * F.mse_loss(light, 5 * x.mean(1, keepdim=True))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        harness.epoch(val=score(nn.Sequential(trunk, kind), val))
    return score(nn.Sequential(trunk, kind), val)["accuracy"]


@cases.healthy_loop("mlp")
def quasi_newton(harness: Harness, seed: int) -> float | None:
    """LBFGS with a closure on the whole training set."""
    train, val = data.digits(400)
    x = data.normalise_digits(train.x)
    model = networks.mlp(width=32, depth=1)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), train.y) + 1e-3 * sum(p.square().sum() for p in model.parameters())
        loss.backward()
        return loss

    for i in range(20):
        loss = optimizer.step(closure)
        harness.step(loss=loss, inputs=x, targets=train.y)
        if i % 5 == 4:
            harness.epoch(val=score(model, val))
    return score(model, val)["accuracy"]


@cases.healthy_loop("mlp")
def two_optimizers(harness: Harness, seed: int) -> float | None:
    """SGD for the trunk and Adam for the head, with a plateau schedule."""
    train, val = data.digits()
    model = networks.mlp()
    optimizers = [
        torch.optim.SGD(model[:-1].parameters(), lr=0.1, momentum=0.9),
        torch.optim.Adam(model[-1].parameters(), lr=3e-3),
    ]
    plateaus = [torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=1) for o in optimizers]
    harness.begin(model, optimizers, loss_fn=F.cross_entropy)
    for epoch in epochs_of(train, 5):
        for x, y in epoch:
            for optimizer in optimizers:
                optimizer.zero_grad()
            out = model(x)
            loss = F.cross_entropy(out, y)
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            harness.step(loss=loss, inputs=x, targets=y, outputs=out)
        value = score(model, val)
        for plateau in plateaus:
            plateau.step(value["loss"])
        harness.epoch(val=value)
    return value["accuracy"]


@cases.healthy_loop("cnn")
def loader_and_checkpointing(harness: Harness, seed: int) -> float | None:
    """A DataLoader, recomputed activations, and gradients set to zero instead of None."""
    train, val = data.digits()
    loader = DataLoader(TensorDataset(data.normalise_digits(train.x), train.y), batch_size=32, shuffle=True)
    model = networks.mlp()
    trunk, head = model[:-1], model[-1]
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    criterion = nn.CrossEntropyLoss()
    harness.begin(model, optimizer, loss_fn=criterion)
    for _ in range(4):
        running = 0.0
        for x, y in loader:
            optimizer.zero_grad(set_to_none=False)
            out = head(checkpoint(trunk, x, use_reentrant=False))
            loss = criterion(out, y)
            loss.backward()
            optimizer.step()
            running += loss.item()
            harness.step(loss=loss.item(), inputs=x, targets=y, outputs=out)
        harness.epoch(train={"loss": running / len(loader)}, val=score(model, val))
    return score(model, val)["accuracy"]
