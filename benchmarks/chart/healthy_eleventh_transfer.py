"""Trained networks put to new use, by an eleventh author, who had not read the rules, without any threshold.

See `healthy_eleventh.py`.
"""

import copy
from functools import cache
from typing import Any

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eleventh import block, evaluate, leaves, letters, standard, train
from benchmarks.chart.healthy_eleventh_pictures import flips, resnet, shifts
from benchmarks.chart.second import SecondCases, Split, accuracy, explained, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("eleventh")


def learn(model: nn.Module, split: Split, epochs: int, rate: float = 2e-3) -> nn.Module:
    """Train with Adam, unwatched."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(split[0])).split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(split[0][rows]), split[1][rows]).backward()
            optimizer.step()
    return model


@cache
def _trained(colour: bool) -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(1120)
        if colour:
            model = learn(resnet(3, 4), standard(signs(count=900)), 6)
        else:
            model = learn(resnet(1, 7), standard(letters(1200, 14, 1121, "ACEHKLN")), 4)
    return copy.deepcopy(model.state_dict())


def trained(colour: bool, classes: int) -> Any:
    """A ResNet trained on signs or on seven letters, with a new head."""
    model = resnet(3 if colour else 1, 4 if colour else 7)
    model.load_state_dict(_trained(colour))
    model[6] = nn.Linear(64, classes)
    return model


def few(split: Split, count: int) -> Split:
    """Only so many rows for training."""
    return split[0][:count], split[1][:count], *split[2:]


@cases.recipe("resnet", 0.85)
def leaves_from_signs_all_layers(harness: Harness, seed: int) -> float:
    """Fine-tuned whole on 400 leaves: Adam at 3e-4, flips, six epochs, the best validation loss is kept."""
    model = trained(True, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), few(standard(leaves()), 400), epochs=6, size=16,
        augment=flips, best="loss",
    )  # fmt: skip


@cases.recipe("resnet", 0.75)
def ten_letters_by_a_linear_probe(harness: Harness, seed: int) -> float:
    """All but the head are frozen, the whole model goes to the watch, SGD at 0.02 for the head's parameters."""
    model = trained(False, 10)
    for name, p in model.named_parameters():
        p.requires_grad = name.startswith("6.")
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.02, momentum=0.9)
    return train(harness, model, optimizer, nn.CrossEntropyLoss(), standard(letters(700, 14, 1122)), epochs=6, size=16)


@cases.recipe("resnet", 0.85)
def rates_by_depth(harness: Harness, seed: int) -> float:
    """Three groups: stem at 1e-4, blocks at 5e-4, head at 3e-3; AdamW, a cosine per step, letters moved a little."""
    model = trained(False, 10)
    groups = [
        {"params": model[0].parameters(), "lr": 1e-4},
        {"params": [p for layer in model[1:4] for p in layer.parameters()], "lr": 5e-4},
        {"params": model[6].parameters(), "lr": 3e-3},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5 * 25)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), standard(letters(800, 14, 1123)), epochs=5, size=24,
        scheduler=scheduler, when="batch", augment=shifts, told="pair",
    )  # fmt: skip


@cases.recipe("resnet", 0.85)
def blocks_join_one_by_one(harness: Harness, seed: int) -> float:
    """The head first; after each two epochs the next block is thawed and added to the optimizer as a new group."""
    x, y, vx, vy = few(standard(leaves()), 480)
    model = trained(True, 4)
    for p in model.parameters():
        p.requires_grad = False
    for p in model[6].parameters():
        p.requires_grad = True
    criterion, optimizer = nn.CrossEntropyLoss(), torch.optim.Adam(model[6].parameters(), lr=3e-3)
    harness.begin(model, optimizer, loss_fn=criterion)
    value = 0.0
    for epoch in range(8):
        if epoch in (2, 4, 6):
            layer = model[{2: 3, 4: 2, 6: 1}[epoch]]
            for p in layer.parameters():
                p.requires_grad = True
            optimizer.add_param_group({"params": list(layer.parameters()), "lr": 5e-4})
        model.train()
        total = 0.0
        for rows in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            outputs = model(x[rows])
            loss = criterion(outputs, y[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows) / len(x)
            harness.step(loss=loss, inputs=x[rows], targets=y[rows], outputs=outputs)
        val_loss, value = evaluate(model, vx, vy, criterion, accuracy)
        harness.epoch(train={"loss": total}, val={"loss": val_loss, "accuracy": value})
    return value


@cases.recipe("resnet", 0.5)
def size_of_a_sign_by_regression(harness: Harness, seed: int) -> float:
    """The trained network gets one output: the side of a sign over twenty; L1 loss, AdamW, halves on a plateau."""
    x, boxes, vx, v_boxes = standard(signs("boxes", 720))
    y, vy = ((b[:, 2:3] - b[:, 0:1]) / 20 for b in (boxes, v_boxes))
    model = trained(True, 1)
    nn.init.constant_(model[6].bias, float(y.mean()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    return train(
        harness, model, optimizer, nn.L1Loss(), (x, y, vx, vy), epochs=8, scheduler=scheduler, when="plateau",
        metric=explained, name="r2",
    )  # fmt: skip


@cases.recipe("resnet", 0.7)
def few_leaves_and_fixed_norms(harness: Harness, seed: int) -> float:
    """120 leaves only: batch norms stay in eval mode and frozen, flips, SGD at 2e-3, the loss and accuracy are told."""

    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = trained(True, 4)
            for m in self.net.modules():
                if isinstance(m, nn.BatchNorm2d):
                    m.requires_grad_(False)

        def train(self, mode: bool = True) -> "Fixed":
            super().train(mode)
            for m in self.net.modules():
                if isinstance(m, nn.BatchNorm2d):
                    m.eval()
            return self

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    model = Fixed()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=2e-3, momentum=0.9)
    return train(
        harness, model, optimizer, nn.CrossEntropyLoss(), few(standard(leaves()), 120), epochs=16, size=12,
        augment=flips, told="loss", best="loss",
    )  # fmt: skip


@cases.recipe("cnn", 0.8)
def a_student_of_a_resnet(harness: Harness, seed: int) -> float:
    """Distillation: the teacher in eval mode without gradients, KL at 3, labels with 0.3; a dict goes to the watch."""
    x, y, vx, vy = standard(letters(1200, 14, 1124))
    teacher = learn(resnet(1, 10), (x, y, vx, vy), 3).eval()
    model = nn.Sequential(block(1, 8), nn.MaxPool2d(2), block(8, 16), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    harness.begin(model, optimizer)
    value = 0.0
    for _ in range(5):
        model.train()
        for rows in torch.randperm(len(x)).split(32):
            with torch.no_grad():
                wise = teacher(x[rows])
            out = model(x[rows])
            soft = F.kl_div((out / 3).log_softmax(1), (wise / 3).softmax(1), reduction="batchmean") * 9
            loss = 0.7 * soft + 0.3 * F.cross_entropy(out, y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=x[rows], targets={"labels": y[rows], "teacher": wise}, outputs=out)
        val_loss, value = evaluate(model, vx, vy, F.cross_entropy, accuracy)
        harness.epoch(val={"loss": val_loss, "accuracy": value})
    return value
