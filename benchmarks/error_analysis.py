"""Explain and cost every error, and bootstrap, on one synthetic case: against the plain metrics and against tidecv.

    python benchmarks/error_analysis.py [images] [classes] [objects] [detections] [--tide]

`--tide` needs tidecv 1.0.1 in an environment of its own: `pip install tidecv matplotlib seaborn pandas appdirs
pycocotools opencv-python-headless` beside Snellen. Its aliases of numpy (np.float, np.int, np.bool) are put back here.
Both get arrays in memory, and no crowd regions when the numbers are compared: tidecv also explains what those excuse.
The recalls of its AP are i / 100, ours pycocotools' linspace; for the comparison ours are set to its own. Everything is
measured interleaved in one process on one core.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.evaluation.coco_reference import Case, random_case

from snellen.evaluation import error_costs as costing
from snellen.evaluation.bootstrap import interval, replicate_detection
from snellen.evaluation.coco_core import AREA_RANGES, Matching, coco_summary, match_boxes
from snellen.evaluation.errors import KINDS, LOCALISATION, analyse
from snellen.evaluation.lost_points import breakdown
from snellen.evaluation.pairs import BoxOverlap
from snellen.evaluation.properties import detection_properties, with_properties

TIDE_NAMES = {
    "localisation": "Loc", "classification": "Cls", "both": "Both", "duplicate": "Dupe", "background": "Bkg",
    "missed": "Miss", "false_positive": "FalsePos", "false_negative": "FalseNeg",
}  # fmt: skip


def corners(boxes: np.ndarray) -> np.ndarray:
    """Boxes xywh as xyxy."""
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


def plain(case: Case) -> Matching:
    """The twelve numbers."""
    matching = match_boxes(*case.arguments, num_classes=case.num_classes, num_images=case.num_images)
    coco_summary(matching)
    return matching


def kinds(case: Case, matching: Matching) -> tuple[dict[str, float], Any, Any, dict[str, Any]]:
    """What tidecv does: every detection explained, the cost of each kind, and of false positives and negatives."""
    overlap = BoxOverlap(case.boxes, case.object_boxes, case.object_crowd)
    analysis = analyse(
        matching, overlap, case.object_classes, case.object_images, case.object_crowd, num_images=case.num_images
    )
    mending = costing.remedies(matching, analysis, case.object_classes, case.object_crowd, *matching.staircase_order())
    by_class = costing.kind_costs(mending, len(matching.rows), case.object_crowd)
    return {kind: max(0.0, float(won.sum())) for kind, won in by_class.items()}, analysis, mending, by_class


def everything(case: Case, matching: Matching, objects: pl.DataFrame, pictures: pl.DataFrame) -> None:
    """That, and the costs by class, size, aspect, crowding, border and four properties of the images."""
    _, analysis, mending, by_class = kinds(case, matching)
    sizes = pictures.select("width", "height").to_numpy()
    properties = detection_properties(
        with_properties(objects, case.num_images, sizes), corners(case.boxes[matching.rows]), matching.images,
        analysis.target, analysis.best_iou, sizes, pictures,
    )  # fmt: skip
    names = [str(k) for k in range(case.num_classes)]
    breakdown(mending, by_class, analysis, matching, properties, case.object_crowd, names, 0.5)


def tide(case: Case, times: list[float]) -> tuple[dict[str, float], dict[str, int]]:
    """tidecv's costs, in points of 100, and counts; the seconds of evaluation and errors are appended to `times`."""
    from tidecv import TIDE, Data

    truth, said = Data("truth", 10**6), Data("said", 10**6)
    for i in range(case.num_images):
        truth.add_image(i, str(i))
    for box, k, i in zip(case.object_boxes, case.object_classes, case.object_images, strict=True):
        truth.add_ground_truth(int(i), int(k), box=box)
    for box, k, i, score in zip(case.boxes, case.classes, case.images, case.scores, strict=True):
        said.add_detection(int(i), int(k), float(score), box=box)
    start = time.perf_counter()
    run = TIDE().evaluate(truth, said, mode=TIDE.BOX)
    costs = {**run.fix_main_errors(), **run.fix_special_errors()}
    times.append(time.perf_counter() - start)
    return (
        {error.short_name: float(cost) for error, cost in costs.items()},
        {error.short_name: int(count) for error, count in run.count_errors().items()},
    )


def timed(work: Callable[[], Any], times: list[float]) -> Any:
    """The result of `work`, its seconds appended."""
    start = time.perf_counter()
    result = work()
    times.append(time.perf_counter() - start)
    return result


def main(images: int = 5000, classes: int = 80, objects: int = 36_779, detections: int = 500_000) -> None:
    """Print times and ratios; stop when the numbers differ from tidecv's."""
    with_tide = "--tide" in sys.argv
    rng = np.random.default_rng(0)
    case = random_case(rng, images, classes, objects, 2.0, detections - 2 * objects, crowd=0.0 if with_tide else 0.011)
    here = corners(case.object_boxes)
    table = pl.DataFrame({"x1": here[:, 0], "y1": here[:, 1], "x2": here[:, 2], "y2": here[:, 3],
                          "class_index": case.object_classes, "image_index": case.object_images,
                          "crowd": case.object_crowd})  # fmt: skip
    pictures = pl.DataFrame(
        {
            "image": [str(i) for i in range(images)],
            "width": 640.0,
            "height": 640.0,
            **{name: rng.random(images) for name in ("brightness", "contrast", "sharpness", "entropy")},
        }
    )
    everything(case, plain(case), table, pictures)
    spent: dict[str, list[float]] = {"plain": [], "kinds": [], "everything": []}
    for _ in range(7):
        matching = timed(lambda: plain(case), spent["plain"])
        timed(lambda m=matching: kinds(case, m), spent["kinds"])
        timed(lambda m=matching: everything(case, m, table, pictures), spent["everything"])
    p, k, e = (median(spent[name]) for name in ("plain", "kinds", "everything"))
    print(f"{images} images, {classes} classes, {objects} objects, {len(case.scores)} detections")
    print(
        f"twelve numbers {p * 1e3:.0f} ms; with the kinds and their costs {(p + k) * 1e3:.0f} ms ({(p + k) / p:.2f}x)"
    )
    print(f"with all breakdowns {(p + e) * 1e3:.0f} ms ({(p + e) / p:.2f}x)")

    areas = case.object_boxes[:, 2] * case.object_boxes[:, 3]
    ignored = case.object_crowd | (areas < AREA_RANGES[:, :1]) | (areas > AREA_RANGES[:, 1:])
    own: list[float] = []
    drawn = timed(
        lambda: replicate_detection(
            matching, *matching.staircase_order(), case.object_classes, case.object_images, ignored,
            num_images=images, replicates=1000,
        ),
        own,
    )  # fmt: skip
    low, high = interval(drawn.metrics["mAP"], images)
    print(f"1,000 bootstrap replicates of the twelve numbers: {own[0]:.1f} s; mAP {low:.4f} to {high:.4f}")
    if with_tide:
        against_tide(case, p + k)


def against_tide(case: Case, ours: float) -> None:
    """Time tidecv on `case`, and compare counts and costs on it and on forty small ones."""
    np.__dict__.update({name: kind for name, kind in (("float", float), ("int", int), ("bool", bool))
                        if name not in np.__dict__})  # fmt: skip
    costing.RECALL_THRESHOLDS = np.arange(101) / 100
    theirs: list[float] = []
    small = [random_case(np.random.default_rng(s), 20, 3, 150, 2.0, 200, crowd=0.0) for s in range(40)]
    worst = 0.0
    for one in (*small, case):
        costs, counts = tide(one, theirs)
        mine, analysis, _, _ = kinds(one, plain(one))
        if max(np.bincount(one.images)) <= 100:
            worst = max(worst, *(abs(100 * mine[kind] - costs[name]) for kind, name in TIDE_NAMES.items()))
        for index, kind in enumerate(KINDS, LOCALISATION):
            if (analysis.outcomes == index).sum() != counts[TIDE_NAMES[kind]] and max(np.bincount(one.images)) <= 100:
                raise SystemExit(f"{kind}: {(analysis.outcomes == index).sum()} against {counts[TIDE_NAMES[kind]]}")
    if worst > 1e-6:
        raise SystemExit(f"costs differ by up to {worst} points")
    print(f"tidecv {theirs[-1]:.1f} s, ours with the twelve numbers {ours:.3f} s: {theirs[-1] / ours:.0f}x; "
          f"counts equal, costs within {worst:.0e} points")  # fmt: skip


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:] if a != "--tide"))
