"""datumaro (pip install datumaro; 1.13.12): its importers and validators, with the thresholds of `datum validate`.

Where an importer wants folders arranged otherwise, it gets links in that arrangement.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.planted_defects.peers import Issue, serve

IMPORTERS = {
    "yolo": "yolo", "coco": "coco_instances", "coco-polygons": "coco_instances", "coco-rle": "coco_instances",
    "voc": "voc_detection", "open-images": "open_images", "folders": "imagenet_with_subset_dirs",
}  # fmt: skip
FORMATS = tuple(IMPORTERS)
LABELMAP = "# label:color_rgb:parts:actions\nleaf:1,0,0::\nbrick:2,0,0::\nshell:3,0,0::\n"
FITS = {
    31: "MissingAnnotation LabelDefinedButNotFound", 32: "LabelDefinedButNotFound", 34: "InvalidValue",
    35: "NegativeLength InvalidValue", 36: "NegativeLength", 37: "FarFromLabelMean", 38: "FarFromLabelMean",
    39: "FarFromLabelMean", 79: "MissingAnnotation", 63: "MissingAnnotation",
    42: "FarFromLabelMean", 43: "FarFromLabelMean", 46: "FarFromLabelMean", 47: "ImbalancedDistInLabel",
    61: "MissingAnnotation", 64: "UndefinedLabel", 65: "UndefinedLabel", 67: "UndefinedLabel",
    72: "LabelDefinedButNotFound", 73: "FewSamplesInLabel", 74: "ImbalancedLabels", 75: "OnlyOneLabel",
}  # fmt: skip


def _arranged(form: str, root: Path) -> Path:
    if form not in ("voc", "open-images") and not form.startswith("coco"):
        return root
    target = Path("arranged").absolute()
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    if form == "voc":
        for path in root.iterdir():
            (target / path.name).symlink_to(path)
        (target / "labelmap.txt").write_text(LABELMAP)
        return target
    (target / "images").mkdir()
    if form == "open-images":
        (target / "annotations").mkdir()
        for path in root.glob("*.csv"):
            shutil.copy(path, target / "annotations" / path.name.replace("-boxable", ""))
    else:
        (target / "annotations").symlink_to(root / "annotations")
    for path in root.iterdir():
        if path.is_dir() and path.name != "annotations":
            (target / "images" / path.name).symlink_to(path)
    return target


def issues(form: str, root: str) -> Iterator[Issue]:
    """The reports of every subset."""
    import datumaro
    from datumaro.plugins.validators import ClassificationValidator, DetectionValidator

    dataset = datumaro.Dataset.import_from(str(_arranged(form, Path(root))), IMPORTERS[form])
    validator = ClassificationValidator if form == "folders" else DetectionValidator
    check = validator(
        few_samples_thr=1, imbalance_ratio_thr=50, far_from_mean_thr=5.0, dominance_ratio_thr=0.8, topk_bins=0.1
    )
    for subset in dataset.subsets().values():
        for anomaly in check.generate_reports(check.compute_statistics(subset)):
            report = anomaly.to_dict()
            text = f"{report['description']} {report.get('item_id', '')} {report.get('subset', '')}"
            yield str(report["severity"]), report["anomaly_type"], text


if __name__ == "__main__":
    serve(issues)
