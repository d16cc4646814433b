"""Time Snellen's COCO core against pycocotools, hotcoco and lvis-api on one core, and weigh their memory.

    python benchmarks/coco_core.py [coco] [lvis] [compile]        (all three where none is named)

Peers: pip install pycocotools hotcoco lvis. Every run is a fresh process pinned to one core, the peers interleaved,
the median of all rounds printed; the slow references run fewer times. Each gets what it takes fastest from memory,
arrays or dictionaries; reading files is left out, and so is the compilation of the kernels (see `compile`). All
numbers must agree to 1e-6, else the script stops.

coco: 5,000 images, 80 classes, 36,779 objects (1 % crowd), 500,000 detections; twelve numbers.
lvis: 4,000 images, 1,203 classes, 48,658 objects, 1,200,000 detections, federated protocol; thirteen numbers.
"""

import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

CASES = {
    "coco": {"num_images": 5000, "num_classes": 80, "objects": 36_779, "detections": 500_000},
    "lvis": {"num_images": 4000, "num_classes": 1203, "objects": 48_658, "detections": 1_200_000},
}
PEERS = {"coco": {"snellen": 5, "hotcoco": 5, "pycocotools": 1}, "lvis": {"snellen": 5, "hotcoco": 3, "lvis-api": 1}}
"""Rounds of each."""
REFERENCE = {"coco": "pycocotools", "lvis": "lvis-api"}

FIRST_CALL = """
import time
t = time.perf_counter()
import polars as pl
from snellen.evaluation.detection import light_map50
imported = time.perf_counter()
o = pl.DataFrame({"image": ["a"], "class_name": ["c"], "x1": [0.0], "y1": [0.0], "x2": [9.0], "y2": [9.0]})
light_map50(o, o.with_columns(score=0.5), ["c"], images=["a"])
first = time.perf_counter()
light_map50(o, o.with_columns(score=0.5), ["c"], images=["a"])
print(f"import {imported - t:.2f} s, first call {first - imported:.2f} s, second {time.perf_counter() - first:.4f} s")
"""


def make(kind: str, path: Path) -> None:
    """Write the arrays of a case, and of LVIS the classes that are verified in each image."""
    from tests.evaluation.coco_reference import random_case

    size = CASES[kind]
    objects = size["objects"]
    rng = np.random.default_rng(0)
    case = random_case(
        rng, size["num_images"], size["num_classes"], objects, 2.0, size["detections"] - 2 * objects, crowd=0.01
    )
    arrays = dict(vars(case))
    if kind == "lvis":
        arrays["object_crowd"] = np.zeros(objects, dtype=bool)
        pairs = rng.integers(0, [size["num_images"], size["num_classes"]], (300_000, 2))
        arrays |= {"negative": pairs[:240_000], "not_exhaustive": np.unique(pairs[200_000:], axis=0)}
        arrays["frequency"] = rng.choice(list("rcf"), size["num_classes"])
    # Predictions come image by image.
    by_image = np.argsort(arrays["images"], kind="stable")
    for name in ("boxes", "classes", "images", "scores"):
        arrays[name] = arrays[name][by_image]
    np.savez(path, **arrays)


def snellen(case: Any, kind: str) -> tuple[float, list[float]]:
    """Seconds and numbers of this package."""
    from snellen.evaluation.coco_core import Detections, Objects, coco_summary, match
    from snellen.evaluation.lvis import Federation, lvis_summary, match_lvis
    from snellen.evaluation.pairs import BoxOverlap

    size = {"num_classes": int(case.num_classes), "num_images": int(case.num_images)}
    crowd = case.object_crowd
    areas, own_areas = (b[:, 2] * b[:, 3] for b in (case.object_boxes, case.boxes))

    def score() -> dict[str, float | None]:
        arrays = (
            Objects(case.object_classes, case.object_images, areas, crowd, crowd),
            Detections(case.classes, case.images, case.scores, own_areas),
            BoxOverlap(case.boxes, case.object_boxes, crowd),
        )
        if kind == "lvis":
            federation = Federation(case.frequency, case.negative, case.not_exhaustive)
            return lvis_summary(match_lvis(*arrays, federation, **size), federation)
        return coco_summary(match(*arrays, **size))

    score()  # compiled, or taken from the cache
    start = time.perf_counter()
    numbers = score()
    return time.perf_counter() - start, [-1.0 if v is None else v for v in numbers.values()]


def documents(case: Any, kind: str) -> tuple[dict[str, Any], np.ndarray]:
    """The ground truth as a COCO or LVIS document, ids from 1, and the detections as an (N, 7) array."""
    annotations = [
        {"id": n, "image_id": i, "category_id": k, "bbox": b, "area": b[2] * b[3], "iscrowd": int(c)}
        for n, (b, k, i, c) in enumerate(
            zip(
                case.object_boxes.tolist(), (case.object_classes + 1).tolist(), (case.object_images + 1).tolist(),
                case.object_crowd.tolist(), strict=True,
            ),
            1,
        )
    ]  # fmt: skip
    images: list[dict[str, Any]] = [{"id": i + 1, "width": 640, "height": 640} for i in range(int(case.num_images))]
    categories: list[dict[str, Any]] = [{"id": k + 1, "name": f"c{k}"} for k in range(int(case.num_classes))]
    if kind == "lvis":
        for image in images:
            image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
        for i, k in case.negative.tolist():
            images[i]["neg_category_ids"].append(k + 1)
        for i, k in case.not_exhaustive.tolist():
            images[i]["not_exhaustive_category_ids"].append(k + 1)
        for category, frequency in zip(categories, case.frequency.tolist(), strict=True):
            category["frequency"] = frequency
    results = np.column_stack([case.images + 1, case.boxes, case.scores, case.classes + 1]).astype(np.float64)
    return {"images": images, "categories": categories, "annotations": annotations}, results


def as_dictionaries(results: np.ndarray) -> list[dict[str, Any]]:
    """COCO results."""
    return [{"image_id": int(r[0]), "bbox": r[1:5], "score": r[5], "category_id": int(r[6])} for r in results.tolist()]


def pycocotools(case: Any, kind: str) -> tuple[float, list[float]]:
    """Seconds of evaluate, accumulate and summarize alone, and the numbers."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    document, results = documents(case, kind)
    truth = COCO()
    truth.dataset = document
    truth.createIndex()
    reference = COCOeval(truth, truth.loadRes(as_dictionaries(results)), "bbox")
    start = time.perf_counter()
    reference.evaluate()
    reference.accumulate()
    reference.summarize()
    return time.perf_counter() - start, reference.stats.tolist()


def hotcoco(case: Any, kind: str) -> tuple[float, list[float]]:
    """Seconds from the array of detections (the ground truth is loaded before) and the numbers."""
    import hotcoco as hot

    document, results = documents(case, kind)
    truth = hot.COCO(document)
    start = time.perf_counter()
    evaluation = hot.COCOeval(
        truth, truth.load_res(results), "bbox", **({"lvis_style": True} if kind == "lvis" else {})
    )
    evaluation.run()
    return time.perf_counter() - start, list(evaluation.stats)


def lvis_api(case: Any, kind: str) -> tuple[float, list[float]]:
    """Seconds of LVISResults and LVISEval, and the numbers."""
    np.float = float  # type: ignore[attr-defined]  # lvis 0.5.3 uses the alias that numpy dropped
    from lvis import LVIS, LVISEval, LVISResults

    document, results = documents(case, kind)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "truth.json"
        path.write_text(json.dumps(document))
        truth = LVIS(str(path))
    found = as_dictionaries(results)
    start = time.perf_counter()
    evaluation = LVISEval(truth, LVISResults(truth, found, max_dets=300), "bbox")
    evaluation.run()
    seconds = time.perf_counter() - start
    return seconds, [float(v) for v in evaluation.get_results().values()]


RUNNERS = {"snellen": snellen, "pycocotools": pycocotools, "hotcoco": hotcoco, "lvis-api": lvis_api}


def child(peer: str, kind: str, path: str) -> None:
    """Run one peer and print what it took."""
    with np.load(path) as arrays:
        case = SimpleNamespace(**{name: arrays[name] for name in arrays.files})
    with contextlib.redirect_stdout(io.StringIO()):
        seconds, numbers = RUNNERS[peer](case, kind)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak": peak, "numbers": numbers}))


def compare(kind: str) -> None:
    """Run all peers of a case in turn and print the ratios."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    core = max(os.sched_getaffinity(0))
    found: dict[str, list[dict[str, Any]]] = {peer: [] for peer in PEERS[kind]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.npz"
        make(kind, path)
        for turn in range(max(PEERS[kind].values())):
            for peer, rounds in PEERS[kind].items():
                if turn < rounds:
                    out = subprocess.run(
                        ["taskset", "-c", str(core), sys.executable, __file__, "--child", peer, kind, str(path)],
                        env=environment, check=True, capture_output=True, text=True,
                    )  # fmt: skip
                    found[peer].append(json.loads(out.stdout))
    reference = found[REFERENCE[kind]][0]
    slowest = median(r["seconds"] for r in found[REFERENCE[kind]])
    print(f"{kind}: {CASES[kind]}")
    for peer, runs in found.items():
        seconds, peak = median(r["seconds"] for r in runs), max(r["peak"] for r in runs)
        off = float(np.abs(np.subtract(runs[0]["numbers"], reference["numbers"])).max())
        print(
            f"  {peer:12s} {seconds * 1e3:9.0f} ms {slowest / seconds:7.1f}x   peak {peak:6.0f} MB "
            f"(1/{reference['peak'] / peak:.1f})   numbers differ by {off:.1e}"
        )
        if off > 1e-6:
            raise SystemExit(f"numbers differ: {runs[0]['numbers']} against {reference['numbers']}")


def first_call() -> None:
    """Print what the kernels cost once, and when they come from the cache."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        for state in ("cold", "warm"):
            out = subprocess.run(
                [sys.executable, "-c", FIRST_CALL], env=environment, check=True, capture_output=True, text=True
            )
            print(f"numba cache {state}: {out.stdout.strip()}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:5])
    else:
        for name in sys.argv[1:] or ["coco", "lvis", "compile"]:
            if name == "compile":
                first_call()
            else:
                compare(name)
