"""Sets of many small pictures, healthy and with one thing wrong with the whole of them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from snellen.training.recipe import Recipe
from tests.rules.data_injections import facts
from tests.rules.image_injections import picture

Subject = Callable[[Path], list[Any]]
SIDE = 48


def boxes_of(
    rng: np.random.Generator, across: tuple[float, float] = (0.1, 0.9), size: tuple[float, float] = (6, 18)
) -> list[list[float]]:
    """Three boxes of random sizes, their centres within `across` of the width and anywhere down."""
    found = []
    for _ in range(3):
        w, h = rng.uniform(*size, 2)
        x, y = rng.uniform(*across) * SIDE - w / 2, rng.uniform(0.1, 0.9) * SIDE - h / 2
        x, y = np.clip(x, 0, SIDE - w), np.clip(y, 0, SIDE - h)
        found.append([round(float(v), 2) for v in (x, y, w, h)])
    return found


def scenes(
    folder: Path,
    *,
    counts: tuple[int, int] = (160, 60),
    share: tuple[float, float] = (0.5, 0.5),
    light: tuple[float, float] = (1.0, 1.0),
    size: tuple[tuple[float, float], tuple[float, float]] = ((6, 18), (6, 18)),
    across: tuple[float, float] = (0.1, 0.9),
    ids: Sequence[int] = (1, 2),
    empty: bool = True,
) -> Path:
    """COCO of two classes. Each pair is of train and val: images, share of images with a dog, brightness, box sides."""
    root = folder / "scenes"
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(5)
    number = 0
    for part, split in enumerate(("train", "val")):
        images, annotations = [], []
        for index in range(counts[part]):
            number += 1
            name = f"images/{number:04}.png"
            values = picture(number, SIDE) * light[part]
            Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(root / name)
            images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
            dog = rng.random() < share[part]
            for box in [] if empty and index % 20 == 0 else boxes_of(rng, across, size[part]):
                annotations.append({
                    "id": len(annotations) + 1, "image_id": number, "category_id": ids[int(dog)], "bbox": box,
                    "area": box[2] * box[3], "iscrowd": 0,
                })  # fmt: skip
        categories = [{"id": i, "name": n} for i, n in zip(ids, ("cat", "dog"), strict=True)]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{split}.json").write_text(json.dumps(document))
    return root


def folders(folder: Path, classes: Sequence[str] = ("cat", "dog", "eel"), val: Sequence[str] | None = None) -> Path:
    """Class folders of train and val, twenty pictures and ten a class."""
    root = folder / "folders"
    number = 0
    for split, names, count in (("train", classes, 20), ("val", classes if val is None else val, 10)):
        for name in names:
            (root / split / name).mkdir(parents=True)
            for _ in range(count):
                number += 1
                Image.fromarray(picture(number, SIDE)).save(root / split / name / f"{number:04}.png")
    return root


def _another_camera(folder: Path) -> list[Any]:
    """All eels are 64 x 48 px."""
    root = folders(folder)
    for path in root.rglob("eel/*.png"):
        Image.open(path).resize((64, SIDE)).save(path)
    return facts(root)


def _declared_and_empty(folder: Path) -> list[Any]:
    root = scenes(folder)
    (root / "test.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    return facts(root)


def _only_train(folder: Path) -> list[Any]:
    root = folders(folder)
    for path in (root / "val").rglob("*.png"):
        path.unlink()
    for path in (root / "val").iterdir():
        path.rmdir()
    (root / "val").rmdir()
    return facts(root)


def _one_stem(folder: Path) -> list[Any]:
    """A JPEG beside a PNG of its name, in a YOLO set."""
    root = folder / "yolo"
    rng = np.random.default_rng(1)
    for number in range(30):
        split = "train" if number < 20 else "val"
        for part in ("images", "labels"):
            (root / part / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number, SIDE)).save(root / "images" / split / f"{number:02}.png")
        rows = [f"0 {(x + w / 2) / SIDE} {(y + h / 2) / SIDE} {w / SIDE} {h / SIDE}\n" for x, y, w, h in boxes_of(rng)]
        (root / "labels" / split / f"{number:02}.txt").write_text("".join(rows))
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat]\n")
    Image.fromarray(picture(99, SIDE)).save(root / "images" / "train" / "07.jpg", quality=92)
    return facts(root)


def with_recipe(data: Callable[[Path], Path], **changes: Any) -> Subject:
    """A dataset and the recipe it is trained by, whose normalisation fits the pictures."""
    fitting = {"mean": (0.5, 0.5, 0.5), "std": (0.22, 0.22, 0.22), "image_size": 48, "model": "ssdlite"}

    def make(folder: Path) -> list[Any]:
        found = facts(data(folder))
        return [*found, Recipe.build({"task": found[0].task, **fitting, **changes})]

    return make


def _set(**options: Any) -> Subject:
    return lambda folder: facts(scenes(folder, **options))


CLEAN: dict[str, Subject] = {
    "scenes of two classes": _set(),
    "class folders": lambda folder: facts(folders(folder)),
    "scenes and recipe": with_recipe(scenes, flip=True),
}

SICK: dict[str, Subject] = {
    "class-order-differs": lambda folder: facts(folders(folder, val=("cat", "eel"))),
    "gaps-in-class-ids": _set(ids=(3, 9)),
    "shared-label-file": _one_stem,
    "single-class": lambda folder: facts(folders(folder, classes=("cat",))),
    "empty-split": _declared_and_empty,
    "small-validation-split": _set(counts=(240, 8)),
    "no-validation-split": _only_train,
    "no-background-images": _set(empty=False),
    "label-drift": _set(share=(0.2, 0.8)),
    "image-drift": _set(light=(1.0, 0.6)),
    "object-drift": _set(size=((6, 9), (14, 18))),
    "objects-in-one-place": _set(across=(0.45, 0.55), size=((40, 46), (40, 46))),
    "class-told-by-file": _another_camera,
    "normalization-mismatch": with_recipe(scenes, mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255)),
    "flip-changes-labels": with_recipe(lambda f: folders(f, ("turn left", "turn right", "straight on")), flip=True),
    "batch-rarely-holds-class": with_recipe(lambda f: scenes(f, counts=(800, 60), share=(0.009, 0.05)), batch_size=2),
}

ALSO: dict[str, set[str]] = {
    "shared-label-file": {"missing-label-file"},
    "batch-rarely-holds-class": {"label-drift", "class-imbalance"},
    "objects-in-one-place": {"duplicate-box", "conflicting-box"},
    "small-validation-split": {"rare-class"},
}
