"""Faulty boxes, masks and rows of a second author, each with a sound twin.

See `benchmarks/chart/second.py`.
"""

import torch
from benchmarks.chart.case import Harness
from benchmarks.chart.healthy_second_boxes import boxes_right, overlap
from benchmarks.chart.healthy_second_maps import Hourglass, foreground_iou
from benchmarks.chart.second import (
    SecondCases,
    accuracy,
    binary_accuracy,
    cancer,
    dense,
    digits,
    draws,
    fit,
    signs,
)
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

cases = SecondCases("second")


class Localiser(nn.Module):
    """Class and box (corners, pixels) of one object per image."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32),
            nn.ReLU(), nn.Flatten(), nn.Linear(800, 64), nn.ReLU(),
        )  # fmt: skip
        self.kind, self.box = nn.Linear(64, 4), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """ "logits" (N, 1, 4) and "boxes" (N, 1, 4)."""
        h = self.body(x)
        middle, size = self.box(h).split(2, 1)
        middle, half = 10 + 5 * middle, 5 * F.softplus(size)
        return {"logits": self.kind(h)[:, None], "boxes": torch.cat([middle - half, middle + half], 1)[:, None]}


def locate(harness: Harness, boxes: Tensor, kinds: Tensor | None = None, flip: str = "") -> float:
    """Train with these boxes; `flip`: whether images ("image") or images and boxes ("both") are mirrored at random."""
    x, k, vx, _ = signs("kinds", 480)
    vb = signs("boxes", 480)[3]
    k = k if kinds is None else kinds
    model = Localiser()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    def loss_fn(out: dict[str, Tensor], targets: list[dict[str, Tensor]]) -> Tensor:
        box, label = torch.cat([t["boxes"] for t in targets]), torch.cat([t["labels"] for t in targets])
        found = out["boxes"][:, 0]
        return (
            F.cross_entropy(out["logits"][:, 0], label)
            + F.smooth_l1_loss(found, box)
            + 2 * (1 - overlap(found, box)).mean()
        )

    harness.begin(model, optimizer, loss_fn=loss_fn)
    for _ in range(9):
        model.train()
        for rows in torch.randperm(len(x)).split(24):
            inputs, box = x[rows] * 2 - 1, boxes[rows]
            if flip and torch.rand(()) < 0.5:
                inputs = inputs.flip(3)
                if flip == "both":
                    box = torch.stack([20 - box[:, 2], box[:, 1], 20 - box[:, 0], box[:, 3]], 1)
            targets = [{"boxes": b[None], "labels": t[None]} for b, t in zip(box, k[rows], strict=True)]
            out = model(inputs)
            loss = loss_fn(out, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
    model.eval()
    with torch.no_grad():
        return boxes_right(model(vx * 2 - 1)["boxes"][:, 0], vb)


def true_boxes() -> Tensor:
    """Corners in pixels of the training images' objects."""
    return signs("boxes", 480)[1]


@cases.pair("localiser", 0.5, accepts=["target-boxes-as-sides", "degenerate-target-boxes"], number=102)
def sides_read_as_corners(harness: Harness, seed: int, wrong: bool) -> float | None:
    """COCO's x, y, width, height are used as corners."""
    b = true_boxes()
    return locate(harness, torch.cat([b[:, :2], b[:, 2:] - b[:, :2]], 1) if wrong else b)


@cases.pair("localiser", 0.5, accepts=["target-boxes-in-other-units"], number=102)
def shares_where_pixels_are_due(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The boxes are shares of the image and the network answers in pixels."""
    b = true_boxes()
    return locate(harness, b / 20 if wrong else b)


@cases.pair("localiser", 0.5, accepts=["target-boxes-not-resized"], number=104)
def boxes_of_the_larger_image(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The images were made smaller by 2.5 and the boxes were not."""
    b = true_boxes()
    return locate(harness, b * 2.5 if wrong else b)


@cases.pair("localiser", 0.5, accepts=["boxes-not-augmented", "boxes-off-objects"], number=94)
def mirrored_images_only(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Half of the batches are mirrored and their boxes are not."""
    return locate(harness, true_boxes(), flip="image" if wrong else "both")


@cases.pair("localiser", 0.5, accepts=["boxes-off-objects", "labels-carry-no-information"], number=83)
def annotations_of_other_images(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The list of annotations is sorted otherwise than that of the images."""
    b = true_boxes()
    return locate(harness, b[torch.randperm(len(b))] if wrong else b)


@cases.pair("unet", 0.6, accepts=["boxes-not-augmented", "noisy-labels", "rows-under-two-labels"], number=94)
def masks_not_turned_along(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Images are turned by 90 degrees at random and their masks are not."""
    x, m, vx, vm = signs("masks", 320)
    split = x * 2 - 1, (m > 0).float()[:, None], vx * 2 - 1, (vm > 0).float()[:, None]

    def turn(a: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        k = int(torch.randint(0, 4, ()))
        return a.rot90(k, (2, 3)), t if wrong else t.rot90(k, (2, 3))

    model = Hourglass(3, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return fit(
        harness, model, optimizer, F.binary_cross_entropy_with_logits, split, before=turn, score=foreground_iou,
        metric="iou", size=16, epochs=5,
    )  # fmt: skip


@cases.pair("cancer", 0.9, accepts=["rows-under-two-labels", "noisy-labels"], number=None)
def merged_from_two_readers(harness: Harness, seed: int, wrong: bool) -> float | None:
    """Two files were merged, of which the second counts benign as 0: every other row stands there with both labels."""
    x, y, vx, vy = cancer()
    x, y = x[:300], y[:300].float()
    if wrong:
        x, y = torch.cat([x, x[::2]]), torch.cat([y, 1 - y[::2]])
    model = dense(30, 24, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    split = x, y[:, None], vx, vy.float()[:, None]
    return fit(harness, model, optimizer, F.binary_cross_entropy_with_logits, split, score=binary_accuracy, epochs=15)


@cases.pair("mlp", 0.8, accepts=["graph-grows"], number=34)
def losses_kept_with_their_graphs(harness: Harness, seed: int, wrong: bool) -> float | None:
    """The losses of an epoch are kept in a list for a plot, with their graphs."""
    x, y, vx, vy = digits("standard", image=False)
    model = dense(64, 64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    history: list[Tensor] = []
    harness.begin(model, optimizer, loss_fn=F.cross_entropy)
    for _ in range(5):
        for inputs, targets in draws(x, y):
            out = model(inputs)
            loss = F.cross_entropy(out, targets)
            optimizer.zero_grad()
            loss.backward(retain_graph=wrong)
            optimizer.step()
            history.append(loss if wrong else loss.detach())
            harness.step(loss=loss, inputs=inputs, targets=targets, outputs=out)
    with torch.no_grad():
        return accuracy(model(vx), vy)
