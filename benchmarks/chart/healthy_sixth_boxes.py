"""Boxes, points, depth and counts in small scenes, by a sixth author, without any threshold. See `healthy_sixth.py`."""

from functools import cache

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.data import boxes as scenes
from benchmarks.chart.healthy_sixth import block, cells, course, iterate, pick
from benchmarks.chart.second import SecondCases, Split, cut, digits, explained, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torchvision.ops import box_iou, complete_box_iou_loss, generalized_box_iou_loss

cases = SecondCases("sixth")


def trunk(into: int, *widths: int) -> nn.Sequential:
    """Blocks, each after the first with a stride of 2."""
    layers = [block(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(zip((into, *widths), widths, strict=False))]
    return nn.Sequential(*layers)


def hits(out: Tensor, goal: Tensor) -> float:
    """Share of boxes (N, 4) of corners that overlap the right one by half."""
    return float((box_iou(out, goal).diagonal() > 0.5).float().mean())


@cases.recipe("detector", 0.7)
def class_and_box_of_one_object(harness: Harness, seed: int) -> float:
    """The localisation homework: one trunk, a head for four kinds and one for a box in 0..1, losses added, AdamW."""
    x, boxes, vx, vboxes = signs("boxes", count=1100)
    _, kinds, _, vkinds = signs("kinds", count=1100)

    class Locator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                trunk(3, 16, 24, 32), nn.Flatten(), nn.Dropout(0.2), nn.Linear(800, 64), nn.ReLU()
            )
            self.kind, self.box = nn.Linear(64, 4), nn.Linear(64, 4)

        def forward(self, a: Tensor) -> tuple[Tensor, Tensor]:
            h = self.body(a)
            return self.kind(h), self.box(h).sigmoid()

    def loss_fn(out: tuple[Tensor, Tensor], kind: Tensor, box: Tensor) -> Tensor:
        return F.cross_entropy(out[0], kind) + 10 * F.smooth_l1_loss(out[1], box / 20)

    model = Locator()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    harness.begin(model, optimizer)
    value = 0.0
    for _ in range(7):
        model.train()
        losses = []
        for rows in torch.randperm(len(x)).split(20):
            out = model(x[rows])
            loss = loss_fn(out, kinds[rows], boxes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            harness.step(loss=loss, inputs=x[rows], targets=(kinds[rows], boxes[rows]), outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(vx)
            right = float((out[0].argmax(1) == vkinds).float().mean())
            value = hits(out[1] * 20, vboxes)
            val = {"loss": loss_fn(out, vkinds, vboxes).item(), "accuracy": right, "iou_50": value}
        harness.epoch(train={"loss": float(np.mean(losses))}, val=val)
    return min(value, right)


@cases.recipe("detector", 0.6)
def yolo_of_the_first_version(harness: Harness, seed: int) -> float:
    """A grid of 8 x 8 cells: confidence, box, class; weights of 5 for places and 0.5 for empty cells; scenes of 1-3."""
    train, val = scenes(560, 120)

    def grid(targets: list[dict[str, Tensor]]) -> Tensor:
        out = torch.zeros(len(targets), 8, 8, 8)
        for i, t in enumerate(targets):
            for box, label in zip(t["boxes"], t["labels"], strict=True):
                cx, cy, w, h = (box[0] + box[2]) / 8, (box[1] + box[3]) / 8, box[2] - box[0], box[3] - box[1]
                c, r = min(int(cx), 7), min(int(cy), 7)
                out[i, :5, r, c] = torch.tensor([1, cx - c, cy - r, (w / 32).sqrt(), (h / 32).sqrt()])
                out[i, 5 + label, r, c] = 1
        return out

    x, vx = train.x / 255, val.x / 255
    y, vy = grid(train.y), grid(val.y)
    model = nn.Sequential(trunk(3, 16, 24, 32), block(32, 32), nn.Conv2d(32, 8, 1))

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        full = goal[:, 0]
        seen = F.binary_cross_entropy_with_logits(out[:, 0], full, reduction="none")
        place = (out[:, 1:5].sigmoid() - goal[:, 1:5]).square().sum(1)
        kind = (out[:, 5:].sigmoid() - goal[:, 5:]).square().sum(1)
        return ((seen * (full + 0.5 * (1 - full))) + full * (5 * place + kind)).sum() / len(out)

    def f1(out: Tensor, goal: Tensor) -> float:
        found, full = out[:, 0] > 0, goal[:, 0] > 0.5
        hit = found & full & (out[:, 5:].argmax(1) == goal[:, 5:].argmax(1))
        return float(2 * hit.sum() / (found.sum() + full.sum()).clamp(min=1))

    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    return course(
        harness, model, optimizer, loss_fn, (x, y, vx, vy), epochs=7, size=16, score=f1, key="f1", clip=10.0, tell="it"
    )


@cases.recipe("detector", 0.6)
def box_by_complete_iou(harness: Harness, seed: int) -> float:
    """One object per picture; middle and half sizes by sigmoids, CIoU of torchvision, AdamW."""
    model = nn.Sequential(trunk(3, 16, 32, 32), nn.Flatten(), nn.Linear(800, 64), nn.SiLU(), nn.Linear(64, 4))
    nn.init.normal_(model[-1].weight, std=0.01)

    class Corners(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def forward(self, a: Tensor) -> Tensor:
            c, s = self.net(a).split(2, 1)
            middle, half = 20 * c.sigmoid(), 10 * s.sigmoid()
            return torch.cat([middle - half, middle + half], 1)

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        return complete_box_iou_loss(out, goal, reduction="mean")

    net = Corners()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    return course(
        harness, net, optimizer, loss_fn, signs("boxes", count=640), epochs=10, size=20, score=hits, key="iou_50"
    )


@cases.recipe("detector", 0.6)
def without_anchors(harness: Harness, seed: int) -> float:
    """FCOS: cells within a box give distances to its sides by GIoU and a focal class loss; exp of a learned scale."""
    x, boxes, vx, vboxes = signs("boxes", count=600)
    at = torch.arange(10) * 2 + 1.0
    points = torch.stack([at.repeat(10), at.repeat_interleave(10)], 1)

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = trunk(3, 16, 32)
            self.tower = block(32, 32)
            self.score, self.side = nn.Conv2d(32, 1, 3, padding=1), nn.Conv2d(32, 4, 3, padding=1)
            self.scale = nn.Parameter(torch.ones(()))
            nn.init.constant_(self.score.bias, -2.0)

        def forward(self, a: Tensor) -> tuple[Tensor, Tensor]:
            h = self.tower(self.body(a))
            sides = (self.scale * self.side(h)).clamp(max=4).exp().flatten(2).transpose(1, 2)
            return self.score(h).flatten(1), torch.cat([points - sides[..., :2], points + sides[..., 2:]], 2)

    def loss_fn(out: tuple[Tensor, Tensor], goal: Tensor) -> Tensor:
        low, high = points - goal[:, None, :2], goal[:, None, 2:] - points
        inside = torch.cat([low, high], 2).amin(2) > 0
        from torchvision.ops import sigmoid_focal_loss

        kind = sigmoid_focal_loss(out[0], inside.float(), reduction="sum") / inside.sum()
        rows = inside.nonzero()[:, 0]
        return kind + generalized_box_iou_loss(out[1][inside], goal[rows], reduction="mean")

    model = Head()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def compute(i: int) -> dict[str, object]:
        a, b = pick(16, x, boxes)
        return {"loss": loss_fn(model(a), b), "inputs": a, "targets": b}

    iterate(harness, model, optimizer, compute, 180, clip=5.0)
    with torch.no_grad():
        score, found = model.eval()(vx)
    return hits(found[torch.arange(len(vx)), score.argmax(1)], vboxes)


@cache
def _hands(count: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(72)
    r, c = np.mgrid[:24, :24]
    images, points = np.zeros((count, 1, 24, 24)), np.zeros((count, 3, 2))
    for i in range(count):
        a = draw.uniform(7, 17, 2)
        turn, bend = draw.uniform(0, 6.28), draw.uniform(-1.2, 1.2)
        b = a + 5 * np.array([np.cos(turn), np.sin(turn)])
        e = b + 4 * np.array([np.cos(turn + bend), np.sin(turn + bend)])
        points[i] = a, b, e
        for (p, q), width in (((a, b), 1.6), ((b, e), 0.9)):
            for s in np.linspace(0, 1, 6):
                m = p + s * (q - p)
                images[i, 0] = np.maximum(images[i, 0], np.exp(-((c - m[0]) ** 2 + (r - m[1]) ** 2) / width**2))
    return (images + draw.normal(0, 0.05, images.shape)).clip(0, 1), points


def hands(count: int = 640) -> Split:
    """Grey pictures (N, 1, 24, 24) of an arm of two parts, thick and thin, and its three joints (N, 3, 2), pixels."""
    return cut(*_hands(count))


@cases.recipe("keypoints", 0.75)
def joints_by_regression(harness: Harness, seed: int) -> float:
    """Six numbers in -1..1 straight from a flattened map by smooth L1, Adam, milestones."""
    x, y, vx, vy = hands(1100)
    split = (x, (y.flatten(1) - 12) / 12, vx, (vy.flatten(1) - 12) / 12)
    model = nn.Sequential(
        trunk(1, 16, 32, 32), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1152, 96), nn.ReLU(), nn.Linear(96, 6)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [5, 7], gamma=0.3)

    def near(out: Tensor, goal: Tensor) -> float:
        return float(((out - goal).view(-1, 3, 2).norm(dim=2) * 12 < 2.5).float().mean())

    return course(
        harness,
        model,
        optimizer,
        nn.SmoothL1Loss(),
        split,
        epochs=8,
        size=40,
        scheduler=scheduler,
        score=near,
        key="pck",
    )


@cases.recipe("keypoints", 0.75)
def joints_by_heat_maps(harness: Harness, seed: int) -> float:
    """Simple baselines: a trunk of stride 2, a transposed convolution, squared error of Gaussian maps, Adam."""
    x, y, vx, vy = hands()
    g = torch.arange(24.0)

    def maps(points: Tensor) -> Tensor:
        gap = (g - points[..., :1, None]) ** 2 + (g[:, None] - points[..., 1:, None]) ** 2
        return (-gap / 4).exp()

    def up(into: int, out: int) -> nn.Sequential:
        return nn.Sequential(nn.ConvTranspose2d(into, out, 4, 2, 1), nn.BatchNorm2d(out), nn.ReLU())

    model = nn.Sequential(trunk(1, 16, 32), block(32, 32), up(32, 16), nn.Conv2d(16, 3, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    def near(out: Tensor, goal: Tensor) -> float:
        a, b = out.flatten(2).argmax(2), goal.flatten(2).argmax(2)
        gap = torch.stack([a % 24 - b % 24, a // 24 - b // 24], 2).float().norm(dim=2)
        return float((gap < 2.5).float().mean())

    split = (x, maps(y), vx, maps(vy))
    return course(harness, model, optimizer, nn.MSELoss(), split, epochs=7, size=16, score=near, key="pck", tell="t")


def rooms(count: int = 280) -> Split:
    """Scenes (N, 3, 24, 24) of a floor and boxes that darken with distance, and depths (N, 1, 24, 24) of 1..10."""
    draw = np.random.default_rng(73)
    r, c = np.mgrid[:24, :24]
    images, depths = np.zeros((count, 3, 24, 24)), np.zeros((count, 1, 24, 24))
    for i in range(count):
        depth = np.where(r > 8, 12.0 / (r - 7.0).clip(1), 10.0).clip(1, 10)
        light = np.ones((3, 24, 24)) * draw.uniform(0.5, 0.7, (3, 1, 1))
        for near in sorted(draw.uniform(1.5, 8, draw.integers(1, 4)), reverse=True):
            foot, middle, half = 7 + 12 / near, draw.uniform(4, 20), draw.uniform(5, 9) / near + 1
            inside = (abs(c - middle) <= half) & (r <= foot) & (r >= foot - 2.4 * half)
            depth = np.where(inside, near, depth)
            light = np.where(inside, draw.uniform(0.6, 1.0, (3, 1, 1)), light)
        images[i] = light * np.exp(-depth / 12) + draw.normal(0, 0.02, (3, 24, 24))
        depths[i] = depth
    return cut(images.clip(0, 1), depths)


@cases.recipe("depth", 0.7)
def depth_by_logarithms(harness: Harness, seed: int) -> float:
    """An encoder and a decoder give log depth; L1 of logarithms and of their slopes, AdamW, random mirrors."""
    x, y, vx, vy = rooms()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = block(3, 16), block(16, 24, 2), block(24, 32, 2)
            self.d, self.e, self.head = block(56, 24), block(40, 16), nn.Conv2d(16, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            a = self.a(x)
            b = self.b(a)
            h = self.d(torch.cat([F.interpolate(self.c(b), scale_factor=2.0), b], 1))
            return self.head(self.e(torch.cat([F.interpolate(h, scale_factor=2.0), a], 1)))

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        gap = out - goal.log()
        return gap.abs().mean() + 0.5 * (gap.diff(dim=2).abs().mean() + gap.diff(dim=3).abs().mean())

    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def compute(i: int) -> dict[str, Tensor]:
        a, b = pick(12, x, y)
        if i % 2:
            a, b = a.flip(3), b.flip(3)
        out = model(a)
        return {"loss": loss_fn(out, b), "inputs": a, "targets": b, "outputs": out}

    iterate(harness, model, optimizer, compute, 160)
    with torch.no_grad():
        ratio = (model.eval()(vx) - vy.log()).abs().exp()
    return float((ratio < 1.25).float().mean())


@cases.recipe("depth", 0.7)
def depth_in_bins(harness: Harness, seed: int) -> float:
    """Depth as classification into 16 bins of its logarithm, the mean of the softmax is read out; cosine by epoch."""
    x, y, vx, vy = rooms(320)
    middles = torch.linspace(0.0, 2.3026, 16)
    label, vlabel = ((d[:, 0].log() / 2.3026 * 15).round().long() for d in (y, vy))
    model = nn.Sequential(block(3, 16), block(16, 24, 2), block(24, 32, 2), block(32, 32), nn.Upsample(scale_factor=2),
                          block(32, 24), nn.Upsample(scale_factor=2), block(24, 16), nn.Conv2d(16, 16, 1))  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)

    def close(out: Tensor, goal: Tensor) -> float:
        depth = (out.softmax(1) * middles[:, None, None]).sum(1)
        return float(((depth - middles[goal]).abs() < 0.223).float().mean())

    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), (x, label, vx, vlabel), epochs=8, size=12, score=close,
        key="delta_1", scheduler=scheduler, report="val",
    )  # fmt: skip


@cases.recipe("regression", 0.5)
def how_much_is_covered(harness: Harness, seed: int) -> float:
    """Share of bright cells in a picture, as one number from a global mean; squared error, flips, Adam, cosine."""
    x, y, vx, vy = cells(480)
    goal, vgoal = (m.mean((2, 3)) * 5 for m in (y, vy))

    def flips(a: Tensor) -> Tensor:
        return a.flip(2) if torch.rand(()) < 0.5 else a.flip(3)

    model = nn.Sequential(trunk(1, 8, 16, 24), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 9)
    split = (x, goal, vx, vgoal)
    return course(
        harness, model, optimizer, nn.MSELoss(), split, epochs=9, size=16, scheduler=scheduler, score=explained,
        key=None, transform=flips, tell="float",
    )  # fmt: skip


@cases.recipe("regression", 0.8)
def how_far_a_digit_leans(harness: Harness, seed: int) -> float:
    """Rotations of -45..45 degrees are read from digits turned anew in each batch; sine and cosine of the angle."""
    x, _, vx, _ = digits()

    def turned(a: Tensor) -> tuple[Tensor, Tensor]:
        angle = (torch.rand(len(a)) - 0.5) * np.pi / 2
        c, s, z = angle.cos(), angle.sin(), torch.zeros(len(a))
        matrix = torch.stack([torch.stack([c, -s, z], 1), torch.stack([s, c, z], 1)], 1)
        shape = [len(a), 1, 12, 12]
        return F.grid_sample(a, F.affine_grid(matrix, shape, align_corners=False), align_corners=False), angle

    model = nn.Sequential(trunk(1, 24, 32, 48), nn.Flatten(), nn.Linear(432, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def compute(i: int) -> dict[str, Tensor]:
        a, angle = turned(pick(32, x)[0])
        goal = torch.stack([angle.sin(), angle.cos()], 1)
        out = F.normalize(model(a))
        return {"loss": (out - goal).square().sum(1).mean(), "inputs": a, "targets": goal, "outputs": out}

    iterate(harness, model, optimizer, compute, 350)
    a, angle = turned(vx)
    with torch.no_grad():
        out = model.eval()(a)
    return explained(torch.atan2(out[:, 0], out[:, 1])[:, None], angle[:, None])
