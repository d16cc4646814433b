"""YOLOv1, v2 and v3 against Darknet's layers worked out cell by cell, and its weight files written byte by byte."""

import itertools
import math
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torchvision.ops import box_iou

from snellen.models.detection import Detector, Target, builder, split_name, yolov1, yolov2, yolov3
from snellen.models.detection.darknet import Darknet, WeightsError, count, load_weights, save_weights

# One layer a word: "c32" convolution 3x3 of 32 filters, "n32" 1x1, "d32" 3x3 of stride 2, "o" 1x1 outputs without norm,
# "m" and "s" max-pooling of stride 2 and 1, "+" shortcut from three back, "u" upsample, "g" reorg, "r-4,8" route.
TINY = "c16 m c32 m c64 m c128 m c256 m c512 s c1024 n256 c512 o y r-4 n128 u r-1,8 c256 o y"
V2 = (
    "c32 m c64 m c128 n64 c128 m c256 n128 c256 m c512 n256 c512 n256 c512 m c1024 n512 c1024 n512 c1024 "
    "c1024 c1024 r-9 n64 g r-1,-4 c1024 o y"
)
V3 = "c32 d64 " + "".join(
    [
        "n32 c64 + d128 ",
        "n64 c128 + " * 2 + "d256 ",
        "n128 c256 + " * 8 + "d512 ",
        "n256 c512 + " * 8 + "d1024 ",
        "n512 c1024 + " * 4,
        "n512 c1024 " * 3 + "o y r-4 n256 u r-1,61 ",
        "n256 c512 " * 3 + "o y r-4 n128 u r-1,36 ",
        "n128 c256 " * 3 + "o y",
    ]
)


def run_cfg(cfg: str, x: Tensor, outputs: int, path: Path, header: bytes) -> list[Tensor]:
    """Draw the weights of a cfg, write them as Darknet does, and return what each [yolo] layer is given."""
    rng = np.random.default_rng(0)
    maps: list[Tensor] = []
    heads: list[Tensor] = []
    with path.open("wb") as file:
        file.write(header)

        def draw(shape: Sequence[int], low: float, high: float) -> Tensor:
            values = (rng.random(tuple(shape), np.float32) * (high - low) + low).astype("<f4")
            file.write(values.tobytes())
            return torch.from_numpy(values)

        for word in cfg.split():
            kind, rest = word[0], word[1:]
            if kind in "cndo":
                filters, kernel = int(rest) if rest else outputs, 3 if kind in "cd" else 1
                bias = draw([filters], -0.2, 0.2)
                if kind != "o":
                    scale, mean, variance = (draw([filters], *r) for r in ((0.5, 1.0), (-0.2, 0.2), (0.5, 1.5)))
                reach = math.sqrt(6 / (x.shape[1] * kernel**2))
                weight = draw([filters, x.shape[1], kernel, kernel], -reach, reach)
                x = F.conv2d(x, weight, stride=2 if kind == "d" else 1, padding=kernel // 2)
                if kind != "o":
                    x = (x - mean[:, None, None]) / (variance.sqrt() + 1e-6)[:, None, None] * scale[:, None, None]
                x = x + bias[:, None, None]
                if kind != "o":
                    x = torch.where(x > 0, x, 0.1 * x)
            elif kind == "m":
                x = F.max_pool2d(x, 2)
            elif kind == "s":
                x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-math.inf), 2, 1)
            elif kind == "+":
                x = x + maps[-3]
            elif kind == "u":
                x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            elif kind == "g":
                x = torch.from_numpy(darknet_reorg(x.numpy()))
            elif kind == "r":
                x = torch.cat([maps[int(i)] for i in rest.split(",")], 1)
            else:
                heads.append(maps[-1])
            maps.append(x)
    return heads


def darknet_reorg(x: NDArray[np.float32], stride: int = 2) -> NDArray[np.float32]:
    """The [reorg] layer by the indices of its loop: channel k is read at (k / in_c) of the enlarged map."""
    n, c, h, w = x.shape
    k, j, i = np.meshgrid(np.arange(c), np.arange(h), np.arange(w), indexing="ij")
    offset, channel = k // (c // stride**2), k % (c // stride**2)
    column, row = i * stride + offset % stride, j * stride + offset // stride
    taken = column + w * stride * (row + h * stride * channel)
    return x.reshape(n, -1)[:, taken.ravel()].reshape(n, c * stride**2, h // stride, w // stride)


def by_prior(heads: Sequence[Tensor], values: int) -> Tensor:
    """(N, A, values) of Darknet's maps, finest first: the entry e of prior k is channel k * values + e."""
    found = []
    for x in heads:
        _, channels, h, w = x.shape
        cells = [x[:, :, j, i] for j in range(h) for i in range(w)]
        found += [cell[:, k : k + values] for cell in cells for k in range(0, channels, values)]
    return torch.stack(found, 1)


FULL = [
    ("yolov3-tiny-darknet", TINY, 3, 8_858_734),
    pytest.param("yolov2-darknet19", V2, 5, 50_983_561, marks=pytest.mark.slow),
    pytest.param("yolov3-darknet53", V3, 3, 62_001_757, marks=pytest.mark.slow),
]


def create(name: str, num_classes: int, image_size: int, **options: Any) -> Detector:
    found = split_name(name)
    assert found is not None
    model = builder(found[0])(num_classes, image_size=image_size, backbone=found[1], **options)
    assert isinstance(model, Detector)
    return model


@torch.no_grad()
@pytest.mark.parametrize(("name", "cfg", "priors", "numbers"), FULL)
def test_network_is_the_cfg_layer_for_layer(name: str, cfg: str, priors: int, numbers: int, tmp_path: Path) -> None:
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    short = name == "yolov2-darknet19"
    header = struct.pack("<iiii", 0, 1, 0, 77) if short else struct.pack("<iiiq", 0, 2, 5, 2**33)
    path = tmp_path / "net.weights"
    heads = run_cfg(cfg, x, priors * 85, path, header)
    assert path.stat().st_size == len(header) + 4 * numbers
    model = create(name, 80, 64).eval()
    found = load_weights(model, path)
    assert (found.minor, found.seen) == ((1, 77) if short else (2, 2**33))
    wanted = by_prior(heads[::-1], 85)
    raw = model(x).raw
    assert raw.shape == wanted.shape
    assert float((raw - wanted).abs().max()) <= 1e-3 * float(wanted.abs().max())
    if not short:
        save_weights(model, tmp_path / "again.weights", seen=found.seen)
        written = (tmp_path / "again.weights").read_bytes()
        assert written[:20] == struct.pack("<iiiq", 0, 2, 0, 2**33)
        assert written[20:] == path.read_bytes()[20:]


@pytest.mark.parametrize(
    ("name", "numbers", "boxes"),
    [
        ("yolov2-darknet19", 50_983_561, 845),
        ("yolov3-darknet53", 62_001_757, 10_647),
        ("yolov3-tiny-darknet", 8_858_734, 2_535),
    ],
)
def test_published_sizes(name: str, numbers: int, boxes: int) -> None:
    with torch.device("meta"):
        model = create(name, 80, 416)
        assert count(model) == numbers
        assert model(torch.zeros(1, 3, 416, 416)).raw.shape == (1, boxes, 85)


def test_published_yolov1() -> None:
    with torch.device("meta"):
        model = create("yolov1-darknet24", 20, 448)
        out = model(torch.zeros(2, 3, 448, 448))
    assert sum(p.numel() for p in model.parameters()) == 271_703_550
    assert out.boxes.shape[1:4].numel() == 98
    assert out.boxes[0].numel() + out.classes[0].numel() == 7 * 7 * 30
    convolutions = [m for m in model.backbone.modules() if isinstance(m, torch.nn.Conv2d)]  # type: ignore[operator, union-attr]
    assert len(convolutions) == 24


def small() -> Darknet:
    torch.manual_seed(0)
    return Darknet("darknet", (4,))


HEADER = struct.pack("<iiiq", 0, 2, 5, 100)


def damaged(kind: str, good: bytes) -> bytes:
    values = bytearray(good)
    if kind == "nan":
        values[-4:] = struct.pack("<f", math.nan)
    elif kind == "infinite":
        values[400:404] = struct.pack("<f", math.inf)
    elif kind == "negative variance":
        values[20 + 3 * 16 * 4 : 24 + 3 * 16 * 4] = struct.pack("<f", -0.5)
    cuts = {"empty": 0, "header": 8, "header only": 20, "cut": len(good) - 4, "cut in a number": len(good) - 1}
    if kind in cuts:
        return good[: cuts[kind]]
    return bytes(values) + (b"\0\0\0\0" if kind == "long" else b"")


@pytest.mark.parametrize(
    ("kind", "said"),
    [("empty", "0 bytes"), ("header", "8 bytes"), ("header only", "is cut off"), ("cut", "is cut off"),
     ("cut in a number", "is cut off"), ("long", "goes on"), ("nan", "NaN"), ("infinite", "NaN"),
     ("negative variance", "negative variance")],
)  # fmt: skip
def test_damaged_weights_are_one_error_and_change_nothing(kind: str, said: str, tmp_path: Path) -> None:
    model = small()
    path = tmp_path / "it.weights"
    numbers = count(model)
    good = HEADER + np.full(numbers, 0.5, "<f4").tobytes()
    path.write_bytes(damaged(kind, good))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(WeightsError, match=said) as caught:
        load_weights(model, path)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    path.write_bytes(good)
    assert load_weights(model, path).seen == 100
    assert all((p == 0.5).all() for p in model.parameters())


def test_weights_are_for_darknets_only(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no place"):
        save_weights(create("yolov3", 2, 64), tmp_path / "no.weights")
    assert not list(tmp_path.iterdir())
    with pytest.raises(WeightsError, match="no such file"):
        load_weights(small(), tmp_path / "no.weights")
    with pytest.raises(ValueError, match="load_weights"):
        create("yolov3-darknet53", 2, 64, pretrained=True)
    with pytest.raises(ValueError, match="strides"):
        Darknet("darknet19", (64,))


def test_reorg_is_darknets() -> None:
    x = torch.arange(2 * 8 * 4 * 6, dtype=torch.float32).view(2, 8, 4, 6)
    assert torch.equal(yolov2.reorg(x), torch.from_numpy(darknet_reorg(x.numpy())))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two (centre x, centre y, width, height)."""
    inter = 1.0
    for i in (0, 1):
        ends = [(c[i] - c[i + 2] / 2, c[i] + c[i + 2] / 2) for c in (a, b)]
        inter *= max(min(end for _, end in ends) - max(start for start, _ in ends), 0)
    return inter / (a[2] * a[3] + b[2] * b[3] - inter)


TRUTH = [[(9.0, 12.0, 20.0, 16.0, 1), (50.0, 44.0, 26.0, 30.0, 2)], [], [(33.0, 20.0, 12.0, 40.0, 0)]]
"""Per image: centre, sides (pixels of 64) and class."""


def targets() -> list[Target]:
    found = []
    for objects in TRUTH:
        boxes = [[x - w / 2, y - h / 2, x + w / 2, y + h / 2] for x, y, w, h, _ in objects]
        labels = torch.tensor([o[4] for o in objects], dtype=torch.int64)
        found.append(Target(torch.tensor(boxes).reshape(-1, 4), labels))
    return found


def darknet_delta(
    raw: NDArray[np.float32], sides: list[list[list[float]]], strides: list[int], v3: bool
) -> NDArray[Any]:
    """What Darknet's region (v2) or yolo (v3) layer sends back, minus the gradient, cell by cell."""
    delta = np.zeros_like(raw, np.float64)
    at: dict[tuple[int, int, int, int], int] = {}
    for level, s in enumerate(strides):
        for j, i, k in itertools.product(range(64 // s), range(64 // s), range(len(sides[level]))):
            at[level, j, i, k] = len(at)
    for n, objects in enumerate(TRUTH):
        boxes = {}
        for (level, j, i, k), a in at.items():
            t, s, (pw, ph) = raw[n, a], strides[level], sides[level][k]
            box = ((i + sigmoid(t[0])) * s, (j + sigmoid(t[1])) * s, pw * math.exp(t[2]), ph * math.exp(t[3]))
            boxes[a] = box
            o = sigmoid(t[4])
            if max((overlap(box, truth) for truth in objects), default=0) <= (0.5 if v3 else 0.6):
                delta[n, a, 4] = (0 - o) * (1 if v3 else o * (1 - o))
        for x, y, w, h, label in objects:
            priors = [(level, k, wh) for level, own in enumerate(sides) for k, wh in enumerate(own)]
            level, k, _ = max(priors, key=lambda prior: overlap((0, 0, *prior[2]), (0, 0, w, h)))
            s, (pw, ph) = strides[level], sides[level][k]
            i, j = int(x / s), int(y / s)
            a = at[level, j, i, k]
            t = raw[n, a]
            for e, wanted in enumerate((x / s - i, y / s - j)):
                p = sigmoid(t[e])
                delta[n, a, e] = (wanted - p) * ((2 - w * h / 64**2) if v3 else p * (1 - p))
            for e, wanted in ((2, math.log(w / pw)), (3, math.log(h / ph))):
                delta[n, a, e] = (wanted - t[e]) * ((2 - w * h / 64**2) if v3 else 1)
            o = sigmoid(t[4])
            delta[n, a, 4] = (1 - o) if v3 else 5 * (overlap(boxes[a], (x, y, w, h)) - o) * o * (1 - o)
            classes = [sigmoid(c) for c in t[5:]] if v3 else np.exp(t[5:]) / np.exp(t[5:]).sum()
            delta[n, a, 5:] = np.eye(3)[label] - classes
    return delta


@pytest.mark.parametrize("v3", [False, True])
def test_gradients_are_darknets(v3: bool) -> None:
    shapes = [[8.0, 16.0], [18.0, 18.0], [13.0, 36.0], [30.0, 28.0]]
    sides = [shapes[:2], shapes[2:]] if v3 else [shapes[1:]]
    strides = [16, 32] if v3 else [16]
    generator = torch.Generator().manual_seed(3)
    shape = [(3, len(s) * 8, 64 // k, 64 // k) for s, k in zip(sides, strides, strict=True)]
    maps = [torch.randn(each, generator=generator) * 0.7 for each in shape]
    cells = yolov2.to_cells(maps, strides, sides)
    raw = cells.raw.requires_grad_()
    terms = yolov3.yolov3_loss(cells, targets(), 64) if v3 else yolov2.yolov2_loss(cells, targets())
    assert {float(t.weight) for t in terms.values()} == {3.0}
    sum((t.total for t in terms.values()), torch.zeros(())).backward()
    wanted = darknet_delta(raw.detach().numpy(), sides, strides, v3)
    assert raw.grad is not None
    assert np.abs(-raw.grad.numpy() - wanted).max() < 1e-5
    evidence = yolov2.assign(cells, targets(), 0.5 if v3 else 0.6)
    assert (evidence.objects, evidence.positives, evidence.objects_without_positive) == (3, 3, 0)
    assert evidence.positives_per_level == ([1, 2] if v3 else [3])


def test_yolov1_loss_is_equation_3() -> None:
    s, k = 4, 3
    generator = torch.Generator().manual_seed(1)
    boxes = torch.rand(3, s, s, 2, 5, generator=generator).requires_grad_()
    classes = torch.rand(3, s, s, k, generator=generator)
    grid = yolov1.Grid(boxes, classes, 64)
    wanted = dict.fromkeys(("boxes", "objects", "background", "classes"), 0.0)
    responsible = []
    for n, objects in enumerate(TRUTH):
        holds = {(int(y / 16), int(x / 16)): (x, y, w, h, c) for x, y, w, h, c in objects}
        for row in range(s):
            for column in range(s):
                said = boxes[n, row, column].tolist()
                full = [((p[0] + column) * 16, (p[1] + row) * 16, p[2] ** 2 * 64, p[3] ** 2 * 64) for p in said]
                best = -1
                if (row, column) in holds:
                    x, y, w, h, label = holds[row, column]
                    ious = [overlap(f, (x, y, w, h)) for f in full]
                    best = ious.index(max(ious))
                    responsible.append((n, (row * s + column) * 2 + best))
                    p = said[best]
                    place = (p[0] - (x / 16 - column)) ** 2 + (p[1] - (y / 16 - row)) ** 2
                    shape = (p[2] - math.sqrt(w / 64)) ** 2 + (p[3] - math.sqrt(h / 64)) ** 2
                    wanted["boxes"] += 5 * (place + shape)
                    wanted["objects"] += (p[4] - ious[best]) ** 2
                    chances = classes[n, row, column].tolist()
                    wanted["classes"] += sum((c - (i == label)) ** 2 for i, c in enumerate(chances))
                wanted["background"] += 0.5 * sum(p[4] ** 2 for b, p in enumerate(said) if b != best)
    terms = yolov1.yolov1_loss(grid, targets())
    for name, term in terms.items():
        assert float(term.total.detach()) == pytest.approx(wanted[name], rel=1e-5)
        assert float(term.weight) == 3
    rows = yolov1.assign(grid, targets()).rows
    assert [tuple(place) for place in (rows >= 0).nonzero().tolist()] == responsible


def test_yolov1_takes_the_nearest_box_while_none_overlaps() -> None:
    boxes = torch.zeros(1, 2, 2, 2, 5)
    boxes[0, 1, 1, 0, :2], boxes[0, 1, 1, 1, :2] = torch.tensor([0.0, 0.0]), torch.tensor([0.9, 0.9])
    target = Target(torch.tensor([[56.0, 56.0, 60.0, 60.0]]), torch.tensor([0]))
    evidence = yolov1.assign(yolov1.Grid(boxes, torch.zeros(1, 2, 2, 1), 64), [target])
    assert evidence.rows[0].tolist() == [-1] * 7 + [0]
    assert evidence.matched_iou.tolist() == [0.0]


BUILDERS: list[tuple[str, Callable[..., Detector]]] = [
    (name, builder(name)) for name in ("yolov1", "yolov2", "yolov3", "yolov3-tiny")
]


@pytest.mark.parametrize(("name", "build"), BUILDERS)
def test_of_two_objects_in_one_place_the_later_is_learned(name: str, build: Callable[..., Detector]) -> None:
    torch.manual_seed(0)
    model = build(3, image_size=64)
    boxes = torch.tensor([[20.0, 20.0, 30.0, 30.0], [20.5, 20.0, 30.5, 30.0], [60.0, 60.0, 64.0, 64.0]])
    target = Target(boxes, torch.tensor([0, 1, 2]))
    empty = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    outputs = model(torch.rand(2, 3, 64, 64))
    evidence = model.assign(outputs, [target, empty])
    assert (evidence.objects, evidence.positives, evidence.objects_without_positive) == (3, 2, 1)
    assert evidence.rows.unique().tolist() in ([-1, 1, 2], [-2, -1, 1, 2])
    assert int((evidence.rows == 1).sum()) == 1
    assert sum(evidence.level_sizes) == evidence.rows.shape[1]
    terms = model.loss(outputs, [target, empty])
    again = model.loss(outputs, [target, empty], evidence)
    assert all(torch.equal(terms[k].total, again[k].total) for k in terms)
    modules = dict(model.named_modules())
    levels = model.feature_levels()
    assert all(layer in modules for layer, _ in levels)
    assert len(levels) == (0 if name == "yolov1" else len(evidence.level_sizes))
    nothing = model.loss(model(torch.rand(1, 3, 64, 64)), [empty])
    assert all(math.isfinite(float(t.total.detach())) for t in nothing.values())


@pytest.mark.parametrize(("name", "build"), BUILDERS)
def test_learns_two_pictures_by_heart(name: str, build: Callable[..., Detector]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 64, 64, generator=generator) * 0.2
    wanted = []
    for i in range(2):
        boxes, labels = [[4.0 + 3 * i, 6.0, 24.0 + 3 * i, 30.0], [36.0, 36.0 - i, 60.0, 52.0]], [i % 3, 2]
        for (x1, y1, x2, y2), label in zip(boxes, labels, strict=True):
            x[i, label, int(y1) : int(y2), int(x1) : int(x2)] = 1.0
        wanted.append(Target(torch.tensor(boxes), torch.tensor(labels)))
    torch.manual_seed(0)
    model = build(3, image_size=64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(50):
        optimizer.zero_grad()
        terms = model.loss(model(x), wanted)
        torch.stack([t.total / t.weight for t in terms.values()]).sum().backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        found = model.detect(model(x), min_score=0.25)
    for target, said in zip(wanted, found, strict=True):
        iou, best = box_iou(target.boxes, said.boxes).max(dim=1)
        assert (iou > 0.6).all()
        assert said.labels[best].tolist() == target.labels.tolist()
        assert said.scores.tolist() == sorted(said.scores.tolist(), reverse=True)


def test_any_backbone_by_name() -> None:
    anchors = [[[10.0, 12.0]], [], [[60.0, 50.0]]]
    model = create("yolov2-mobilenetv3_small_050", 3, 64, anchors=anchors)
    assert model.feature_levels() == [("merge", [10.0, 12.0, 60.0, 50.0])]
    for name in ("yolov2", "yolov3", "yolov3-tiny"):
        first = create(name, 3, 64, anchors=anchors)
        again = create(name, 3, 64, anchors=first.anchor_sides)  # as a run folder keeps them
        assert again.anchor_sides == first.anchor_sides
        assert create(name, 3, 64, anchors=create(name, 3, 64).anchor_sides).feature_levels()
    with torch.device("meta"):
        model = create("yolov3-tiny-resnet18", 3, 64, anchors=anchors)
        assert model(torch.zeros(1, 3, 64, 64)).level_sizes == (16, 4)
        model = create("yolov3", 3, 64, anchors=anchors[:1])
        assert [sides for _, sides in model.feature_levels()] == [[10.0, 12.0]] * 3
    with pytest.raises(ValueError, match="less than a cell"):
        create("yolov1-darknet24", 3, 32)
