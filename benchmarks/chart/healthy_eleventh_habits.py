"""Habits of training, graphs and agents, by an eleventh author, who had not read the rules, without any threshold.

See `healthy_eleventh.py`.
"""

import copy
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eleventh import LeNet, block, evaluate, leaves, letters, standard, train
from benchmarks.chart.healthy_eleventh_pictures import flips, resnet
from benchmarks.chart.healthy_eleventh_tables import bikes, customers, row_auc
from benchmarks.chart.second import SecondCases, accuracy, convs, dense, digits, explained, housing
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

cases = SecondCases("eleventh")


@cases.recipe("resnet", 0.9)
def leaves_with_a_moving_average(harness: Harness, seed: int) -> float:
    """AveragedModel with a decay of 0.95 and buffers is validated in place of the model; SGD, cosine, flips."""
    model = resnet(3, 4, 12)
    mean = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.95), use_buffers=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), standard(leaves()), epochs=6, judge=mean, augment=flips,
        after=lambda: mean.update_parameters(model), scheduler=scheduler,
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def letters_averaged_at_last(harness: Harness, seed: int) -> float:
    """Eight epochs of Adam; the weights of the last four are averaged, batch norm is renewed; the mean is scored."""
    x, y, vx, vy = standard(letters())
    model = convs(1, 10, 16)
    mean, seen = AveragedModel(model), [0]
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def keep() -> None:
        seen[0] += 1
        if seen[0] > 4 * 29 and seen[0] % 29 == 0:
            mean.update_parameters(model)

    train(harness, model, optimizer, nn.CrossEntropyLoss(), (x, y, vx, vy), epochs=8, after=keep, told="loss")
    update_bn(x.split(64), mean)
    return evaluate(mean, vx, vy, F.cross_entropy, accuracy)[1]


@cases.recipe("cnn", 0.85)
def leaves_in_pieces_of_a_batch(harness: Harness, seed: int) -> float:
    """Four batches of 8 per step, group norm, AdamW 1e-3, the mean loss of the four is told."""

    def unit(into: int, out: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(into, out, 3, 2, 1), nn.GroupNorm(4, out), nn.SiLU())

    model = nn.Sequential(unit(3, 16), unit(16, 32), unit(32, 48), nn.Flatten(), nn.Linear(432, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), standard(leaves()), epochs=7, size=8, accumulate=4,
        augment=flips,
    )  # fmt: skip


@cases.recipe("table", 0.75)
def customers_in_four_folds(harness: Harness, seed: int) -> float:
    """Cross-validation in four folds; the first fold is watched, the others follow unwatched; the mean AUC."""
    x, y, vx, vy = customers()
    x, y = torch.cat([x, vx]), torch.cat([y, vy])
    scores = []
    for fold, held in enumerate(torch.randperm(len(x)).chunk(4)):
        rest = torch.ones(len(x), dtype=torch.bool)
        rest[held] = False
        split = x[rest], y[rest], x[held], y[held]
        model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        criterion = nn.BCEWithLogitsLoss()
        if fold == 0:
            scores.append(train(harness, model, optimizer, criterion, split, epochs=5, metric=row_auc, name="auc"))
            continue
        for _ in range(5):
            for rows in torch.randperm(len(split[0])).split(32):
                optimizer.zero_grad()
                criterion(model(split[0][rows]), split[1][rows]).backward()
                optimizer.step()
        scores.append(evaluate(model, split[2], split[3], criterion, row_auc)[1])
    return float(np.mean(scores))


@cases.recipe("table", 0.5)
def houses_after_a_broken_job(harness: Harness, seed: int) -> float:
    """Prices: model, AdamW and scheduler from a checkpoint after five of ten epochs, the rest is watched; R2."""
    x, y, vx, vy = housing(1600)
    y, vy = y - 1.5, vy - 1.5

    def build() -> tuple[nn.Module, Any, Any]:
        model = dense(6, 64, 32, 1)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        return model, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)

    model, optimizer, scheduler = build()
    for _ in range(5):
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            F.mse_loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
        scheduler.step()
    saved = copy.deepcopy([part.state_dict() for part in (model, optimizer, scheduler)])
    model, optimizer, scheduler = build()
    for part, state in zip((model, optimizer, scheduler), saved, strict=True):
        part.load_state_dict(state)
    return train(
        harness, model, optimizer, nn.MSELoss(), (x, y, vx, vy), epochs=5, scheduler=scheduler, metric=explained,
        name="r2",
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def body_and_head_by_two_optimizers(harness: Harness, seed: int) -> float:
    """SGD for the convolutions, Adam for the linear layers, both stepped each time; letters; told whole."""
    x, y, vx, vy = standard(letters())
    model = LeNet()
    first = torch.optim.SGD([*model.conv1.parameters(), *model.conv2.parameters()], lr=0.02, momentum=0.9)
    linear = [p for layer in (model.fc1, model.fc2, model.fc3) for p in layer.parameters()]
    second = torch.optim.Adam(linear, lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    harness.begin(model, [first, second], loss_fn=criterion)
    value = 0.0
    for _ in range(7):
        model.train()
        losses = []
        for rows in torch.randperm(len(x)).split(32):
            first.zero_grad()
            second.zero_grad()
            out = model(x[rows])
            loss = criterion(out, y[rows])
            loss.backward()
            first.step()
            second.step()
            losses.append(loss.item())
            harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=out)
        val_loss, value = evaluate(model, vx, vy, criterion, accuracy)
        harness.epoch(train={"loss": float(np.mean(losses))}, val={"loss": val_loss, "accuracy": value})
    return value


@cases.recipe("cnn", 0.85)
def digits_after_pruning(harness: Harness, seed: int) -> float:
    """A trained CNN loses four in ten weights of each convolution by size and is tuned for four epochs, watched."""
    split = digits("standard")
    model = convs(1, 10, 16)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(5):
        for rows in torch.randperm(len(split[0])).split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(split[0][rows]), split[1][rows]).backward()
            optimizer.step()
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            prune.l1_unstructured(layer, "weight", 0.4)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    return train(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=4)


@cases.recipe("table", 0.5)
def bicycles_by_a_closing_schedule(harness: Harness, seed: int) -> float:
    """Warm restarts of the rate per batch, Adamax, Huber loss on square roots of counts, training loss told only."""
    x, y, vx, vy = bikes()
    y, vy = y.sqrt() / 2 - 1, vy.sqrt() / 2 - 1
    model = dense(8, 64, 32, 1)
    optimizer = torch.optim.Adamax(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 94, eta_min=1e-4)
    return train(
        harness, model, optimizer, nn.HuberLoss(), (x, y, vx, vy), epochs=8, size=32, scheduler=scheduler, when="batch",
        metric=explained, name=None, said="train",
    )  # fmt: skip


@cases.recipe("cnn", 0.85)
def leaves_with_a_triangle_of_rates(harness: Harness, seed: int) -> float:
    """CyclicLR between 0.002 and 0.02 with momentum, weight decay, the sum of correct answers is logged; told pairs."""
    model = nn.Sequential(block(3, 16, 2), block(16, 32, 2), block(32, 48), nn.Flatten(), nn.Linear(1200, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=2e-3, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CyclicLR(optimizer, 2e-3, 0.02, step_size_up=36)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), standard(leaves()), epochs=6, scheduler=scheduler,
        when="batch", augment=flips, told="pair",
    )  # fmt: skip


def papers(count: int = 500) -> tuple[Tensor, Tensor, Tensor]:
    """Words (N, 40) of papers of four fields, a normalised matrix of citations with loops, fields."""
    draw = np.random.default_rng(1190)
    y = draw.integers(0, 4, count)
    words = draw.random((count, 40)) < 0.08 + 0.12 * (np.arange(40)[None] % 4 == y[:, None])
    links = draw.random((count, count)) < np.where(y[:, None] == y, 0.02, 0.003)
    a = np.maximum(links, links.T) | np.eye(count, dtype=bool)
    scale = a.sum(1) ** -0.5
    return (torch.tensor(words).float(), torch.tensor(scale[:, None] * a * scale, dtype=torch.float32), torch.tensor(y))


@cases.recipe("gcn", 0.7)
def fields_of_papers(harness: Harness, seed: int) -> float:
    """Two graph convolutions with dropout on one graph, 160 nodes with labels, Adam 0.01 with decay 5e-4, 120 steps."""
    x, a, y = papers()

    class Gcn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(40, 24), nn.Linear(24, 4)

        def forward(self, x: Tensor, a: Tensor) -> Tensor:
            h = F.dropout(F.relu(a @ self.one(x)), 0.4, self.training)
            return a @ self.two(h)

    model = Gcn()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    value = 0.0
    for epoch in range(1, 121):
        model.train()
        optimizer.zero_grad()
        out = model(x, a)[:160]
        loss = F.cross_entropy(out, y[:160])
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=(x, a), targets=y[:160], outputs=out)
        if epoch % 10 == 0:
            model.eval()
            with torch.no_grad():
                held = model(x, a)[160:]
            value = accuracy(held, y[160:])
            harness.epoch(
                train={"loss": loss.item()}, val={"loss": F.cross_entropy(held, y[160:]).item(), "accuracy": value}
            )
    return value


@cases.recipe("gnn", 0.6)
def weights_of_molecules(harness: Harness, seed: int) -> float:
    """Small graphs as dense batches: three rounds of messages, sums over atoms, MSE, Adam 2e-3, plateau; R2."""
    draw = np.random.default_rng(1191)
    kinds, size = draw.integers(0, 4, (1500, 9)), draw.integers(5, 10, 1500)
    real = np.arange(9) < size[:, None]
    links = np.triu(draw.random((1500, 9, 9)) < 0.25, 1)
    links[:, np.arange(8), np.arange(1, 9)] = True
    links = (links | links.transpose(0, 2, 1)) & real[:, None] & real[:, :, None]
    worth = np.array([0.3, -0.5, 0.9, 0.1])[kinds] * real
    y = worth.sum(1) + 0.3 * (worth[:, None] * worth[:, :, None] * links).sum((1, 2))
    y = torch.tensor((y - y.mean()) / y.std(), dtype=torch.float32)
    atoms = F.one_hot(torch.tensor(kinds), 4).float() * torch.tensor(real)[..., None]
    data = {"atoms": atoms, "links": torch.tensor(links).float(), "real": torch.tensor(real).float()}

    class Messages(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 32)
            self.rounds = nn.ModuleList(nn.Linear(64, 32) for _ in range(3))
            self.head = dense(32, 32, 1)

        def forward(self, atoms: Tensor, links: Tensor, real: Tensor) -> Tensor:
            h = self.first(atoms)
            for layer in self.rounds:
                h = h + F.relu(layer(torch.cat([h, links @ h / 3], 2)))
            return self.head((h * real[..., None]).sum(1) / 4).squeeze(1)

    model = Messages()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    parts = [{k: v[s] for k, v in data.items()} for s in (slice(0, 1200), slice(1200, None))]
    return train(
        harness, model, optimizer, nn.MSELoss(), (parts[0], y[:1200], parts[1], y[1200:]), epochs=10,
        scheduler=scheduler, when="plateau", metric=explained, name="r2",
    )  # fmt: skip


@cases.recipe("dqn", 0.8)
def a_room_by_q_learning(harness: Harness, seed: int) -> float:
    """DQN in a room of 5x5: replay, a target network renewed every 25 steps, epsilon of 1 to 0.1, Huber, Adam."""
    moves = torch.tensor([[0, 1], [1, 0], [0, -1], [-1, 0]])

    def see(p: Tensor) -> Tensor:
        return F.one_hot(p[..., 0] * 5 + p[..., 1], 25).float()

    def go(p: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        p = (p + moves[a]).clamp(0, 4)
        return p, (p == 4).all(-1)

    model = dense(25, 64, 4)
    slow = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer)
    memory: list[tuple[Tensor, ...]] = []
    p = torch.randint(0, 5, (8, 2))
    for step in range(400):
        epsilon = max(0.1, 1 - step / 250)
        with torch.no_grad():
            best = model(see(p)).argmax(1)
        a = torch.where(torch.rand(8) < epsilon, torch.randint(0, 4, (8,)), best)
        new, done = go(p, a)
        memory.append((p, a, new, done))
        p = torch.where((done | (torch.rand(8) < 0.05))[:, None], torch.randint(0, 5, (8, 2)), new)
        if step < 20:
            continue
        picked = [memory[i] for i in torch.randint(0, len(memory), (8,)).tolist()]
        s, b, t, d = (torch.cat(part) for part in zip(*picked, strict=True))
        with torch.no_grad():
            goal = d.float() + 0.9 * slow(see(t)).amax(1) * ~d
        said = model(see(s)).gather(1, b[:, None]).squeeze(1)
        loss = F.smooth_l1_loss(said, goal)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        if step % 25 == 0:
            slow.load_state_dict(model.state_dict())
        harness.step(loss=loss.item())
    starts = torch.cartesian_prod(torch.arange(5), torch.arange(5))[:-1]
    spots, there = starts, torch.zeros(24, dtype=torch.bool)
    for _ in range(8):
        with torch.no_grad():
            spots, done = go(spots, model(see(spots)).argmax(1))
        there |= done
    return float(there.float().mean())


@cases.recipe("policy", 0.5)
def steering_copied_from_a_driver(harness: Harness, seed: int) -> float:
    """Behaviour cloning: steering and speed from eight distances, tanh, smooth L1, AdamW 1e-3, batches of 128; R2."""
    draw = np.random.default_rng(1192)
    x = draw.uniform(0.1, 3, (3000, 8))
    steer = np.tanh((x[:, 5:].mean(1) - x[:, :3].mean(1)) * 0.8)
    speed = np.tanh(x[:, 3:5].min(1) - 1) - 0.3 * abs(steer)
    y = torch.tensor(np.stack([steer, speed], 1) + draw.normal(0, 0.05, (3000, 2)), dtype=torch.float32).clamp(-1, 1)
    a = torch.tensor((x - 1.55) / 0.84, dtype=torch.float32)
    model = nn.Sequential(dense(8, 64, 64, 2), nn.Tanh())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return train(
        harness, model, optimizer, nn.SmoothL1Loss(), (a[:2400], y[:2400], a[2400:], y[2400:]), epochs=15, size=128,
        metric=explained, name="r2", told="outputs",
    )  # fmt: skip


@cases.recipe("mlp", 0.85)
def digits_and_whether_they_are_even(harness: Harness, seed: int) -> float:
    """Two tasks on one trunk, dictionaries of outputs and targets: the digit, and whether it is even; summed losses."""

    class Tasks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1))
            self.digit, self.even = nn.Linear(64, 10), nn.Linear(64, 1)

        def forward(self, image: Tensor) -> dict[str, Tensor]:
            h = self.trunk(image)
            return {"digit": self.digit(h), "even": self.even(h).squeeze(1)}

    def criterion(o: dict[str, Tensor], t: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(o["digit"], t["digit"]) + F.binary_cross_entropy_with_logits(o["even"], t["even"])

    x, y, vx, vy = digits("standard")
    a, b = ({"digit": part, "even": (part % 2 == 0).float()} for part in (y, vy))
    model = Tasks()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return train(
        harness, model, optimizer, criterion, ({"image": x}, a, {"image": vx}, b), epochs=7, size=32,
        metric=lambda o, t: accuracy(o["digit"], t["digit"]),
    )  # fmt: skip
