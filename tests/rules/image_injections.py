"""Sets of photograph-like pictures, and one picture at a time that is unlike the rest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tests.rules.data_injections import facts

Subject = Callable[[Path], list[Any]]
COUNT = 24
SIDE = 160
ODD = "07"
"""The picture that is changed."""


def picture(seed: int, side: int = SIDE) -> NDArray[np.uint8]:
    """Coloured patches with fine texture: the statistics of a photograph in daylight."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(20, 236, (6, 6, 3), dtype=np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 12, (side, side, 3))
    return np.clip(coarse.astype(np.float64) + grain, 0, 255).astype(np.uint8)


def photographs(folder: Path, suffix: str = ".png") -> Path:
    """Two splits of pictures, each with one box; the annotations are COCO."""
    root = folder / "photographs"
    for number in range(COUNT):
        path = root / "images" / f"{number:02}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(path, quality=92)
    for split, numbers in (("train", range(18)), ("val", range(18, COUNT))):
        document = {
            "images": [{"id": n, "file_name": f"images/{n:02}{suffix}"} for n in numbers],
            "annotations": [
                {
                    "id": n + 1,
                    "image_id": n,
                    "category_id": 1,
                    "bbox": [10 + n, 20, 60 + n, 70],
                    "iscrowd": 0,
                    "area": 70 * (60 + n),
                }
                for n in numbers
            ],
            "categories": [{"id": 1, "name": "patch"}],
        }
        (root / f"{split}.json").write_text(json.dumps(document))
    return root


def changed(change: Callable[[Image.Image], Image.Image], suffix: str = ".png", **save: Any) -> Subject:
    """One picture replaced by what `change` makes of it."""

    def make(folder: Path) -> list[Any]:
        path = photographs(folder, suffix) / "images" / f"{ODD}{suffix}"
        with Image.open(path) as image:
            image.load()
        change(image).save(path, **({"quality": 92} | save))
        return facts(path.parent.parent)

    return make


def pixels(change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Subject:
    """One picture whose values, 0..255, are changed."""
    return changed(
        lambda i: Image.fromarray(np.clip(change(np.asarray(i, np.float64)), 0, 255).astype(np.uint8)), ".png"
    )


def _alpha(image: Image.Image) -> Image.Image:
    alpha = np.full((image.height, image.width), 255, np.uint8)
    alpha[:, : image.width // 2] = 0
    image.putalpha(Image.fromarray(alpha))
    return image


def _deep(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def _frames(folder: Path) -> list[Any]:
    path = photographs(folder, ".tiff") / "images" / f"{ODD}.tiff"
    first, second = (Image.fromarray(picture(s)) for s in (7, 70))
    first.save(path, save_all=True, append_images=[second])
    return facts(path.parent.parent)


def _profile(image: Image.Image) -> Image.Image:
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    return image


def _bars(values: NDArray[np.float64]) -> NDArray[np.float64]:
    values[:24] = values[-24:] = 0
    return values


def _flat(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values > values.mean(), 160.0, 90.0).mean(axis=2, keepdims=True).round(-2).repeat(3, axis=2)


def _blur(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), 6), np.float64)


def _named(name: str, source: str) -> Subject:
    """Another picture, listed under `name`, of train."""

    def make(folder: Path) -> list[Any]:
        root = photographs(folder)
        Image.fromarray(picture(99)).save(root / "images" / name)
        document = json.loads((root / "train.json").read_text())
        document["images"].append({"id": 500, "file_name": f"images/{name}"})
        box = {"id": 500, "image_id": 500, "category_id": 1, "bbox": [9, 9, 50, 50], "area": 2500, "iscrowd": 0}
        document["annotations"].append(box)
        for image in document["images"]:
            if source and image["file_name"] == f"images/{ODD}.png":
                image["file_name"] = f"images/{source}"
                (root / "images" / f"{ODD}.png").rename(root / "images" / source)
        (root / "train.json").write_text(json.dumps(document))
        return facts(root)

    return make


CLEAN: dict[str, Subject] = {
    "photographs, PNG": lambda folder: facts(photographs(folder)),
    "photographs, JPEG": lambda folder: facts(photographs(folder, ".jpg")),
}

SICK: dict[str, Subject] = {
    "dark-image": pixels(lambda v: v * 0.2),
    "overexposed-image": pixels(lambda v: 243 + v * 0.05),
    "low-information-image": pixels(_flat),
    "low-contrast-image": pixels(lambda v: 100 + v * 0.2),
    "blurry-image": pixels(_blur),
    "undersized-image": changed(lambda i: i.resize((8, 8))),
    "extreme-aspect-image": changed(lambda i: i.resize((900, 120))),
    "mixed-channel-mode": changed(lambda i: i.convert("CMYK"), ".jpg"),
    "grey-among-colour": changed(lambda i: i.convert("L").convert("RGB")),
    "alpha-channel-content": changed(_alpha),
    "deep-grey-image": changed(_deep),
    "embedded-colour-profile": changed(_profile, ".png"),
    "multi-frame-image": _frames,
    "baked-in-border": pixels(_bars),
    "heavy-compression": changed(lambda i: i, ".jpg", quality=10),
    "outlying-image": pixels(lambda v: v * [0.3, 0.3, 1.9]),
    "case-clash": _named("A.png", "a.png"),
    "unportable-path": _named("12:30.png", ""),
}

ALSO: dict[str, set[str]] = {
    "alpha-channel-content": {"mixed-channel-mode"},
    "deep-grey-image": {"mixed-channel-mode", "grey-among-colour"},
    "undersized-image": {"odd-image-size", "box-out-of-bounds", "box-outside-image"},
    "extreme-aspect-image": {"box-out-of-bounds"},
    "low-information-image": {"grey-among-colour"},
}
