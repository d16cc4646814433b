"""Maps, boxes and points, by a third author, on which NO threshold is ever set. See `healthy_third.py`."""

from functools import cache

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_third import iterate, rows
from benchmarks.chart.second import SecondCases, Split, explained, fit, signs
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("third")


@cache
def photographs(size: int = 16, count: int = 500) -> Tensor:
    """Pieces (N, 3, size, size) in 0..1 of two real photographs, a temple and a flower, at a quarter of their size."""
    draw = np.random.default_rng(9)
    pieces = []
    for image in load_sample_images().images:
        small = F.avg_pool2d(torch.tensor(image.copy()).permute(2, 0, 1)[None].float() / 255, 4)[0]
        for _ in range(count // 2):
            i, j = draw.integers(0, small.shape[1] - size), draw.integers(0, small.shape[2] - size)
            pieces.append(small[:, i : i + size, j : j + size])
    return torch.stack(pieces)[torch.as_tensor(draw.permutation(len(pieces)))]


def halves(x: Tensor, y: Tensor) -> Split:
    """Four fifths for training."""
    at = len(x) * 4 // 5
    return x[:at], y[:at], x[at:], y[at:]


def conv(into: int, out: int, stride: int = 1) -> nn.Sequential:
    """A convolution and a ReLU."""
    return nn.Sequential(nn.Conv2d(into, out, 3, stride, 1), nn.ReLU())


@cases.recipe("unet", 0.5)
def tversky_of_a_skipping_net(harness: Harness, seed: int) -> float:
    """An encoder and decoder with one skip; Tversky loss that weighs misses twice. Scored by foreground IoU."""

    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = conv(3, 12), conv(12, 24, 2), conv(24, 24)
            self.up, self.d, self.e = nn.ConvTranspose2d(24, 12, 2, 2), conv(24, 12), nn.Conv2d(12, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            a = self.a(x)
            return self.e(self.d(torch.cat([a, self.up(self.c(self.b(a)))], 1)))

    x, y, vx, vy = signs("masks", count=400)
    split = x, (y > 0).float()[:, None], vx, (vy > 0).float()[:, None]

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        p = out.sigmoid()
        hit, extra, missed = (p * y).sum(), (p * (1 - y)).sum(), ((1 - p) * y).sum()
        return 1 - (hit + 1) / (hit + 0.3 * extra + 0.7 * missed + 1)

    def iou(out: Tensor, y: Tensor) -> float:
        found = out > 0
        return float((found & (y > 0)).sum() / (found | (y > 0)).sum())

    model = Skip()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, loss_fn, split, epochs=8, size=20, score=iou, metric="iou")


@cases.recipe("fcn", 0.6)
def coarse_maps_made_large(harness: Harness, seed: int) -> float:
    """Three classes at a quarter of the size, enlarged bilinearly, cross-entropy; the mean IoU of the three."""
    model = nn.Sequential(
        conv(3, 16), conv(16, 32, 2), nn.BatchNorm2d(32), conv(32, 48, 2), nn.BatchNorm2d(48), conv(48, 48),
        nn.Conv2d(48, 3, 1), nn.Upsample(scale_factor=4, mode="bilinear", align_corners=False),
    )  # fmt: skip

    def iou(out: Tensor, y: Tensor) -> float:
        found = out.argmax(1)
        return (
            sum(float(((found == c) & (y == c)).sum() / ((found == c) | (y == c)).sum().clamp(min=1)) for c in range(3))
            / 3
        )

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    poly = torch.optim.lr_scheduler.PolynomialLR(optimizer, 7, 0.9)
    split = signs("masks", count=480)
    return fit(harness, model, optimizer, nn.CrossEntropyLoss(), split, epochs=7, size=16, score=iou, metric="iou",
               scheduler=poly)  # fmt: skip


@cases.recipe("detector", 0.5)
def a_grid_of_cells(harness: Harness, seed: int) -> float:
    """A YOLO of 5 x 5 cells: objectness everywhere (with weight 0.5 where empty), a box in one cell. IoU over 0.5."""
    x, boxes, vx, vboxes = signs("boxes", count=640)
    model = nn.Sequential(
        conv(3, 16), nn.BatchNorm2d(16), conv(16, 32, 2), nn.BatchNorm2d(32), conv(32, 48, 2), nn.BatchNorm2d(48),
        conv(48, 48), nn.Conv2d(48, 5, 1),
    )  # fmt: skip

    def loss_fn(out: Tensor, box: Tensor) -> Tensor:
        middle, side = (box[:, :2] + box[:, 2:]) / 2, box[:, 2:] - box[:, :2]
        cell = (middle / 4).long().clamp(0, 4)
        n = torch.arange(len(out))
        here = out[n, :, cell[:, 1], cell[:, 0]]
        place = F.mse_loss(here[:, :2].sigmoid(), middle / 4 - cell) + F.mse_loss(here[:, 2:4], (side / 8).log())
        truth = torch.zeros_like(out[:, 4])
        truth[n, cell[:, 1], cell[:, 0]] = 1
        weight = 0.5 + 0.5 * truth
        return 5 * place + F.binary_cross_entropy_with_logits(out[:, 4], truth, weight)

    def right(out: Tensor, box: Tensor) -> float:
        best = out[:, 4].flatten(1).argmax(1)
        here = out.flatten(2)[torch.arange(len(out)), :, best]
        middle = (here[:, :2].sigmoid() + torch.stack([best % 5, best // 5], 1)) * 4
        half = here[:, 2:4].exp() * 4
        found = torch.cat([middle - half, middle + half], 1)
        inter = (torch.minimum(found[:, 2:], box[:, 2:]) - torch.maximum(found[:, :2], box[:, :2])).clamp(min=0).prod(1)
        both = (found[:, 2:] - found[:, :2]).prod(1) + (box[:, 2:] - box[:, :2]).prod(1)
        return float((inter / (both - inter) > 0.5).float().mean())

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, loss_fn, (x, boxes, vx, vboxes), epochs=6, score=right, metric="ap50")


@cases.recipe("detector", 0.55)
def distances_from_every_place(harness: Harness, seed: int) -> float:
    """FCOS-like: inside the box each place tells exp distances to four sides and a focal score. IoU over 0.5."""
    x, boxes, vx, vboxes = signs("boxes", count=560)
    model = nn.Sequential(conv(3, 24), conv(24, 32, 2), conv(32, 48), conv(48, 48), nn.Conv2d(48, 5, 3, padding=1))
    nn.init.constant_(model[-1].bias, 0.0)  # type: ignore[arg-type]
    model[-1].bias.data[4] = -2.0
    spots = torch.arange(10) * 2 + 1.0
    col, row = spots[None, None, :], spots[None, :, None]

    def loss_fn(out: Tensor, box: Tensor) -> Tensor:
        a, b, c, d = (v[:, None, None] for v in box.unbind(1))
        sides = torch.stack([(col - a).expand(-1, 10, 10), (row - b).expand(-1, 10, 10), (c - col).expand(-1, 10, 10),
                             (d - row).expand(-1, 10, 10)], 1)  # fmt: skip
        inside = sides.amin(1) > 0
        p, t = out[:, 4].sigmoid(), inside.float()
        focal = (p - t).abs() ** 2 * F.binary_cross_entropy_with_logits(out[:, 4], t, reduction="none")
        place = (out[:, :4] - (sides.clamp(min=0.5) / 4).log()).abs().mean(1)[inside]
        return focal.sum() / inside.sum() + place.mean()

    def right(out: Tensor, box: Tensor) -> float:
        best = out[:, 4].flatten(1).argmax(1)
        d = out[:, :4].flatten(2)[torch.arange(len(out)), :, best].exp() * 4
        cx, cy = spots[best % 10], spots[best // 10]
        found = torch.stack([cx - d[:, 0], cy - d[:, 1], cx + d[:, 2], cy + d[:, 3]], 1)
        inter = (torch.minimum(found[:, 2:], box[:, 2:]) - torch.maximum(found[:, :2], box[:, :2])).clamp(min=0).prod(1)
        both = (found[:, 2:] - found[:, :2]).prod(1) + (box[:, 2:] - box[:, :2]).prod(1)
        return float((inter / (both - inter) > 0.5).float().mean())

    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, loss_fn, (x, boxes, vx, vboxes), epochs=6, score=right, metric="ap50")


@cases.recipe("cnn", 0.5)
def middle_in_pixels(harness: Harness, seed: int) -> float:
    """Two numbers of 5 to 15, raw pixels of the place, by a network with coordinates as two further channels."""
    where = torch.stack(torch.meshgrid(torch.linspace(-1, 1, 20), torch.linspace(-1, 1, 20), indexing="xy"))

    def with_places(x: Tensor) -> Tensor:
        return torch.cat([x, where.expand(len(x), -1, -1, -1)], 1)

    x, y, vx, vy = signs("middles", count=500)
    model = nn.Sequential(conv(5, 16, 2), conv(16, 32, 2), conv(32, 32), nn.Flatten(), nn.Linear(800, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return fit(
        harness, model, optimizer, nn.SmoothL1Loss(), (with_places(x), y, with_places(vx), vy), epochs=10,
        score=explained, metric=None,
    )  # fmt: skip


@cases.recipe("dncnn", 0.5)
def noise_of_a_photograph(harness: Harness, seed: int) -> float:
    """A residual denoiser of real pictures, new noise in each batch; the score is the share of noise removed."""
    x = photographs()
    model = nn.Sequential(conv(3, 24), conv(24, 24), conv(24, 24), nn.Conv2d(24, 3, 3, padding=1))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    clean, held = x[:420], x[420:]
    noisy = held + 0.2 * torch.randn_like(held)

    def compute(i: int) -> dict[str, Tensor]:
        a = clean[rows(clean, 16)]
        noise = 0.2 * torch.randn_like(a)
        out = model(a + noise)
        return {"loss": F.mse_loss(out, noise), "inputs": a + noise, "targets": noise, "outputs": out}

    iterate(harness, model, optimizer, compute, 90)
    with torch.no_grad():
        return float(1 - (noisy - model(noisy) - held).square().mean() / 0.04)


@cases.recipe("unet", 0.3)
def noise_to_noise(harness: Harness, seed: int) -> float:
    """Both inputs and targets are noisy, so the loss has a high floor; the score against the clean picture is good."""
    x = photographs()
    noise = torch.Generator().manual_seed(3)
    one, two = (x + 0.15 * torch.randn(x.shape, generator=noise) for _ in range(2))
    model = nn.Sequential(conv(3, 24), conv(24, 32), conv(32, 24), nn.Conv2d(24, 3, 3, padding=1))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    fit(harness, model, optimizer, nn.MSELoss(), halves(one, two), epochs=4, size=16, score=explained, metric=None)
    with torch.no_grad():
        return float(1 - (model(one[400:]) - x[400:]).square().mean() / 0.0225)


@cases.recipe("cnn", 0.25)
def colour_from_grey(harness: Harness, seed: int) -> float:
    """Two colour differences from brightness, in -1..1 but mostly near 0; explained share of their variance."""
    x = photographs()
    grey = x.mean(1, keepdim=True)
    colour = torch.cat([x[:, :1] - grey, x[:, 2:] - grey], 1)
    model = nn.Sequential(conv(1, 24), nn.BatchNorm2d(24), conv(24, 32, 2), conv(32, 32), nn.Upsample(scale_factor=2),
                          nn.Conv2d(32, 2, 3, padding=1), nn.Tanh())  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(harness, model, optimizer, nn.MSELoss(), halves(grey, colour), epochs=5, size=16, score=explained,
               metric=None)  # fmt: skip


@cases.recipe("cnn", 0.35)
def shift_between_two_frames(harness: Harness, seed: int) -> float:
    """Flow: a piece of a picture is rolled by -2..2 pixels in x and y; two frames in, two numbers out."""
    x = photographs().mean(1, keepdim=True)
    x = (x - x.mean()) / x.std()

    def pair(a: Tensor) -> tuple[Tensor, Tensor]:
        moves = torch.randint(-2, 3, (len(a), 2))
        moved = torch.stack([p.roll((int(i), int(j)), (1, 2)) for p, (j, i) in zip(a, moves, strict=True)])
        return torch.cat([a, moved], 1), moves.float()

    model = nn.Sequential(conv(2, 24), nn.MaxPool2d(2), conv(24, 32), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 64),
                          nn.ReLU(), nn.Linear(64, 2))  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def compute(i: int) -> dict[str, Tensor]:
        inputs, targets = pair(x[:420][rows(x[:420], 32)])
        out = model(inputs)
        return {"loss": (out - targets).norm(dim=1).mean(), "inputs": inputs, "targets": targets, "outputs": out}

    iterate(harness, model, optimizer, compute, 250)
    inputs, targets = pair(x[420:])
    return explained(model(inputs), targets)
