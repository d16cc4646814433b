"""Functional loops, teachers, sets and experts of a second author, on which NO threshold is ever set.

See `healthy_second.py`.
"""

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import (
    SecondCases,
    accuracy,
    convs,
    cut,
    dense,
    digits,
    draws,
    explained,
    fit,
)
from sklearn.datasets import make_swiss_roll
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("second")


@cases.recipe("mlp", 0.85)
def four_at_once(harness: Harness, seed: int) -> float | None:
    """An ensemble of four by vmap over stacked weights; the optimizer holds the stacks, not the modules' tensors."""
    x, y, vx, vy = digits("standard", image=False)
    members = [dense(64, 32, 10) for _ in range(4)]
    params, buffers = stack_module_state(members)  # type: ignore[arg-type]
    shell = dense(64, 32, 10).to("meta")
    held = nn.ParameterDict({k.replace(".", "_"): nn.Parameter(v.detach()) for k, v in params.items()})

    def run(values: dict[str, Tensor], inputs: Tensor) -> Tensor:
        named = {k: values[k.replace(".", "_")] for k in params}
        return vmap(lambda p: functional_call(shell, (p, buffers), (inputs,)))(named)

    optimizer = torch.optim.Adam(held.parameters(), lr=5e-3)
    harness.begin(held, optimizer)
    for _ in range(6):
        for inputs, targets in draws(x, y):
            out = run(dict(held.items()), inputs)
            loss = sum(F.cross_entropy(o, targets) for o in out)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets)
    with torch.no_grad():
        return accuracy(run(dict(held.items()), vx).softmax(-1).mean(0), vy)


@cases.recipe("mlp", 0.85)
def gradients_by_function(harness: Harness, seed: int) -> float | None:
    """torch.func: gradients come from grad_and_value and are written into .grad; backward is never called."""
    x, y, vx, vy = digits("signed", image=False)
    model = dense(64, 64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)

    def objective(values: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, values, (inputs,)), targets)

    for _ in range(6):
        for inputs, targets in draws(x, y):
            grads, loss = grad_and_value(objective)(
                {k: p.detach() for k, p in model.named_parameters()}, inputs, targets
            )
            for name, p in model.named_parameters():
                p.grad = grads[name]
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets)
    with torch.no_grad():
        return accuracy(model(vx), vy)


@cases.recipe("cnn", 0.85)
def learns_from_a_teacher(harness: Harness, seed: int) -> float | None:
    """Distillation: KL at temperature 4 to a frozen teacher that was trained before, and cross-entropy."""
    x, y, vx, vy = digits("standard")
    teacher, student = convs(), nn.Sequential(nn.Flatten(), dense(64, 24, 10))
    warm = torch.optim.Adam(teacher.parameters(), lr=3e-3)
    for _ in range(2):
        for inputs, targets in draws(x, y):
            warm.zero_grad()
            F.cross_entropy(teacher(inputs), targets).backward()
            warm.step()
    teacher.eval()
    optimizer = torch.optim.Adam(student.parameters(), lr=5e-3)
    harness.begin(student, optimizer)
    for _ in range(6):
        student.train()
        for inputs, targets in draws(x, y):
            with torch.no_grad():
                soft = (teacher(inputs) / 4).log_softmax(1)
            out = student(inputs)
            soft_loss = F.kl_div((out / 4).log_softmax(1), soft, log_target=True, reduction="batchmean")
            loss = 0.9 * 16 * soft_loss + 0.1 * F.cross_entropy(out, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        student.eval()
        with torch.no_grad():
            out = student(vx)
        harness.epoch(val={"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)})
    return accuracy(out, vy)


@cases.recipe("sets", 0.6)
def sum_of_a_set(harness: Harness, seed: int) -> float | None:
    """Deep sets: the sum of four digits from their images; targets of 0..36 as they are."""
    x, y, vx, vy = digits(image=False)
    rows, val_rows = torch.randint(len(x), (900, 4)), torch.randint(len(vx), (250, 4))

    class DeepSet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.each, self.all = dense(64, 64, 32), dense(32, 32, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.all(F.relu(self.each(x)).sum(1))

    split = x[rows], y[rows].sum(1, keepdim=True).float(), vx[val_rows], vy[val_rows].sum(1, keepdim=True).float()
    model = DeepSet()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, nn.SmoothL1Loss(), split, score=explained, metric=None, epochs=18)


@cases.recipe("mlp", 0.8)
def robust_to_wrong_labels(harness: Harness, seed: int) -> float | None:
    """Generalised cross-entropy, bounded by 1/0.7, on clean labels."""
    model = dense(64, 64, 10)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return ((1 - out.softmax(1).gather(1, y[:, None]) ** 0.7) / 0.7).mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, loss, digits("standard", False))


@cases.recipe("mlp", 0.8)
def easy_ones_first(harness: Harness, seed: int) -> float | None:
    """Curriculum: samples sorted by distance from their class mean, the share seen grows from 30 % to all."""
    x, y, vx, vy = digits("standard", image=False)
    middle = torch.stack([x[y == k].mean(0) for k in range(10)])
    order = (x - middle[y]).norm(dim=1).argsort()
    model = dense(64, 64, 10, act=nn.GELU)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for epoch in range(8):
        seen = order[: int(len(x) * min(1.0, 0.3 + 0.1 * epoch))]
        model.train()
        for inputs, targets in draws(x[seen], y[seen], 16 * 2 ** (epoch // 4)):
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx)
        harness.epoch(val={"loss": float(F.cross_entropy(out, vy)), "accuracy": accuracy(out, vy)})
    return accuracy(out, vy)


@cases.recipe("mlp", 0.85)
def penalised_input_gradient(harness: Harness, seed: int) -> float | None:
    """Double backward: the norm of the gradient with respect to the input is part of the loss."""
    x, y, vx, vy = digits("standard", image=False)
    model = dense(64, 48, 10, act=nn.Softplus)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    harness.begin(model, optimizer)
    for _ in range(6):
        for inputs, targets in draws(x, y):
            inputs = inputs.requires_grad_()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            slope = torch.autograd.grad(loss, inputs, create_graph=True)[0]
            loss = loss + slope.square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss.item(), inputs=inputs, targets=targets, outputs=out)
    return accuracy(model(vx), vy)


@cases.recipe("moe", 0.85)
def two_of_six_experts(harness: Harness, seed: int) -> float | None:
    """Sparse mixture of experts, top 2, with a loss that balances their load."""

    class Mixture(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.experts = nn.Linear(64, 6), nn.ModuleList(dense(64, 24, 10) for _ in range(6))
            self.balance = torch.zeros(())

        def forward(self, x: Tensor) -> Tensor:
            share = self.gate(x).softmax(1)
            top, index = share.topk(2, 1)
            out = x.new_zeros(len(x), 10)
            for k, expert in enumerate(self.experts):
                row, slot = (index == k).nonzero(as_tuple=True)
                if len(row):
                    out = out.index_add(0, row, expert(x[row]) * top[row, slot, None])
            self.balance = 6 * (share.mean(0) * F.one_hot(index[:, 0], 6).float().mean(0)).sum()
            return out

    model = Mixture()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    return fit(
        harness, model, optimizer, lambda o, y: F.cross_entropy(o, y) + 0.02 * model.balance, digits("standard", False),
        epochs=7,
    )  # fmt: skip


@cases.recipe("swissroll", 0.8)
def radial_units(harness: Harness, seed: int) -> float | None:
    """A radial basis network unrolls the Swiss roll: angle from raw coordinates."""
    x, t = make_swiss_roll(1000, noise=0.3, random_state=0)
    split = cut(x / 10, (t[:, None] - 9.4) / 2.7)

    class Radial(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.centre = nn.Parameter(split[0][:64].clone())
            self.log_reach, self.head = nn.Parameter(torch.full((64,), -1.0)), nn.Linear(64, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head((-torch.cdist(x, self.centre).square() * (-2 * self.log_reach).exp() / 2).exp())

    model = Radial()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    return fit(harness, model, optimizer, F.mse_loss, split, score=explained, metric="r2", epochs=12)
