"""Faulty loops by a tenth author, who had not read the rules, each with a sound twin: images, masks and boxes.

See `second.py`. Whoever changes a rule must not look at what it says here before the change is final.
"""

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_tenth import rounds, usual
from benchmarks.chart.second import SecondCases, accuracy, convs, cut, dense, digits, draws, fit, signs
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("tenth")


def adam(model: nn.Module, lr: float = 3e-3) -> torch.optim.Adam:
    """Adam over the whole model."""
    return torch.optim.Adam(model.parameters(), lr=lr)


@cases.pair("cnn", 0.85, accepts=["labels-carry-no-information", "noisy-labels"])
def colour_jitter_on_colours(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The class is the lamp's colour, and the augmentation turns the hue at will: the label is true of no picture."""
    draw = torch.Generator().manual_seed(71)
    y = torch.randint(0, 3, (600,), generator=draw)
    x = 0.2 + 0.1 * torch.randn(600, 3, 12, 12, generator=draw)
    for i, k in enumerate(y.tolist()):
        r, c = torch.randint(0, 8, (2,), generator=draw).tolist()
        x[i, k, r : r + 4, c : c + 4] += 0.6

    def jitter(a: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        bright = a * (0.8 + 0.4 * torch.rand(len(a), 1, 1, 1))
        if not wrong:
            return bright, t
        return torch.stack([image[torch.randperm(3)] for image in bright]), t

    model = convs(3, 3, 8)
    return fit(harness, model, adam(model), F.cross_entropy, cut(x, y), epochs=6, before=jitter)


@cases.pair("mlp", 0.8, accepts=["unsigned-wraparound", "train-val-inputs-differ"])
def brightness_wraps_around(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Brightness is added to uint8 pixels, which wrap round at 256: bright strokes become black ones."""
    x, y, vx, vy = digits("raw", image=False)
    x, vx = (x * 15).to(torch.uint8), vx * 15 / 255

    def brighten(a: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        more = torch.randint(40, 200, (len(a), 1), dtype=torch.uint8)
        lit = a + more if wrong else (a.int() + more.int()).clamp(max=255)
        return lit.float() / 255, t

    model = dense(64, 64, 10)
    return fit(harness, model, adam(model), F.cross_entropy, (x, y, vx, vy), epochs=10, before=brighten)


@cases.pair("cnn", 0.85, accepts=["input-normalized-twice", "input-scale-off"])
def divided_by_255_twice(harness: Harness, seed: int, wrong: bool) -> float | None:
    """ToTensor has divided the pixels by 255 already, the data set does it again: every input is nearly 0."""
    x, y, vx, vy = digits("unit")
    scale = 255.0 if wrong else 1.0
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(192, 48), nn.ReLU(),
        nn.Linear(48, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return fit(harness, model, optimizer, F.cross_entropy, (x / scale, y, vx / scale, vy), epochs=5)


@cases.pair("mlp", 0.85, accepts=["input-scale-off"])
def statistics_of_imagenet_on_bytes(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Mean 0.45 and deviation 0.225 are for pixels of 0..1, but these run from 0 to 255: inputs of up to 1100."""
    x, y, vx, vy = digits("raw", image=False)
    top = 1.0 if wrong else 255.0
    x, vx = ((a * 255 / 16 / top - 0.45) / 0.225 for a in (x, vx))
    model = dense(64, 64, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return fit(harness, model, optimizer, F.cross_entropy, (x, y, vx, vy), epochs=6)


@cases.pair("cnn", 0.82, accepts=["no-such-rule"])
def augmented_validation(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Validation uses the training set's transform and measures pictures that are blotted and noisy."""

    def rough(a: Tensor) -> Tensor:
        a = a.clone()
        for image in a:
            r, c = torch.randint(0, 5, (2,)).tolist()
            image[:, r : r + 4, c : c + 4] = 0
        return a + 0.25 * torch.randn_like(a)

    x, y, vx, vy = digits("unit")
    model = convs()
    optimizer = adam(model)
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    value = 0.0
    for _ in range(8):
        model.train()
        for inputs, targets in draws(x, y):
            shown = rough(inputs)
            optimizer.zero_grad()
            out = model(shown)
            loss = F.cross_entropy(out, targets)
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=shown, targets=targets, outputs=out)
        model.eval()
        with torch.no_grad():
            out = model(rough(vx) if wrong else vx)
        value = accuracy(out, vy)
        harness.epoch(val={"loss": float(F.cross_entropy(out, vy)), "accuracy": value})
    return value


@cases.pair("mlp", 0.85, accepts=["input-normalized-twice", "train-val-inputs-differ"])
def normalised_again_each_epoch(harness: Harness, seed: int, wrong: bool) -> float | None:
    """`x.sub_(mean).div_(std)` stands in the epoch loop: each epoch normalises what is normalised already."""
    x, y, vx, vy = digits("raw", image=False)
    model = dense(64, 48, 10)
    optimizer = adam(model, 1e-3)

    def start(epoch: int) -> None:
        if wrong or epoch == 0:
            x.sub_(4.88).div_(6.02)

    split = x, y, (vx - 4.88) / 6.02, vy
    return rounds(harness, model, optimizer, split, usual(model, optimizer), epochs=8, start=start)


def scenes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 40, 40) of a disc of class 1, a square of class 2 and thin lines of class 3, and their masks."""
    draw = torch.Generator().manual_seed(seed)
    rows, cols = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    masks = torch.zeros(count, 40, 40, dtype=torch.long)
    for mask in masks:
        r, c, u, v, line = torch.randint(7, 33, (5,), generator=draw).tolist()
        mask[(rows - r) ** 2 + (cols - c) ** 2 <= 36] = 1
        mask[(abs(rows - u) <= 5) & (abs(cols - v) <= 5)] = 2
        mask[line : line + 2] = 3
        mask[:, 38 - line : 40 - line] = 3
    paint = torch.tensor([[0.2, 0.2, 0.2], [0.8, 0.3, 0.3], [0.3, 0.8, 0.3], [0.3, 0.3, 0.9]])
    return paint[masks].permute(0, 3, 1, 2) + 0.05 * torch.randn(count, 3, 40, 40, generator=draw), masks


@cases.pair("masks", 0.7, accepts=["noisy-labels"])
def masks_resized_bilinearly(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Masks are made smaller like the images, by bilinear means: between classes 0 and 3 lies a class that is not."""
    images, masks = scenes(260, 72)
    x = F.interpolate(images, size=20, mode="bilinear")
    nearest = masks[:, ::2, ::2]
    blurred = F.interpolate(masks[:, None].float(), size=20, mode="bilinear")[:, 0].long()
    y = blurred if wrong else nearest
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 1)
    )

    def thin(out: Tensor, t: Tensor) -> float:
        said = out.argmax(1) == 3
        return float((said & (t == 3)).sum() / (said | (t == 3)).sum())

    split = x[:200], y[:200], x[200:], nearest[200:]
    return fit(harness, model, adam(model, 5e-3), F.cross_entropy, split, epochs=8, size=16, score=thin)


def overlap(out: Tensor, t: Tensor) -> float:
    """Mean intersection over union of corner boxes, row by row."""
    low, high = torch.maximum(out[:, :2], t[:, :2]), torch.minimum(out[:, 2:], t[:, 2:])
    both = (high - low).clamp(min=0).prod(1)
    areas = ((a[:, 2:] - a[:, :2]).clamp(min=0).prod(1) for a in (out, t))
    return float((both / (sum(areas) - both).clamp(min=1e-6)).mean())


def finder() -> nn.Sequential:
    """Convolutions and four numbers."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 48), nn.ReLU(), nn.Linear(48, 4),
    )  # fmt: skip


@cases.pair("boxes", 0.45, accepts=["target-boxes-not-resized", "boxes-off-objects"])
def boxes_of_the_larger_image(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Training images are resized from 40 to 20 pixels, their boxes are left in the old pixels."""
    x, y, vx, vy = signs(what="boxes")
    wide = F.interpolate(x, scale_factor=2.0)
    x, y = F.interpolate(wide, size=20), y * 2
    split = x, (y if wrong else y / 2) / 20, vx, vy / 20
    model = finder()
    return fit(harness, model, adam(model), F.smooth_l1_loss, split, epochs=14, score=overlap, metric="iou")


@cases.pair("boxes", 0.45, accepts=["target-boxes-as-sides"])
def width_and_height_as_corner(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The annotations are (x, y, width, height), the overlap takes them for two corners: it stays near 0."""
    x, y, vx, vy = signs(what="boxes")

    def stored(boxes: Tensor) -> Tensor:
        return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1) / 20

    split = x, stored(y) if wrong else y / 20, vx, vy / 20
    model = finder()
    return fit(harness, model, adam(model), F.smooth_l1_loss, split, epochs=14, score=overlap, metric="iou")


@cases.pair("cnn", 0.85, accepts=["no-such-rule"])
def ripeness_scaled_away(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Each image is scaled by its own mean and deviation, but its brightness is what tells the three classes apart."""
    draw = torch.Generator().manual_seed(73)
    y = torch.randint(0, 3, (600,), generator=draw)
    x = (0.3 + 0.15 * y)[:, None, None, None] * (1 + 0.15 * torch.randn(600, 1, 10, 10, generator=draw))
    mean, std = (x.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), keepdim=True)) if wrong else (x.mean(), x.std())
    model = convs(1, 3, 8)
    return fit(harness, model, adam(model), F.cross_entropy, cut((x - mean) / std, y), epochs=6)
