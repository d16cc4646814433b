"""The digit scenes as masks and CSV, in every layout that is read, and one defect at a time in them."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.rules.data_injections import _built, facts, files

Subject = Callable[[Path], list[Any]]
SIDE = 128
CLASSES = ["background", *(f"digit {n}" for n in range(10))]
COLOURS = np.array([[0, 0, 0], *([40 + 20 * n, 255 - 25 * n, 90 * n % 256] for n in range(10))], np.uint8)


def scenes() -> Iterator[tuple[str, dict[str, Any], list[dict[str, Any]]]]:
    """Split, image and annotations of every scene."""
    for split in ("train", "val"):
        document = json.loads((_built().detection / f"{split}.json").read_text())
        for image in document["images"]:
            yield split, image, [a for a in document["annotations"] if a["image_id"] == image["id"]]


def bitmap(annotation: dict[str, Any]) -> np.ndarray:
    """HxW, bool: the digit, from its uncompressed run lengths."""
    runs = annotation["segmentation"]["counts"]
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(SIDE, SIDE, order="F")


def index_mask(annotations: list[dict[str, Any]]) -> np.ndarray:
    """HxW, uint8: 0, and 1 + the digit."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for annotation in annotations:
        mask[bitmap(annotation)] = annotation["category_id"]
    return mask


def semantic(folder: Path) -> Path:
    """images/train beside masks/train, ids, and a list of names and ids."""
    root = folder / "semantic"
    shutil.copytree(_built().detection / "images", root / "images")
    for split, image, annotations in scenes():
        save(index_mask(annotations), root / "masks" / split / Path(image["file_name"]).name)
    rows = "".join(f"{name},{number}\n" for number, name in enumerate(CLASSES))
    (root / "classes.csv").write_text("name,id\n" + rows)
    return root


def coloured(folder: Path) -> Path:
    """train/images beside train/masks, a colour a class, as class_dict.csv says."""
    root = folder / "coloured"
    for split, image, annotations in scenes():
        name = Path(image["file_name"]).name
        (root / split / "images").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_built().detection / image["file_name"], root / split / "images" / name)
        save(COLOURS[index_mask(annotations)], root / split / "masks" / name)
    rows = "".join(f"{name},{r},{g},{b}\n" for name, (r, g, b) in zip(CLASSES, COLOURS.tolist(), strict=True))
    (root / "class_dict.csv").write_text("name,r,g,b\n" + rows)
    return root


def panoptic(folder: Path) -> Path:
    """COCO panoptic: digits are things, the ground is stuff."""
    root = folder / "panoptic"
    shutil.copytree(_built().detection / "images", root / "images")
    categories = [{"id": n, "name": name, "isthing": int(n > 0)} for n, name in enumerate(CLASSES)]
    documents: dict[str, dict[str, Any]] = {
        s: {"images": [], "annotations": [], "categories": categories} for s in ("train", "val")
    }
    for split, image, annotations in scenes():
        name = Path(image["file_name"]).name
        ids = np.full((SIDE, SIDE), 4_210_752, np.int64)
        for position, annotation in enumerate(annotations):
            ids[bitmap(annotation)] = 70_000 + 1_000 * position
        classes = {4_210_752: 0} | {70_000 + 1_000 * p: a["category_id"] for p, a in enumerate(annotations)}
        segments = []
        for identity in np.unique(ids).tolist():
            rows, columns = (ids == identity).any(axis=1).nonzero()[0], (ids == identity).any(axis=0).nonzero()[0]
            left, top = int(columns[0]), int(rows[0])
            box = [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
            area = int((ids == identity).sum())
            segments.append({"id": identity, "category_id": classes[identity], "bbox": box, "area": area, "iscrowd": 0})
        documents[split]["images"].append({**image, "file_name": name})
        documents[split]["annotations"].append({"image_id": image["id"], "file_name": name, "segments_info": segments})
        save(np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1), root / "annotations" / f"panoptic_{split}" / name)
    for split, document in documents.items():
        (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(document))
    return root


def instances(folder: Path) -> Path:
    """images/ beside masks/<image>_<class>_<k>.png, in each split's folder."""
    root = folder / "instances"
    for split, image, annotations in scenes():
        path = Path(image["file_name"])
        (root / split / "images").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_built().detection / path, root / split / "images" / path.name)
        for number, annotation in enumerate(annotations):
            name = f"{path.stem}_digit {annotation['category_id'] - 1}_{number}.png"
            save(bitmap(annotation) * np.uint8(255), root / split / "masks" / name)
    return root


def csv_boxes(folder: Path) -> Path:
    """train.csv and val.csv of file name, size, class and corners."""
    root = folder / "csv"
    shutil.copytree(_built().detection / "images", root / "images")
    lines = {split: ["filename,width,height,class,xmin,ymin,xmax,ymax"] for split in ("train", "val")}
    for split, image, annotations in scenes():
        for annotation in annotations:
            x, y, w, h = annotation["bbox"]
            name = Path(image["file_name"]).relative_to("images").as_posix()
            lines[split].append(f"{name},{SIDE},{SIDE},digit {annotation['category_id'] - 1},{x},{y},{x + w},{y + h}")
    for split, rows in lines.items():
        (root / f"{split}_labels.csv").write_text("\n".join(rows) + "\n")
    return root


def save(pixels: np.ndarray, path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path, **options)


def masks_of(root: Path) -> list[Path]:
    return sorted((root / "masks").rglob("*.png"))


def with_masks(change: Callable[[np.ndarray], np.ndarray], first: int | None, folder: Path) -> list[Any]:
    """The semantic set with its `first` masks, or all, changed."""
    root = semantic(folder)
    for path in masks_of(root)[:first]:
        with Image.open(path) as image:
            pixels = np.asarray(image)
        save(change(pixels), path)
    return facts(root)


def masks(change: Callable[[np.ndarray], np.ndarray], first: int | None = 1) -> Subject:
    return partial(with_masks, change, first)


def _smoothed(mask: np.ndarray) -> np.ndarray:
    """Enlarged as a picture, spread over ids far apart, and back to its size."""
    spread = Image.fromarray((mask * 20).astype(np.uint8))
    return np.asarray(
        spread.resize((200, 200), Image.Resampling.BILINEAR).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    )


def _far_apart(root: Path) -> None:
    """Ids twenty apart, listed so, in masks that were smoothed."""
    for path in masks_of(root):
        with Image.open(path) as image:
            save(_smoothed(np.asarray(image)), path)
    rows = "".join(f"{name},{20 * number}\n" for number, name in enumerate(CLASSES))
    (root / "classes.csv").write_text("name,id\n" + rows)


def _as_jpeg(root: Path) -> None:
    for path in masks_of(root):
        with Image.open(path) as image:
            pixels = np.asarray(image)
        path.unlink()
        save(pixels, path.with_suffix(".jpg"), quality=75)


def _binary(root: Path) -> None:
    """Digit or not, as 0 and 255, without a class list."""
    (root / "classes.csv").unlink()
    for path in masks_of(root):
        with Image.open(path) as image:
            save((np.asarray(image) > 0) * np.uint8(255), path)


def _specks(mask: np.ndarray) -> np.ndarray:
    """A pixel of each digit set apart in the first rows, wherever there is room."""
    mask = mask.copy()
    mask[:4] = 0
    for position, value in enumerate(v for v in np.unique(mask) if v):
        mask[1, 4 + 8 * position] = value
    return mask


def _spoil_panoptic(folder: Path, change: Callable[[dict[str, Any], Path], None]) -> list[Any]:
    root = panoptic(folder)
    path = root / "annotations" / "panoptic_train.json"
    document = json.loads(path.read_text())
    change(document, root / "annotations" / "panoptic_train")
    path.write_text(json.dumps(document))
    return facts(root)


def _no_pixels(document: dict[str, Any], _: Path) -> None:
    """A segment that is nowhere: its id is not drawn."""
    entry = document["annotations"][3]
    entry["segments_info"].append({"id": 99, "category_id": 1, "bbox": [4, 4, 30, 30], "area": 900, "iscrowd": 0})


def _no_segment(document: dict[str, Any], pictures: Path) -> None:
    """A patch of an id that nothing describes, inside of the ground."""
    path = pictures / document["annotations"][3]["file_name"]
    with Image.open(path) as image:
        pixels = np.array(image)
    ground = document["annotations"][3]["segments_info"]
    stuff = next(s for s in ground if s["category_id"] == 0)
    free = (pixels == pixels[0, 0]).all(axis=-1)
    free[[0, -1]] = free[:, [0, -1]] = False
    spot = np.argwhere(free)[:200]
    pixels[tuple(spot.T)] = (1, 2, 3)
    stuff["area"] -= len(spot)
    Image.fromarray(pixels).save(path)


CLEAN: dict[str, Subject] = {
    "digit scenes, ids in masks": lambda folder: facts(semantic(folder)),
    "digit scenes, colours in masks": lambda folder: facts(coloured(folder)),
    "digit scenes, panoptic": lambda folder: facts(panoptic(folder)),
    "digit scenes, a mask an object": lambda folder: facts(instances(folder)),
    "digit scenes, CSV": lambda folder: facts(csv_boxes(folder)),
}

SICK: dict[str, Subject] = {
    "mask-size-mismatch": masks(lambda m: m[:100]),
    "mask-unknown-id": masks(lambda m: np.where(m > 0, 77, m)),
    "empty-mask": masks(lambda m: np.full_like(m, 255)),
    "mask-resampled": files(semantic, _far_apart),
    "lossy-mask": files(semantic, _as_jpeg),
    "mask-fragment": masks(_specks, None),
    "binary-mask-0-255": files(semantic, _binary),
    "mask-mode": masks(lambda m: np.stack([m] * 3, -1), 3),
    "segment-without-pixels": lambda folder: _spoil_panoptic(folder, _no_pixels),
    "pixels-without-segment": lambda folder: _spoil_panoptic(folder, _no_segment),
    "unreadable-mask": files(semantic, lambda r: masks_of(r)[0].write_bytes(masks_of(r)[0].read_bytes()[:120])),
    "missing-mask": files(semantic, lambda r: masks_of(r)[0].unlink()),
    "orphan-mask": files(instances, lambda r: shutil.copyfile(
        next((r / "train" / "masks").iterdir()), r / "train" / "masks" / "lost_digit 1_0.png"
    )),
}  # fmt: skip

ALSO: dict[str, set[str]] = {}
