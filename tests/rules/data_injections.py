"""Healthy datasets, and one defect at a time injected into real files of them."""

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from snellen.data.digits import Digits, build_digits
from snellen.data.examine import examine

Subject = Callable[[Path], list[Any]]


@cache
def _built() -> Digits:
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return build_digits(Path(folder), train_scenes=60, val_scenes=12)


def detection(folder: Path) -> Path:
    return Path(shutil.copytree(_built().detection, folder / "detection"))


def classification(folder: Path) -> Path:
    """Every eighth scan: enough of every class, and quick to copy."""
    source = _built().classification
    for number, path in enumerate(sorted(source.rglob("*.png"))):
        if number % 8 == 0:
            target = folder / "classification" / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return folder / "classification"


def yolo(folder: Path) -> Path:
    """The same scenes with YOLO labels, written by hand so that the reader is not tested against itself."""
    coco, root = _built().detection, folder / "yolo"
    shutil.copytree(coco / "images", root / "images")
    for split in ("train", "val"):
        (root / "labels" / split).mkdir(parents=True)
        document = json.loads((coco / f"{split}.json").read_text())
        for image in document["images"]:
            rows = [
                f"{a['category_id'] - 1} " + " ".join(f"{v / 128:.6f}" for v in (x + w / 2, y + h / 2, w, h))
                for a in document["annotations"]
                if a["image_id"] == image["id"]
                for x, y, w, h in [a["bbox"]]
            ]
            (root / "labels" / split / f"{Path(image['file_name']).stem}.txt").write_text("\n".join(rows) + "\n")
    names = "".join(f"  {n}: digit {n}\n" for n in range(10))
    (root / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/val\nnames:\n{names}")
    return root


def voc(folder: Path) -> Path:
    """The same scenes with VOC labels."""
    coco, root = _built().detection, folder / "voc"
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    for split in ("train", "val"):
        document = json.loads((coco / f"{split}.json").read_text())
        stems = []
        for image in document["images"]:
            stem = f"{split}_{image['id']:03d}"
            stems.append(stem)
            shutil.copyfile(coco / image["file_name"], root / "JPEGImages" / f"{stem}.png")
            objects = "".join(
                f"<object><name>{a['category_id'] - 1}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin>"
                f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
                for a in document["annotations"]
                if a["image_id"] == image["id"]
                for x, y, w, h in [a["bbox"]]
            )
            (root / "Annotations" / f"{stem}.xml").write_text(
                f"<annotation><filename>{stem}.png</filename><size><width>128</width><height>128</height></size>"
                f"{objects}</annotation>"
            )
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems) + "\n")
    return root


def facts(root: Path) -> list[Any]:
    return [examine(root, cache=False, workers=1)]


def with_coco(change: Callable[[dict[str, Any], Path], None], folder: Path, split: str = "train") -> list[Any]:
    root = detection(folder)
    path = root / f"{split}.json"
    document = json.loads(path.read_text())
    change(document, root)
    path.write_text(json.dumps(document))
    return facts(root)


def with_files(make: Callable[[Path], Path], change: Callable[[Path], None], folder: Path) -> list[Any]:
    root = make(folder)
    change(root)
    return facts(root)


def coco(change: Callable[[dict[str, Any], Path], None]) -> Subject:
    return partial(with_coco, change)


def files(make: Callable[[Path], Path], change: Callable[[Path], None]) -> Subject:
    return partial(with_files, make, change)


def _first_big(document: dict[str, Any]) -> dict[str, Any]:
    return next(a for a in document["annotations"] if min(a["bbox"][2:]) > 12)


def _bbox(index: int, value: float) -> Subject:
    return coco(lambda d, _: _first_big(d)["bbox"].__setitem__(index, value))


def _again(d: dict[str, Any], **changed: Any) -> None:
    d["annotations"].append({**_first_big(d), "id": 99_999, **changed})


def _blow_up(root: Path) -> None:
    """One 32 px scan saved at 640 px."""
    path = sorted((root / "train" / "3").glob("*.png"))[0]
    Image.open(path).resize((640, 640), Image.Resampling.BICUBIC).save(path)


def _background_and_missing(root: Path) -> None:
    """One label file emptied, which says background, and one lost, which says nothing."""
    (root / "labels" / "train" / "00003.txt").write_text("")
    (root / "labels" / "train" / "00004.txt").unlink()


def _one(root: Path, split: str = "train") -> Path:
    return sorted((root / "images" / split).glob("*.png"))[3]


def _cut(root: Path) -> None:
    _one(root).write_bytes(_one(root).read_bytes()[:1500])


def _turned(root: Path) -> None:
    path = _one(root)
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(path) as image:
        image.load()
    image.save(path, exif=exif)


def _jpeg_called_png(root: Path) -> None:
    path = _one(root)
    with Image.open(path) as image:
        image.load()
    image.save(path, format="JPEG", quality=95)


def _drop_class(root: Path) -> None:
    """Class 9 disappears from train.json and stays in val.json and in the list."""
    path = root / "train.json"
    document = json.loads(path.read_text())
    document["annotations"] = [a for a in document["annotations"] if a["category_id"] != 10]
    path.write_text(json.dumps(document))


def _rarefy(root: Path) -> None:
    """All but two training images of class 9, and all of them in val, lose it."""
    for name, keep in (("train.json", 2), ("val.json", 0)):
        document = json.loads((root / name).read_text())
        images = list(dict.fromkeys(a["image_id"] for a in document["annotations"] if a["category_id"] == 10))[:keep]
        document["annotations"] = [
            a for a in document["annotations"] if a["category_id"] != 10 or a["image_id"] in images
        ]
        (root / name).write_text(json.dumps(document))


def _imbalance(root: Path) -> None:
    """Class 0 grows to 6 : 400 by crowding rows of a small box into the images; val keeps its own."""
    document = json.loads((root / "train.json").read_text())
    rare = [a for a in document["annotations"] if a["category_id"] == 10]
    keep = {a["id"] for a in rare[:7]}
    document["annotations"] = [a for a in document["annotations"] if a["category_id"] != 10 or a["id"] in keep]
    number = 100_000
    for image in document["images"]:
        for step in range(12):
            box = [10 * step, 2, 7, 5]
            document["annotations"].append(
                {"id": number, "image_id": image["id"], "category_id": 1, "bbox": box, "area": 35, "iscrowd": 0}
            )
            number += 1
    (root / "train.json").write_text(json.dumps(document))
    held_out = json.loads((root / "val.json").read_text())
    held_out["annotations"] = [a for a in held_out["annotations"] if a["category_id"] != 10]
    (root / "val.json").write_text(json.dumps(held_out))


def _rename_category(document: dict[str, Any], _: Path) -> None:
    document["categories"][0]["name"] = "Seven Up"
    document["categories"][1]["name"] = "seven_up"


def _names_in_both(root: Path) -> None:
    for name in ("train.json", "val.json"):
        document = json.loads((root / name).read_text())
        _rename_category(document, root)
        (root / name).write_text(json.dumps(document))


def _copy_row(source: Path, root: Path, name: str, split: str) -> None:
    """Copy an image of train with its boxes, under another name, into `split`."""
    train = json.loads((root / "train.json").read_text())
    target = train if split == "train" else json.loads((root / f"{split}.json").read_text())
    image = next(i for i in train["images"] if root / i["file_name"] == source)
    number = max(i["id"] for i in target["images"]) + 1
    shutil.copyfile(source, root / name)
    mine = [a for a in train["annotations"] if a["image_id"] == image["id"]]
    first = max(a["id"] for a in target["annotations"]) + 1
    target["images"].append({**image, "id": number, "file_name": name})
    target["annotations"] += [{**a, "id": first + i, "image_id": number} for i, a in enumerate(mine)]
    (root / f"{split}.json").write_text(json.dumps(target))


def _mislabelled_copy(root: Path) -> None:
    source = sorted((root / "train" / "3").glob("*.png"))[0]
    shutil.copyfile(source, root / "train" / "8" / "copy.png")


def _pixels(root: Path) -> None:
    path = sorted((root / "labels" / "train").glob("*.txt"))[2]
    rows = [line.split() for line in path.read_text().splitlines()]
    path.write_text("".join(f"{r[0]} {' '.join(str(float(v) * 128) for v in r[1:])}\n" for r in rows))


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def _placeholder(folder: Path) -> list[Any]:
    root = yolo(folder)
    (root / "images").rename(root / "pictures")
    (root / "images").write_text("pictures")
    return facts(root)


CLEAN: dict[str, Subject] = {
    "digit scenes, COCO": lambda folder: facts(detection(folder)),
    "digit scenes, YOLO": lambda folder: facts(yolo(folder)),
    "digit scenes, VOC": lambda folder: facts(voc(folder)),
    "digits, class folders": lambda folder: facts(classification(folder)),
    "the full sets' scans": lambda folder: facts(_built().classification),
}

SICK: dict[str, Subject] = {
    "unreadable-image": files(detection, lambda r: _one(r).write_text("no picture")),
    "truncated-image": files(detection, _cut),
    "extension-mismatch": files(detection, _jpeg_called_png),
    "exif-rotated-image": files(detection, _turned),
    "odd-image-size": files(classification, _blow_up),
    "blank-image": files(detection, lambda r: Image.fromarray(np.full((128, 128), 9, np.uint8)).save(_one(r))),
    "non-finite-coordinate": _bbox(0, float("nan")),
    "degenerate-box": _bbox(2, 0),
    "box-out-of-bounds": _bbox(2, 300),
    "box-outside-image": _bbox(0, 500),
    "duplicate-box": coco(lambda d, _: _again(d)),
    "conflicting-box": coco(lambda d, _: _again(d, category_id=_first_big(d)["category_id"] % 10 + 1)),
    "unnormalized-coordinates": files(yolo, _pixels),
    "corrupt-annotation-file": files(voc, lambda r: (r / "Annotations" / "train_004.xml").write_text("<annotation>")),
    "malformed-label": coco(lambda d, _: _first_big(d)["bbox"].pop()),
    "unknown-class-id": coco(lambda d, _: _first_big(d).__setitem__("category_id", 77)),
    "missing-image": files(detection, lambda r: _one(r).unlink()),
    "missing-label-file": files(yolo, _background_and_missing),
    "orphan-label": files(yolo, lambda r: (r / "images" / "train" / "00004.png").unlink()),
    "duplicate-id": coco(lambda d, _: d["annotations"][5].__setitem__("id", d["annotations"][4]["id"])),
    "image-size-mismatch": coco(lambda d, _: d["images"][4].update(width=300, height=200)),
    "near-identical-class-names": files(detection, _names_in_both),
    "unsafe-path": coco(lambda d, _: d["images"][4].__setitem__("file_name", "../../../etc/passwd")),
    "unknown-image-id": coco(lambda d, _: _first_big(d).__setitem__("image_id", 4_444)),
    "symlink-placeholder": _placeholder,
    "duplicate-image": files(detection, lambda r: _copy_row(_one(r), r, "images/train/copy.png", "train")),
    "duplicate-image-with-different-labels": files(classification, _mislabelled_copy),
    "split-leak-exact": files(detection, lambda r: _copy_row(_one(r), r, "images/val/copy.png", "val")),
    "missing-split-target": files(voc, lambda r: _append(r / "ImageSets" / "Main" / "val.txt", "val_999\n")),
    "class-missing-in-split": files(detection, _drop_class),
    "rare-class": files(detection, _rarefy),
    "class-imbalance": files(detection, _imbalance),
    "unused-class": files(yolo, lambda r: _append(r / "data.yaml", "  10: digit ten\n")),
}

ALSO: dict[str, set[str]] = {
    "class-imbalance": {"label-drift", "box-size-outlier", "identical-box-sizes"},
}
