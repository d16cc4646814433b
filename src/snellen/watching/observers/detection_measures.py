"""What the boxes of a run say as a whole; the rows of `measures` that `DetectionObserver` gives.

By phase: `target-boxes` (of: images), `empty-images` share (of: images), `label-min`, `label-max`, `label-kinds`
different ids. Of training alone:

* `degenerate-boxes` boxes without area (of: boxes; detail and step: the first), `reversed-boxes` share with x2 < x1 or
  y2 < y1, `fit-as-sides` share that lies in its image when read as x, y, width, height.
* `boxes-outside` share that leaves its image by more than a twentieth of the image's side (detail: the first).
* `boxes-in-unit-square` share with all numbers in 0..1; `boxes-reach` their largest number; `model-reach` the largest
  number of the predicted boxes or anchors.
* `extent-x`, `extent-y` 99th percentile of x2 and y2 as a share of the image's side.
* `head-classes` outputs per prediction (of: 1 where class 0 is the background; detail: where it says so); `class-
  maps` channels of an output (N, C, H, W) of class scores (of: by what share of the range of their peaks that of map
  0 is below all others in the last quarter of the batches); `names-are-letters` 1 where the class names are single
  letters (of: how many).
* `positives` predictions per object that the box loss pulls at (of: objects); `steps-without-positives` share of the
  steps with objects that had none; `box-loss-zero` share of them whose box loss was 0 (detail: its name).
* `level-positives` by index: objects whose best anchor is of that level; `anchor-iou` median of the best IoU of an
  object with an anchor (of: objects).
* `box-contrast` of the given boxes with their surroundings, in deviations of the image (of: boxes);
  `box-contrast-strange` that of boxes of another image (of: t of the difference to the given ones);
  `box-contrast-better` that of another reading (detail: which; of: t of the paired difference);
  `mirrored-images` share of the images that the boxes fit better when mirrored, above the share for the other axis
  (of: its z; detail: the axis).

Of validation: `predictions` per image (of: images), `score-top` the highest score given, `raw-score-top` the highest of
the last validation before any is dropped, `score-threshold` (detail: where), `predicted-label-min`,
`predicted-label-max`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
BEYOND = 0.05
"""Share of the image's side by which a box may leave it: rounding, and crops that keep whole boxes."""


LEAST_SINGLE = 64
"""Images with one box each, seen before these are taken for corners."""
CORNERS = 0.97
"""Share of them that has to have an area."""


@dataclass
class Heard:
    """What the model says of itself, and the records of `DetectionObserver.batch` in order."""

    about: dict[str, Any] = field(default_factory=dict)
    batches: list[dict[str, Any]] = field(default_factory=list)


def measures(heard: Heard) -> list[dict[str, Any]]:
    """All rows. Reads the device."""
    batches = [{k: _array(v) for k, v in b.items()} for b in heard.batches]
    train = [_read(b) for b in batches if b["phase"] == "training" and "boxes" in b]
    val = [b for b in batches if b["phase"] == "validation"]
    found: list[dict[str, Any]] = [] if train else list(_single([b for b in batches if "single" in b]))
    if not train and not val:
        return found
    for part in (
        _counts("training", train),
        _counts("validation", [_read(b) for b in val if "boxes" in b]),
        _geometry(train, batches),
        _head(heard.about, batches),
        _positives(train),
        _anchors(batches),
        _contrast(train),
        _predictions(heard.about, val),
    ):
        found += part
    return found


def _array(value: Any) -> Any:
    if isinstance(value, list):
        return [_array(v) for v in value]
    return value.cpu().numpy() if isinstance(value, Tensor) else value


def _row(measure: str, value: float, of: float | None = None, **more: Any) -> dict[str, Any]:
    return {"measure": measure, "value": float(value), "of": None if of is None else float(of), **more}


def _read(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The batch with xyxy boxes, the row of the image of each, and the sides of that image."""
    boxes, sizes = np.asarray(batch["boxes"], np.float64), np.array(batch["sizes"] or [[0, 0]], np.float64)
    image = np.repeat(np.arange(len(batch["counts"])), batch["counts"])
    read = dict(batch)
    if batch["kind"] == "rows":
        image, labels, boxes = boxes[:, 0].astype(np.int64), boxes[:, 1], boxes[:, 2:]
    elif batch["kind"] == "padded":
        column = 4 if np.array_equal(boxes[:, 4], np.round(boxes[:, 4])) else 0
        labels, boxes = boxes[:, column], np.delete(boxes, column, 1)
        real = (labels >= 0) & (boxes != 0).any(1)
        image, labels, boxes = image[real], labels[real], boxes[real]
    if batch["kind"] != "xyxy":
        read["labels"] = labels
        read["counts"] = np.bincount(image, minlength=max(len(sizes), len(batch["counts"]))).tolist()
    image = image.clip(0, len(sizes) - 1)
    if batch["kind"] == "rows":  # Centres and sides, as YOLO's files have them, in shares of the image.
        scale = sizes[image][:, ::-1] if len(boxes) and boxes.max() <= 1.5 else np.ones((len(boxes), 2))
        boxes = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)
        boxes = boxes * np.concatenate([scale, scale], 1)
    return read | {"xyxy": boxes, "image": image, "sides": sizes[image][:, ::-1]}


def _counts(phase: str, batches: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    counts = np.array([c for b in batches for c in b["counts"]])
    if not len(counts):
        return
    yield _row("target-boxes", counts.sum(), len(counts), phase=phase)
    yield _row("empty-images", float((counts == 0).mean()), len(counts), phase=phase)
    labels = [b["labels"] for b in batches if "labels" in b]
    ids = np.concatenate(labels) if labels else np.zeros(0)
    if len(ids):
        kinds = np.unique(ids)
        yield _row("label-min", kinds[0], len(ids), phase=phase)
        yield _row("label-max", kinds[-1], len(ids), phase=phase)
        yield _row("label-kinds", len(kinds), len(ids), phase=phase)


def _first(batches: Sequence[Mapping[str, Any]], wrong: Callable[[Array, Array], Array]) -> dict[str, Any]:
    for b in batches:
        rows = np.flatnonzero(wrong(b["xyxy"], b["sides"]))
        if len(rows):
            image = int(b["image"][rows[0]])
            place = int((b["image"][: rows[0]] == image).sum())
            numbers = ", ".join(f"{v:.4g}" for v in b["xyxy"][rows[0]])
            return {"step": b["step"], "detail": f"image {image} box {place}: [{numbers}]"}
    return {}


def _no_area(boxes: Array, sides: Array) -> Array:
    return ~((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))


def _outside(boxes: Array, sides: Array) -> Array:
    margin = BEYOND * sides
    return np.asarray((boxes[:, :2] < -margin).any(1)) | np.asarray(
        (np.maximum(boxes[:, :2], boxes[:, 2:]) > sides + margin).any(1)
    )


def _geometry(train: Sequence[Mapping[str, Any]], batches: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    if not train or not sum(len(b["xyxy"]) for b in train):
        return
    boxes, sides = np.concatenate([b["xyxy"] for b in train]), np.concatenate([b["sides"] for b in train])
    count, wide = len(boxes), boxes[:, 2:]
    yield _row(
        "degenerate-boxes", int(_no_area(boxes, sides).sum()), count, phase="training", **_first(train, _no_area)
    )
    yield _row("reversed-boxes", float((wide < boxes[:, :2]).any(1).mean()), count, phase="training")
    reach = [float(b["raw_reach"]) for b in batches if "raw_reach" in b]
    reach += [float(np.abs(b["anchors"]).max()) for b in batches if "anchors" in b and len(b["anchors"])]
    if reach:
        yield _row("model-reach", float(np.median(reach)), len(reach))
    yield _row("boxes-reach", float(np.abs(boxes).max()), count, phase="training")
    unit = (boxes >= 0).all(1) & (boxes <= 1.0001).all(1)
    yield _row("boxes-in-unit-square", float(unit.mean()), count, phase="training")
    if not (sides > 0).all():
        return
    fits = (wide >= 0).all(1) & (boxes[:, :2] + wide <= sides * 1.02).all(1)
    yield _row("fit-as-sides", float(fits.mean()), count, phase="training")
    outside = float(_outside(boxes, sides).mean())
    yield _row("boxes-outside", outside, count, phase="training", **_first(train, _outside))
    for axis, name in enumerate(("extent-x", "extent-y")):
        yield _row(name, float(np.percentile(wide[:, axis] / sides[:, axis], 99)), count, phase="training")


def _single(batches: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Of one box an image: nearly all of them have an area, or they are no corners.

    Where no answer is ever turned inside out, and the first ones have an area, the network makes corners: then the
    targets are meant to be some.
    """
    mine = [{**b, "xyxy": b["single"], "sides": b["single"], "image": np.arange(len(b["single"]))} for b in batches]
    boxes = np.concatenate([b["xyxy"] for b in mine]) if mine else np.zeros((0, 4))
    flat = _no_area(boxes, boxes)
    if len(boxes) >= LEAST_SINGLE and flat.mean() <= 1 - CORNERS:
        yield _row("degenerate-boxes", int(flat.sum()), len(boxes), phase="training", **_first(mine, _no_area))
    given = [b["single_given"] for b in batches if "single_given" in b]
    answers = np.concatenate(given) if given else np.zeros((0, 4))
    turned = (answers[:, 2:] < answers[:, :2] - 1e-6).any()
    if len(answers) >= LEAST_SINGLE and not turned and not _no_area(answers, answers)[:LEAST_SINGLE].any():
        sides = np.concatenate([np.array(b["sizes"])[:, ::-1] for b in mine]) if boxes.max() > 1 else np.ones(2)
        fits = (boxes >= 0).all(1) & (boxes[:, :2] + boxes[:, 2:] <= (1 + BEYOND) * sides).all(1)
        yield _row("reversed-boxes", float((boxes[:, 2:] < boxes[:, :2]).any(1).mean()), len(boxes), phase="training")
        yield _row("fit-as-sides", float(fits.mean()), len(boxes), phase="training")


def _head(about: Mapping[str, Any], batches: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    told = next((b["outputs"] for b in batches if "outputs" in b), None)
    if "classes" in about and about["classes"][0]:
        classes, where, background = about["classes"]
        yield _row("head-classes", classes, float(background), detail=where)
    elif told:
        yield _row("head-classes", told, 0.0, detail="class scores of the outputs")
    tops = [b["maps"] for b in batches if "maps" in b]
    if tops and len({len(t) for t in tops}) == 1:
        late = np.median(tops[-max(len(tops) // 4, 1) :], 0)
        others, range_ = late[1:].min(), np.ptp(late)
        yield _row("class-maps", len(late), (others - late[0]) / range_ if range_ > 0 else 0.0)
    if "names" in about:
        names, one_text = about["names"]
        letters = one_text or (len(names) > 2 and all(len(n) == 1 for n in names))
        yield _row("names-are-letters", float(letters), len(names), detail="".join(names)[:40])


def _positives(train: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    held = [(float(b["positives"]), len(b["xyxy"])) for b in train if "positives" in b and len(b["xyxy"])]
    if held:
        objects = sum(n for _, n in held)
        yield _row("positives", sum(p for p, _ in held) / objects, objects, phase="training")
        yield _row("steps-without-positives", float(np.mean([p == 0 for p, _ in held])), len(held), phase="training")
    rows = [b for b in train if "terms" in b and len(b["xyxy"])]
    for place, name in enumerate(rows[0]["term_names"] if rows else []):
        if any(word in name.lower() for word in ("box", "bbox", "reg", "iou")) and "rpn" not in name.lower():
            zero = [b["terms"][place] == 0 for b in rows if b["term_names"] == rows[0]["term_names"]]
            yield _row("box-loss-zero", float(np.mean(zero)), len(zero), phase="training", detail=name)


def _iou(a: Array, b: Array) -> Array:
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    meet = (high - low).clip(0).prod(-1)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clip(0).prod(-1) for x in (a, b))
    result: Array = meet / np.maximum(area_a[:, None] + area_b[None] - meet, 1e-9)
    return result


def _anchors(batches: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    first = next((b for b in batches if "anchors" in b and len(b["anchors"])), None)
    held = [_read(b)["xyxy"] for b in batches if b["phase"] == "training" and "boxes" in b][:20]
    objects = np.concatenate(held)[:500] if held else np.zeros((0, 4))
    objects = objects[~_no_area(objects, objects)]
    if first is None or not len(objects):
        return
    iou = _iou(objects, np.asarray(first["anchors"], np.float64))
    yield _row("anchor-iou", float(np.median(iou.max(1))), len(objects), phase="training")
    if first.get("levels"):
        level = np.searchsorted(np.cumsum(first["levels"]), iou.argmax(1), side="right")
        for index in range(len(first["levels"])):
            yield _row("level-positives", int((level == index).sum()), len(objects), phase="training", index=index)


def _contrasts(table: Array, boxes: Array) -> Array:
    """|mean inside - mean of the ring around|, (M,), NaN where nothing of the box lies in the image."""
    h, w = table.shape[0] - 1, table.shape[1] - 1

    def total(box: Array) -> tuple[Array, Array]:
        x1, x2 = (box[:, i].clip(0, w).round().astype(int) for i in (0, 2))
        y1, y2 = (box[:, i].clip(0, h).round().astype(int) for i in (1, 3))
        return table[y2, x2] - table[y1, x2] - table[y2, x1] + table[y1, x1], (x2 - x1) * (y2 - y1)

    sides = (boxes[:, 2:] - boxes[:, :2]) * 0.25 + 1
    inside, area = total(boxes)
    around, wide = total(np.concatenate([boxes[:, :2] - sides, boxes[:, 2:] + sides], 1))
    good = (area > 0) & (wide > area)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.where(good, np.abs(inside / area - (around - inside) / (wide - area)), np.nan)
    return found


def _readings(boxes: Array, sides: Array, scale: float) -> dict[str, Array]:
    """The same numbers read in other ways; all in pixels of an image of `sides` (w, h)."""
    (x1, y1, x2, y2), (w, h) = boxes.T, sides
    return {
        "mirrored left to right": np.stack([w - x2, y1, w - x1, y2], 1),
        "mirrored top to bottom": np.stack([x1, h - y2, x2, h - y1], 1),
        "x and y swapped": np.stack([y1, x1, y2, x2], 1),
        "read as x, y, width, height": np.stack([x1, y1, x1 + x2, y1 + y2], 1),
        "read as centre, width, height": np.stack([x1 - x2 / 2, y1 - y2 / 2, x1 + x2 / 2, y1 + y2 / 2], 1),
        "read as shares of the image": boxes * np.array([w, h, w, h]),
        "halved": boxes / 2,
        "doubled": boxes * 2,
        f"scaled by {scale:.2f}": boxes * scale,
    }


def _contrast(train: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    given: list[Array] = []
    foreign: list[Array] = []
    others: dict[str, list[Array]] = {}
    images: list[int] = []
    number = 0
    extent = [np.percentile((b["xyxy"][:, 2:] / b["sides"]).ravel(), 99) for b in train if len(b["xyxy"])]
    scale = 1 / float(np.median(extent)) if extent and np.median(extent) > 0 else 1.0
    for b in (b for b in train if "pictures" in b and b["kind"] == "xyxy"):
        for i, picture in enumerate(b["pictures"]):
            boxes = b["xyxy"][b["image"] == i]
            if not len(boxes) or not np.isfinite(picture).all():
                continue
            sides = np.array(picture.shape[::-1], float)
            ratio = float(sides[0] / b["sizes"][i][1])
            values = (picture - picture.mean()) / max(float(picture.std()), 1e-9)
            table = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
            given.append(_contrasts(table, boxes * ratio))
            next_to = b["xyxy"][b["image"] == (i + 1) % len(b["pictures"])]
            if len(next_to) and len(b["pictures"]) > 1:
                foreign.append(_contrasts(table, next_to * ratio))
            images += [number] * len(boxes)
            number += 1
            for name, read in _readings(boxes, np.array(b["sizes"][i][::-1], float), scale).items():
                key = "scaled" if name.startswith("scaled") else name
                others.setdefault(key, []).append(_contrasts(table, read * ratio))
    if len(images) < 50:
        return
    own, image = np.nan_to_num(np.concatenate(given)), np.array(images)
    yield _row("box-contrast", float(own.mean()), len(own), phase="training")
    best: tuple[float, float, str] | None = None
    for name, parts in others.items():
        other = np.nan_to_num(np.concatenate(parts))
        gap = other - own
        t = float(gap.mean() / max(gap.std() / np.sqrt(len(gap)), 1e-9))
        if best is None or t > best[1]:
            best = (float(other.mean()), t, name if name != "scaled" else f"scaled by {scale:.2f}")
    if best:
        yield _row("box-contrast-better", best[0], best[1], phase="training", detail=best[2])
    # Boxes of the next image but one's own: what boxes have that do not belong to the picture.
    strange = np.nan_to_num(np.concatenate(foreign)) if foreign else np.zeros(0)
    if len(strange) >= 50:
        error = np.sqrt(own.var() / len(own) + strange.var() / len(strange))
        t = (own.mean() - strange.mean()) / max(error, 1e-9)
        yield _row("box-contrast-strange", float(strange.mean()), float(t), phase="training")
    yield from _mirrored(own, {k: np.nan_to_num(np.concatenate(v)) for k, v in others.items()}, image)


def _mirrored(own: Array, others: Mapping[str, Array], image: Array) -> Iterator[dict[str, Any]]:
    """Images whose boxes clearly fit the mirrored image, more often along one axis than along the other."""
    total = np.bincount(image)
    mean = np.bincount(image, own) / total
    names = ("mirrored left to right", "mirrored top to bottom")
    shares = []
    for name in names:
        turned = np.bincount(image, others[name]) / total
        shares.append(float((turned > 1.5 * mean).mean()))
    axis = int(np.argmax(shares))
    gap, base = shares[axis] - shares[1 - axis], max(shares[1 - axis], 0.02)
    yield _row(
        "mirrored-images", gap, gap / np.sqrt(2 * base * (1 - base) / len(total)), phase="training", detail=names[axis]
    )


def _predictions(about: Mapping[str, Any], val: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    counts = [c for b in val if "predicted_counts" in b for c in b["predicted_counts"]]
    steps = [b["step"] for b in val]
    if counts:
        last = [b for b in val if "predicted_counts" in b and b["step"] == steps[-1]]
        late = [c for b in last for c in b["predicted_counts"]]
        yield _row("predictions", float(np.mean(late)) if late else 0.0, len(late), phase="validation", step=steps[-1])
        scores = np.concatenate([b["scores"] for b in last]) if last else np.zeros(0)
        yield _row("score-top", float(scores.max()) if len(scores) else 0.0, len(scores), phase="validation")
        labels = [b["predicted_labels"] for b in val if "predicted_labels" in b]
        ids = np.concatenate(labels) if labels else np.zeros(0)
        if len(ids):
            yield _row("predicted-label-min", ids.min(), len(ids), phase="validation")
            yield _row("predicted-label-max", ids.max(), len(ids), phase="validation")
    tops = [float(b["top"]) for b in val if "top" in b and b["step"] == steps[-1]]
    if tops:
        yield _row("raw-score-top", max(tops), len(tops), phase="validation", step=steps[-1])
    if "threshold" in about:
        yield _row("score-threshold", about["threshold"][0], detail=about["threshold"][1])
