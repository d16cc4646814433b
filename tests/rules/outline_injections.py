"""Photograph-like pictures with outlines and keypoints, and one bad record at a time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.rules.data_injections import facts
from tests.rules.image_injections import SIDE, picture

Subject = Callable[[Path], list[Any]]
IMAGES = 12
POINTS = ["nose", "left eye", "right eye"]
FIRST = 0
"""The annotation that is spoilt."""


def _octagon(x: float, y: float, r: float) -> list[float]:
    angles = np.arange(8) * np.pi / 4 + np.pi / 8
    ring = np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], 1)
    return [round(float(v), 2) for v in ring.ravel()]


def _shoelace(ring: list[float]) -> float:
    x, y = np.array(ring[::2]), np.array(ring[1::2])
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def annotation(number: int, image: int, x: float, y: float, r: float) -> dict[str, Any]:
    """An octagonal object with its box, area and three points."""
    ring = _octagon(x, y, r)
    left, top, right, bottom = min(ring[::2]), min(ring[1::2]), max(ring[::2]), max(ring[1::2])
    keypoints = [round(v, 1) for dx, dy in ((0, 0), (-r / 3, -r / 3), (r / 3, -r / 3)) for v in (x + dx, y + dy)]
    return {
        "id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "segmentation": [ring],
        "bbox": [left, top, right - left, bottom - top], "area": _shoelace(ring), "num_keypoints": 3,
        "keypoints": [v for i in range(3) for v in (*keypoints[2 * i : 2 * i + 2], 2)],
    }  # fmt: skip


def outlined(folder: Path) -> Path:
    """COCO with polygons and keypoints: six objects a picture, of many sizes and shapes of box."""
    root = folder / "outlined"
    rng = np.random.default_rng(3)
    (root / "images").mkdir(parents=True)
    for n in range(IMAGES):
        Image.fromarray(picture(n)).save(root / "images" / f"{n:02}.png")
    for split, numbers in (("train", range(9)), ("val", range(9, IMAGES))):
        annotations = []
        for n in numbers:
            for k in range(6):
                x, y = 28 + 52 * (k % 3) + rng.uniform(-4, 4), 40 + 80 * (k // 3) + rng.uniform(-8, 8)
                annotations.append(annotation(len(annotations) + 1, n, x, y, rng.uniform(9, 20)))
        document = {
            "images": [{"id": n, "file_name": f"images/{n:02}.png", "width": SIDE, "height": SIDE} for n in numbers],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "cell", "keypoints": POINTS, "skeleton": [[1, 2], [1, 3]]}],
        }
        (root / f"{split}.json").write_text(json.dumps(document))
    return root


def spoilt(change: Callable[[dict[str, Any]], None], *names: str) -> Subject:
    """The whole document of train, or of `names`, changed."""

    def make(folder: Path) -> list[Any]:
        root = outlined(folder)
        for name in names or ("train.json",):
            document = json.loads((root / name).read_text())
            change(document)
            (root / name).write_text(json.dumps(document))
        return facts(root)

    return make


def one(change: Callable[[dict[str, Any]], None]) -> Subject:
    """One annotation changed."""
    return spoilt(lambda d: change(d["annotations"][FIRST]))


def _box_of(a: dict[str, Any], x: float, y: float, w: float, h: float) -> None:
    """A box of its own, without outline and points."""
    for key in ("segmentation", "keypoints", "num_keypoints"):
        a.pop(key)
    a.update(bbox=[x, y, w, h], area=w * h)


def _squares(d: dict[str, Any]) -> None:
    for a in d["annotations"]:
        x, y, w, h = a["bbox"]
        a["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        a["area"] = w * h


def _stamp(d: dict[str, Any]) -> None:
    for a in d["annotations"]:
        x, y, w, h = a["bbox"]
        _box_of(a, round(x + w / 2 - 12), round(y + h / 2 - 12), 24, 24)


def _crowd_of_boxes(d: dict[str, Any]) -> None:
    for k in range(120):
        a = annotation(5_000 + k, 0, 8 + 13 * (k % 12), 8 + 15 * (k // 12), 2 + 2.5 * (k % 5) / 4)
        d["annotations"].append(a)


def _corners(d: dict[str, Any]) -> None:
    for a in d["annotations"]:
        x, y, w, h = a["bbox"]
        _box_of(a, x, y, x + w, y + h)


def _to_the_edge(d: dict[str, Any]) -> None:
    for a in d["annotations"]:
        x, y, w, h = a["bbox"]
        _box_of(a, 0, y, x + w, h) if x < 80 else _box_of(a, x, y, SIDE - x, h)


def _bow_tie(a: dict[str, Any]) -> None:
    x, y, w, h = a["bbox"]
    ring = [x, y, x + w, y + 0.8 * h, x + w, y, x, y + h]
    a["segmentation"] = [ring]
    a["area"] = _shoelace(ring)


def _rle(height: int, width: int) -> Callable[[dict[str, Any]], None]:
    """A rectangle of the box in run lengths, for a picture of `height` x `width`."""

    def change(a: dict[str, Any]) -> None:
        x, y, w, h = (round(v) for v in a["bbox"])
        mask = np.zeros((height, width), np.uint8)
        mask[y : y + h, x : x + w] = 1
        flat = mask.ravel(order="F")
        edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]])))
        counts = np.diff(np.concatenate([[0], edges, [height * width]])).tolist()
        a.update(bbox=[x, y, w, h], area=w * h, segmentation={"size": [height, width], "counts": counts})

    return change


def _some_run_lengths(d: dict[str, Any]) -> None:
    for a in d["annotations"][::6]:
        _rle(SIDE, SIDE)(a)


def _hidden(a: dict[str, Any]) -> None:
    a["keypoints"][2] = 0
    a["num_keypoints"] = 2


def _unreadable(a: dict[str, Any]) -> None:
    _rle(SIDE, SIDE)(a)
    a["segmentation"]["counts"][-1] += 77


def _sliver(a: dict[str, Any]) -> None:
    x, y, w, h = a["bbox"]
    ring = [x, y, x + w, y + h - 0.5, x + w, y + h]
    a["segmentation"], a["area"] = [ring], _shoelace(ring)


def _yolo(rows: Callable[[np.random.Generator], str], extra: str = "") -> Subject:
    """Pictures with YOLO rows that `rows` draws."""

    def make(folder: Path) -> list[Any]:
        rng = np.random.default_rng(0)
        root = folder / "yolo"
        for n in range(IMAGES):
            split = "train" if n < 9 else "val"
            for part in ("images", "labels"):
                (root / part / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(n)).save(root / "images" / split / f"{n:02}.png")
            (root / "labels" / split / f"{n:02}.txt").write_text("".join(rows(rng) for _ in range(4)))
        (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: [ship]\n{extra}")
        return facts(root)

    return make


def _turned(angle: float | None, skew: float = 0.0) -> Callable[[np.random.Generator], str]:
    """One oriented box a row, of a random angle where none is given; `skew` shears it, in shares of its height."""

    def row(rng: np.random.Generator) -> str:
        a = np.deg2rad(rng.uniform(10, 80) if angle is None else angle)
        w, h = rng.uniform(0.1, 0.2, 2)
        corners = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2
        corners[:2, 0] += skew * h
        turned = corners @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + rng.uniform(0.3, 0.7, 2)
        return "0 " + " ".join(f"{v:.6f}" for v in turned.ravel()) + "\n"

    return row


def _pose(rng: np.random.Generator) -> str:
    x, y = rng.uniform(0.3, 0.7, 2)
    w, h = rng.uniform(0.15, 0.3, 2)
    places = ((0, 0), (-w / 4, -h / 4), (w / 4, -h / 4))
    return f"0 {x:.6f} {y:.6f} {w:.6f} {h:.6f} " + " ".join(f"{x + a:.6f} {y + b:.6f} 2" for a, b in places) + "\n"


def _box_or_polygon(rng: np.random.Generator) -> str:
    """Every third row is a polygon."""
    (x, y), (w, h) = rng.uniform(0.3, 0.7, 2), rng.uniform(0.15, 0.3, 2)
    ring = (x - w / 2, y, x, y - h / 2, x + w / 2, y, x, y + h / 2, x - w / 4, y + h / 4)
    return "0 " + " ".join(f"{v:.6f}" for v in (ring if rng.random() < 0.35 else (x, y, w, h))) + "\n"


CLEAN: dict[str, Subject] = {
    "octagons with points, COCO": lambda folder: facts(outlined(folder)),
    "run lengths, COCO": spoilt(_some_run_lengths),
    "oriented boxes, YOLO": _yolo(_turned(None), "task: obb\n"),
    "poses, YOLO": _yolo(_pose, "kpt_shape: [3, 3]\nflip_idx: [0, 2, 1]\n"),
}

SICK: dict[str, Subject] = {
    "subpixel-box": one(lambda a: _box_of(a, 20.2, 30, 0.6, 14)),
    "full-frame-box": one(lambda a: _box_of(a, 0, 0, SIDE, SIDE)),
    "extreme-box-aspect": one(lambda a: _box_of(a, 5, 4, 150, 4)),
    "box-size-outlier": one(lambda a: _box_of(a, 2, 2, 145, 148)),
    "identical-box-sizes": spoilt(_stamp, "train.json", "val.json"),
    "crowded-image": spoilt(_crowd_of_boxes),
    "swapped-box-layout": spoilt(_corners),
    "box-touching-border": spoilt(_to_the_edge),
    "self-intersecting-polygon": one(_bow_tie),
    "degenerate-polygon": one(lambda a: a.__setitem__("segmentation", [a["segmentation"][0][:4]])),
    "unreadable-outline": one(_unreadable),
    "outline-box-mismatch": one(lambda a: a["bbox"].__setitem__(2, 2 * a["bbox"][2])),
    "area-mismatch": one(lambda a: a.__setitem__("area", 10)),
    "crowd-with-polygon": one(lambda a: a.__setitem__("iscrowd", 1)),
    "mask-of-other-size": one(_rle(SIDE, SIDE + 40)),
    "boxes-drawn-as-masks": spoilt(_squares),
    "sliver-outline": one(_sliver),
    "skewed-oriented-box": _yolo(_turned(None, 0.4), "task: obb\n"),
    "unrotated-oriented-boxes": _yolo(_turned(0), "task: obb\n"),
    "keypoint-outside-box": one(lambda a: a["keypoints"].__setitem__(0, a["bbox"][0] + a["bbox"][2] + 30)),
    "keypoint-hidden-but-placed": one(_hidden),
    "keypoint-count-mismatch": one(lambda a: a.__setitem__("num_keypoints", 1)),
    "coinciding-keypoints": one(lambda a: a["keypoints"].__setitem__(slice(3, 5), a["keypoints"][6:8])),
    "keypoint-flip-not-involution": _yolo(_pose, "kpt_shape: [3, 3]\nflip_idx: [0, 2, 2]\n"),
    "mixed-label-rows": _yolo(_box_or_polygon),
    "annotation-id-zero": one(lambda a: a.__setitem__("id", 0)),
}

ALSO: dict[str, set[str]] = {
    "crowded-image": {"duplicate-box"},
    "identical-box-sizes": set(),
}
