"""cvflow (pip install cvflow; 0.0.3): YOLO and COCO, all its checks with their defaults.

It looks for COCO's pictures at their `file_name` below the root, so that it gets links in that arrangement.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.planted_defects.peers import Issue, serve

FORMATS = (
    "yolo", "yolo-segments", "yolo-obb", "yolo-pose", "coco", "coco-polygons", "coco-rle", "coco-keypoints",
)  # fmt: skip
FITS = {
    1: "corrupt-image", 2: "corrupt-image", 21: "duplicate-filename", 22: "broken-image-path", 24: "exact-duplicate",
    25: "near-duplicate exact-duplicate", 26: "exact-duplicate", 27: "split-leakage", 28: "split-leakage",
    34: "degenerate-box invalid-annotation-file box-out-of-bounds", 35: "degenerate-box invalid-annotation-file",
    36: "tiny-box degenerate-box", 37: "box-out-of-bounds", 38: "box-out-of-bounds",
    39: "box-out-of-bounds invalid-annotation-file", 40: "box-out-of-bounds", 42: "huge-box",
    44: "duplicate-annotation", 45: "duplicate-annotation", 48: "objects-per-image-outlier",
    50: "sparse-polygon empty-mask degenerate-box invalid-annotation-file", 53: "empty-mask",
    54: "rectangular-mask sliver-mask", 59: "non-rectangular-obb unrotated-obb", 60: "invalid-annotation-file",
    58: "invalid-annotation-file", 61: "empty-image", 63: "broken-image-path images-not-found",
    64: "invalid-class-id", 65: "invalid-class-id invalid-annotation-file", 67: "invalid-annotation-file",
    69: "invalid-image-dimension box-out-of-bounds", 71: "images-not-found invalid-annotation-file", 73: "rare-class",
    74: "class-imbalance", 79: "empty-image",
}  # fmt: skip


def _arranged(root: Path) -> Path:
    target = Path("arranged").absolute()
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    (target / "annotations").symlink_to(root / "annotations")
    for path in root.glob("*2017/*"):
        link = target / path.name
        if not link.exists():
            link.symlink_to(path)
    return target


def issues(form: str, root: str) -> Iterator[Issue]:
    """All issues of the set."""
    from cvflow.analysis import AnalysisEngine, CheckConfig, default_checks
    from cvflow.loaders import load_dataset

    kind = "yolo" if form.startswith("yolo") else "coco"
    dataset = load_dataset(Path(root) if kind == "yolo" else _arranged(Path(root)), fmt=kind)
    for issue in AnalysisEngine(default_checks(CheckConfig(check_images=True))).run(dataset):
        where = issue.location.describe() if issue.location else ""
        yield issue.severity.name.lower(), issue.code, f"{issue.message} {where} {issue.evidence}"


if __name__ == "__main__":
    serve(issues)
