"""Plants named, real defects into a copy of the digits sets, to show and to prove that the rules find them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snellen.data.dataset_error import DatasetError


@dataclass(frozen=True)
class Planted:
    """One defect that was planted."""

    rule: str
    """Name of the rule that must fire."""
    what: str
    """What was done, in a few words."""
    where: str
    """The image or annotation file, relative to the dataset."""


def plant(folder: Path, seed: int = 0) -> list[Planted]:
    """Spoil the digits set at `folder`, in place: give a copy. Another record is spoilt by each defect.

    `folder` is a digits-detection folder (with train.json) or a digits-classification one (with train/). Raises
    DatasetError when it is neither.
    """
    rng = np.random.default_rng(seed)
    if (folder / "train.json").is_file():
        return _plant_detection(folder, rng)
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        return _plant_classification(folder, rng)
    raise DatasetError(f"{folder}: no digits set there (train.json, or train/ and val/); build one with `snellen demo`")


def _plant_detection(folder: Path, rng: np.random.Generator) -> list[Planted]:
    document: dict[str, Any] = json.loads((folder / "train.json").read_text(encoding="utf-8"))
    held_out: dict[str, Any] = json.loads((folder / "val.json").read_text(encoding="utf-8"))
    names = {image["id"]: image["file_name"] for image in document["images"]}
    by_image: dict[int, list[dict[str, Any]]] = {}
    for annotation in document["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    order = [int(i) for i in rng.permutation(sorted(by_image))]
    planted: list[Planted] = []

    def spoil(rule: str, what: str, change: Callable[[dict[str, Any]], None]) -> None:
        image = order.pop()
        change(max(by_image[image], key=lambda a: a["area"]))
        planted.append(Planted(rule, what, names[image]))

    def add(annotation: dict[str, Any], **changed: Any) -> None:
        number = max(a["id"] for a in document["annotations"]) + 1
        document["annotations"].append({**annotation, "id": number, **changed})

    spoil("non-finite-coordinate", "a box with a NaN corner", lambda a: a["bbox"].__setitem__(0, float("nan")))
    spoil("degenerate-box", "a box of zero width", lambda a: a["bbox"].__setitem__(2, 0))
    spoil("box-out-of-bounds", "a box 60 px wider than the scene", lambda a: a["bbox"].__setitem__(2, 188))
    spoil("box-outside-image", "a box beside the scene", lambda a: a["bbox"].__setitem__(0, 400))
    spoil("unknown-class-id", "class 99 of 10", lambda a: a.__setitem__("category_id", 99))
    spoil("malformed-label", "a box of three numbers", lambda a: a["bbox"].pop())
    spoil("duplicate-box", "a digit boxed twice", add)
    spoil(
        "conflicting-box",
        "a digit boxed again as another class",
        lambda a: add(a, category_id=a["category_id"] % 10 + 1),
    )
    sized = order.pop()
    next(i for i in document["images"] if i["id"] == sized).update(width=256, height=96)
    planted.append(Planted("image-size-mismatch", "a scene declared as 256 x 96", names[sized]))

    cut = folder / names[order.pop()]
    cut.write_bytes(cut.read_bytes()[:2500])
    planted.append(Planted("truncated-image", "a PNG cut short", cut.relative_to(folder).as_posix()))
    lost = folder / names[order.pop()]
    lost.unlink()
    planted.append(Planted("missing-image", "a scene deleted", lost.relative_to(folder).as_posix()))

    leaked = order.pop()
    number = max(i["id"] for i in held_out["images"]) + 1
    copy = folder / "images" / "val" / "leaked.png"
    shutil.copyfile(folder / names[leaked], copy)
    image = next(i for i in document["images"] if i["id"] == leaked)
    held_out["images"].append({**image, "id": number, "file_name": copy.relative_to(folder).as_posix()})
    first = max(a["id"] for a in held_out["annotations"]) + 1
    held_out["annotations"] += [{**a, "id": first + n, "image_id": number} for n, a in enumerate(by_image[leaked])]
    planted.append(Planted("split-leak-exact", "a training scene copied into val", copy.relative_to(folder).as_posix()))

    (folder / "train.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "val.json").write_text(json.dumps(held_out), encoding="utf-8")
    return planted


def _plant_classification(folder: Path, rng: np.random.Generator) -> list[Planted]:
    paths = sorted((folder / "train").rglob("*.png"))
    order = [paths[int(i)] for i in rng.permutation(len(paths))]
    planted: list[Planted] = []

    def note(rule: str, what: str, path: Path) -> None:
        planted.append(Planted(rule, what, path.relative_to(folder).as_posix()))

    cut = order.pop()
    cut.write_bytes(cut.read_bytes()[:60])
    note("truncated-image", "a PNG cut short", cut)
    text = order.pop()
    text.write_text("this is no picture\n", encoding="utf-8")
    note("unreadable-image", "a text file called .png", text)
    twin = order.pop()
    copy = shutil.copyfile(twin, twin.with_name("copy.png"))
    note("duplicate-image", "a digit copied within its class", copy)
    digit = order.pop()
    other = folder / "train" / str((int(digit.parent.name) + 1) % 10) / "wrong.png"
    note("duplicate-image-with-different-labels", "a digit copied into another class", shutil.copyfile(digit, other))
    train = order.pop()
    leak = folder / "val" / train.parent.name / "leaked.png"
    note("split-leak-exact", "a training digit copied into val", shutil.copyfile(train, leak))
    return planted
