"""Examine every architecture of timm, and the networks of torchvision, on the meta device; name what fails and why.

    python benchmarks/network_sweep.py --out /tmp/sweep [--library timm|torchvision] [--shard 0/1] [--minutes 20]

One line of JSON per network is appended to OUT/LIBRARY-SHARD.jsonl as soon as it is known, and a network that is in one
of OUT's files is not examined again, so that a sweep can be stopped and resumed, and several shards can run side by
side. At the end, or with `--summary` alone, the failures of all shards are printed by cause. Each network is examined
at its own input size. A network that cannot be built on the meta device by its library counts apart.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl
import timm
import torch
import torchvision

from snellen.network.examine import examine
from snellen.network.resolve import load_model

VIDEO = (1, 3, 16, 112, 112)


def shape_of(library: str, name: str, model: torch.nn.Module) -> Any:
    """The inputs a network was made for."""
    if library == "timm":
        sizes = model.pretrained_cfg.get("input_size") or (3, 224, 224)
        return (1, *sizes)
    if name.startswith("raft"):
        image = torch.empty(1, 3, 128, 128, device="meta")
        return image, image
    if name.startswith(("mvit", "swin3d", "s3d")):
        return 1, 3, 16, 224, 224
    if name in torchvision.models.list_models(torchvision.models.video):
        return VIDEO
    return (1, 3, 299, 299) if name == "inception_v3" else (1, 3, 224, 224)


def record(library: str, name: str) -> dict[str, Any]:
    """What one examination gave."""
    start = time.perf_counter()
    row: dict[str, Any] = {"name": name}
    try:
        model = load_model(f"{library}:{name}")
    except Exception as error:
        return row | {"stage": "build", "error": f"{type(error).__name__}: {error}"[:300]}
    built = time.perf_counter()
    try:
        facts = examine(model, shape_of(library, name, model))
    except Exception as error:
        return row | {"stage": "examine", "error": f"{type(error).__name__}: {error}"[:300]}
    return row | {
        "stage": "done",
        "uncounted": facts.uncounted_operators,
        "macs": facts.macs,
        "params": facts.total_params,
        "unknown_fields": facts.layers.filter(pl.col("order").is_not_null())["rf_height"].null_count(),
        "build": round(built - start, 3),
        "seconds": round(time.perf_counter() - built, 3),
    }


def summary(out: Path, library: str) -> None:
    """Print how many networks ended how, and the failures by cause."""
    rows = [json.loads(line) for path in sorted(out.glob(f"{library}-*.jsonl")) for line in path.open()]
    done = [r for r in rows if r["stage"] == "done"]
    unbuilt = sum(r["stage"] == "build" for r in rows)
    print(f"{library}: {len(rows)} networks, {len(done)} examined, {unbuilt} not built by the library")
    causes: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row["stage"] != "done":
            text = row["error"].replace(row["name"], "NAME").replace(f"{library}:", "")
            causes[f"{row['stage']}: {text}"].append(row["name"])
        for operator in row.get("uncounted") or []:
            causes[f"uncounted {operator}"].append(row["name"])
    for cause, names in sorted(causes.items(), key=lambda item: -len(item[1])):
        print(f"  {len(names):4} {cause[:200]}\n       {', '.join(names[:6])}")
    print(f"  zero MACs: {[r['name'] for r in done if not r['macs']]}")
    print(f"  fields unknown somewhere: {sum(r['unknown_fields'] > 0 for r in done)} networks")


def main() -> None:
    """Examine what is left of one shard, then print the summary of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--library", choices=("timm", "torchvision"), default="timm")
    parser.add_argument("--shard", default="0/1", help="index/count")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=int, default=1, help="take every n-th network only")
    parser.add_argument("--summary", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.summary:
        index, count = (int(n) for n in options.shard.split("/"))
        known = {json.loads(x)["name"] for p in options.out.glob(f"{options.library}-*.jsonl") for x in p.open()}
        names = timm.list_models() if options.library == "timm" else torchvision.models.list_models()
        end = time.monotonic() + 60 * options.minutes
        with (options.out / f"{options.library}-{index}.jsonl").open("a") as sink:
            for name in names[:: options.every][index::count]:
                if name not in known and time.monotonic() < end:
                    sink.write(json.dumps(record(options.library, name)) + "\n")
                    sink.flush()
    summary(options.out, options.library)


if __name__ == "__main__":
    main()
