"""Some classes are rare, by a fifth author, without any threshold. See `healthy_fifth.py`."""

from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fifth import course, fabrics, normal, pick
from benchmarks.chart.healthy_fifth_images import unit
from benchmarks.chart.healthy_fifth_tables import Coded, auc, leavers
from benchmarks.chart.second import SecondCases, Split, accuracy, by_train, cut, dense, digits
from sklearn.datasets import make_classification
from sklearn.metrics import average_precision_score, f1_score, recall_score
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

cases = SecondCases("fifth")


def frauds(rare: float = 0.05, count: int = 3000) -> Split:
    """Twelve columns of payments; (N, 1): about one in 20 is a fraud."""
    x, y = make_classification(
        count, 12, n_informative=6, n_redundant=2, weights=[1 - rare], flip_y=0.0, class_sep=1.6, random_state=55
    )  # fmt: skip
    return by_train(cut(x, y[:, None].astype(np.float64)))


def long_tail(share: float = 0.55) -> Split:
    """Digits, of which each next kind is rarer in training by `share`; validation is even."""
    x, y, vx, vy = digits("standard", image=False, count=1797)
    keep = torch.cat([(y == k).nonzero().flatten()[: max(8, int(130 * share ** (k / 2)))] for k in range(10)])
    return x[keep], y[keep], vx, vy


def macro_recall(outputs: Tensor, targets: Tensor) -> float:
    """Mean over classes of the share that is found."""
    return float(recall_score(targets.numpy(), outputs.argmax(1).numpy(), average="macro", zero_division=0))


def precision(outputs: Tensor, targets: Tensor) -> float:
    """Average precision of one logit per row."""
    return float(average_precision_score(targets.flatten().numpy(), outputs.flatten().numpy()))


@cases.recipe("tabular", 0.55)
def frauds_as_they_come(harness: Harness, seed: int) -> float:
    """One fraud in twenty, plain cross-entropy without weights, large batches; average precision is logged."""
    model = dense(12, 64, 32, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return course(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), frauds(), epochs=10, size=128, metric=precision, name="ap"
    )  # fmt: skip


@cases.recipe("tabular", 0.55)
def bias_of_the_base_rate(harness: Harness, seed: int) -> float:
    """The output's bias begins at the log odds of frauds, positives weigh ten times, AdamW, batches of 64."""
    x, y, vx, vy = frauds()
    rate = y.mean()
    model = nn.Sequential(
        nn.Linear(12, 48), nn.ReLU(), nn.BatchNorm1d(48), nn.Dropout(0.2), nn.Linear(48, 24), nn.ReLU(),
        nn.Linear(24, 1),
    )  # fmt: skip
    nn.init.constant_(model[-1].bias, float((rate / (1 - rate)).log()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([10.0]))
    return course(
        harness, model, optimizer, criterion, (x, y, vx, vy), epochs=8, size=64, metric=precision, name="ap",
        tell="answers",
    )  # fmt: skip


@cases.recipe("tabular", 0.9)
def half_rare_half_common(harness: Harness, seed: int) -> float:
    """Each batch has 16 frauds and 16 honest payments, drawn apart; no epochs, area under the curve at the end."""
    x, y, vx, vy = frauds()
    yes, no = x[y[:, 0] == 1], x[y[:, 0] == 0]
    model = nn.Sequential(nn.Linear(12, 32), nn.LayerNorm(32), nn.SiLU(), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    goal = torch.cat([torch.ones(16, 1), torch.zeros(16, 1)])
    harness.begin(model, optimizer)
    for _ in range(200):
        a = torch.cat([*pick(16, yes), *pick(16, no)])
        out = model(a)
        loss = F.binary_cross_entropy_with_logits(out, goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, inputs=a, targets=goal, outputs=out)
    return auc(model.eval()(vx).detach(), vy)


@cases.recipe("tabular", 0.55)
def new_rows_between_neighbours(harness: Harness, seed: int) -> float:
    """SMOTE: made rows between neighbours among the rare even the classes in training; validation is left as it is."""
    x, y, vx, vy = frauds()
    rare = x[y[:, 0] == 1]
    need = int((y == 0).sum() - len(rare))
    near = torch.cdist(rare, rare).topk(6, largest=False).indices[:, 1:]
    i = torch.randint(len(rare), (need,))
    j = near[i, torch.randint(5, (need,))]
    made = rare[i] + torch.rand(need, 1) * (rare[j] - rare[i])
    split = torch.cat([x, made]), torch.cat([y, torch.ones(need, 1)]), vx, vy
    model = dense(12, 48, 24, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return course(
        harness, model, optimizer, nn.BCEWithLogitsLoss(), split, epochs=5, size=64, metric=precision, name="ap",
        tell="loss",
    )  # fmt: skip


@cases.recipe("mlp", 0.75)
def logits_shifted_by_their_shares(harness: Harness, seed: int) -> float:
    """Logit adjustment: the logs of class shares are added to the logits in the loss; validation is by recall."""
    x, y, vx, vy = long_tail()
    prior = (torch.bincount(y, minlength=10) / len(y)).log()
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    harness.begin(model, optimizer)
    for _ in range(10):
        model.train()
        losses = []
        for a, b in DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True):
            out = model(a)
            loss = F.cross_entropy(out + prior, b)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            harness.step(loss=loss, inputs=a, targets=b)
        model.eval()
        with torch.no_grad():
            out = model(vx)
        val = {"loss": F.cross_entropy(out, vy).item(), "recall": macro_recall(out, vy)}
        harness.epoch(train={"loss": float(np.mean(losses))}, val=val)
    return macro_recall(out, vy)


@cases.recipe("mlp", 0.75)
def weights_by_effective_numbers(harness: Harness, seed: int) -> float:
    """Class weights (1 - b) / (1 - b^n) in the cross-entropy, scaled to a mean of 1; Adam; macro recall."""
    split = long_tail()
    count = torch.bincount(split[1], minlength=10).float()
    weight = (1 - 0.99) / (1 - 0.99**count)
    model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-3)
    criterion = nn.CrossEntropyLoss(weight=weight / weight.mean())
    return course(
        harness, model, optimizer, criterion, split, epochs=7, size=32, metric=macro_recall, name="recall"
    )  # fmt: skip


@cases.recipe("mlp", 0.75)
def classifier_trained_again(harness: Harness, seed: int) -> float:
    """Two stages: all by natural batches, then the body is frozen and a fresh head learns from balanced ones."""
    x, y, vx, vy = long_tail()
    body, head = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU()), nn.Linear(48, 10)
    model = nn.Sequential(body, head)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, weight_decay=3e-3)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    natural = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
    weights = (1.0 / torch.bincount(y, minlength=10))[y]
    balanced = DataLoader(
        TensorDataset(x, y), batch_size=32, sampler=WeightedRandomSampler(weights.tolist(), len(x))
    )  # fmt: skip
    for epoch in range(10):
        if epoch == 7:
            body.requires_grad_(False)
            head.reset_parameters()
            for p in head.parameters():
                optimizer.state.pop(p, None)
        losses = []
        for a, b in natural if epoch < 7 else balanced:
            out = model(a)
            loss = F.cross_entropy(out, b)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        with torch.no_grad():
            out = model(vx)
        val = {"loss": F.cross_entropy(out, vy).item(), "accuracy": accuracy(out, vy)}
        harness.epoch(train={"loss": float(np.mean(losses))}, val=val)
    return macro_recall(out, vy)


@cases.recipe("cnn", 0.75)
def one_kind_in_ten_is_a_defect(harness: Harness, seed: int) -> float:
    """Defects among fabrics, one in ten: two logits, class weights 1 and 5, F1 of the rare class is logged."""
    x, y, vx, vy = normal(fabrics(1400))
    keep, v_keep = ((t != 2) | (torch.arange(len(t)) % 2 == 0) for t in (y, vy))
    split = x[keep], (y[keep] == 2).long(), vx[v_keep], (vy[v_keep] == 2).long()
    model = nn.Sequential(
        unit(3, 12, 2), unit(12, 24, 2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 2)
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def f1(out: Tensor, goal: Tensor) -> float:
        return float(f1_score(goal.numpy(), out.argmax(1).numpy(), zero_division=0))

    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0]))
    return course(
        harness, model, optimizer, criterion, split, epochs=12, size=32, metric=f1, name="f1", best=True
    )  # fmt: skip


@cases.recipe("tabular", 0.8)
def pairs_of_leavers_and_stayers(harness: Harness, seed: int) -> float:
    """The area under the curve by pairs: softplus of the difference of all scores of stayers and leavers in a batch."""
    x, y, vx, vy = leavers()
    model = Coded(48, 24, norm=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        yes, no = out[goal > 0.5], out[goal < 0.5]
        return F.softplus(no[None, :] - yes[:, None]).mean()

    return course(
        harness, model, optimizer, loss_fn, (x, y, vx, vy), epochs=6, size=128, metric=auc, name="auc", drop_last=True
    )  # fmt: skip


@cases.recipe("tabular", 0.8)
def a_missed_one_costs_four(harness: Harness, seed: int) -> float:
    """Asymmetric cost by hand: a missed leaver costs four, a false alarm one, as weights of a Brier score."""
    model: Any = nn.Sequential(Coded(64), nn.Sigmoid())
    optimizer = torch.optim.NAdam(model.parameters(), lr=2e-3)

    def cost(p: Tensor, t: Tensor) -> Tensor:
        return (4 * t * (1 - p).square() + (1 - t) * p.square()).mean()

    return course(harness, model, optimizer, cost, leavers(), epochs=8, size=32, metric=auc, name="auc", tell="loss")
