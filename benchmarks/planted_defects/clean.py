"""The clean sets: the same scenes in every format, written by hand as the tools of each format write them."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.planted_defects.scenes import CLASSES, POINTS, Scene, scenes
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as run_lengths

GROUND = np.array([[0, 0, 0], [40, 160, 60], [190, 70, 50], [230, 200, 120]], np.uint8)
"""Colours of background and the classes in colour masks."""


def _picture(scene: Scene, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene.pixels()).save(path, quality=90)


def save_mask(values: NDArray[Any], path: Path) -> None:
    """Write a mask as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def _fractions(values: Iterable[float], scene: Scene) -> str:
    sides = (scene.width, scene.height)
    return " ".join(f"{v / sides[k % 2]:.6f}" for k, v in enumerate(values))


def _yolo(root: Path, shots: Iterable[Scene], row: Callable[[Any, Scene], str], extra: str = "") -> None:
    for shot in shots:
        _picture(shot, root / "images" / shot.split / f"{shot.stem}.jpg")
        path = root / "labels" / shot.split / f"{shot.stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{t.kind} {row(t, shot)}\n" for t in shot.things))
    names = "".join(f"  {k}: {name}\n" for k, name in enumerate(CLASSES))
    (root / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/val\n{extra}names:\n{names}")


def _centred(thing: Any) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = thing.box
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def yolo(root: Path, shots: Iterable[Scene]) -> None:
    """Boxes: class cx cy w h."""
    _yolo(root, shots, lambda t, s: _fractions(_centred(t), s))


def yolo_segments(root: Path, shots: Iterable[Scene]) -> None:
    """Polygons: class x1 y1 x2 y2 ..."""
    _yolo(root, shots, lambda t, s: _fractions(t.ring.ravel(), s))


def yolo_obb(root: Path, shots: Iterable[Scene]) -> None:
    """Rotated boxes: class and four corners."""
    _yolo(root, shots, lambda t, s: _fractions(t.corners.ravel(), s))


def yolo_pose(root: Path, shots: Iterable[Scene]) -> None:
    """Boxes with three keypoints x y v."""

    def row(thing: Any, shot: Scene) -> str:
        points = " ".join(f"{_fractions(p, shot)} 2" for p in thing.points)
        return f"{_fractions(_centred(thing), shot)} {points}"

    _yolo(root, shots, row, "kpt_shape: [3, 3]\nflip_idx: [0, 2, 1]\n")


def encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed run lengths of a mask."""
    found = run_lengths.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(v) for v in found["size"]], "counts": found["counts"].decode()}


def hull(mask: NDArray[np.bool_]) -> list[int]:
    """x, y, width, height of the pixels of a mask."""
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]


def _coco(root: Path, shots: Iterable[Scene], shape: Callable[[Any, Scene], dict[str, Any]], **category: Any) -> None:
    """As COCO itself: annotations/instances_<split>2017.json beside <split>2017/."""
    numbers = count(1)
    documents: dict[str, dict[str, Any]] = {}
    for shot in shots:
        document = documents.setdefault(f"{shot.split}2017", {
            "info": {"description": "scenes", "version": "1.0", "year": 2026}, "licenses": [], "images": [],
            "annotations": [],
            "categories": [
                {"id": k, "name": n, "supercategory": "thing", **category} for k, n in enumerate(CLASSES, 1)
            ],
        })  # fmt: skip
        name = f"{shot.stem}.jpg"
        _picture(shot, root / f"{shot.split}2017" / name)
        size = {"width": shot.width, "height": shot.height}
        document["images"].append({"id": shot.number + 1, "file_name": name, **size, "license": 0})
        for thing in shot.things:
            x1, y1, x2, y2 = thing.box
            box = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
            base = {"id": next(numbers), "image_id": shot.number + 1, "category_id": thing.kind + 1, "iscrowd": 0}
            document["annotations"].append(
                {**base, "bbox": box, "area": round(box[2] * box[3], 2), **shape(thing, shot)}
            )
    for split, document in documents.items():
        path = root / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))


def coco(root: Path, shots: Iterable[Scene]) -> None:
    """Boxes alone."""
    _coco(root, shots, lambda t, s: {"segmentation": []})


def coco_polygons(root: Path, shots: Iterable[Scene]) -> None:
    """Boxes with polygons."""
    _coco(root, shots, lambda t, s: {"segmentation": [t.ring.ravel().tolist()], "area": t.area})


def coco_rle(root: Path, shots: Iterable[Scene]) -> None:
    """Boxes with run lengths."""

    def shape(thing: Any, shot: Scene) -> dict[str, Any]:
        mask = shot.mask(thing)
        return {"segmentation": encode(mask), "bbox": hull(mask), "area": int(mask.sum())}

    _coco(root, shots, shape)


def coco_keypoints(root: Path, shots: Iterable[Scene]) -> None:
    """Boxes with polygons and three keypoints."""

    def shape(thing: Any, shot: Scene) -> dict[str, Any]:
        points = [v for x, y in thing.points.tolist() for v in (x, y, 2)]
        ring = [thing.ring.ravel().tolist()]
        return {"segmentation": ring, "area": thing.area, "keypoints": points, "num_keypoints": 3}

    _coco(root, shots, shape, keypoints=list(POINTS), skeleton=[[1, 2], [1, 3]])


def panoptic(root: Path, shots: Iterable[Scene]) -> None:
    """Segments in a PNG an image, r + 256 g + 65536 b; the ground is stuff."""
    kinds = [{"id": 0, "name": "ground", "isthing": 0, "supercategory": "ground", "color": [0, 0, 0]}]
    for k, name in enumerate(CLASSES, 1):
        colour = GROUND[k].tolist()
        kinds.append({"id": k, "name": name, "isthing": 1, "supercategory": "thing", "color": colour})
    documents: dict[str, dict[str, Any]] = {}
    for shot in shots:
        split = f"{shot.split}2017"
        document = documents.setdefault(split, {"info": {}, "images": [], "annotations": [], "categories": kinds})
        _picture(shot, root / split / f"{shot.stem}.jpg")
        ids = np.full((shot.height, shot.width), 3_226_113, np.int64)
        for position, thing in enumerate(shot.things):
            ids[shot.mask(thing)] = 1_048_576 + 70_001 * position
        segments = []
        for identity in np.unique(ids).tolist():
            kind = 0 if identity == 3_226_113 else shot.things[(identity - 1_048_576) // 70_001].kind + 1
            mask = ids == identity
            facts = {"bbox": hull(mask), "area": int(mask.sum()), "iscrowd": 0}
            segments.append({"id": identity, "category_id": kind, **facts})
        size = {"width": shot.width, "height": shot.height}
        document["images"].append({"id": shot.number + 1, "file_name": f"{shot.stem}.jpg", **size})
        name = f"{shot.stem}.png"
        document["annotations"].append({"image_id": shot.number + 1, "file_name": name, "segments_info": segments})
        drawn = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1)
        save_mask(drawn, root / "annotations" / f"panoptic_{split}" / name)
    for split, document in documents.items():
        (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(document))


def voc(root: Path, shots: Iterable[Scene]) -> None:
    """JPEGImages, Annotations and ImageSets/Main, whole pixels counted from 1."""
    stems: dict[str, list[str]] = {"train": [], "val": []}
    for shot in shots:
        stems[shot.split].append(shot.stem)
        _picture(shot, root / "JPEGImages" / f"{shot.stem}.jpg")
        objects = ""
        for thing in shot.things:
            x1, y1, x2, y2 = (round(v) for v in thing.box)
            objects += (
                f"<object><name>{thing.name}</name><pose>Unspecified</pose><truncated>0</truncated>"
                f"<difficult>0</difficult><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax>"
                f"<ymax>{y2}</ymax></bndbox></object>\n"
            )
        path = root / "Annotations" / f"{shot.stem}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"<annotation><folder>JPEGImages</folder><filename>{shot.stem}.jpg</filename><size><width>{shot.width}"
            f"</width><height>{shot.height}</height><depth>3</depth></size><segmented>0</segmented>\n{objects}"
            "</annotation>\n"
        )
    sets = root / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    for split, names in stems.items():
        (sets / f"{split}.txt").write_text("".join(f"{n}\n" for n in names))


def _table(rows: Iterable[Iterable[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def csv_plain(root: Path, shots: Iterable[Scene]) -> None:
    """train_labels.csv and val_labels.csv: filename, width, height, class and corners in pixels."""
    rows: dict[str, list[Iterable[object]]] = {}
    for shot in shots:
        _picture(shot, root / "images" / f"{shot.stem}.jpg")
        header = ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]
        split = rows.setdefault(shot.split, [header])
        for thing in shot.things:
            corners = (round(v) for v in thing.box)
            split.append([f"{shot.stem}.jpg", shot.width, shot.height, thing.name, *corners])
    for split, lines in rows.items():
        (root / f"{split}_labels.csv").write_text(_table(lines))


def open_images(root: Path, shots: Iterable[Scene]) -> None:
    """<split>-annotations-bbox.csv with machine ids, and class-descriptions-boxable.csv."""
    rows: dict[str, list[Iterable[object]]] = {}
    for shot in shots:
        _picture(shot, root / shot.split / f"{shot.stem}.jpg")
        head = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction"
        split = rows.setdefault(shot.split, [f"{head},IsInside".split(",")])
        for thing in shot.things:
            x1, y1, x2, y2 = thing.box
            places = (f"{v:.6f}" for v in (x1 / shot.width, x2 / shot.width, y1 / shot.height, y2 / shot.height))
            split.append([shot.stem, "xclick", f"/m/0{thing.kind}abc", 1, *places, 0, 0, 0, 0, 0])
    for split, lines in rows.items():
        (root / f"{split}-annotations-bbox.csv").write_text(_table(lines))
    (root / "class-descriptions-boxable.csv").write_text(_table([f"/m/0{k}abc", n] for k, n in enumerate(CLASSES)))


def index_mask(shot: Scene) -> NDArray[np.uint8]:
    """(height, width): 0, and 1 + the class."""
    mask = np.zeros((shot.height, shot.width), np.uint8)
    for thing in shot.things:
        mask[shot.mask(thing)] = thing.kind + 1
    return mask


def masks(root: Path, shots: Iterable[Scene]) -> None:
    """images/<split> beside masks/<split>, class ids, and classes.csv."""
    for shot in shots:
        _picture(shot, root / "images" / shot.split / f"{shot.stem}.jpg")
        save_mask(index_mask(shot), root / "masks" / shot.split / f"{shot.stem}.png")
    (root / "classes.csv").write_text(_table([("name", "id"), *((n, k) for k, n in enumerate(("ground", *CLASSES)))]))


def colour_masks(root: Path, shots: Iterable[Scene]) -> None:
    """<split>/images beside <split>/masks, colours, and class_dict.csv."""
    for shot in shots:
        _picture(shot, root / shot.split / "images" / f"{shot.stem}.jpg")
        save_mask(GROUND[index_mask(shot)], root / shot.split / "masks" / f"{shot.stem}.png")
    colours = ((n, *rgb) for n, rgb in zip(("ground", *CLASSES), GROUND.tolist(), strict=True))
    (root / "class_dict.csv").write_text(_table([("name", "r", "g", "b"), *colours]))


def instance_masks(root: Path, shots: Iterable[Scene]) -> None:
    """<split>/images beside <split>/masks/<image>_<class>_<k>.png, an object a mask."""
    for shot in shots:
        _picture(shot, root / shot.split / "images" / f"{shot.stem}.jpg")
        for k, thing in enumerate(shot.things):
            name = f"{shot.stem}_{thing.name}_{k}.png"
            save_mask(shot.mask(thing) * np.uint8(255), root / shot.split / "masks" / name)


def folders(root: Path, shots: Iterable[Scene]) -> None:
    """<split>/<class>/<image>.jpg."""
    for shot in shots:
        _picture(shot, root / shot.split / CLASSES[shot.number % 3] / f"{shot.stem}.jpg")


MAKERS: dict[str, Callable[[Path, Iterable[Scene]], None]] = {
    "yolo": yolo,
    "yolo-segments": yolo_segments,
    "yolo-obb": yolo_obb,
    "yolo-pose": yolo_pose,
    "coco": coco,
    "coco-polygons": coco_polygons,
    "coco-rle": coco_rle,
    "coco-keypoints": coco_keypoints,
    "panoptic": panoptic,
    "voc": voc,
    "csv": csv_plain,
    "open-images": open_images,
    "masks": masks,
    "colour-masks": colour_masks,
    "instance-masks": instance_masks,
    "folders": folders,
}
TRAIN, VAL = 84, 36
"""Pictures of each clean set."""


def shots() -> tuple[Scene, ...]:
    """The scenes of every clean set."""
    return scenes(TRAIN, VAL)


class CleanSets:
    """Clean sets, each made once below `folder` and copied from there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, form: str) -> Path:
        """The clean set itself; not to be changed."""
        root = self.folder / form
        if not root.exists():
            MAKERS[form](root, shots())
        return root

    def copy(self, form: str, target: Path) -> Path:
        """A copy that may be spoilt."""
        return Path(shutil.copytree(self.path(form), target))

    def __iter__(self) -> Iterator[str]:
        return iter(MAKERS)
