"""Faulty loops by an eighth author, who had not read the rules, each with a sound twin: what a loss means.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_eighth import course, held_out
from benchmarks.chart.second import SecondCases, Split, accuracy, convs, cut, dense, digits, explained, fit
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("eighth")


def tags(count: int = 1200, kinds: int = 12) -> Split:
    """Twenty features and twelve tags (N, 12) of 0 or 1, of which a row has one to five."""
    draw = np.random.default_rng(87)
    x = draw.normal(0, 1, (count, 20))
    pull = x @ draw.normal(0, 1, (20, kinds)) / 4 + draw.normal(-0.9, 0.4, kinds)
    return cut(x, (pull > 0).astype(np.float64))


def tag_f1(outputs: Tensor, targets: Tensor) -> float:
    """F1 of the tags whose logit is above 0."""
    said, true = outputs > 0, targets > 0.5
    return float(2 * (said & true).sum() / (said.sum() + true.sum()).clamp(min=1))


@cases.pair("tags", 0.75, accepts=["binary-loss-of-wrong-outputs"])
def sigmoid_and_logits_loss(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The model ends in a sigmoid and BCEWithLogitsLoss applies another: no output can go below one half."""
    model = dense(20, 48, 12)
    if wrong:
        model.append(nn.Sigmoid())
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    loss_fn = F.binary_cross_entropy_with_logits
    return fit(harness, model, optimizer, loss_fn, tags(), epochs=10, score=tag_f1, metric=None)


@cases.pair("tags", 0.82, accepts=["cross-entropy-of-numbers"])
def softmax_loss_for_many_tags(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Several tags hold at once, but they are trained by a softmax cross-entropy, as if they excluded one another."""
    model = dense(20, 48, 12)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    loss_fn = F.cross_entropy if wrong else F.binary_cross_entropy_with_logits
    return fit(harness, model, optimizer, loss_fn, tags(), epochs=10, score=tag_f1, metric=None)


@cases.pair("mlp", 0.85, accepts=["nll-without-log-softmax"])
def nll_of_raw_logits(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`nll_loss` is given raw logits, no log-probabilities: the loss falls below zero without end."""
    model = dense(64, 48, 10)
    if not wrong:
        model.append(nn.LogSoftmax(1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, F.nll_loss, digits("unit", image=False), epochs=6)


@cases.pair("mlp", 0.85, accepts=["softmax-over-batch", "samples-mixed"])
def softmax_over_the_batch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The log-softmax runs over axis 0, the rows of the batch, and not over the classes."""
    model = dense(64, 48, 10)
    model.append(nn.LogSoftmax(0 if wrong else 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    split = digits("unit", image=False)
    fit(harness, model, optimizer, F.nll_loss, split, epochs=6)
    with torch.no_grad():  # In use, images come one by one.
        return accuracy(torch.cat([model(row[None]) for row in split[2]]), split[3])


@cases.pair("regression", 0.8, accepts=["no-such-rule"])
def quantile_upside_down(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The pinball loss has the error's sign turned round: the 90 % quantile is learned as the 10 % one."""
    draw = np.random.default_rng(88)
    x = draw.normal(0, 1, (1200, 4))
    split = cut(x, (x[:, 0] + (0.5 + 0.4 * (x[:, 1] > 0)) * draw.normal(0, 1, 1200))[:, None])
    model = dense(4, 32, 1)

    def pinball(outputs: Tensor, targets: Tensor) -> Tensor:
        error = outputs - targets if wrong else targets - outputs
        return torch.maximum(0.9 * error, -0.1 * error).mean()

    def covered(outputs: Tensor, targets: Tensor) -> float:
        return 1 - abs(float((targets <= outputs).float().mean()) - 0.9)

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, pinball, split, epochs=10, score=covered, metric=None)


@cases.pair("mlp", 0.75, accepts=["loss-not-finite"])
def log_of_a_softmax(harness: Harness, seed: int, wrong: bool) -> float | None:
    """A cross-entropy by hand takes the log of a softmax that underflows to 0: the loss becomes infinite, then NaN."""

    def by_hand(outputs: Tensor, targets: Tensor) -> Tensor:
        shares = torch.softmax(outputs, 1)
        return -(F.one_hot(targets, 10) * torch.log(shares)).sum(1).mean()

    model = dense(64, 64, 64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    x, y, vx, vy = digits("raw", image=False)
    split = 256 * x, y, 256 * vx, vy  # As a sensor of twelve bits gives them.
    return fit(harness, model, optimizer, by_hand if wrong else F.cross_entropy, split, epochs=14)


@cases.pair("metric", 0.8, accepts=["loss-not-finite"])
def root_of_a_zero_distance(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Distances of all pairs are roots of squares, the diagonal's 0 among them: the gradient there is NaN."""
    split = digits("standard", image=False)
    model = dense(64, 48, 8)

    def spread(outputs: Tensor, targets: Tensor) -> Tensor:
        square = (outputs[:, None] - outputs[None]).square().sum(2)
        distance = torch.sqrt(square if wrong else square + 1e-8)
        same = targets[:, None] == targets[None]
        return (distance[same].mean() + F.relu(4 - distance[~same]).mean()) / 2

    def nearest(outputs: Tensor, targets: Tensor) -> float:
        middles = torch.stack([outputs[targets == k].mean(0) for k in range(10)])
        return accuracy(-torch.cdist(outputs, middles), targets)

    return fit(
        harness, model, torch.optim.Adam(model.parameters(), lr=3e-3), spread, split, epochs=5, score=nearest,
        metric="accuracy",
    )  # fmt: skip


@cases.pair("regression", 0.7, accepts=["output-cannot-reach-targets"])
def sigmoid_for_a_wide_target(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The head ends in a sigmoid, but the temperatures to be foretold run from -10 to 30."""
    draw = np.random.default_rng(89)
    x = draw.normal(0, 1, (1000, 5))
    split = cut(x, (10 + 6 * x[:, 0] - 4 * x[:, 1] * x[:, 2] + draw.normal(0, 1, 1000))[:, None])
    model = dense(5, 48, 48, 1)
    if wrong:
        model.append(nn.Sigmoid())
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.mse_loss, split, epochs=15, score=explained, metric=None)


@cases.pair("mlp", 0.85, accepts=["squared-loss-on-classes"])
def classes_as_a_number(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Ten unordered classes are regressed as one number by squared error and rounded."""
    model = dense(64, 48, 1 if wrong else 10)

    def numbers(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs.squeeze(1), targets.float())

    def score(outputs: Tensor, targets: Tensor) -> float:
        return float((outputs.squeeze(1).round() == targets).float().mean()) if wrong else accuracy(outputs, targets)

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    loss_fn = numbers if wrong else F.cross_entropy
    return fit(harness, model, optimizer, loss_fn, digits("unit", image=False), epochs=6, score=score)


@cases.pair("cnn", 0.85, accepts=["loss-against-targets"])
def focal_loss_for_easy_rows(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The focal weight is p**4 and not (1-p)**4: only rows that are right already get a gradient."""

    def focal(outputs: Tensor, targets: Tensor) -> Tensor:
        loss = F.cross_entropy(outputs, targets, reduction="none")
        p = torch.exp(-loss)
        return ((p if wrong else 1 - p) ** 4 * loss).mean()

    model = convs()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return fit(harness, model, optimizer, focal, digits(), epochs=4)


@cases.pair("physics", 0.9, accepts=["loss-without-graph"])
def residual_without_a_graph(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The equation's residual is built from a derivative without create_graph: it counts, but trains nothing."""
    model = dense(1, 32, 32, 1, act=nn.Tanh)
    start = torch.zeros(1, 1)
    grid = torch.linspace(0, 3, 100)[:, None]

    def equation(t: Tensor) -> Tensor:
        t = t.clone().requires_grad_()
        slope = torch.autograd.grad(model(t).sum(), t, create_graph=not wrong)[0]
        return (slope + torch.exp(-t)).square().mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    harness.begin(model, optimizer)
    total = 0.0
    for i in range(400):
        t = torch.rand(64, 1) * 3
        loss = equation(t) + (model(start) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        harness.step(loss=loss, inputs=t)
        if i % 50 == 49:
            harness.epoch(train={"loss": total / 50})
            total = 0.0
    return held_out(model, (grid, grid, grid, torch.exp(-grid)), explained)


@cases.pair("several", 0.8, accepts=["initial-loss-off"])
def price_in_cents_drowns_the_class(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Two tasks are added unweighted, one a squared error of prices in cents: the class's loss has no say."""
    draw = np.random.default_rng(90)
    x = draw.normal(0, 1, (1200, 10))
    kind = (x[:, 0] * x[:, 1] > 0).astype(np.float64)
    price = 25_000 + 6_000 * x[:, 2] + 1_500 * draw.normal(0, 1, 1200)
    split = cut(x, np.stack([kind, price], 1))
    model = dense(10, 32, 32, 3)
    mean, std = 25_000.0, 6_000.0

    def both(outputs: Tensor, targets: Tensor) -> Tensor:
        price = targets[:, 1] if wrong else (targets[:, 1] - mean) / std
        return F.cross_entropy(outputs[:, :2], targets[:, 0].long()) + F.mse_loss(outputs[:, 2], price)

    def score(outputs: Tensor, targets: Tensor) -> float:
        return accuracy(outputs[:, :2], targets[:, 0].long())

    return fit(harness, model, torch.optim.Adam(model.parameters(), lr=5e-3), both, split, epochs=12, score=score)


@cases.pair("agent", 0.85, accepts=["broadcast-loss"])
def target_forgotten_axis(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Q-values (N, 1) are compared with targets (N,), which broadcasts to all pairs: every value becomes the mean."""
    draw = np.random.default_rng(91)
    states = torch.tensor(draw.normal(0, 1, (1500, 6)), dtype=torch.float32)
    actions = torch.tensor(draw.integers(0, 3, 1500))
    gains = torch.stack([states[:, 0], states[:, 1] * 1.5, states[:, 2] - states[:, 3]], 1)
    rewards = gains.gather(1, actions[:, None]).squeeze(1) + 0.2 * torch.randn(1500)
    model = dense(6, 48, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    harness.begin(model, optimizer, loss_fn=F.mse_loss)
    for _ in range(8):
        total, count = 0.0, 0
        for rows in torch.randperm(1200).split(48):
            q = model(states[rows]).gather(1, actions[rows][:, None])
            target = rewards[rows] if wrong else rewards[rows][:, None]
            loss = F.mse_loss(q, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, count = total + loss.item(), count + 1
            harness.step(loss=loss, inputs=states[rows], targets=target, outputs=q)
        harness.epoch(train={"loss": total / count})
    with torch.no_grad():
        choice = model(states[1200:]).argmax(1)
    return float((choice == gains[1200:].argmax(1)).float().mean())


@cases.pair("rare", 0.7, accepts=["class-weights-off"])
def class_weights_by_frequency(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Class weights are the shares of the classes, not their inverses: the rare class counts even less."""
    draw = np.random.default_rng(92)
    y = (draw.random(2000) < 0.06).astype(np.int64)
    split = cut(draw.normal(0, 1, (2000, 8)) + 0.75 * y[:, None], y)
    share = torch.bincount(split[1]).float() / len(split[1])
    weight = share if wrong else 1 / share
    model = dense(8, 24, 2)
    loss_fn = nn.CrossEntropyLoss(weight=weight)

    def balanced(outputs: Tensor, targets: Tensor) -> float:
        return float(np.mean([accuracy(outputs[targets == k], targets[targets == k]) for k in (0, 1)]))

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, loss_fn, split, epochs=6, score=balanced)


@cases.pair("recommender", 0.75, accepts=["one-class-targets"])
def no_negatives(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Only pairs that were bought are trained, all with target 1: the model learns to say yes to everything."""
    draw = np.random.default_rng(94)
    tastes, kinds = draw.integers(0, 4, 80), draw.integers(0, 4, 60)
    likes = torch.tensor(tastes[:, None] == kinds[None])
    bought = (likes & torch.tensor(draw.random((80, 60)) < 0.7)).nonzero()

    class Factors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.users, self.items, self.bias = nn.Embedding(80, 8), nn.Embedding(60, 8), nn.Parameter(torch.zeros(1))

        def forward(self, pairs: Tensor) -> Tensor:
            return (self.users(pairs[:, 0]) * self.items(pairs[:, 1])).sum(1) + self.bias

    def batch() -> tuple[Tensor, Tensor]:
        good = bought[torch.randint(len(bought), (128,))]
        if wrong:
            return good, torch.ones(128)
        other = torch.stack([good[:, 0], torch.randint(60, (128,))], 1)
        return torch.cat([good, other]), torch.cat([torch.ones(128), torch.zeros(128)])

    model = Factors()
    course(
        harness, model, torch.optim.Adam(model.parameters(), lr=3e-2), batch, F.binary_cross_entropy_with_logits, 400
    )
    everyone = torch.cartesian_prod(torch.arange(80), torch.arange(60))
    with torch.no_grad():
        scores = model(everyone).view(80, 60)
    return float((scores[likes] > 0).float().mean() + (scores[~likes] < 0).float().mean()) / 2
