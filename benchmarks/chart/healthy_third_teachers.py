"""Teachers, pupils and tasks in a row, by a third author, on which NO threshold is ever set. See `healthy_third.py`."""

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_third import iterate, rows
from benchmarks.chart.second import SecondCases, accuracy, convs, dense, digits, draws
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("third")


@cases.recipe("distillation", 0.85)
def two_teach_each_other(harness: Harness, seed: int) -> float:
    """Deep mutual learning: two networks, two optimizers, each with a divergence to the other's detached answer."""
    x, y, vx, vy = digits("standard", image=False)
    nets = [dense(64, 48, 10), dense(64, 32, 32, 10)]
    optimizers = [torch.optim.SGD(n.parameters(), lr=0.1, momentum=0.9) for n in nets]
    harness.begin(nets, optimizers)
    for _ in range(5):
        for bx, by in draws(x, y):
            outs = [n(bx) for n in nets]
            total = 0.0
            for k, optimizer in enumerate(optimizers):
                other = outs[1 - k].detach().softmax(1)
                loss = F.cross_entropy(outs[k], by) + F.kl_div(outs[k].log_softmax(1), other, reduction="batchmean")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item()
            harness.step(loss=total, inputs=bx, targets=by)
        with torch.no_grad():
            harness.epoch(val={"accuracy": accuracy(nets[0](vx), vy)})
    return accuracy(nets[0](vx), vy)


@cases.recipe("distillation", 0.85)
def features_are_hinted(harness: Harness, seed: int) -> float:
    """FitNets: a wide trained network's hidden layer is foretold through a regressor, along with the classes."""
    x, y, vx, vy = digits("unit")
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    teach = torch.optim.Adam(wide.parameters(), lr=3e-3)
    for _ in range(150):
        at = rows(x, 64)
        loss = F.cross_entropy(wide(x[at]), y[at])
        teach.zero_grad()
        loss.backward()
        teach.step()
    wide.requires_grad_(False)
    body, head, hint = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU()), nn.Linear(24, 10), nn.Linear(24, 128)
    model = nn.ModuleList([body, head, hint])
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)

    def compute(i: int) -> dict[str, Tensor]:
        at = rows(x, 40)
        z = body(x[at])
        loss = F.cross_entropy(head(z), y[at]) + F.mse_loss(hint(z), wide[:3](x[at]))
        return {"loss": loss, "inputs": x[at], "targets": y[at], "outputs": head(z)}

    iterate(harness, model, optimizer, compute, 200)
    return accuracy(head(body(vx)), vy)


@cases.recipe("semi", 0.75)
def teacher_is_an_average(harness: Harness, seed: int) -> float:
    """Mean teacher: 150 labels, the rest by consistency with a moving average under other noise, ramped up."""
    x, y, vx, vy = digits("unit", image=False)
    model = dense(64, 96, 10)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.97))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def compute(i: int) -> dict[str, Tensor]:
        at, free = rows(x[:150], 24), x[rows(x, 48)]
        out = model(x[at] + 0.1 * torch.randn(24, 64))
        with torch.no_grad():
            goal = average(free + 0.1 * torch.randn_like(free)).softmax(1)
        same = F.mse_loss(model(free + 0.1 * torch.randn_like(free)).softmax(1), goal)
        loss = F.cross_entropy(out, y[at]) + 10 * min(1.0, i / 100) * same
        return {"loss": loss, "inputs": x[at], "targets": y[at], "outputs": out}

    iterate(harness, model, optimizer, compute, 200, after=lambda: average.update_parameters(model))
    fit_loss = F.cross_entropy(average(vx), vy)
    harness.epoch(val={"loss": float(fit_loss), "accuracy": accuracy(average(vx), vy)})
    return accuracy(average(vx), vy)


@cases.recipe("continual", 0.75)
def old_samples_come_back(harness: Harness, seed: int) -> float:
    """Continual learning: digits 0..4 and then 5..9, with a small memory of the first; the loss jumps at the change."""
    x, y, vx, vy = digits("unit")
    model = convs(norm=lambda c: nn.GroupNorm(4, c))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    old = torch.where(y < 5)[0]
    memory = old[torch.randperm(len(old))[:100]]
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for task in (0, 1):
        own = torch.where(y // 5 == task)[0]
        for _ in range(5):
            for part in own[torch.randperm(len(own))].split(24):
                at = torch.cat([part, memory[rows(memory, 12)]]) if task else part
                out = model(x[at])
                loss = F.cross_entropy(out, y[at])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                harness.step(loss=loss, inputs=x[at], targets=y[at], outputs=out)
            with torch.no_grad():
                met = vy // 5 <= task
                out = model(vx[met])
            harness.epoch(val={"loss": F.cross_entropy(out, vy[met]).item(), "accuracy": accuracy(out, vy[met])})
    return accuracy(model(vx), vy)


@cases.recipe("continual", 0.6)
def old_weights_are_dear(harness: Harness, seed: int) -> float:
    """Elastic weight consolidation: pixels are permuted for the second task; the mean accuracy of both tasks."""
    x, y, vx, vy = digits("unit", image=False)
    order = torch.randperm(64)
    model = dense(64, 100, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def compute(i: int) -> dict[str, Tensor]:
        at = rows(x, 32)
        out = model(x[at])
        return {"loss": F.cross_entropy(out, y[at]), "inputs": x[at], "targets": y[at], "outputs": out}

    iterate(harness, model, optimizer, compute, 200)
    was = [p.detach().clone() for p in model.parameters()]
    dear = [torch.zeros_like(p) for p in was]
    for i in range(100):
        slopes = torch.autograd.grad(F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), list(model.parameters()))
        dear = [d + g**2 / 100 for d, g in zip(dear, slopes, strict=True)]

    def second(i: int) -> dict[str, Tensor]:
        at = rows(x, 32)
        out = model(x[at][:, order])
        hold = sum((d * (p - w) ** 2).sum() for d, p, w in zip(dear, model.parameters(), was, strict=True))
        return {"loss": F.cross_entropy(out, y[at]) + 50 * hold, "targets": y[at], "outputs": out}

    iterate(harness, model, optimizer, second, 200, begin=False)
    return (accuracy(model(vx), vy) + accuracy(model(vx[:, order]), vy)) / 2
