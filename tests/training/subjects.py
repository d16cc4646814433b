"""Small real datasets, made from scikit-learn's digits, as facts."""

from pathlib import Path

import cv2
import numpy as np
import polars as pl
from sklearn.datasets import load_digits

from snellen.data.facts import BOXES, CLASSES, IMAGES, LEDGER, PROBLEMS, DataFacts
from snellen.facts import table
from snellen.verbs.facts_for import facts_for


def _facts(root: Path, task: str, images: list[dict], boxes: list[dict]) -> DataFacts:
    names = [str(k) for k in range(10)]
    return DataFacts(
        root=str(root),
        format="class-folders" if task == "classification" else "coco",
        task=task,
        images=table(IMAGES, images),
        boxes=table(BOXES, boxes),
        problems=table(PROBLEMS),
        classes=table(CLASSES, [{"class_id": k, "class_name": n, "declared": True} for k, n in enumerate(names)]),
        ledger=table(LEDGER),
    )


def _picture(path: Path, pixels: np.ndarray) -> None:
    """Written once: processes that share a run make the same data, and one may read what another would rewrite."""
    if not path.exists():
        cv2.imwrite(str(path), pixels)


def digit_images(root: Path, count: int, side: int = 32) -> DataFacts:
    """`count` digits as PNG files without a declared split."""
    pixels, labels = load_digits(return_X_y=True)
    rows = []
    for i in range(count):
        grey = cv2.resize((pixels[i].reshape(8, 8) * 15.9).astype(np.uint8), (side, side))
        name = f"{labels[i]}/{i:04}.png"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        _picture(root / name, grey)
        rows.append(
            {"image": name, "class_name": str(labels[i]), "listed": True, "exists": True, "width": side, "height": side}
        )
    return _facts(root, "classification", rows, [])


def digit_scenes(root: Path, count: int, side: int = 128, seed: int = 0, smallest: int = 18) -> DataFacts:
    """`count` noisy canvases with one to five digits of different sizes, boxes tight around the ink."""
    pixels, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    images, boxes = [], []
    root.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        canvas = rng.integers(0, 90, 3) + rng.normal(0, 8, (side, side, 3))
        placed: list[tuple[int, int, int, int]] = []
        for _ in range(rng.integers(1, 6)):
            k = int(rng.integers(len(labels)))
            ink = pixels[k].reshape(8, 8) / 16
            rows, columns = np.nonzero(ink > 0.2)
            ink = ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            height = int(rng.integers(smallest, 48))
            width = max(6, height * ink.shape[1] // ink.shape[0])
            x, y = int(rng.integers(0, side - min(width, side - 1))), int(rng.integers(0, side - height))
            if any(x < b[2] and b[0] < x + width and y < b[3] and b[1] < y + height for b in placed):
                continue
            placed.append((x, y, x + width, y + height))
            blend = cv2.resize(ink, (width, height))[..., None]
            window = canvas[y : y + height, x : x + width]
            window += (rng.integers(140, 255, 3) - window) * blend
            boxes.append(
                {"image": f"{i:04}.png", "file": "scenes.json", "row": len(boxes) + 1, "class_id": int(labels[k])}
                | {"class_name": str(labels[k]), "x1": x, "y1": y, "x2": x + width, "y2": y + height, "usable": True}
            )
        _picture(root / f"{i:04}.png", canvas.clip(0, 255).astype(np.uint8))
        images.append({"image": f"{i:04}.png", "listed": True, "exists": True, "width": side, "height": side})
    return _facts(root, "detection", images, boxes)


def shapes_with_maps(root: Path, count: int, side: int = 32, seed: int = 0) -> DataFacts:
    """`count` noisy images with a red and a blue rectangle, and the class of each pixel as index masks."""
    colours = np.array([[40, 40, 40], [220, 60, 60], [60, 60, 220]])
    rng = np.random.default_rng(seed)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        labels = np.zeros((side, side), np.uint8)
        for k in (1, 2):
            y, x = rng.integers(0, side * 2 // 3, 2)
            labels[y : y + side // 3, x : x + side // 3] = k
        image = (colours[labels] + rng.integers(-12, 13, (side, side, 3))).clip(0, 255).astype(np.uint8)
        _picture(root / "images" / f"{i:02}.png", image)
        labels[:3, :3] = 255
        _picture(root / "masks" / f"{i:02}.png", labels)
    return facts_for(root)


def with_split(data: DataFacts, held_out: float = 0.2) -> DataFacts:
    """The same with the last images declared as val."""
    first = round(data.images.height * (1 - held_out))
    split = ["train" if i < first else "val" for i in range(data.images.height)]
    return DataFacts(**{**vars(data), "images": data.images.with_columns(split=pl.Series(split))})
