"""Answers for places of a picture: masks, boxes, lanes, repaired pixels, by a seventh author, without any threshold.

See `healthy_seventh.py`.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_seventh import glyphs, iterate, pick, study
from benchmarks.chart.second import SecondCases, Split, cut, explained
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("seventh")


@cache
def _farms(count: int, size: int) -> tuple[np.ndarray, ...]:
    draw = np.random.default_rng(711)
    rows, cols = np.mgrid[:size, :size]
    images, masks, ids = [], [], []
    for _ in range(count):
        image = np.full((3, size, size), 0.35) + draw.normal(0, 0.05, (3, size, size))
        mask, owner = np.zeros((size, size), np.int64), np.zeros((size, size), np.int64)
        for n in range(draw.integers(2, 5)):
            r, c, h, w = draw.integers(3, size - 3), draw.integers(3, size - 3), *draw.integers(2, 5, 2)
            kind = int(draw.integers(2))
            inside = (abs(rows - r) <= h) & (abs(cols - c) <= w)
            if kind:
                inside = ((rows - r) / (h + 0.5)) ** 2 + ((cols - c) / (w + 0.5)) ** 2 <= 1
            colour = np.array([[0.8, 0.6, 0.2], [0.2, 0.5, 0.9]])[kind] + draw.normal(0, 0.08, 3)
            image[:, inside] = colour[:, None] + draw.normal(0, 0.05, (3, int(inside.sum())))
            mask[inside], owner[inside] = kind + 1, n + 1
        images.append(image)
        masks.append(mask)
        ids.append(owner)
    return np.stack(images), np.stack(masks), np.stack(ids)


def farms(count: int = 400, size: int = 20, owners: bool = False) -> Split:
    """Pictures of fields and ponds with masks of 0..2, or with the number of the object at each pixel."""
    images, masks, ids = _farms(count, size)
    return cut((images - 0.4) / 0.2, ids if owners else masks)


def iou(outputs: Tensor, targets: Tensor) -> float:
    """Mean overlap of the classes."""
    found, each = outputs.argmax(1), []
    for k in range(outputs.shape[1]):
        both, any_of = ((found == k) & (targets == k)).sum(), ((found == k) | (targets == k)).sum()
        each.append(float(both / any_of.clamp(min=1)))
    return sum(each) / len(each)


def layer(a: int, b: int, **more: Any) -> nn.Sequential:
    """Convolution, norm, ReLU."""
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False, **more), nn.BatchNorm2d(b), nn.ReLU())


@cases.recipe("segmentation", 0.7)
def transformer_and_a_linear_decoder(harness: Harness, seed: int) -> float:
    """Patches of 2 by 2, two transformer layers, a linear layer to coarse logits that are enlarged bilinearly."""

    class Segmenter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch = nn.Conv2d(3, 48, 2, 2)
            self.place = nn.Parameter(torch.randn(1, 100, 48) * 0.02)
            block = nn.TransformerEncoderLayer(48, 4, 96, 0.0, "gelu", batch_first=True, norm_first=True)
            self.body = nn.TransformerEncoder(block, 2, nn.LayerNorm(48), enable_nested_tensor=False)
            self.head = nn.Linear(48, 3)

        def forward(self, x: Tensor) -> Tensor:
            z = self.body(self.patch(x).flatten(2).transpose(1, 2) + self.place)
            z = self.head(z).transpose(1, 2).view(-1, 3, 10, 10)
            return F.interpolate(z, scale_factor=2, mode="bilinear", align_corners=False)

    net = Segmenter()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    return study(
        harness, net, optimizer, nn.CrossEntropyLoss(), farms(), epochs=6, size=16, score=iou, name="iou", clip=1.0
    )


@cases.recipe("segmentation", 0.7)
def tiles_are_cut_from_large_maps(harness: Harness, seed: int) -> float:
    """Random crops of 12 pixels of maps of 20 with flips; the validation reads whole maps; LinkNet-like additions."""

    class Link(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.down, self.deep = layer(3, 16), layer(16, 32, stride=2), layer(32, 48, stride=2)
            self.up2 = nn.ConvTranspose2d(48, 32, 2, 2)
            self.up1 = nn.ConvTranspose2d(32, 16, 2, 2)
            self.out = nn.Conv2d(16, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            a = self.stem(x)
            b = self.down(a)
            c = F.relu(self.up2(self.deep(b))) + b
            return self.out(F.relu(self.up1(c)) + a)

    x, y, vx, vy = farms()
    net = Link()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    poly = torch.optim.lr_scheduler.PolynomialLR(optimizer, 150, power=0.9)
    harness.begin(net, optimizer, loss_fn=F.cross_entropy)
    for i in range(150):
        net.train()
        r, c = torch.randint(0, 9, (2,)).tolist()
        a, b = pick(16, x[:, :, r : r + 12, c : c + 12], y[:, r : r + 12, c : c + 12])
        if torch.rand(()) < 0.5:
            a, b = a.flip(3), b.flip(2)
        out = net(a)
        loss = F.cross_entropy(out, b)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        poly.step()
        harness.step(loss=loss, inputs=a, targets=b, outputs=out)
        if i % 50 == 49:
            net.eval()
            with torch.no_grad():
                harness.epoch(train={"loss": loss.item()}, val={"loss": F.cross_entropy(net(vx), vy).item()})
    return iou(net.eval()(vx), vy)


@cases.recipe("segmentation", 0.5)
def pixels_of_one_object_attract(harness: Harness, seed: int) -> float:
    """Instances by a discriminative loss: pull pixels to their object's mean, push means apart, keep them small.

    Scored by how much nearer a pixel is to its own object's mean than to the next.
    """
    x, ids, vx, vids = farms(owners=True)
    net = nn.Sequential(layer(5, 24), layer(24, 32), layer(32, 32), nn.Conv2d(32, 4, 1))
    line = torch.linspace(-1, 1, 20)
    grid = torch.stack(torch.meshgrid(line, line, indexing="ij"))[None]
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)

    def means(z: Tensor, who: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hot = F.one_hot(who.flatten(1), 5)[..., 1:].float()
        count = hot.sum(1)
        mu = torch.einsum("bpk,bcp->bkc", hot, z.flatten(2)) / count.clamp(min=1)[..., None]
        return hot, count, mu

    def embed(a: Tensor) -> Tensor:
        return net(torch.cat([a, grid.expand(len(a), -1, -1, -1)], 1))

    def compute(i: int) -> Any:
        a, who = pick(12, x, ids)
        z = embed(a)
        hot, count, mu = means(z, who)
        gap = (z.flatten(2).transpose(1, 2)[:, :, None] - mu[:, None]).norm(dim=3)
        pull = ((gap - 0.5).relu().square() * hot).sum(1) / count.clamp(min=1)
        there = (count > 0).float()
        both = there[:, :, None] * there[:, None] * (1 - torch.eye(4))
        push = (3.0 - (mu[:, :, None] - mu[:, None] + 1e-6).norm(dim=3)).relu().square()
        loss = (pull * there).sum() / there.sum() + (push * both).sum() / both.sum().clamp(min=1)
        return {"loss": loss + 1e-3 * (mu.norm(dim=2) * there).mean(), "inputs": a, "outputs": z}

    iterate(harness, net, optimizer, compute, 160)
    with torch.no_grad():
        z = embed(vx)
        _, count, mu = means(z, vids)
        gap = (z.flatten(2).transpose(1, 2)[:, :, None] - mu[:, None]).norm(dim=3)
        gap = gap + 99.0 * (count == 0)[:, None]
        right = gap.argmin(2) == vids.flatten(1) - 1
        return float(right[vids.flatten(1) > 0].float().mean())


@cache
def _bars(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(712)
    turn, long, wide = draw.uniform(0, np.pi, count), draw.uniform(5, 8, count), draw.uniform(1.5, 3, count)
    middle = draw.uniform(7, size - 7, (count, 2))
    rows, cols = np.mgrid[:size, :size]
    dx, dy = cols - middle[:, :1, None], rows - middle[:, 1:, None]
    c, s = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
    u, v = c * dx + s * dy, c * dy - s * dx
    inside = (abs(u) < long[:, None, None]) & (abs(v) < wide[:, None, None])
    image = 0.3 + 0.5 * inside + draw.normal(0, 0.07, inside.shape)
    box = np.concatenate([middle / size, np.stack([long, wide], 1) / 10], 1)
    angle = np.stack([np.cos(2 * turn), np.sin(2 * turn)], 1)
    return (image[:, None] - 0.4) / 0.2, np.concatenate([box, angle], 1)


@cases.recipe("detection", 0.8)
def boxes_that_are_turned(harness: Harness, seed: int) -> float:
    """A rotated box: middle and sides by smooth L1, twice the angle as a unit vector, three terms with weights."""
    x, y, vx, vy = cut(*_bars(700, 20))
    net = nn.Sequential(
        layer(1, 16), nn.MaxPool2d(2), layer(16, 32), nn.MaxPool2d(2), layer(32, 32), nn.Flatten(),
        nn.Linear(800, 64), nn.ReLU(), nn.Linear(64, 6),
    )  # fmt: skip

    def criterion(out: Tensor, goal: Tensor) -> Tensor:
        middle, side = F.smooth_l1_loss(out[:, :2], goal[:, :2], beta=0.1), F.l1_loss(out[:, 2:4], goal[:, 2:4])
        angle = 1 - (F.normalize(out[:, 4:], dim=1) * goal[:, 4:]).sum(1).mean()
        return 2 * middle + side + angle

    def score(out: Tensor, goal: Tensor) -> float:
        return float((F.normalize(out[:, 4:], dim=1) * goal[:, 4:]).sum(1).mean())

    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    return study(harness, net, optimizer, criterion, (x, y, vx, vy), epochs=8, score=score, name=None)


@cases.recipe("lanes", 0.8)
def lanes_by_the_column_of_each_row(harness: Harness, seed: int) -> float:
    """A lane on a road: for each of eight rows, a choice among ten columns and an eleventh for nothing there."""
    draw = np.random.default_rng(713)
    n, size = 1200, 20
    rows = np.arange(size)
    bend, at, lean = draw.uniform(-0.02, 0.02, (n, 1)), draw.uniform(4, 16, (n, 1)), draw.uniform(-0.4, 0.4, (n, 1))
    place = at + lean * (rows - 10) + bend * (rows - 10) ** 2
    until = draw.integers(0, 8, (n, 1))
    gone = (rows < until) | (place < 0) | (place >= size)
    image = 0.3 + draw.normal(0, 0.08, (n, size, size))
    line = np.exp(-((np.arange(size) - place[..., None]) ** 2) / 1.2) * ~gone[..., None]
    anchor = np.arange(2, 18, 2)
    goal = np.where(gone, 10, (place // 2).clip(0, 9)).astype(np.int64)[:, anchor]
    split = cut((image + 0.5 * line)[:, None] - 0.35, goal)
    net = nn.Sequential(
        layer(1, 16), layer(16, 24, stride=2), layer(24, 32, stride=2), nn.Conv2d(32, 8, 1), nn.Flatten(),
        nn.Linear(200, 128), nn.ReLU(), nn.Linear(128, 88), nn.Unflatten(1, (11, 8)),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    return study(harness, net, optimizer, nn.CrossEntropyLoss(), split, epochs=8, scheduler=cosine)


@cases.recipe("regression", 0.6)
def corners_of_a_tilted_page(harness: Harness, seed: int) -> float:
    """Homography by four points: two stacked pictures, the second is warped; eight offsets are regressed."""
    x, _, vx, _ = glyphs(1200)
    line = torch.linspace(-1, 1, 12)
    u, v = (line + 1) / 2, (line[:, None] + 1) / 2
    weights = torch.stack([(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v], -1)
    base = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)

    def tilted(a: Tensor) -> tuple[Tensor, Tensor]:
        off = (torch.rand(len(a), 4, 2) * 2 - 1) * 0.3
        warped = F.grid_sample(a, base + torch.einsum("hwk,nkc->nhwc", weights, off), align_corners=True)
        return torch.cat([a, warped], 1) - 0.15, off.flatten(1) / 0.17

    net = nn.Sequential(
        layer(2, 24), nn.MaxPool2d(2), layer(24, 32), layer(32, 48), nn.Flatten(), nn.Linear(1728, 96), nn.ReLU(),
        nn.Linear(96, 8),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)

    def compute(i: int) -> Any:
        a, b = tilted(pick(32, x)[0])
        out = net(a)
        return {"loss": F.mse_loss(out, b), "inputs": a, "targets": b, "outputs": out}

    iterate(harness, net, optimizer, compute, 400, scheduler=cosine)
    a, b = tilted(vx)
    return explained(net.eval()(a).detach(), b)


@cases.recipe("restoration", 0.6)
def blur_is_undone_with_structure(harness: Harness, seed: int) -> float:
    """Deblurring: a net that adds to its input, L1 and one minus SSIM; scored by the error that it takes away."""
    x, _, vx, _ = glyphs()
    kernel = torch.tensor([1.0, 3, 4, 3, 1]) / 12
    kernel = (kernel[:, None] * kernel)[None, None]
    soft, vsoft = (F.conv2d(a, kernel, padding=2) + 0.01 * torch.randn_like(a) for a in (x, vx))

    class Adds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(),
                nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 1, 3, padding=1),
            )  # fmt: skip

        def forward(self, x: Tensor) -> Tensor:
            return x + self.body(x)

    def ssim(a: Tensor, b: Tensor) -> Tensor:
        ma, mb = F.avg_pool2d(a, 5, 1), F.avg_pool2d(b, 5, 1)
        va, vb = F.avg_pool2d(a * a, 5, 1) - ma * ma, F.avg_pool2d(b * b, 5, 1) - mb * mb
        both = F.avg_pool2d(a * b, 5, 1) - ma * mb
        return ((2 * ma * mb + 1e-2) * (2 * both + 3e-2) / ((ma**2 + mb**2 + 1e-2) * (va + vb + 3e-2))).mean()

    net = Adds()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    before = float(F.mse_loss(vsoft, vx))
    return study(
        harness, net, optimizer, lambda o, t: F.l1_loss(o, t) + 0.3 * (1 - ssim(o, t)), (soft, x, vsoft, vx),
        epochs=5, size=32, score=lambda o, t: 1 - float(F.mse_loss(o, t)) / before, name=None,
    )  # fmt: skip


@cases.recipe("restoration", 0.4)
def blind_spots_in_noisy_pictures(harness: Harness, seed: int) -> float:
    """Noise2Void: some pixels are replaced by a neighbour, the loss asks for the noisy value at those pixels only."""
    x, _, vx, _ = glyphs()
    noisy, vnoisy = x + 0.25 * torch.randn_like(x), vx + 0.25 * torch.randn_like(vx)
    net = nn.Sequential(layer(1, 32), layer(32, 32), layer(32, 32), nn.Conv2d(32, 1, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)

    def compute(i: int) -> Any:
        (a,) = pick(32, noisy)
        hidden = torch.rand_like(a) < 0.06
        dy, dx = [(0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, 1)][i % 6]
        out = net(torch.where(hidden, a.roll((dy, dx), (2, 3)), a))
        return {"loss": (out - a)[hidden].square().mean(), "inputs": a, "outputs": out}

    iterate(harness, net, optimizer, compute, 250)
    out = net.eval()(vnoisy).detach()
    return 1 - float(F.mse_loss(out, vx) / F.mse_loss(vnoisy, vx))


@cases.recipe("picture", 0.5)
def one_picture_is_its_own_prior(harness: Harness, seed: int) -> float:
    """Deep image prior: fixed noise goes through an hourglass to one noisy picture, stopped early; a mean of outputs.

    Scored by the error that it takes away from the noisy picture.
    """
    line = torch.linspace(-1, 1, 32)
    yy, xx = torch.meshgrid(line, line, indexing="ij")
    clean = 0.5 + 0.3 * (4 * xx + 2 * yy).sin() * (yy * 3).cos() + 0.25 * ((xx - 0.2) ** 2 + yy**2 < 0.2).float()
    clean = clean.view(1, 1, 32, 32)
    noisy = clean + 0.2 * torch.randn_like(clean)
    net = nn.Sequential(
        layer(8, 24, stride=2), layer(24, 32, stride=2), layer(32, 32), nn.Upsample(scale_factor=2, mode="bilinear"),
        layer(32, 24), nn.Upsample(scale_factor=2, mode="bilinear"), layer(24, 16), nn.Conv2d(16, 1, 1),
    )  # fmt: skip
    z = torch.rand(1, 8, 32, 32) * 0.1
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    harness.begin(net, optimizer)
    mean = None
    for _ in range(250):
        optimizer.zero_grad()
        out = net(z + 0.01 * torch.randn_like(z))
        loss = F.mse_loss(out, noisy)
        loss.backward()
        optimizer.step()
        mean = out.detach() if mean is None else 0.95 * mean + 0.05 * out.detach()
        harness.step(loss=loss.item(), outputs=out)
    return 1 - float(F.mse_loss(mean, clean) / F.mse_loss(noisy, clean))


@cases.recipe("picture", 0.7)
def texture_by_gram_matrices(harness: Harness, seed: int) -> float:
    """The pixels of one picture are the parameters: Gram matrices of a frozen net's features are matched, by Adam.

    Scored by the share of the distance between Gram matrices that is gone.
    """
    line = torch.arange(24.0)
    goal = ((line[:, None] * 0.9).sin() * (line * 0.5 + line[:, None] * 0.3).cos()).view(1, 1, 24, 24)
    first, second = nn.Conv2d(1, 16, 5, padding=2), nn.Conv2d(16, 24, 3, padding=1)
    frozen = nn.ModuleList([first, second]).eval().requires_grad_(False)

    def grams(image: Tensor) -> list[Tensor]:
        a = F.relu(frozen[0](image))
        b = F.relu(frozen[1](F.avg_pool2d(a, 2)))
        return [f.flatten(2) @ f.flatten(2).transpose(1, 2) / f[0, 0].numel() for f in (a, b)]

    wanted = [g.detach() for g in grams(goal)]
    canvas = nn.ParameterList([nn.Parameter(0.1 * torch.randn(1, 1, 24, 24))])
    optimizer = torch.optim.Adam(canvas.parameters(), lr=0.05)

    def style() -> Tensor:
        return sum(100 * (g - w).square().mean() for g, w in zip(grams(canvas[0]), wanted, strict=True))

    start = float(style().detach())
    iterate(harness, canvas, optimizer, lambda i: style() + 1e-4 * canvas[0].diff(dim=3).abs().mean(), 150)
    return 1 - float(style().detach()) / start
