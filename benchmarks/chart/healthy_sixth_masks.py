"""Segmentation of small pictures, by a sixth author, without any threshold. See `healthy_sixth.py`."""

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_sixth import block, cells, course, iou, iterate, pick
from benchmarks.chart.second import SecondCases, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("sixth")


class UNet(nn.Module):
    """Two levels down and up, with skips."""

    def __init__(self, into: int, out: int, width: int = 10) -> None:
        super().__init__()
        w = width
        self.a, self.b, self.c = block(into, w), block(w, 2 * w), block(2 * w, 4 * w)
        self.up1, self.d = nn.ConvTranspose2d(4 * w, 2 * w, 2, 2), block(4 * w, 2 * w)
        self.up2, self.e = nn.ConvTranspose2d(2 * w, w, 2, 2), block(2 * w, w)
        self.head = nn.Conv2d(w, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the input's size."""
        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2))
        c = self.c(F.max_pool2d(b, 2))
        d = self.d(torch.cat([self.up1(c), b], 1))
        return self.head(self.e(torch.cat([self.up2(d), a], 1)))


def mean_iou(out: Tensor, goal: Tensor) -> float:
    """Mean over three classes."""
    p = out.argmax(1)
    each = [((p == k) & (goal == k)).sum() / ((p == k) | (goal == k)).sum().clamp(min=1) for k in range(3)]
    return float(torch.stack(each).mean())


def dice(out: Tensor, goal: Tensor) -> Tensor:
    """One minus the soft Dice coefficient of each picture."""
    p = out.sigmoid().flatten(1)
    g = goal.flatten(1)
    return (1 - (2 * (p * g).sum(1) + 1) / (p.sum(1) + g.sum(1) + 1)).mean()


@cases.recipe("segmentation", 0.75)
def cells_by_unet(harness: Harness, seed: int) -> float:
    """The U-Net of the first tutorial: one logit, BCEWithLogitsLoss, Adam at 1e-3, batches of 8."""
    model = UNet(1, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return course(harness, model, optimizer, nn.BCEWithLogitsLoss(), cells(240), epochs=4, size=8, score=iou, key="iou")


@cases.recipe("segmentation", 0.75)
def cells_by_bce_and_dice(harness: Harness, seed: int) -> float:
    """Competition code: half cross-entropy and half Dice, flips of picture and mask, AdamW, cosine by step."""
    x, y, vx, vy = cells(280)
    model = UNet(1, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 180, eta_min=1e-5)

    def compute(i: int) -> dict[str, Tensor]:
        a, b = pick(10, x, y)
        for axis in (2, 3):
            if torch.rand(()) < 0.5:
                a, b = a.flip(axis), b.flip(axis)
        out = model(a)
        loss = 0.5 * F.binary_cross_entropy_with_logits(out, b) + 0.5 * dice(out, b)
        return {"loss": loss, "inputs": a, "targets": b, "outputs": out}

    iterate(harness, model, optimizer, compute, 180, scheduler=scheduler)
    return iou(model.eval()(vx), vy)


@cases.recipe("segmentation", 0.7)
def three_classes_by_unet(harness: Harness, seed: int) -> float:
    """Colour signs, three classes per pixel, cross-entropy weighed for the rare ones, mean IoU per epoch."""
    model = UNet(3, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    loss_fn = nn.CrossEntropyLoss(weight=torch.tensor([0.4, 1.0, 1.0]))
    return course(
        harness, model, optimizer, loss_fn, signs("masks"), epochs=6, size=16, score=mean_iou, key="miou", tell="it"
    )


@cases.recipe("segmentation", 0.65)
def atrous_pyramid(harness: Harness, seed: int) -> float:
    """DeepLab in little: a trunk of stride 2, parallel dilations and a pooled branch, bilinear growth, poly rate."""

    class Pyramid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(block(3, 16, 2), block(16, 24), block(24, 24))
            self.arms = nn.ModuleList(nn.Conv2d(24, 12, 3, padding=d, dilation=d) for d in (1, 2, 4))
            self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(24, 12, 1), nn.ReLU())
            self.head = nn.Sequential(nn.Conv2d(48, 24, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU(), nn.Dropout(0.1),
                                      nn.Conv2d(24, 3, 1))  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            h = self.trunk(x)
            parts = [F.relu(arm(h)) for arm in self.arms] + [self.pooled(h).expand(-1, -1, *h.shape[2:])]
            return F.interpolate(self.head(torch.cat(parts, 1)), x.shape[2:], mode="bilinear", align_corners=False)

    model = Pyramid()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, 8 * 30, power=0.9)
    return course(
        harness, model, optimizer, nn.CrossEntropyLoss(), signs("masks"), epochs=8, size=16, score=mean_iou, key="miou",
        scheduler=scheduler, each_step=True,
    )  # fmt: skip


@cases.recipe("segmentation", 0.75)
def pyramid_of_features(harness: Harness, seed: int) -> float:
    """An FPN head on a residual trunk, levels added after bilinear growth, focal loss of torchvision, GroupNorm."""
    from torchvision.ops import sigmoid_focal_loss

    class Fpn(nn.Module):
        def __init__(self) -> None:
            super().__init__()

            def step(into: int, out: int, stride: int) -> nn.Sequential:
                return nn.Sequential(nn.Conv2d(into, out, 3, stride, 1), nn.GroupNorm(4, out), nn.SiLU())

            self.levels = nn.ModuleList([step(1, 16, 1), step(16, 24, 2), step(24, 32, 2)])
            self.sides = nn.ModuleList(nn.Conv2d(c, 16, 1) for c in (16, 24, 32))
            self.head = nn.Sequential(step(16, 16, 1), nn.Conv2d(16, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            h, total = x, torch.zeros(())
            for level, side in zip(self.levels, self.sides, strict=True):
                h = level(h)
                total = total + F.interpolate(side(h), x.shape[2:], mode="bilinear")
            return self.head(total)

    model = Fpn()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        return sigmoid_focal_loss(out, goal, alpha=0.6, gamma=2.0, reduction="mean")

    return course(harness, model, optimizer, loss_fn, cells(240), epochs=5, size=12, score=iou, key="iou", report="val")


@cases.recipe("segmentation", 0.7)
def borders_of_cells_too(harness: Harness, seed: int) -> float:
    """Two output maps, inside and border, as (N, 2, H, W) with weights 1 and 2 in the loss; a shared U-Net."""
    x, y, vx, vy = cells(240)

    def both(mask: Tensor) -> Tensor:
        return torch.cat([mask, F.max_pool2d(mask, 3, 1, 1) - mask], 1)

    def loss_fn(out: Tensor, goal: Tensor) -> Tensor:
        inside = F.binary_cross_entropy_with_logits(out[:, :1], goal[:, :1])
        return inside + 2 * F.binary_cross_entropy_with_logits(out[:, 1:], goal[:, 1:])

    model = UNet(1, 2, 8)
    optimizer = torch.optim.NAdam(model.parameters(), lr=2e-3)
    return course(
        harness, model, optimizer, loss_fn, (x, both(y), vx, both(vy)), epochs=5, size=10, key="iou",
        score=lambda o, g: iou(o[:, :1], g[:, :1]),
    )  # fmt: skip


@cases.recipe("segmentation", 0.75)
def attention_gates(harness: Harness, seed: int) -> float:
    """Skips are weighed by attention gates; Tversky loss with a weight of 0.7 for missed pixels; RMSprop."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = block(1, 12), block(12, 24)
            self.up, self.gate = nn.Conv2d(24, 12, 1), nn.Conv2d(24, 1, 1)
            self.top, self.head = block(24, 12), nn.Conv2d(12, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            a = self.a(x)
            up = self.up(F.interpolate(self.b(F.max_pool2d(a, 2)), scale_factor=2.0))
            weight = self.gate(torch.cat([a, up], 1)).sigmoid()
            return self.head(self.top(torch.cat([a * weight, up], 1)))

    def tversky(out: Tensor, goal: Tensor) -> Tensor:
        p = out.sigmoid()
        hit, missed, false = (p * goal).sum(), ((1 - p) * goal).sum(), (p * (1 - goal)).sum()
        return 1 - (hit + 1) / (hit + 0.7 * missed + 0.3 * false + 1)

    model = Gated()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    return course(
        harness, model, optimizer, tversky, cells(240), epochs=5, size=8, score=iou, key="iou", tell="", clear_last=True
    )


@cases.recipe("segmentation", 0.6)
def roads_are_thin(harness: Harness, seed: int) -> float:
    """Thin lines on noisy ground, 4 % of pixels, pos_weight of 8, plain encoder and decoder, crops at random places."""
    rows = torch.arange(48.0)

    def scene(count: int) -> tuple[Tensor, Tensor]:
        slope, shift = torch.rand(count, 1, 1) * 2 - 1, torch.rand(count, 1, 1) * 24 + 12
        bend = 2 * torch.rand(count, 1, 1)
        line = shift + slope * (rows[None, :, None] - 24) * 0.6 + bend * (rows[None, :, None] / 5).sin()
        mask = ((rows[None, None] - line).abs() < 1).float()[:, None]
        ground = F.avg_pool2d(torch.rand(count, 1, 52, 52), 5, 1) * 0.8
        return (ground + 0.35 * mask + 0.06 * torch.randn(count, 1, 48, 48)).clamp(0, 1), mask

    x, y = scene(200)
    vx, vy = scene(50)
    model = nn.Sequential(block(1, 12), block(12, 16, 2), block(16, 24), nn.ConvTranspose2d(24, 12, 2, 2), nn.ReLU(),
                          nn.Conv2d(12, 1, 3, padding=1))  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    weight = torch.tensor(8.0)

    def compute(i: int) -> dict[str, Tensor]:
        a, b = pick(16, x, y)
        r, c = torch.randint(17, (2,)).tolist()
        a, b = a[:, :, r : r + 32, c : c + 32], b[:, :, r : r + 32, c : c + 32]
        out = model(a)
        return {"loss": F.binary_cross_entropy_with_logits(out, b, pos_weight=weight), "inputs": a, "targets": b}

    iterate(harness, model, optimizer, compute, 160)
    return iou(model.eval()(vx) - 1.5, vy)
