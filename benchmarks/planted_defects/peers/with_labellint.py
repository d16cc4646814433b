"""labellint (pip install labellint; 0.1.2): COCO files, all its rules. It has no severities: all count as warnings."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.planted_defects.peers import Issue, coco_names, serve

FORMATS = ("coco", "coco-polygons", "coco-rle", "coco-keypoints")
FITS = {
    34: "parse", 35: "check_geometry_zero_area_bboxes parse", 58: "parse", 60: "parse",
    37: "check_geometry_bbox_out_of_bounds", 38: "check_geometry_bbox_out_of_bounds",
    40: "check_geometry_bbox_out_of_bounds", 43: "check_statistical_bbox_aspect_ratio_outliers",
    52: "check_attribute_area_bbox_mismatch", 64: "check_relation_unmatched_category",
    65: "check_relation_unmatched_category parse", 66: "check_category_duplicate_ids",
    69: "check_geometry_bbox_out_of_bounds",
    67: "check_relation_unmatched_annotations check_relation_unmatched_category",
    70: "check_category_case_consistency check_category_duplicate_names",
    73: "check_statistical_class_distribution_imbalance", 74: "check_statistical_class_distribution_imbalance",
}  # fmt: skip


def issues(form: str, root: str) -> Iterator[Issue]:
    """All findings on both files; ids are followed by the names of their pictures.

    A file that it refuses is an issue of the kind `parse`, as its message gives the position of the record.
    """
    for path in sorted((Path(root) / "annotations").glob("instances_*.json")):
        images, annotations = coco_names(path)
        report = Path("report.json")
        report.unlink(missing_ok=True)
        command = [str(Path(sys.executable).with_name("labellint")), "scan", str(path), "-o", str(report)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if not report.exists():
            if done.returncode == 0 and "Traceback" not in done.stderr:
                continue  # it writes no report when there is nothing to report
            why = (done.stderr or done.stdout).strip().splitlines()[-1]
            position = re.search(r"annotations -> (\d+)", why)
            name = list(annotations.values())[int(position[1])] if position and annotations else ""
            yield "error", "parse", f"{path.name} {why} {name}"
            continue
        for kind, texts in json.loads(report.read_text())["findings"].items():
            for text in texts:
                ids = [int(v) for v in re.findall(r"\bID:? ?'?(\d+)", str(text))]
                named = [annotations.get(i, "") for i in ids] if "nnotation" in str(text) else []
                named += [images.get(i, "") for i in ids] if "mage" in str(text) else []
                yield "warning", kind, f"{text} {' '.join(named)}"


if __name__ == "__main__":
    serve(issues)
