"""Students, few bits and few weights, by a sixth author, without any threshold. See `healthy_sixth.py`."""

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_sixth import block, course, iterate, pick, rents, textures
from benchmarks.chart.second import SecondCases, accuracy, dense, digits, draws, explained
from sklearn.ensemble import RandomForestRegressor
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import prune

cases = SecondCases("sixth")


def trained(model: nn.Module, x: Tensor, y: Tensor, epochs: int = 4, rate: float = 3e-3) -> None:
    """What somebody has trained before, with Adam."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(epochs):
        for a, b in draws(x, y, 32):
            optimizer.zero_grad()
            F.cross_entropy(model(a), b).backward()
            optimizer.step()


@cases.recipe("distillation", 0.8)
def forest_becomes_a_network(harness: Harness, seed: int) -> float:
    """A random forest of scikit-learn teaches a small MLP on rows jittered anew; scored against the truth."""
    x, y, vx, vy = rents()
    y, vy = y / 100, vy / 100
    forest = RandomForestRegressor(20, min_samples_leaf=3, random_state=0).fit(x.numpy(), y[:, 0].numpy())
    taught = torch.tensor(forest.predict(x.numpy()), dtype=torch.float32)[:, None]
    model = dense(7, 64, 64, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def compute(i: int) -> dict[str, Tensor]:
        a, b, c = pick(64, x, taught, y)
        out = model(a + 0.02 * torch.randn_like(a))
        loss = 0.7 * F.mse_loss(out, b) + 0.3 * F.mse_loss(out, c)
        return {"loss": loss, "inputs": a, "targets": b, "outputs": out}

    iterate(harness, model, optimizer, compute, 400)
    return explained(model(vx), vy)


@cases.recipe("distillation", 0.85)
def narrow_student_of_a_wide_one(harness: Harness, seed: int) -> float:
    """Logits of a frozen wide network by squared error plus cross-entropy, textures, a student of a quarter's width."""
    x, y, vx, vy = textures()

    def net(width: int) -> nn.Sequential:
        return nn.Sequential(block(3, width), nn.MaxPool2d(2), block(width, 2 * width), nn.AdaptiveAvgPool2d(1),
                             nn.Flatten(), nn.Linear(2 * width, 5))  # fmt: skip

    teacher, student = net(24), net(6)
    trained(teacher, x, y)
    teacher.eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)

    def compute(i: int) -> dict[str, Tensor]:
        a, b = pick(24, x, y)
        out = student(a)
        loss = F.cross_entropy(out, b) + 0.2 * F.mse_loss(out, teacher(a))
        return {"loss": loss, "inputs": a, "targets": b, "outputs": out}

    iterate(harness, student, optimizer, compute, 180)
    return accuracy(student.eval()(vx), vy)


class Rounded(nn.Module):
    """Eight or fewer bits between a minimum and a maximum that follow the data slowly; the gradient passes."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.levels = 2**bits - 1
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Rounded values."""
        if self.training:
            with torch.no_grad():
                self.low.lerp_(x.min(), 0.1)
                self.high.lerp_(x.max(), 0.1)
        step = (self.high - self.low).clamp(min=1e-5) / self.levels
        clipped = torch.minimum(torch.maximum(x, self.low), self.high)
        return clipped + (((clipped - self.low) / step).round() * step + self.low - clipped).detach()


@cases.recipe("quantisation", 0.85)
def fine_tuned_for_few_bits(harness: Harness, seed: int) -> float:
    """A trained network gets observers and rounding to 4 bits of activations, then is tuned by SGD at 0.02."""
    x, y, vx, vy = digits()
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip
    trained(net, x, y, epochs=2, rate=1e-3)
    model = nn.Sequential(net[0], net[1], Rounded(4), net[2], net[3], net[4], Rounded(4), net[5], net[6])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    loss_fn = nn.CrossEntropyLoss()
    return course(harness, model, optimizer, loss_fn, (x, y, vx, vy), epochs=4, tell="ito")


@cases.recipe("pruning", 0.85)
def pruned_at_once_and_tuned(harness: Harness, seed: int) -> float:
    """torch.nn.utils.prune takes 70 % of a trained net's weights by size; the rest is tuned with the masks held."""
    x, y, vx, vy = digits("standard", image=False)
    model = dense(64, 96, 96, 10)
    trained(model, x, y, epochs=2, rate=1e-3)
    layers = [(layer, "weight") for layer in model if isinstance(layer, nn.Linear)]
    prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=0.7)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.05)
    score = course(harness, model, optimizer, loss_fn, (x, y, vx, vy), epochs=5, tell="it")
    for layer, name in layers:
        prune.remove(layer, name)
    return score


@cases.recipe("pruning", 0.8)
def channels_that_nobody_needs(harness: Harness, seed: int) -> float:
    """Network slimming: L1 on the scales of batch norm (1e-3), so that channels can be cut later; Adam and cosine."""
    model = nn.Sequential(block(3, 24), nn.MaxPool2d(2), block(24, 32), nn.MaxPool2d(2), block(32, 32),
                          nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))  # fmt: skip
    scales = [m.weight for m in model.modules() if isinstance(m, nn.BatchNorm2d)]

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        return F.cross_entropy(out, goal) + 1e-3 * sum((s.abs().sum() for s in scales), torch.zeros(()))

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    return course(harness, model, optimizer, loss_fn, textures(), epochs=5, size=24, scheduler=scheduler, tell="i")
