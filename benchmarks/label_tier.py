"""Time and memory of reading and judging annotations of COCO's size, each program in a fresh process on one core.

    python benchmarks/label_tier.py [--images 118000] [--boxes 860000] [--polygons] [--rounds 3] [--peers FOLDER]

The set is synthetic and has no image files. Snellen reads it and runs every rule that needs labels alone. Peers, those
that are there: pycocotools (only loads and indexes), and from the `bin` folder given by `--peers`, made with
`python -m venv FOLDER && FOLDER/bin/pip install labellint panlabel cvflow`: `labellint scan` and `panlabel validate`
(load and check), `cvflow inspect`. Printed are the medians of CPU seconds, wall seconds and peak memory, and the CPU
seconds as a multiple of Snellen's.
"""

import argparse
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

SNELLEN = """
import sys
from pathlib import Path
from snellen.data.examine import examine
from snellen.findings.engine import judge
from snellen.findings.settings import LoadedSettings, Settings
from snellen.findings.severity import Tier
data = examine(sys.argv[1], tier=Tier.LABELS, cache=False)
verdict = judge([data], LoadedSettings(Settings(), "benchmark", Path(sys.argv[1]).parent))
print(f"{data.boxes.height} boxes, {data.outlines.height} outlines, {len(verdict.ran)} rules, "
      f"{len(verdict.findings)} findings", file=sys.stderr)
"""
PYCOCOTOOLS = "import sys; from pycocotools.coco import COCO; COCO(sys.argv[1])"


def synthetic(path: Path, images: int, boxes: int, polygons: bool) -> None:
    """A COCO file with boxes of COCO's sizes, evenly spread over 640 x 480 images, 80 classes."""
    rng = random.Random(0)
    listed = [
        {"id": i, "file_name": f"{i:012d}.jpg", "width": 640, "height": 480, "license": 3,
         "coco_url": f"http://images.cocodataset.org/train2017/{i:012d}.jpg", "date_captured": "2013-11-14 11:18:45"}
        for i in range(1, images + 1)
    ]  # fmt: skip
    annotations = []
    for number in range(1, boxes + 1):
        side = min(400.0, max(8.0, rng.lognormvariate(4, 0.9)))
        ratio = rng.lognormvariate(0, 0.4)
        w, h = round(min(side * ratio, 600), 2), round(min(side / ratio, 440), 2)
        x, y = round(rng.uniform(0, 639 - w), 2), round(rng.uniform(0, 479 - h), 2)
        entry = {
            "id": number, "image_id": rng.randint(1, images), "category_id": 1 + int(rng.expovariate(0.05)) % 80,
            "bbox": [x, y, w, h], "area": round(w * h, 4), "iscrowd": 0,
        }  # fmt: skip
        if polygons:
            points = rng.randint(8, 40)
            xs = sorted(rng.uniform(x, x + w) for _ in range(points))
            ring = [round(v, 2) for at, px in enumerate(xs) for v in (px, y + h * (at % 7) / 14)]
            entry["segmentation"] = [[*ring, x + w, y + h, x, y + h]]
        annotations.append(entry)
    categories = [{"id": i, "name": f"class {i}", "supercategory": "thing"} for i in range(1, 81)]
    path.write_text(json.dumps({"info": {}, "images": listed, "annotations": annotations, "categories": categories}))


def programs(path: Path, peers: Path | None) -> dict[str, list[str]]:
    """Name -> command."""
    found = {
        "snellen": [sys.executable, "-c", SNELLEN, str(path)],
        "pycocotools": [sys.executable, "-c", PYCOCOTOOLS, str(path)],
    }
    if peers:
        for name, arguments in (
            ("labellint", ["scan", str(path)]),
            ("panlabel", ["validate", "--format", "coco", str(path)]),
            ("cvflow", ["inspect", str(path.parent)]),
        ):
            if (peers / name).exists():
                found[name] = [str(peers / name), *arguments]
    return found


def measured(command: list[str]) -> tuple[float, float, float, str]:
    """CPU seconds, wall seconds, peak MB and the last line said, of one run on one core."""
    single = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "RAYON_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(command, env={**os.environ, **single}, stdout=said, stderr=said)
        os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    last = lines[-1][:90] if lines else ""
    state = "" if status == 0 else f" (exit {os.waitstatus_to_exitcode(status)})"
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024, last + state


def main() -> None:
    """Make the set, run every program in turn, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--boxes", type=int, default=860_000)
    parser.add_argument("--polygons", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances_train.json"
        # In a process of its own: a child's peak memory counts what its parent held when it was forked.
        arguments = (path, options.images, options.boxes, options.polygons)
        maker = multiprocessing.get_context("spawn").Process(target=synthetic, args=arguments)
        maker.start()
        maker.join()
        print(f"{options.images} images, {options.boxes} boxes, {path.stat().st_size / 1e6:.0f} MB")
        runs: dict[str, list[tuple[float, float, float, str]]] = {}
        commands = programs(path, options.peers)
        for _ in range(options.rounds):
            for name, command in commands.items():
                runs.setdefault(name, []).append(measured(command))
        ours = median(run[0] for run in runs["snellen"])
        for name, results in runs.items():
            cpu, wall, peak = (median(run[at] for run in results) for at in range(3))
            print(f"{name:12} {cpu:7.2f} s CPU {wall:7.2f} s wall {peak:7.0f} MB {cpu / ours:6.2f}x  {results[-1][3]}")


if __name__ == "__main__":
    main()
