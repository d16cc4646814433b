"""Habits beside the plain loop: teachers, averages, pruning, graphs, by a ninth author, who had not read the
rules, without any threshold.

See `healthy_ninth.py`.
"""

import copy

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_ninth import Net, evaluate, train_model
from benchmarks.chart.healthy_ninth_images import garments, normalised
from benchmarks.chart.second import SecondCases, accuracy, convs, dense, digits, draws
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import prune
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn

cases = SecondCases("ninth")


@cases.recipe("distillation", 0.9)
def small_student_of_a_cnn(harness: Harness, seed: int) -> float:
    """A trained CNN teaches a small net: KL at temperature 4 times 16, and labels, in equal parts; Adam 2e-3."""
    x, y, vx, vy = digits("standard")
    teacher, student = convs(), nn.Sequential(nn.Flatten(), *dense(64, 32, 10))
    first = torch.optim.Adam(teacher.parameters(), lr=3e-3)
    for _ in range(4):
        for a, b in draws(x, y):
            first.zero_grad()
            F.cross_entropy(teacher(a), b).backward()
            first.step()
    teacher.eval()
    optimizer = torch.optim.Adam(student.parameters(), lr=2e-3)
    harness.begin(student, optimizer)
    value = 0.0
    for _ in range(8):
        student.train()
        total = 0.0
        for a, b in draws(x, y):
            with torch.no_grad():
                soft = (teacher(a) / 4).softmax(1)
            out = student(a)
            soft_loss = F.kl_div((out / 4).log_softmax(1), soft, reduction="batchmean") * 16
            loss = 0.5 * soft_loss + 0.5 * F.cross_entropy(out, b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=a, targets=b, outputs=out)
            total += loss.item() * len(a) / len(x)
        val_loss, value = evaluate(student, vx, vy, F.cross_entropy, accuracy)
        harness.epoch(train={"loss": total}, val={"loss": val_loss, "accuracy": value})
    return value


@cases.recipe("cnn", 0.88)
def weights_averaged_over_the_last_epochs(harness: Harness, seed: int) -> float:
    """SWA by the library: six epochs with momentum, SWALR from the fourth on, statistics of batch norm renewed."""
    x, y, vx, vy = normalised(garments())
    model = convs(1, 6)
    average = AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    slow = SWALR(optimizer, swa_lr=0.01, anneal_epochs=1)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for epoch in range(6):
        model.train()
        total = 0.0
        for a, b in draws(x, y, 35):
            optimizer.zero_grad()
            out = model(a)
            loss = F.cross_entropy(out, b)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=a, targets=b, outputs=out)
            total += loss.item() * len(a) / len(x)
        if epoch >= 3:
            average.update_parameters(model)
            slow.step()
        else:
            scheduler.step()
        val_loss, value = evaluate(model, vx, vy, F.cross_entropy, accuracy)
        harness.epoch(train={"loss": total}, val={"loss": val_loss, "accuracy": value})
    update_bn(x.split(64), average)
    return evaluate(average, vx, vy, F.cross_entropy, accuracy)[1]


@cases.recipe("cnn", 0.9)
def moving_average_is_validated(harness: Harness, seed: int) -> float:
    """A copy follows with a decay of 0.97 after each step, buffers too, and is validated and kept; AdamW."""
    model = Net()
    ema = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def follow() -> None:
        for a, b in zip(ema.state_dict().values(), model.state_dict().values(), strict=True):
            a.copy_(a * 0.97 + b * 0.03)

    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    return train_model(
        harness, model, optimizer, nn.CrossEntropyLoss(), digits("standard"), epochs=8, after=follow, judge=ema
    )


@cases.recipe("pruning", 0.88)
def pruned_and_tuned_again(harness: Harness, seed: int) -> float:
    """Half of the weights are masked by prune.l1_unstructured after training; the rest is tuned at a lower rate."""
    split = digits("standard", image=False)
    model = dense(64, 96, 48, 10)
    first = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(4):
        for a, b in draws(split[0], split[1]):
            first.zero_grad()
            F.cross_entropy(model(a), b).backward()
            first.step()
    for layer in model:
        if isinstance(layer, nn.Linear):
            prune.l1_unstructured(layer, "weight", amount=0.5)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
    return train_model(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=4)


@cases.recipe("graph", 0.75)
def papers_by_a_gcn(harness: Harness, seed: int) -> float:
    """Cora-like: two graph convolutions, dropout of a half, Adam 1e-2 with decay 5e-4, the whole graph in each step."""
    draw = np.random.default_rng(971)
    count, kinds = 400, 4
    y = torch.tensor(draw.integers(0, kinds, count))
    chance = np.where(y[:, None] == y[None], 0.03, 0.004)
    edges = torch.tensor(np.triu(draw.random((count, count)) < chance, 1), dtype=torch.float32)
    near = edges + edges.T + torch.eye(count)
    root = near.sum(1).rsqrt()
    near = root[:, None] * near * root[None]
    topics = draw.random((kinds, 60)) < 0.2
    x = torch.tensor((draw.random((count, 60)) < np.where(topics[y], 0.25, 0.1)).astype(np.float32))
    x = x / x.sum(1, keepdim=True).clamp(min=1)
    order = torch.tensor(draw.permutation(count))
    train, val, test = order[:160], order[160:260], order[260:]

    class GCN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Linear(60, 16), nn.Linear(16, kinds)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(near @ self.conv1(F.dropout(x, 0.5, self.training)))
            return near @ self.conv2(F.dropout(x, 0.5, self.training))

    model = GCN()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    harness.begin(model, optimizer)
    for _ in range(150):
        model.train()
        optimizer.zero_grad()
        out = model(x)
        loss = F.cross_entropy(out[train], y[train])
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=x, targets=y[train], outputs=out[train])
        model.eval()
        with torch.no_grad():
            out = model(x)
        harness.epoch(
            train={"loss": loss.item(), "accuracy": accuracy(out[train], y[train])},
            val={"loss": F.cross_entropy(out[val], y[val]).item(), "accuracy": accuracy(out[val], y[val])},
        )
    return accuracy(out[test], y[test])


@cases.recipe("mixed", 0.8)
def picture_and_numbers_together(harness: Harness, seed: int) -> float:
    """Two inputs: a picture through convolutions, three numbers through a linear layer, joined; Adam; outputs told."""
    x, y, vx, vy = garments(1000)

    def with_numbers(y: Tensor) -> tuple[Tensor, Tensor]:
        numbers = torch.randn(len(y), 3)
        return numbers, (y % 3) + 3 * (numbers[:, 0] > 0).long()

    (n, goal), (vn, held) = with_numbers(y), with_numbers(vy)

    class Fusion(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.picture = nn.Sequential(
                nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1), nn.ReLU(), nn.Flatten(),
                nn.Linear(384, 32), nn.ReLU(),
            )  # fmt: skip
            self.numbers = nn.Sequential(nn.Linear(3, 16), nn.ReLU())
            self.head = nn.Sequential(nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 6))

        def forward(self, picture: Tensor, numbers: Tensor) -> Tensor:
            return self.head(torch.cat([self.picture(picture), self.numbers(numbers)], 1))

    model = Fusion()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer)
    value = 0.0
    for _ in range(8):
        model.train()
        losses = []
        for rows in torch.randperm(len(x)).split(25):
            out = model(x[rows], n[rows])
            loss = F.cross_entropy(out, goal[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            harness.step(loss=loss, targets=goal[rows], outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx, vn)
        value = accuracy(out, held)
        harness.epoch(
            train={"loss": float(np.mean(losses))}, val={"loss": F.cross_entropy(out, held).item(), "accuracy": value}
        )
    return value
