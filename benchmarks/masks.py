"""Time Snellen's instance masks against pycocotools and hotcoco on one core: scoring, and encoding of dense masks.

    python benchmarks/masks.py [score] [encode]        (both where none is named)

Peers: pip install pycocotools hotcoco. Every scoring run is a fresh process pinned to one core, the peers interleaved,
the median printed; pycocotools runs once. All begin with the dictionaries of the annotations and results in memory, and
so include the reading of run lengths and the drawing of polygons; compilation of the kernels is left out. The twelve
numbers and the encoded strings must be equal, else the script stops.

score: 5,000 images of 640 x 480, 80 classes, 36,779 objects (polygons of 14 points; 1 % crowd, as run lengths) and
500,000 detections as compressed run lengths.
encode: 100 masks (N, height, width) bool in C order, as a model hands them over, of 480 x 640 and of 480 x 641.
"""

import contextlib
import io
import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

IMAGES, CLASSES, OBJECTS, DETECTIONS = 5000, 80, 36_779, 500_000
HEIGHT, WIDTH = 480, 640
ROUNDS = {"snellen": 3, "hotcoco": 3, "pycocotools": 1}


def outlines(rng: np.random.Generator, boxes_xywh: np.ndarray, points: int = 14) -> np.ndarray:
    """(n, points, 2) star-shaped outlines that fill their boxes, within the image."""
    angle = np.sort(rng.uniform(0, 2 * np.pi, (len(boxes_xywh), points)), axis=1)
    radius = rng.uniform(0.7, 1.0, angle.shape)
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * radius[..., None] / 2 + 0.5
    return np.clip(boxes_xywh[:, None, :2] + unit * boxes_xywh[:, None, 2:], 0, [WIDTH, HEIGHT]).round(2)


def make(path: Path) -> None:
    """Write the annotations and results of the case."""
    from tests.evaluation.coco_reference import random_case

    from snellen.evaluation.masks import read_segmentations

    rng = np.random.default_rng(0)
    case = random_case(rng, IMAGES, CLASSES, OBJECTS, 2.0, DETECTIONS - 2 * OBJECTS, crowd=0.01, size=HEIGHT)
    by_image = np.argsort(case.images, kind="stable")
    rings = [[r] for r in outlines(rng, case.object_boxes).reshape(OBJECTS, -1).tolist()]
    drawn = [[r] for r in outlines(rng, case.boxes[by_image]).reshape(DETECTIONS, -1).tolist()]
    truth, _ = read_segmentations(rings, np.tile([[HEIGHT, WIDTH]], (OBJECTS, 1)))
    found, _ = read_segmentations(drawn, np.tile([[HEIGHT, WIDTH]], (DETECTIONS, 1)))

    annotations = [
        {
            "id": n + 1, "image_id": int(case.object_images[n]) + 1, "category_id": int(case.object_classes[n]) + 1,
            "iscrowd": int(case.object_crowd[n]), "area": int(truth.areas[n]), "bbox": truth.boxes_xywh[n].tolist(),
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": truth.counts(n).tolist()}
            if case.object_crowd[n] else rings[n],
        }
        for n in range(OBJECTS)
    ]  # fmt: skip
    results = [
        {
            "image_id": int(case.images[row]) + 1, "category_id": int(case.classes[row]) + 1,
            "score": float(case.scores[row]),
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": found.compressed(n).decode()},
        }
        for n, row in enumerate(by_image)
    ]  # fmt: skip
    document = {
        "images": [{"id": i + 1, "width": WIDTH, "height": HEIGHT} for i in range(IMAGES)],
        "categories": [{"id": k + 1, "name": f"c{k}"} for k in range(CLASSES)],
        "annotations": annotations,
    }
    with path.open("wb") as stream:
        pickle.dump((document, results), stream)


def snellen(document: dict[str, Any], results: list[dict[str, Any]]) -> tuple[float, list[float]]:
    """Seconds and numbers of this package."""
    from snellen.evaluation.coco_core import Detections, Objects, coco_summary, match
    from snellen.evaluation.masks import MaskOverlap, read_segmentations

    def score(annotations: list[dict[str, Any]], results: list[dict[str, Any]]) -> dict[str, float | None]:
        def column(rows: list[dict[str, Any]], name: str, dtype: type) -> np.ndarray:
            return np.array([r[name] for r in rows], dtype=dtype)

        masks = [
            read_segmentations([r["segmentation"] for r in rows], np.tile([[HEIGHT, WIDTH]], (len(rows), 1)))[0]
            for rows in (annotations, results)
        ]
        crowd = column(annotations, "iscrowd", bool)
        objects, detections = (
            (column(rows, "category_id", np.int64) - 1, column(rows, "image_id", np.int64) - 1)
            for rows in (annotations, results)
        )
        matching = match(
            Objects(*objects, column(annotations, "area", np.float64), crowd, crowd),
            Detections(*detections, column(results, "score", np.float64), masks[1].areas),
            MaskOverlap(masks[1], masks[0], crowd),
            num_classes=CLASSES,
            num_images=IMAGES,
        )
        return coco_summary(matching)

    score(document["annotations"][:500], results[:500])  # compiled, or taken from the cache
    start = time.perf_counter()
    numbers = score(document["annotations"], results)
    return time.perf_counter() - start, [-1.0 if v is None else v for v in numbers.values()]


def pycocotools(document: dict[str, Any], results: list[dict[str, Any]]) -> tuple[float, list[float]]:
    """Seconds of loadRes, evaluate, accumulate and summarize, and the numbers."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    truth.dataset = document
    truth.createIndex()
    start = time.perf_counter()
    reference = COCOeval(truth, truth.loadRes(results), "segm")
    reference.evaluate()
    reference.accumulate()
    reference.summarize()
    return time.perf_counter() - start, reference.stats.tolist()


def hotcoco(document: dict[str, Any], results: list[dict[str, Any]]) -> tuple[float, list[float]]:
    """Seconds of load_res and run (the ground truth is loaded before), and the numbers."""
    import hotcoco as hot

    truth = hot.COCO(document)
    start = time.perf_counter()
    evaluation = hot.COCOeval(truth, truth.load_res(results), "segm")
    evaluation.run()
    return time.perf_counter() - start, list(evaluation.stats)


RUNNERS = {"snellen": snellen, "pycocotools": pycocotools, "hotcoco": hotcoco}


def child(peer: str, path: str) -> None:
    """Run one peer and print what it took."""
    with open(path, "rb") as stream:
        document, results = pickle.load(stream)  # written by this script a moment ago
    with contextlib.redirect_stdout(io.StringIO()):
        seconds, numbers = RUNNERS[peer](document, results)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak": peak, "numbers": numbers}))


def score() -> None:
    """Run all peers in turn and print the ratios."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    core = max(os.sched_getaffinity(0))
    found: dict[str, list[dict[str, Any]]] = {peer: [] for peer in ROUNDS}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.pickle"
        make(path)
        for turn in range(max(ROUNDS.values())):
            for peer, rounds in ROUNDS.items():
                if turn < rounds:
                    out = subprocess.run(
                        ["taskset", "-c", str(core), sys.executable, __file__, "--child", peer, str(path)],
                        env=environment, check=True, capture_output=True, text=True,
                    )  # fmt: skip
                    found[peer].append(json.loads(out.stdout))
    reference = found["pycocotools"][0]
    for peer, runs in found.items():
        seconds, peak = median(r["seconds"] for r in runs), max(r["peak"] for r in runs)
        off = float(np.abs(np.subtract(runs[0]["numbers"], reference["numbers"])).max())
        print(
            f"score   {peer:12s} {seconds * 1e3:9.0f} ms {reference['seconds'] / seconds:7.1f}x   "
            f"peak {peak:6.0f} MB   numbers differ by {off:.1e}"
        )
        if off > 1e-6:
            raise SystemExit(f"numbers differ: {runs[0]['numbers']} against {reference['numbers']}")


def encode() -> None:
    """Print the time of encoding, interleaved, median of nine."""
    from pycocotools import mask as reference

    from snellen.evaluation.masks import encode as ours

    rng = np.random.default_rng(0)
    for width in (640, 641):
        y, x = np.mgrid[:480, :width]
        dense = np.zeros((100, 480, width), dtype=bool)
        for one in dense:
            (cx, cy), (a, b) = rng.uniform(100, [540, 380]), rng.uniform(10, 150, 2)
            one[:] = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 < 1
        times: dict[str, list[float]] = {"snellen": [], "pycocotools": [], "pycocotools, one by one": []}
        ours(dense)
        for _ in range(9):
            start = time.perf_counter()
            mine = ours(dense)
            times["snellen"].append(time.perf_counter() - start)
            start = time.perf_counter()
            theirs = reference.encode(np.asfortranarray(dense.transpose(1, 2, 0).view(np.uint8)))
            times["pycocotools"].append(time.perf_counter() - start)
            start = time.perf_counter()
            for one in dense:
                reference.encode(np.asfortranarray(one.view(np.uint8)))
            times["pycocotools, one by one"].append(time.perf_counter() - start)
        if [mine.compressed(i) for i in range(100)] != [r["counts"] for r in theirs]:
            raise SystemExit("the encoded strings differ")
        for peer, taken in times.items():
            ratio = median(taken) / median(times["snellen"])
            print(f"encode  {peer:24s} {median(taken) * 1e3:7.2f} ms, {ratio:5.1f} times ours (100 of 480 x {width})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:4])
    else:
        for name in sys.argv[1:] or ["score", "encode"]:
            {"score": score, "encode": encode}[name]()
