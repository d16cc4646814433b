"""Detectors, words and states of a second author, on which NO threshold is ever set.

See `healthy_second.py`.
"""

import numpy as np
import torch
import torchvision
from benchmarks.chart.case import Harness
from benchmarks.chart.second import (
    SecondCases,
    cut,
    dense,
    digits,
    fit,
    gaits,
    signs,
    token_accuracy,
)
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("second")


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes (N, 4) and (N, 4) of corners."""
    meet = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    return meet / ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - meet).clamp(min=1e-6)


def boxes_right(out: Tensor, box: Tensor) -> float:
    """Share of boxes (shares of the image) with IoU above 0.5."""
    return float((overlap(out, box) > 0.5).float().mean())


@cases.recipe("localiser", 0.6)
def one_box_by_giou(harness: Harness, seed: int) -> float | None:
    """One box per image as middle and size in 0..1 through a sigmoid, GIoU and L1."""
    x, b, vx, vb = signs("boxes", 480)

    class Box(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1),
                nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(800, 64), nn.ReLU(),
                nn.Linear(64, 4), nn.Sigmoid(),
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            return torchvision.ops.box_convert(self.net(x), "cxcywh", "xyxy")

    def loss(out: Tensor, t: Tensor) -> Tensor:
        return torchvision.ops.generalized_box_iou_loss(out, t, "mean") + 2 * F.l1_loss(out, t)

    model = Box()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    split = x * 2 - 1, b / 20, vx * 2 - 1, vb / 20
    return fit(harness, model, optimizer, loss, split, score=boxes_right, metric="iou50", epochs=8)


@cases.recipe("ssd", 0.5)
def default_boxes_and_hard_negatives(harness: Harness, seed: int) -> float | None:
    """SSD-like: default boxes of two sizes, background class, hard negatives 3 to 1, encoded offsets."""
    x, k, vx, vk = signs("kinds", 480)
    _, b, _, vb = signs("boxes", 480)
    at = (torch.arange(5.0) + 0.5) * 4
    cy, cx = torch.meshgrid(at, at, indexing="ij")
    priors = torch.cat([torch.stack([cx, cy, cx * 0 + s, cx * 0 + s], -1).view(-1, 4) for s in (7.0, 10.0)])
    corners = torchvision.ops.box_convert(priors, "cxcywh", "xyxy")

    class Ssd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(
                nn.Conv2d(3, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 48, 3, 2, 1),
                nn.BatchNorm2d(48), nn.ReLU(), nn.Conv2d(48, 48, 3, padding=1), nn.ReLU(),
            )  # fmt: skip
            self.classes, self.offsets = nn.Conv2d(48, 10, 3, padding=1), nn.Conv2d(48, 8, 3, padding=1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.trunk(x)
            c, o = self.classes(h), self.offsets(h)
            return (
                c.view(len(x), 2, 5, 25).transpose(2, 3).reshape(len(x), 50, 5),
                o.view(len(x), 2, 4, 25).transpose(2, 3).reshape(len(x), 50, 4),
            )

    def loss_fn(out: tuple[Tensor, Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
        classes, offsets = out
        box, label = torch.cat([t["boxes"] for t in targets]), torch.cat([t["labels"] for t in targets])
        iou = torchvision.ops.box_iou(box, corners)
        positive = iou > 0.5
        positive[torch.arange(len(box)), iou.argmax(1)] = True
        wanted = torch.where(positive, label[:, None] + 1, 0)
        middle = torchvision.ops.box_convert(box, "xyxy", "cxcywh")[:, None]
        aim = torch.cat(
            [(middle[..., :2] - priors[:, :2]) / priors[:, 2:] * 10, (middle[..., 2:] / priors[:, 2:]).log() * 5], -1
        )
        each = F.cross_entropy(classes.transpose(1, 2), wanted, reduction="none")
        hard = each.detach().masked_fill(positive, -1).argsort(1, descending=True).argsort(1)
        kept = positive | (hard < 3 * positive.sum(1, keepdim=True))
        return (
            (each * kept).sum() + F.smooth_l1_loss(offsets[positive], aim[positive], reduction="sum")
        ) / positive.sum()

    model = Ssd()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    harness.begin(model, optimizer, loss_fn=loss_fn)
    for epoch in range(9):
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = 0.02 if epoch < 6 else 0.004
        for rows in torch.randperm(len(x)).split(16):
            targets = [{"boxes": b[i : i + 1], "labels": k[i : i + 1]} for i in rows.tolist()]
            inputs = x[rows] * 2 - 1
            out = model(inputs)
            loss = loss_fn(out, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs={"logits": out[0], "offsets": out[1]})
    model.eval()
    with torch.no_grad():
        classes, offsets = model(vx * 2 - 1)
    best = classes.softmax(-1)[..., 1:].amax(-1).argmax(1)
    rows = torch.arange(len(vx))
    off, prior = offsets[rows, best], priors[best]
    found = torch.cat([off[:, :2] / 10 * prior[:, 2:] + prior[:, :2], (off[:, 2:] / 5).exp() * prior[:, 2:]], 1)
    iou = overlap(torchvision.ops.box_convert(found, "cxcywh", "xyxy"), vb)
    return float(((iou > 0.5) & (classes[rows, best, 1:].argmax(1) == vk)).float().mean())


@cases.recipe("detr", 0.5)
def queries_are_matched(harness: Harness, seed: int) -> float | None:
    """DETR-like: four queries, Hungarian matching to two sets of numbers, a class for nothing with weight 0.2."""
    x, y, vx, vy = digits("standard")
    draw = torch.Generator().manual_seed(2)

    def pages(a: Tensor, t: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        page, labels, places = (
            torch.zeros(count, 1, 16, 16) - 0.8,
            torch.zeros(count, 2, dtype=torch.long),
            torch.zeros(count, 2, 2),
        )
        for i in range(count):
            for j, cell in enumerate(torch.randperm(4, generator=draw)[:2].tolist()):
                pick = int(torch.randint(len(a), (), generator=draw))
                r, c = cell // 2, cell % 2
                page[i, 0, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8] = a[pick, 0]
                labels[i, j], places[i, j] = t[pick] % 3, torch.tensor([c, r]) / 2 + 0.25
        return page, labels, places

    class Queries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(1, 24, 3, 2, 1), nn.ReLU(), nn.Conv2d(24, 48, 3, 2, 1), nn.ReLU())
            self.place, self.query = nn.Parameter(torch.randn(16, 48) * 0.3), nn.Parameter(torch.randn(4, 48))
            self.cross, self.mlp = nn.MultiheadAttention(48, 4, batch_first=True), dense(48, 96, 48)
            self.norm1, self.norm2 = nn.LayerNorm(48), nn.LayerNorm(48)
            self.kind, self.where = nn.Linear(48, 4), nn.Linear(48, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            memory = self.stem(x).flatten(2).transpose(1, 2) + self.place
            q = self.query.expand(len(x), -1, -1)
            q = self.norm1(q + self.cross(q, memory, memory, need_weights=False)[0])
            q = self.norm2(q + self.mlp(q))
            return self.kind(q), self.where(q).sigmoid()

    def match(out: tuple[Tensor, Tensor], labels: Tensor, places: Tensor) -> Tensor:
        cost = -out[0].softmax(-1).gather(2, labels[:, None].expand(-1, 4, -1)) + 3 * torch.cdist(out[1], places, 1)
        return torch.stack([torch.tensor(linear_sum_assignment(c.T)[1]) for c in cost.detach().numpy()])

    weight = torch.tensor([1.0, 1.0, 1.0, 0.2])

    def loss_fn(out: tuple[Tensor, Tensor], labels: Tensor, places: Tensor) -> Tensor:
        who = match(out, labels, places)
        wanted = torch.full((len(labels), 4), 3).scatter(1, who, labels)
        near = out[1].gather(1, who[..., None].expand(-1, -1, 2))
        return F.cross_entropy(out[0].transpose(1, 2), wanted, weight) + 3 * F.l1_loss(near, places)

    px, pl, pp = pages(x, y, 400)
    model = Queries()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    harness.begin(model, optimizer)
    for _ in range(12):
        for rows in torch.randperm(len(px)).split(20):
            out = model(px[rows])
            loss = loss_fn(out, pl[rows], pp[rows])
            optimizer.zero_grad(set_to_none=False)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            harness.step(loss=loss, inputs=px[rows], outputs=out)
    qx, ql, qp = pages(vx, vy, 100)
    model.eval()
    with torch.no_grad():
        out = model(qx)
    who = match(out, ql, qp)
    near = out[1].gather(1, who[..., None].expand(-1, -1, 2))
    return float(((near - qp).abs().amax(-1) < 0.15).float().mean())


@cases.recipe("words", 0.3)
def words_by_negative_samples(harness: Harness, seed: int) -> float | None:
    """Skip-gram with negative sampling on a made corpus of topics; scored by how alike words of a topic become."""
    draw = np.random.default_rng(1)
    topic = draw.integers(0, 5, 700)
    pairs = torch.tensor(topic[:, None] * 12 + draw.integers(0, 12, (700, 8)))
    into, out = nn.Embedding(60, 16), nn.Embedding(60, 16)
    nn.init.zeros_(out.weight)
    model = nn.ModuleList([into, out])
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.3)
    harness.begin(model, optimizer)
    for _ in range(8):
        for rows in torch.randperm(700).split(32):
            centre, around = pairs[rows, :1], pairs[rows, 1:]
            wrong = torch.randint(0, 60, (len(rows), 14))
            h = into(centre)
            good, bad = (h * out(around)).sum(-1), (h * out(wrong)).sum(-1)
            loss = -F.logsigmoid(good).sum(1).mean() - F.logsigmoid(-bad).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss.item(), inputs=centre)
    v = F.normalize(into.weight.detach(), dim=1)
    same = torch.arange(60)[:, None] // 12 == torch.arange(60)[None] // 12
    alike = v @ v.T
    return float(alike[same].mean() - alike[~same].mean())


@cases.recipe("tagger", 0.75)
def tags_by_conditional_field(harness: Harness, seed: int) -> float | None:
    """A linear-chain conditional random field: forward algorithm in log space, scored by its most likely emissions."""
    draw = np.random.default_rng(18)
    tags = np.zeros((500, 12), np.int64)
    for i in range(1, 12):
        tags[:, i] = np.where(draw.random(500) < 0.8, tags[:, i - 1], draw.integers(0, 3, 500))
    words = tags * 5 + draw.integers(0, 8, tags.shape)
    split = cut(words, tags)

    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn = nn.Embedding(18, 12), nn.LSTM(12, 16, batch_first=True, bidirectional=True)
            self.head, self.move = nn.Linear(32, 3), nn.Parameter(torch.zeros(3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(self.embed(x))[0])

    model = Field()

    def nll(out: Tensor, y: Tensor) -> Tensor:
        alpha = out[:, 0]
        for t in range(1, out.shape[1]):
            alpha = (alpha[:, :, None] + model.move).logsumexp(1) + out[:, t]
        path = out.gather(2, y[..., None]).squeeze(2).sum(1) + model.move[y[:, :-1], y[:, 1:]].sum(1)
        return (alpha.logsumexp(1) - path).mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return fit(harness, model, optimizer, nll, split, score=token_accuracy, epochs=7)


@cases.recipe("ssm", 0.7)
def movements_by_diagonal_states(harness: Harness, seed: int) -> float | None:
    """A diagonal state-space layer as a convolution by FFT, complex decay, residual and layer norm."""

    class Diagonal(nn.Module):
        def __init__(self, width: int = 24, states: int = 8) -> None:
            super().__init__()
            self.log_decay = nn.Parameter(torch.rand(width, states).log())
            self.angle = nn.Parameter(torch.rand(width, states) * 3.14)
            self.c, self.d = nn.Parameter(torch.randn(width, states) / states), nn.Parameter(torch.ones(width))
            self.norm, self.mix = nn.LayerNorm(width), nn.Linear(width, 2 * width)

        def forward(self, x: Tensor) -> Tensor:
            steps = torch.arange(x.shape[1])
            power = -self.log_decay.exp()[..., None] * steps
            kernel = (self.c[..., None] * power.exp() * (self.angle[..., None] * steps).cos()).sum(1)
            n = 2 * x.shape[1]
            h = self.norm(x)
            y = torch.fft.irfft(torch.fft.rfft(h, n, dim=1) * torch.fft.rfft(kernel.T, n, dim=0), n, dim=1)[
                :, : x.shape[1]
            ]
            return x + F.glu(self.mix(F.gelu(y + self.d * h)), -1)

    class States(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.layers, self.head = (
                nn.Linear(3, 24),
                nn.Sequential(Diagonal(), Diagonal()),
                nn.Linear(24, 4),
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layers(self.into(x)).mean(1))

    model = States()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.01)
    return fit(harness, model, optimizer, F.cross_entropy, gaits(), epochs=8)
