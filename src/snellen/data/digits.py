"""Two small real datasets, built offline from scikit-learn's 1,797 scanned handwritten digits.

The scans are real; the scenes are composed of them, so boxes, masks and areas are exact by construction. The sets are
healthy: every rule about data must be silent on them, and `defects.plant` makes sick copies.

Source of the scans: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

CLASS_SIDE = 32
"""Side of a classification image, pixels: the 8 x 8 scan upscaled four times."""
SCENE_SIDE = 128
"""Side of a scene, pixels."""
SIZES = (14.0, 44.0)
"""Longest side of a digit's ink in a scene, pixels; drawn log-uniformly, so small ones are as frequent as large."""
DIGITS_PER_SCENE = (3, 7)
TRAIN_SCENES = 600
VAL_SCENES = 150
HELD_OUT = 0.2
"""Share of scans, within each class, that only validation sees."""


@dataclass(frozen=True)
class Digits:
    """Where the two sets lie."""

    classification: Path
    """A folder with train/ and val/, each with class folders 0 to 9 of 32 x 32 grey PNGs."""
    detection: Path
    """A folder with train.json and val.json (COCO, boxes and RLE masks) and images/ of 128 x 128 grey PNGs."""


def build_digits(
    folder: Path, seed: int = 0, *, train_scenes: int = TRAIN_SCENES, val_scenes: int = VAL_SCENES
) -> Digits:
    """Write both sets below `folder`, as `digits-classification` and `digits-detection`; the same seed, the same bytes.

    Files that are there already are written anew. Raises OSError when `folder` cannot be written.
    """
    scans_N88, labels_N, held_out_N = _scans(seed)
    digits = Digits(folder / "digits-classification", folder / "digits-detection")
    for split, wanted in (("train", ~held_out_N), ("val", held_out_N)):
        for label in range(10):
            (digits.classification / split / str(label)).mkdir(parents=True, exist_ok=True)
        for index in np.flatnonzero(wanted):
            path = digits.classification / split / str(labels_N[index]) / f"{index:04d}.png"
            _write_png(path, _enlarge(scans_N88[index], CLASS_SIDE, CLASS_SIDE))
    for number, (split, scenes) in enumerate((("train", train_scenes), ("val", val_scenes))):
        chosen = np.flatnonzero(held_out_N if split == "val" else ~held_out_N)
        rng = np.random.default_rng([seed, number])
        _write_scenes(digits.detection, split, scenes, scans_N88[chosen], labels_N[chosen], rng)
    return digits


def _scans(seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Scans (0..1), labels, and which are held out for validation: the same share of every class."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    labels_N = np.asarray(bunch.target, np.int64)
    held_out_N = np.zeros(len(labels_N), np.bool_)
    rng = np.random.default_rng(seed)
    for label in range(10):
        mine = rng.permutation(np.flatnonzero(labels_N == label))
        held_out_N[mine[: round(HELD_OUT * len(mine))]] = True
    return np.asarray(bunch.images, np.float32) / 16.0, labels_N, held_out_N


def _enlarge(scan_HW: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    enlarged = cv2.resize(scan_HW, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.rint(np.clip(enlarged, 0.0, 1.0) * 255).astype(np.uint8)


def _write_png(path: Path, image: NDArray[np.uint8]) -> None:
    done, data = cv2.imencode(".png", image)
    if not done:
        raise OSError(f"{path}: OpenCV could not encode it as PNG")
    path.write_bytes(data.tobytes())


def _write_scenes(
    folder: Path,
    split: str,
    scenes: int,
    scans_N88: NDArray[np.float32],
    labels_N: NDArray[np.int64],
    rng: np.random.Generator,
) -> None:
    (folder / "images" / split).mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for scene in range(1, scenes + 1):
        name = f"images/{split}/{scene:05d}.png"
        canvas = _background(rng)
        taken = np.zeros((SCENE_SIDE, SCENE_SIDE), np.bool_)
        wanted, placed = int(rng.integers(DIGITS_PER_SCENE[0], DIGITS_PER_SCENE[1] + 1)), 0
        for _ in range(wanted * 20):
            index = int(rng.integers(len(labels_N)))
            mask = _paste(canvas, taken, scans_N88[index], rng)
            if mask is not None:
                annotations.append(_annotation(len(annotations) + 1, scene, int(labels_N[index]), mask))
                placed += 1
            if placed == wanted:
                break
        _write_png(folder / name, np.rint(np.clip(canvas, 0, 255)).astype(np.uint8))
        images.append({"id": scene, "file_name": name, "width": SCENE_SIDE, "height": SCENE_SIDE})
    document = {
        "info": {"description": "Scenes of scanned handwritten digits", "version": "1"},
        "categories": [{"id": label + 1, "name": str(label), "supercategory": "digit"} for label in range(10)],
        "images": images,
        "annotations": annotations,
    }
    (folder / f"{split}.json").write_text(json.dumps(document), encoding="utf-8")


def _background(rng: np.random.Generator) -> NDArray[np.float32]:
    """Uneven light and grain, grey 0..255."""
    light = rng.uniform(30, 110, (5, 5)).astype(np.float32)
    canvas = np.asarray(cv2.resize(light, (SCENE_SIDE, SCENE_SIDE), interpolation=cv2.INTER_CUBIC), np.float32)
    return canvas + rng.normal(0, 5, canvas.shape).astype(np.float32)


def _paste(
    canvas: NDArray[np.float32], taken: NDArray[np.bool_], scan_88: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.bool_] | None:
    """Draw one digit where no other is, and return its mask over the scene; None when it does not fit there.

    Its box plus a pixel of margin stays free of other ink, so no mask hides part of another.
    """
    rows, columns = (np.flatnonzero(np.any(scan_88 > 0.25, axis=axis)) for axis in (1, 0))
    ink = scan_88[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = float(np.exp(rng.uniform(*np.log(SIZES)))) / max(ink.shape)
    alpha = _enlarge(ink, max(6, round(ink.shape[0] * scale)), max(6, round(ink.shape[1] * scale))) / np.float32(255)
    height, width = alpha.shape
    y, x = (int(rng.integers(1, SCENE_SIDE - side)) for side in (height, width))
    if taken[y - 1 : y + height + 1, x - 1 : x + width + 1].any():
        return None
    spot = np.s_[y : y + height, x : x + width]
    canvas[spot] = canvas[spot] * (1 - alpha) + rng.uniform(170, 250) * alpha
    mask = np.zeros_like(taken)
    mask[spot] = alpha >= 0.5
    taken[spot] |= alpha > 0
    return mask


def _annotation(number: int, image: int, label: int, mask_HW: NDArray[np.bool_]) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    # COCO's run lengths go down the columns and begin with the zeros.
    column_major = np.concatenate(([False], mask_HW.ravel(order="F"), [False]))
    edges = np.flatnonzero(np.diff(column_major.astype(np.int8)))
    counts = np.diff(np.concatenate(([0], edges, [mask_HW.size])))
    return {
        "id": number,
        "image_id": image,
        "category_id": label + 1,
        "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        "area": int(mask_HW.sum()),
        "segmentation": {"size": list(mask_HW.shape), "counts": counts.tolist()},
        "iscrowd": 0,
    }
