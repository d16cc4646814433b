"""Masks, points, counts and finer images of a second author, on which NO threshold is ever set.

See `healthy_second.py`.
"""

import torch
import torchvision
from benchmarks.chart.case import Harness
from benchmarks.chart.second import SecondCases, digits, explained, fit, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.optim import lr_scheduler

cases = SecondCases("second")


class Hourglass(nn.Module):
    """A U-Net with two levels, transposed convolutions and skips by addition."""

    def __init__(self, into: int, out: int, width: int = 12, norm: object = nn.BatchNorm2d) -> None:
        super().__init__()

        def conv(a: int, b: int, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1), norm(b), nn.LeakyReLU(0.1))  # type: ignore[operator]

        self.stem, self.down1, self.down2 = conv(into, width), conv(width, 2 * width, 2), conv(2 * width, 4 * width, 2)
        self.up2, self.up1 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.join2, self.join1, self.head = conv(2 * width, 2 * width), conv(width, width), nn.Conv2d(width, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, into, H, W) -> (N, out, H, W)."""
        a = self.stem(x)
        b = self.down1(a)
        return self.head(self.join1(a + self.up1(self.join2(b + self.up2(self.down2(b))))))


def foreground_iou(out: Tensor, mask: Tensor) -> float:
    """Intersection over union of one logit map with a mask of 0 and 1."""
    found = out > 0
    return float((found & (mask > 0)).sum() / (found | (mask > 0)).sum())


@cases.recipe("unet", 0.6)
def soft_dice(harness: Harness, seed: int) -> float | None:
    """One foreground class by soft Dice loss alone, pixels as they are in 0..1."""
    x, m, vx, vm = signs("masks", 400)

    def dice(out: Tensor, mask: Tensor) -> Tensor:
        p = out.sigmoid()
        return 1 - ((2 * (p * mask).sum((1, 2, 3)) + 1) / ((p + mask).sum((1, 2, 3)) + 1)).mean()

    split = x, (m > 0).float()[:, None], vx, (vm > 0).float()[:, None]
    model = Hourglass(3, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, dice, split, score=foreground_iou, metric="iou", size=16, epochs=5)


@cases.recipe("unet", 0.6)
def rare_pixels_by_focal(harness: Harness, seed: int) -> float | None:
    """Torchvision's sigmoid focal loss, summed and divided by the number of foreground pixels, InstanceNorm."""
    x, m, vx, vm = signs("masks", 400)

    def focal(out: Tensor, mask: Tensor) -> Tensor:
        return torchvision.ops.sigmoid_focal_loss(out, mask, 0.75, 2.0, "sum") / mask.sum().clamp(min=1)

    split = x * 2 - 1, (m > 0).float()[:, None], vx * 2 - 1, (vm > 0).float()[:, None]
    model = Hourglass(3, 1, norm=nn.InstanceNorm2d)
    nn.init.constant_(model.head.bias, -2.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, focal, split, score=foreground_iou, metric="iou", size=16, epochs=5)


@cases.recipe("unet", 0.55)
def edges_are_not_counted(harness: Harness, seed: int) -> float | None:
    """Three classes with a border of ignored pixels (255), class weights, deep supervision at half the size."""
    x, m, vx, vm = signs("masks", 400)
    m = m.clone()
    grown = F.max_pool2d((m > 0).float()[:, None], 3, 1, 1)[:, 0]
    m[(grown > 0) & (m == 0)] = 255

    class Supervised(Hourglass):
        def __init__(self) -> None:
            super().__init__(3, 3)
            self.side = nn.Conv2d(24, 3, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            a = self.stem(x)
            b = self.down1(a)
            c = self.join2(b + self.up2(self.down2(b)))
            return self.head(self.join1(a + self.up1(c))), self.side(c)

    weight = torch.tensor([0.4, 1.0, 1.0])

    def loss(out: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        def ce(o: Tensor, t: Tensor) -> Tensor:
            return F.cross_entropy(o, t, weight=weight, ignore_index=255)

        return ce(out[0], y) + 0.4 * ce(out[1], y[:, ::2, ::2])

    def miou(out: tuple[Tensor, Tensor], y: Tensor) -> float:
        guess, seen = out[0].argmax(1), y != 255
        return (
            sum(float(((guess == k) & (y == k)).sum() / (((guess == k) | (y == k)) & seen).sum()) for k in range(3)) / 3
        )

    model = Supervised()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    steps = 6 * 19
    poly = lr_scheduler.PolynomialLR(optimizer, steps, 0.9)
    return fit(
        harness, model, optimizer, loss, (x * 2 - 1, m, vx * 2 - 1, vm), score=miou, metric="miou", scheduler=poly,
        per="batch", size=16, epochs=6,
    )  # fmt: skip


@cases.recipe("heatmap", 0.8)
def point_by_heatmap(harness: Harness, seed: int) -> float | None:
    """A Gaussian heatmap of the middle by squared error, times 50; the score is the share within 2 pixels."""
    x, c, vx, vc = signs("middles", 400)
    grid = torch.arange(20.0)

    def heat(middle: Tensor) -> Tensor:
        dx, dy = grid[None, None, :] - middle[:, 0, None, None], grid[None, :, None] - middle[:, 1, None, None]
        return (-(dx**2 + dy**2) / 4.5).exp()[:, None]

    def near(out: Tensor, t: Tensor) -> float:
        a, b = (m.flatten(1).argmax(1) for m in (out, t))
        return float((((a % 20 - b % 20) ** 2 + (a // 20 - b // 20) ** 2) <= 4).float().mean())

    model = Hourglass(3, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(
        harness, model, optimizer, lambda o, t: 50 * F.mse_loss(o, t), (x, heat(c), vx, heat(vc)), score=near,
        metric="pck", size=16, epochs=5,
    )  # fmt: skip


@cases.recipe("keypoint", 0.8)
def point_by_soft_argmax(harness: Harness, seed: int) -> float | None:
    """Coordinates in pixels as the mean of a softmax over places, smooth L1."""
    x, c, vx, vc = signs("middles", 400)
    grid = torch.arange(20.0)

    class SoftArgmax(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Hourglass(3, 1, norm=lambda k: nn.GroupNorm(3, k))

        def forward(self, x: Tensor) -> Tensor:
            p = self.net(x).flatten(1).softmax(1).view(-1, 20, 20)
            return torch.stack([(p.sum(1) * grid).sum(1), (p.sum(2) * grid).sum(1)], 1)

    model = SoftArgmax()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    return fit(
        harness, model, optimizer, F.smooth_l1_loss, (x, c, vx, vc), score=explained, metric=None, size=16, epochs=6
    )


@cases.recipe("density", 0.5)
def counted_by_density(harness: Harness, seed: int) -> float | None:
    """How many digits are on a page: a density map whose sum is the count, ReLU at the end, squared error of maps."""
    x, _, vx, _ = digits(image=True)
    draw = torch.Generator().manual_seed(1)

    def pages(source: Tensor, count: int) -> tuple[Tensor, Tensor]:
        page, dense_map = torch.zeros(count, 1, 32, 32), torch.zeros(count, 1, 8, 8)
        for i in range(count):
            for cell in torch.randperm(16, generator=draw)[: int(torch.randint(1, 13, (), generator=draw))].tolist():
                r, c = cell // 4, cell % 4
                page[i, 0, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8] = source[
                    int(torch.randint(len(source), (), generator=draw)), 0
                ]
                dense_map[i, 0, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2] = 0.25
        return page, dense_map

    (px, py), (qx, qy) = pages(x, 320), pages(vx, 80)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, 2, 1), nn.LeakyReLU(0.1), nn.Conv2d(12, 24, 3, 2, 1), nn.LeakyReLU(0.1),
        nn.Conv2d(24, 1, 3, padding=1), nn.Softplus(),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(
        harness, model, optimizer, lambda o, t: (o - t).square().sum((1, 2, 3)).mean(), (px, py, qx, qy),
        score=lambda o, t: explained(o.sum((1, 2, 3)), t.sum((1, 2, 3))), metric="r2", size=8, epochs=6,
    )  # fmt: skip


@cases.recipe("superres", 0.75)
def finer_by_shuffled_pixels(harness: Harness, seed: int) -> float | None:
    """From 4 x 4 to 8 x 8 by sub-pixel convolution over a bilinear guess, L1; pixels in 0..1."""
    x, _, vx, _ = digits()

    class Finer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(1, 32, 3, padding=1), nn.PReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.PReLU(),
                nn.Conv2d(32, 4, 3, padding=1), nn.PixelShuffle(2),
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(x, scale_factor=2, mode="bilinear") + self.net(x)

    model = Finer()
    split = F.avg_pool2d(x, 2), x, F.avg_pool2d(vx, 2), vx
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    return fit(harness, model, optimizer, F.l1_loss, split, score=explained, metric="r2", size=16, epochs=10)
