"""Masks, boxes and points, by a fifth author, without any threshold. See `healthy_fifth.py`."""

from functools import cache
from typing import Any

import numpy as np
import torch
import torchvision
from benchmarks.chart import data
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_fifth import course, pick
from benchmarks.chart.healthy_fifth_images import unit
from benchmarks.chart.second import SecondCases, Split, cut, explained, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = SecondCases("fifth")


@cache
def _cells(count: int, size: int) -> tuple[np.ndarray, ...]:
    draw = np.random.default_rng(71)
    r, c = np.mgrid[:size, :size]
    images = draw.normal(0.2, 0.05, (count, 1, size, size)) + 0.1 * draw.random((count, 1, 1, 1))
    masks, numbers = np.zeros((count, size, size), np.float32), np.zeros((count, 1), np.float32)
    for i in range(count):
        for _ in range(draw.integers(1, 7)):
            y, x, a, b, turn = *draw.uniform(3, size - 3, 2), *draw.uniform(2, 3.6, 2), draw.uniform(0, 3.14)
            u, v = (r - y) * np.cos(turn) + (c - x) * np.sin(turn), (c - x) * np.cos(turn) - (r - y) * np.sin(turn)
            inside = (u / a) ** 2 + (v / b) ** 2 < 1
            if (masks[i] * inside).any():
                continue
            images[i, 0][inside] += draw.uniform(0.25, 0.5)
            masks[i] += inside
            numbers[i] += 1
    return images.astype(np.float32), masks[:, None], numbers


def cells(what: str = "masks", count: int = 320, size: int = 24) -> Split:
    """Bright ovals (N, 1, size, size); masks (N, 1, size, size) of 0 or 1, or how many there are (N, 1)."""
    images, masks, numbers = _cells(count, size)
    return cut(images, masks if what == "masks" else numbers)


def overlap_of(outputs: Tensor, targets: Tensor) -> float:
    """Intersection over union of all foreground pixels, one logit per pixel."""
    found, wanted = outputs > 0, targets > 0.5
    return float((found & wanted).sum() / (found | wanted).sum().clamp(min=1))


def mean_iou(outputs: Tensor, targets: Tensor) -> float:
    """Mean over the classes that occur of intersection over union; classes on axis 1."""
    found = outputs.argmax(1)
    shares = []
    for k in targets.unique():
        a, b = found == k, targets == k
        shares.append(float((a & b).sum() / (a | b).sum()))
    return float(np.mean(shares))


class Unet(nn.Module):
    """Two steps down and up with skips, batch norm, transposed convolutions."""

    def __init__(self, channels: int, classes: int, width: int = 12) -> None:
        super().__init__()

        def double(into: int, out: int) -> nn.Sequential:
            return nn.Sequential(unit(into, out), unit(out, out))

        self.a, self.b, self.c = double(channels, width), double(width, 2 * width), double(2 * width, 4 * width)
        self.up1, self.d1 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), double(4 * width, 2 * width)
        self.up2, self.d2 = nn.ConvTranspose2d(2 * width, width, 2, 2), double(2 * width, width)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each pixel."""
        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2))
        c = self.c(F.max_pool2d(b, 2))
        b = self.d1(torch.cat([b, self.up1(c)], 1))
        return self.head(self.d2(torch.cat([a, self.up2(b)], 1)))


@cases.recipe("segmentation", 0.7)
def cells_by_a_full_unet(harness: Harness, seed: int) -> float:
    """U-Net as for Carvana: one logit per pixel, cross-entropy plus Dice, RMSprop, clipping."""
    model = Unet(1, 1, 8)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, weight_decay=1e-8, momentum=0.9)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=3)

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        p = out.sigmoid()
        dice = 1 - (2 * (p * goal).sum() + 1) / (p.sum() + goal.sum() + 1)
        return F.binary_cross_entropy_with_logits(out, goal) + dice

    return course(
        harness, model, optimizer, loss_fn, cells(), epochs=7, size=12, metric=overlap_of, name="iou",
        scheduler=scheduler, when="plateau", clip=1.0,
    )  # fmt: skip


@cases.recipe("segmentation", 0.6)
def kinds_of_pixels(harness: Harness, seed: int) -> float:
    """Four classes of pixels by a small encoder and decoder, plain cross-entropy, Adam 3e-3, mean IoU is logged."""
    train, val = data.masks(256, 96)
    split = data.normalise_pixels(train.x), train.y, data.normalise_pixels(val.x), val.y
    model = Unet(3, 4, 8)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=8, size=16, metric=mean_iou, name="miou"
    )  # fmt: skip


@cases.recipe("segmentation", 0.6)
def holes_of_several_widths(harness: Harness, seed: int) -> float:
    """DeepLab-like: dilated branches and a pooled one joined, logits enlarged, poly rate by step, class weights."""

    class Aspp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(unit(3, 16), unit(16, 24, 2), unit(24, 32))
            self.branches = nn.ModuleList(
                nn.Sequential(nn.Conv2d(32, 16, 3, padding=d, dilation=d, bias=False), nn.BatchNorm2d(16), nn.ReLU())
                for d in (1, 2, 4)
            )
            self.pooled = nn.Conv2d(32, 16, 1)
            self.head = nn.Sequential(nn.Conv2d(64, 32, 1), nn.ReLU(), nn.Conv2d(32, 3, 1))

        def forward(self, x: Tensor) -> Tensor:
            h = self.body(x)
            whole = self.pooled(h.mean((2, 3), keepdim=True)).expand(-1, -1, *h.shape[2:])
            h = self.head(torch.cat([*(b(h) for b in self.branches), whole], 1))
            return F.interpolate(h, size=x.shape[2:], mode="bilinear", align_corners=False)

    model = Aspp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    scheduler = lr_scheduler.PolynomialLR(optimizer, total_iters=10 * 30, power=0.9)
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([0.5, 1.0, 1.0]))
    x, y, vx, vy = signs("masks")
    return course(
        harness, model, optimizer, criterion, (x - 0.4, y, vx - 0.4, vy), epochs=10, size=16, metric=mean_iou,
        name="miou", scheduler=scheduler, when="batch", tell="loss",
    )  # fmt: skip


@cases.recipe("counting", 0.7)
def how_many_cells(harness: Harness, seed: int) -> float:
    """The number of cells straight from the image by a network with a global average, smooth L1, AdamW."""
    model = nn.Sequential(
        unit(1, 12), unit(12, 24, 2), unit(24, 32, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 32),
        nn.ReLU(), nn.Linear(32, 1),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 14)
    split = cells("numbers", 480)
    return course(
        harness, model, optimizer, nn.SmoothL1Loss(), split, epochs=14, size=16, metric=explained, name="r2",
        tell="inputs",
        scheduler=scheduler,
    )  # fmt: skip


@cases.recipe("detection", 0.6)
def class_and_box_of_one_object(harness: Harness, seed: int) -> float:
    """Localisation: a class by cross-entropy and four corners in 0..1 by smooth L1 times 5; scored by mean IoU."""
    x, kinds, vx, v_kinds = signs()
    _, boxes, _, v_boxes = signs("boxes")

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(unit(3, 16), nn.MaxPool2d(2), unit(16, 32), nn.MaxPool2d(2), nn.Flatten())
            self.kind = nn.Linear(800, 4)
            self.box = nn.Sequential(nn.Linear(800, 64), nn.ReLU(), nn.Linear(64, 4))

        def forward(self, x: Tensor) -> Tensor:
            h = self.body(x)
            return torch.cat([self.kind(h), self.box(h)], 1)

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        return F.cross_entropy(out[:, :4], goal[:, 0].long()) + 5 * F.smooth_l1_loss(out[:, 4:], goal[:, 1:], beta=0.1)

    def iou(out: Tensor, goal: Tensor) -> float:
        a, b = out[:, 4:], goal[:, 1:]
        side = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
        area_a, area_b = ((v[:, 2:] - v[:, :2]).clamp(min=0).prod(1) for v in (a, b))
        return float((side.prod(1) / (area_a + area_b - side.prod(1))).mean())

    model = Two()
    goals, v_goals = (torch.cat([k[:, None].float(), b / 20], 1) for k, b in ((kinds, boxes), (v_kinds, v_boxes)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return course(
        harness, model, optimizer, loss_fn, (x, goals, vx, v_goals), epochs=10, size=24, metric=iou, name="iou"
    )  # fmt: skip


@cases.recipe("detection", 0.5)
def anchors_with_focal_loss(harness: Harness, seed: int) -> float:
    """RetinaNet-like on one level: 3 anchors per place, focal loss with a prior bias, smooth L1 of coded boxes."""
    train, val = data.boxes(288, 96)
    x, vx = data.normalise_pixels(train.x), data.normalise_pixels(val.x)
    middle = (torch.arange(8) + 0.5) * 4
    places = torch.stack(torch.meshgrid(middle, middle, indexing="xy"), 2).reshape(-1, 1, 2)
    sizes = torch.tensor([8.0, 10, 12]).view(1, 3, 1)
    anchors = torch.cat([places - sizes / 2, places + sizes / 2], 2).reshape(-1, 4)
    centre, side = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]

    def assign(goal: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        iou = torchvision.ops.box_iou(anchors, goal["boxes"])
        best, which = iou.max(1)
        labels = torch.where(best > 0.5, goal["labels"][which], torch.where(best < 0.4, -1, -2))
        first = iou.argmax(0)
        labels[first], which[first] = goal["labels"], torch.arange(len(first))
        box = goal["boxes"][which]
        shift = ((box[:, :2] + box[:, 2:]) / 2 - centre) / side
        return labels, torch.cat([shift, ((box[:, 2:] - box[:, :2]) / side).log()], 1) * 5

    labels, codes = (torch.stack(t) for t in zip(*map(assign, train.y), strict=True))

    class Retina(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(unit(3, 16), unit(16, 32, 2), unit(32, 48, 2), unit(48, 48))
            self.kind, self.box = nn.Conv2d(48, 9, 3, padding=1), nn.Conv2d(48, 12, 3, padding=1)
            nn.init.normal_(self.kind.weight, std=0.01)
            nn.init.constant_(self.kind.bias, -np.log(0.99 / 0.01))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.body(x)
            return tuple(f(h).permute(0, 2, 3, 1).reshape(len(x), -1, k) for f, k in ((self.kind, 3), (self.box, 4)))

    model = Retina()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    scheduler = lr_scheduler.MultiStepLR(optimizer, [160, 210], gamma=0.1)
    harness.begin(model, optimizer)
    for _ in range(240):
        a, kind, code = pick(12, x, labels, codes)
        logits, boxes = model(a)
        right = (kind >= 0).sum().clamp(min=1)
        wanted = F.one_hot(kind.clamp(min=0), 3).float() * (kind >= 0)[..., None]
        focal = torchvision.ops.sigmoid_focal_loss(logits, wanted, reduction="none")[kind > -2].sum() / right
        loss = focal + F.smooth_l1_loss(boxes[kind >= 0], code[kind >= 0], beta=0.1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        scheduler.step()
        harness.step(loss=loss, inputs=a)
    model.eval()
    with torch.no_grad():
        logits, boxes = model(vx)
    found, total = 0.0, 0
    for p, b, goal in zip(logits.sigmoid(), boxes / 5, val.y, strict=True):
        best, kind = p.max(1)
        top = best.topk(20).indices
        mid, wide = centre[top] + b[top, :2] * side[top], side[top] * b[top, 2:].clamp(max=3).exp()
        full = torch.cat([mid - wide / 2, mid + wide / 2], 1)
        keep = torchvision.ops.batched_nms(full, best[top], kind[top], 0.4)[: len(goal["labels"])]
        hit = torchvision.ops.box_iou(goal["boxes"], full[keep]) > 0.5
        found += float((hit & (goal["labels"][:, None] == kind[top][keep][None])).any(1).sum())
        total += len(goal["labels"])
    return found / total


@cases.recipe("detection", 0.6)
def regions_are_cut_out(harness: Harness, seed: int) -> float:
    """Fast R-CNN: given regions (true ones shaken, random ones), RoI align, class with background and a correction."""
    train, val = data.boxes(256, 96)
    x, vx = data.normalise_pixels(train.x), data.normalise_pixels(val.x)

    def propose(goal: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        near = goal["boxes"].repeat(4, 1) + 1.5 * torch.randn(4 * len(goal["boxes"]), 4)
        corner = torch.rand(10, 2) * 20
        boxes = torch.cat([near, torch.cat([corner, corner + 6 + 6 * torch.rand(10, 2)], 1)]).clamp(0, 32)
        best, which = torchvision.ops.box_iou(boxes, goal["boxes"]).max(1)
        kinds = torch.where(best > 0.5, goal["labels"][which] + 1, 0)
        return boxes, kinds, goal["boxes"][which] - boxes

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(unit(3, 16), unit(16, 32, 2), unit(32, 32))
            self.fc = nn.Sequential(nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU())
            self.kind, self.shift = nn.Linear(64, 4), nn.Linear(64, 4)

        def forward(self, images: Tensor, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
            h = self.fc(torchvision.ops.roi_align(self.body(images), boxes, 4, 0.5, 2, True))
            return self.kind(h), self.shift(h)

    model = Head()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    harness.begin(model, optimizer)
    for i in range(200):
        for g in optimizer.param_groups:
            g["lr"] = 0.02 * min(1.0, (i + 1) / 30)
        rows = torch.randperm(len(x))[:6]
        boxes, kinds, shifts = zip(*(propose(train.y[k]) for k in rows.tolist()), strict=True)
        logits, moved = model(x[rows], list(boxes))
        kind, shift = torch.cat(kinds), torch.cat(shifts)
        loss = F.cross_entropy(logits, kind) + F.smooth_l1_loss(moved[kind > 0], shift[kind > 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        harness.step(loss=loss, targets=kind, outputs=logits)
    model.eval()
    with torch.no_grad():
        boxes, kinds, _ = zip(*map(propose, val.y), strict=True)
        found, wanted = model(vx, list(boxes))[0].argmax(1), torch.cat(kinds)
    return float(np.mean([float((found[wanted == k] == k).float().mean()) for k in range(4)]))


@cases.recipe("keypoints", 0.6)
def points_some_of_them_hidden(harness: Harness, seed: int) -> float:
    """Three marks, each in a channel of its own, as numbers; a hidden one has weight 0; Adam, cosine."""
    draw = np.random.default_rng(72)
    r, c = np.mgrid[:24, :24]
    images, points, seen = np.zeros((1200, 3, 24, 24)), draw.uniform(4, 20, (1200, 3, 2)), draw.random((1200, 3)) < 0.85
    for i, k in np.ndindex(1200, 3):
        if seen[i, k]:
            images[i, k] = np.exp(-((r - points[i, k, 1]) ** 2 + (c - points[i, k, 0]) ** 2) / 5)
    images += draw.normal(0, 0.1, images.shape)
    x, y, vx, vy = cut(images, np.concatenate([points / 12 - 1, seen[..., None]], 2))
    model = nn.Sequential(
        unit(3, 16, 2), unit(16, 32, 2), nn.Flatten(), nn.Linear(32 * 36, 64), nn.ReLU(), nn.Linear(64, 6),
        nn.Unflatten(1, (3, 2)),
    )  # fmt: skip

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        weight = goal[..., 2:]
        return ((out - goal[..., :2]).square() * weight).sum() / (2 * weight.sum()).clamp(min=1)

    def share(out: Tensor, goal: Tensor) -> float:
        near = (out - goal[..., :2]).norm(dim=2) < 0.25
        return float(near[goal[..., 2] > 0].float().mean())

    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 8)
    return course(
        harness, model, optimizer, loss_fn, (x, y, vx, vy), epochs=8, size=32, metric=share, name="pck",
        scheduler=scheduler,
    )  # fmt: skip


@cases.recipe("ocr", 0.8)
def plates_of_four_characters(harness: Harness, seed: int) -> float:
    """Four digits side by side, one head of ten classes per place, the mean of four losses, batches of 32, Adam."""
    train, val = data.digits(1200, 400)

    def plates(pool: Any, count: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(pool.x), (count, 4))
        tiles = pool.x[rows].view(count, 4, 8, 8) / 16
        return torch.cat(tiles.unbind(1), 2)[:, None] + 0.05 * torch.randn(count, 1, 8, 32), pool.y[rows]

    (x, y), (vx, vy) = plates(train, 900), plates(val, 200)
    model = nn.Sequential(
        unit(1, 16), unit(16, 32), nn.MaxPool2d(2), unit(32, 32), nn.AdaptiveAvgPool2d((2, 8)), nn.Flatten(),
        nn.Dropout(0.1), nn.Linear(512, 40), nn.Unflatten(1, (10, 4)),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), (x, y, vx, vy), epochs=8, size=32, train_metric=True,
        tell="answers",
    )  # fmt: skip


@cases.recipe("segmentation", 0.6)
def what_has_changed(harness: Harness, seed: int) -> float:
    """Change detection: one encoder for both pictures, the difference of features is decoded; positives weigh 3."""
    images, masks, _ = _cells(320, 24)
    draw = np.random.default_rng(73)
    before = images * draw.uniform(0.85, 1.15, (320, 1, 1, 1)).astype(np.float32)
    after = before + draw.normal(0, 0.03, images.shape).astype(np.float32)
    spot = np.roll(masks, 5, axis=0) * (1 - masks) * (draw.random((320, 1, 1, 1)) < 0.9)
    after = after + 0.35 * spot.astype(np.float32)
    split = cut(np.concatenate([before, after], 1), spot.astype(np.float32))

    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enc = nn.Sequential(unit(1, 12), unit(12, 12))
            self.dec = nn.Sequential(unit(12, 12), nn.Conv2d(12, 1, 1))

        def forward(self, pair: Tensor) -> Tensor:
            return self.dec((self.enc(pair[:, 1:]) - self.enc(pair[:, :1])).abs())

    model = Siamese()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0))
    return course(harness, model, optimizer, criterion, split, epochs=6, size=16, metric=overlap_of, name="iou")


@cases.recipe("segmentation", 0.6)
def balls_in_a_volume(harness: Harness, seed: int) -> float:
    """Voxels: 3-d convolutions with instance norm, Dice and cross-entropy, batches of 2, momentum 0.99."""
    draw = np.random.default_rng(74)
    grid = np.stack(np.mgrid[:12, :12, :12])
    middle, radius = draw.uniform(3, 9, (120, 3, 1, 1, 1)), draw.uniform(2, 4, (120, 1, 1, 1))
    inside = ((grid[None] - middle) ** 2).sum(1) < radius**2
    volume = 0.8 * inside + draw.normal(0, 0.4, inside.shape) + draw.normal(0, 0.3, (120, 1, 1, 1))
    x, y, vx, vy = cut(volume[:, None], inside.astype(np.int64), share=0.8)
    layers: list[nn.Module] = []
    for into, out in ((1, 8), (8, 12), (12, 12)):
        layers += [nn.Conv3d(into, out, 3, padding=1), nn.InstanceNorm3d(out, affine=True), nn.LeakyReLU(0.01)]
    model = nn.Sequential(*layers, nn.Conv3d(12, 2, 1))

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        p = out.softmax(1)[:, 1]
        dice = (2 * (p * goal).sum() + 1e-5) / (p.sum() + goal.sum() + 1e-5)
        return F.cross_entropy(out, goal) - dice

    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.99, nesterov=True, weight_decay=3e-5)
    scheduler = lr_scheduler.PolynomialLR(optimizer, 6, 0.9)
    return course(
        harness, model, optimizer, loss_fn, (x, y, vx, vy), epochs=6, size=2, metric=mean_iou, name="miou",
        scheduler=scheduler, clip=12.0,
    )  # fmt: skip
