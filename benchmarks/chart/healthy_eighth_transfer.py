"""Faulty loops by an eighth author, who had not read the rules, each with a sound twin: transfer and teachers.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.second import SecondCases, dense, digits, draws, fit
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("eighth")


def taught(scale: float, steps: int = 150) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A teacher that was trained on standardised digits (of raw pixels, times `scale`)."""
    x, y, vx, vy = digits("standard", image=False)
    teacher = dense(64, 96, 10)
    optimizer = torch.optim.Adam(teacher.parameters(), lr=3e-3)
    for _ in range(steps // 30):
        for inputs, targets in draws(x, y):
            optimizer.zero_grad()
            F.cross_entropy(teacher(inputs * scale), targets).backward()
            optimizer.step()
    return teacher.eval().requires_grad_(False), (x, y, vx, vy)


@cases.pair("distillation", 0.85, accepts=["pretrained-not-loaded"])
def teacher_was_never_loaded(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The teacher's checkpoint has keys with "module." and is loaded with strict=False: the teacher stays random."""
    trained, (x, y, vx, vy) = taught(1.0)
    teacher = dense(64, 96, 10)
    saved = {f"module.{key}": value for key, value in trained.state_dict().items()}
    if not wrong:
        saved = {key.removeprefix("module."): value for key, value in saved.items()}
    teacher.load_state_dict(saved, strict=False)
    teacher.eval().requires_grad_(False)
    model = dense(64, 24, 10)

    def loss_fn(outputs: Tensor, targets: Tensor) -> Tensor:
        if targets.dim() == 1:
            return F.cross_entropy(outputs, targets)
        return F.kl_div((outputs / 2).log_softmax(1), (targets / 2).softmax(1), reduction="batchmean") * 4

    return fit(
        harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), loss_fn, (x, y, vx, vy), epochs=5,
        before=lambda inputs, targets: (inputs, teacher(inputs)),
    )  # fmt: skip


@cases.pair("transfer", 0.8, accepts=["optimizer-holds-stale-tensors", "parameters-missing-from-optimizer"])
def new_head_after_the_optimizer(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The head is replaced after the optimizer was made: the optimizer trains the old one, the body is frozen."""
    trained, split = taught(1.0)
    body = nn.Sequential(*list(trained)[:2])
    model = nn.Sequential(body, nn.Linear(96, 1000))
    optimizer = torch.optim.Adam(model[1].parameters(), lr=5e-3)
    model[1] = nn.Linear(96, 10)
    if not wrong:
        optimizer = torch.optim.Adam(model[1].parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=4)


@cases.pair("transfer", 0.8, accepts=["parameters-missing-from-optimizer"])
def unfrozen_but_not_in_the_optimizer(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The body is unfrozen after the first epoch, but the optimizer was made of what needed gradients before that."""
    x, y, vx, vy = digits("standard", image=False)
    model = nn.Sequential(dense(64, 8, 8, act=nn.Tanh), nn.Tanh(), nn.Linear(8, 10))
    model[0].requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    value = 0.0
    for epoch in range(8):
        if epoch == 1:
            model[0].requires_grad_(True)
            if not wrong:
                optimizer.add_param_group({"params": list(model[0].parameters())})
        total, count = 0.0, 0
        for inputs, targets in draws(x, y):
            model.zero_grad()
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            total, count = total + loss.item(), count + 1
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
        with torch.no_grad():
            value = float((model(vx).argmax(1) == vy).float().mean())
        harness.epoch(train={"loss": total / count}, val={"accuracy": value})
    return value


class Adapted(nn.Module):
    """A frozen layer with a low-rank change, of which `start` says how the second factor begins."""

    def __init__(self, base: nn.Linear, zeros: bool) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(torch.zeros(8, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, 8))
        if not zeros:
            nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """The layer and its change."""
        return self.base(x) + x @ self.down.T @ self.up.T


@cases.pair("transfer", 0.75, accepts=["adapters-miswired", "gradient-always-zero"])
def both_factors_zero(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Both factors of a low-rank adapter start at zero: each one's gradient is a multiple of the other, always 0."""
    trained, (x, y, vx, vy) = taught(1.0)
    mixed = torch.randperm(64)
    model = nn.Sequential(Adapted(trained[0], wrong), nn.ReLU(), Adapted(trained[2], wrong))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    split = x[:, mixed], (y + 3) % 10, vx[:, mixed], (vy + 3) % 10
    return fit(harness, model, optimizer, F.cross_entropy, split, epochs=8)
