"""How soon each family of networks learns: validation metric against seconds of one processor core.

    python -m benchmarks.learning                                   every detector, on scenes of digits
    python -m benchmarks.learning retinanet yolov3 --epochs 12      some of them
    python -m benchmarks.learning --data DATA --models unet         any dataset that `snellen train` takes
    python -m benchmarks.learning --write docs                      then the table and the curves for the documentation

Each network is trained in a process of its own with one thread, from scratch, by the recipe that `snellen train MODEL`
finds, on 600 scenes and scored on 150 others. Seconds are those of the processor (user + system) with everything that
belongs to the training: reading the images, validation, checkpoints. Rows are kept in build/learning; a network that
stands there is not trained again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = Path("build/learning")
DETECTORS = (
    "rcnn", "spp-net", "fast-rcnn", "faster-rcnn", "faster-rcnn-fpn", "cascade-rcnn", "mask-rcnn", "ssd", "ssdlite",
    "retinanet", "yolov1", "yolov2", "yolov3", "yolov3-tiny", "fcos", "centernet",
)  # fmt: skip
BAR = 0.80


def learn(model: str, data: str, overrides: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train one network here, and return its curve."""
    import torch

    import snellen
    from snellen.data.digits import build_digits

    torch.set_num_threads(1)
    if not data:
        scenes = build_digits(folder / "digits").detection
        data = str(scenes)
    marks: dict[int, float] = {}

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "train" and note.startswith("epoch "):
            marks.setdefault(int(note.split()[1].rstrip(",")), time.process_time())

    out = folder / "runs" / f"{model}-{os.getpid()}"
    began = time.process_time()
    result = snellen.train(data, model=model, out=out, preflight=False, progress=progress, **overrides)
    ended = time.process_time()
    assert result.run is not None
    metrics = result.run.epochs["metric"].to_list()
    seconds = [marks.get(e + 2, ended) - began for e in range(len(metrics))]
    parameters = result.run.trainable_params
    return {
        "model": model, "data": Path(data).name, "metric_name": result.run.metric_name, "metric": metrics,
        "seconds": [round(s, 1) for s in seconds], "parameters": parameters, "recipe": result.recipe,
        "findings": [f.rule for f in result.findings if f.severity in ("error", "warning")],
    }  # fmt: skip


def reached(row: dict[str, Any], bar: float) -> float | None:
    """Seconds after which the metric first stands at `bar`."""
    pairs = zip(row["seconds"], row["metric"], strict=True)
    return next((s for s, m in pairs if m is not None and m >= bar), None)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| network | weights | input | epochs "
        f"| best {rows[0]['metric_name']} | seconds to {BAR:.2f} | seconds in all |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        best = max(m for m in row["metric"] if m is not None)
        first = reached(row, BAR)
        told = "not reached" if first is None else f"{first:.0f}"
        lines.append(
            f"| {row['model']} | {row['parameters']:,} | {row['recipe']['image_size']} | {len(row['metric'])} "
            f"| {best:.3f} | {told} | {row['seconds'][-1]:.0f} |"
        )
    return "\n".join(lines)


def picture(rows: list[dict[str, Any]]) -> str:
    """Small multiples: one curve a network, the bar dashed."""
    columns, width, height, gap = 4, 200, 120, 34
    parts = []
    for i, row in enumerate(rows):
        left, top = (i % columns) * (width + gap) + 40, (i // columns) * (height + gap + 22) + 30
        longest = max(max(r["seconds"]) for r in rows)
        dots = " ".join(
            f"{left + width * s / longest:.1f},{top + height * (1 - m):.1f}"
            for s, m in zip(row["seconds"], row["metric"], strict=True)
            if m is not None
        )
        bar = top + height * (1 - BAR)
        parts += [
            f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#999"/>',
            f'<line x1="{left}" x2="{left + width}" y1="{bar}" y2="{bar}" stroke="#999" stroke-dasharray="4 3"/>',
            f'<polyline points="{dots}" fill="none" stroke="#1f6fb2" stroke-width="2"/>',
            f'<text x="{left}" y="{top - 6}" font-weight="bold">{row["model"]}</text>',
            f'<text x="{left + width}" y="{top + height + 14}" text-anchor="end">{longest:.0f} s</text>',
            f'<text x="{left - 4}" y="{top + 8}" text-anchor="end">1</text>',
            f'<text x="{left - 4}" y="{top + height}" text-anchor="end">0</text>',
        ]
    whole_w = columns * (width + gap) + 30
    whole_h = -(-len(rows) // columns) * (height + gap + 22) + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole_w} {whole_h}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def main() -> int:
    """Train what is not trained yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(DETECTORS))
    parser.add_argument("--data", default="", help="a dataset; default: scenes of digits")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="fields of the recipe, as JSON")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--write", type=Path, help="folder for learning.md and images/learning.svg")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    overrides = {key: json.loads(value) for key, _, value in (pair.partition("=") for pair in options.set)}
    if options.epochs:
        overrides["epochs"] = options.epochs
    if options.here:
        print(json.dumps(learn(options.models[0], options.data, overrides, options.folder)))
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for model in options.models:
        kept = options.folder / f"{model}.json"
        if not kept.is_file():
            print(f"training {model} ...", file=sys.stderr, flush=True)
            command = [sys.executable, "-m", "benchmarks.learning", "--here", *sys.argv[1:]]
            command = [c for c in command if c not in options.models]
            environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
            done = subprocess.run(
                [*command[:4], model, *command[4:]], stdout=subprocess.PIPE, text=True, env=environment
            )
            if done.returncode:
                print(f"{model}: failed", file=sys.stderr)
                continue
            kept.write_text(done.stdout.splitlines()[-1])
        rows.append(json.loads(kept.read_text()))
    if not rows:
        return 1
    print(table(rows))
    if options.write:
        (options.write / "images" / "learning.svg").write_text(picture(rows))
        about = __doc__.strip().splitlines()[0]
        text = f"# Learning curves\n\n{about}\n\n![curves](images/learning.svg)\n\n{table(rows)}\n"
        (options.write / "learning.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
