"""Time Snellen's COCO core against pycocotools on one synthetic case, and the compile time of its kernels.

    python benchmarks/coco_core.py [images] [classes] [detections]

Both get arrays in memory; loading files is left out. The twelve numbers must be equal, else the script stops.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

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


def main(images: int = 1000, classes: int = 80, detections: int = 100_000) -> None:
    """Print compile times and the ratio of one interleaved run."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        for state in ("cold", "warm"):
            out = subprocess.run(
                [sys.executable, "-c", FIRST_CALL], env=environment, check=True, capture_output=True, text=True
            )
            print(f"numba cache {state}: {out.stdout.strip()}")

    from tests.evaluation.coco_reference import pycocotools_eval, random_case

    from snellen.evaluation.coco_core import coco_summary, match_boxes

    objects = 7 * images
    near = 2.0
    case = random_case(
        np.random.default_rng(0), images, classes, objects, near, detections - int(objects * near), crowd=0.01
    )

    def core() -> list[float]:
        matching = match_boxes(*case.arguments, num_classes=classes, num_images=images)
        return [-1.0 if v is None else v for v in coco_summary(matching).values()]

    core()
    ours, theirs = [], []
    for _ in range(3):
        start = time.perf_counter()
        mine = core()
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        reference = pycocotools_eval(case).stats.tolist()
        theirs.append(time.perf_counter() - start)
    if mine != reference:
        raise SystemExit(f"numbers differ: {mine} against {reference}")
    print(
        f"{images} images, {classes} classes, {objects} objects, {len(case.scores)} detections: "
        f"core {median(ours) * 1e3:.0f} ms, pycocotools {median(theirs):.2f} s (index, evaluate, accumulate), "
        f"{median(theirs) / median(ours):.0f}x, twelve numbers equal"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
