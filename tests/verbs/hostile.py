"""Small datasets of every format, to be damaged, and the proof that an exam leaves them as they are."""

import hashlib
import json
import os
import stat
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from snellen.errors import UseError
from snellen.findings.settings import LoadedSettings
from snellen.result import Result
from snellen.verbs.check import check
from snellen.verbs.exam import exam

Box = tuple[int, int, int, int]


def picture(path: Path, seed: int) -> list[tuple[str, Box]]:
    """Write a textured 96 x 96 image with two shapes; returns their classes and boxes, xyxy pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 60, (96, 96, 3), np.uint8))
    draw = ImageDraw.Draw(image)
    shapes: list[tuple[str, Box]] = []
    for left in (4, 52):
        side = int(rng.integers(24, 38))
        top = int(rng.integers(4, 88 - side))
        box = (left, top, left + side, top + side)
        name = ("square", "disc")[int(rng.integers(2))]
        (draw.rectangle if name == "square" else draw.ellipse)(box, fill=tuple(rng.integers(140, 255, 3).tolist()))
        shapes.append((name, box))
    image.save(path)
    return shapes


def class_folders(root: Path, count: int = 10, names: tuple[str, ...] = ("cat", "dog")) -> Path:
    for number, name in enumerate(names):
        for index in range(count):
            picture(root / name / f"{index:03}.png", 1000 * number + index)
    return root


def coco(root: Path, count: int = 16) -> Path:
    for part, (split, images) in enumerate((("train", count), ("val", max(2, count // 3)))):
        document: dict[str, list[dict[str, object]]] = {"images": [], "annotations": [], "categories": []}
        document["categories"] = [{"id": 1, "name": "square"}, {"id": 2, "name": "disc"}]
        for index in range(images):
            name = f"images/{split}/{index:03}.png"
            shapes = picture(root / name, 5000 * part + index)
            document["images"].append({"id": index, "file_name": name, "width": 96, "height": 96})
            for kind, (x1, y1, x2, y2) in shapes:
                document["annotations"].append(
                    {
                        "id": len(document["annotations"]) + 1, "image_id": index, "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "category_id": 1 if kind == "square" else 2, "area": (x2 - x1) * (y2 - y1), "iscrowd": 0,
                    }
                )  # fmt: skip
        (root / f"{split}.json").write_text(json.dumps(document))
    return root


def voc(root: Path, count: int = 16) -> Path:
    (root / "Annotations").mkdir(parents=True)
    for index in range(count):
        shapes = picture(root / "JPEGImages" / f"{index:03}.png", index)
        objects = "".join(
            f"<object><name>{kind}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
            "</bndbox></object>"
            for kind, (a, b, c, d) in shapes
        )
        size = "<size><width>96</width><height>96</height><depth>3</depth></size>"
        text = f"<annotation><filename>{index:03}.png</filename>{size}{objects}</annotation>"
        (root / "Annotations" / f"{index:03}.xml").write_text(text)
    return root


def yolo(root: Path, count: int = 16) -> Path:
    for part, (split, images) in enumerate((("train", count), ("val", max(2, count // 3)))):
        (root / "labels" / split).mkdir(parents=True)
        for index in range(images):
            shapes = picture(root / "images" / split / f"{index:03}.png", 5000 * part + index)
            rows = [
                f"{int(kind == 'disc')} {(a + c) / 192:.5f} {(b + d) / 192:.5f} {(c - a) / 96:.5f} {(d - b) / 96:.5f}"
                for kind, (a, b, c, d) in shapes
            ]
            (root / "labels" / split / f"{index:03}.txt").write_text("\n".join(rows) + "\n")
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [square, disc]\n")
    return root


def huge_png(path: Path) -> None:
    """A solid 30,000 x 30,000 grey PNG of under a megabyte, valid to the last byte."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    squeeze = zlib.compressobj(1)
    line = bytes(30001)
    body = b"".join(squeeze.compress(line) for _ in range(30000)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def snapshot(folder: Path) -> dict[bytes, tuple[object, ...]]:
    """Kind, permissions, change time and content of everything below `folder`."""
    found: dict[bytes, tuple[object, ...]] = {}
    for place, folders, files in os.walk(os.fsencode(folder)):
        for name in [b"", *folders, *files]:
            path = os.path.join(place, name)
            state = os.lstat(path)
            if stat.S_ISLNK(state.st_mode):
                content: object = os.readlink(path)
            elif stat.S_ISREG(state.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.file_digest(file, "sha256").digest()
            else:
                content = None
            found[path] = (state.st_mode, state.st_mtime_ns, content)
    return found


def examined(data: Path, out: Path, plain: LoadedSettings, **more: object) -> Result | str:
    """The result of a tiny exam of `data`, or the one line it ended in; the dataset is unchanged either way."""
    before = snapshot(data) if data.is_dir() else {}
    try:
        check(data, settings=plain, cache=False)
        result: Result | str = exam(
            data, out=out, settings=plain, cache=False, **{"epochs": 1, "image_size": 32, "batch_size": 8, **more}
        )
    except UseError as error:
        result = str(error)
        assert "\n" not in result
        assert len(result) < 600
    if before:
        assert snapshot(data) == before, "the exam changed the dataset"
    if isinstance(result, Result):
        report = (out / "report.html").read_text(encoding="utf-8")
        assert "<script>alert" not in report
        assert "<img src=x" not in report
        crashed = [f.message for f in result.verdict.findings if f.rule == "rule-crashed"]
        assert not crashed, crashed
    return result


def rules_of(result: Result | str) -> set[str]:
    assert isinstance(result, Result), result
    return {f.rule for f in result.verdict.findings}
