"""panlabel (pip install panlabel; 0.7.0): `panlabel validate` of each file. COCO ids are followed by their pictures."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.planted_defects.peers import Issue, coco_names, run_json, serve

READERS = {
    "yolo": "yolo", "coco": "coco", "coco-polygons": "coco", "coco-rle": "coco", "coco-keypoints": "coco",
    "voc": "voc", "csv": "udacity", "open-images": "openimages",
}  # fmt: skip
FORMATS = tuple(READERS)
OUT, FLAT = "b_box_out_of_bounds", "invalid_b_box_ordering invalid_b_box_area"
FITS = {
    1: "parse", 34: "b_box_not_finite parse", 35: FLAT, 36: FLAT, 37: OUT, 38: OUT, 39: OUT, 40: f"{OUT} {FLAT}",
    60: "parse empty_category_name", 62: "parse", 63: "parse", 64: "missing_category_ref parse",
    65: "missing_category_ref parse", 71: "parse",
    66: "duplicate_image_id duplicate_annotation_id duplicate_category_id",
    67: "missing_image_ref missing_category_ref", 69: f"invalid_image_dimensions {OUT}",
}  # fmt: skip


def _targets(form: str, root: Path) -> list[Path]:
    if form.startswith("coco"):
        return sorted((root / "annotations").glob("instances_*.json"))
    if form == "csv":
        return sorted(root.glob("*_labels.csv"))
    if form == "open-images":  # it looks for the pictures in images/
        target = Path("arranged").absolute()
        shutil.rmtree(target, ignore_errors=True)
        (target / "images").mkdir(parents=True)
        for split in ("train", "val"):
            for path in (root / split).iterdir():
                (target / "images" / path.name).symlink_to(path)
        return [Path(shutil.copy(path, target)) for path in sorted(root.glob("*-bbox.csv"))]
    return [root]


def issues(form: str, root: str) -> Iterator[Issue]:
    """All issues; a file that it refuses to read is an issue of the kind `parse`, as its message names the record."""
    program = str(Path(sys.executable).with_name("panlabel"))
    for path in _targets(form, Path(root)):
        command = [program, "validate", "--format", READERS[form], "--output-format", "json", str(path)]
        images, annotations = coco_names(path) if form.startswith("coco") else ({}, {})
        try:
            report = run_json(command)
        except RuntimeError as error:
            yield "error", "parse", str(error)
            continue
        for issue in report["issues"]:
            context = issue.get("context") or {}
            names = annotations if context.get("type") == "annotation" else images
            yield issue["severity"], issue["code"], f"{issue['message']} {context} {names.get(context.get('id'), '')}"


if __name__ == "__main__":
    serve(issues)
