"""Time and memory of one examination beside a bare forward on the meta device, TorchLens, and tools that need weights.

    python benchmarks/network_speed.py [--models ...] [--peer-python /venv/bin/python] [--tools examine torchlens ...]

Every cell is a process of its own, one thread, on this code's path; `--peer-python` is an interpreter that has torch,
timm and the peers (torchlens, fvcore, thop, ptflops, torchinfo). A cell builds the network (on the meta device for
`forward`, `examine` and `torchlens`, with random weights for the others), counts once, and for the meta tools twice
more, of which the least is told. Printed: seconds of the build, of the first and of the least count, and the growth of
the process's peak memory over its imports; then ratios.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

MODELS = ("resnet50", "vit_giant_patch14_224", "convnext_xxlarge")
META = ("forward", "examine", "torchlens")
WEIGHTS = ("fvcore", "thop", "ptflops", "torchinfo")

PROGRAM = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
tool, name = sys.argv[1:]
import timm, torch
torch.set_num_threads(1)
meta = tool in ("forward", "examine", "torchlens")
if tool == "examine":
    from snellen.network.examine import examine
    import snellen.network.resolve
    count = lambda: examine(model, tuple(x.shape))
elif tool == "forward":
    count = lambda: model(x)
elif tool == "torchlens":
    import torchlens
    from torchlens.options import CaptureOptions
    count = lambda: torchlens.trace(model, x, capture=CaptureOptions(structure_only=True)).total_macs
elif tool == "fvcore":
    import logging
    from fvcore.nn import FlopCountAnalysis
    logging.disable(logging.WARNING)
    count = lambda: FlopCountAnalysis(model, x).total()
elif tool == "thop":
    import thop
    count = lambda: thop.profile(model, (x,), verbose=False)
elif tool == "ptflops":
    import ptflops
    quiet = {"print_per_layer_stat": False, "as_strings": False}
    count = lambda: ptflops.get_model_complexity_info(model, tuple(x.shape[1:]), **quiet)
elif tool == "torchinfo":
    import torchinfo
    count = lambda: torchinfo.summary(model, input_data=x, verbose=0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
with torch.device("meta" if meta else "cpu"):
    model = timm.create_model(name).eval()
x = torch.empty(1, *model.pretrained_cfg["input_size"], device="meta" if meta else "cpu")
build = time.perf_counter() - start
times = []
for _ in range(5 if tool in ("forward", "examine") else 3 if meta else 1):
    start = time.perf_counter()
    count()
    times.append(time.perf_counter() - start)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(json.dumps({"build": build, "first": times[0], "least": min(times), "MB": grown}))
"""


def cell(python: str, tool: str, name: str) -> dict[str, float] | None:
    """Measure one tool on one network; None, with the reason printed, where it fails."""
    source = str(Path(__file__).resolve().parents[1] / "src")
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": source}
    done = subprocess.run([python, "-c", PROGRAM, tool, name], capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        print(f"{name:26} {tool:10} failed: {done.stderr.strip().splitlines()[-1][:120]}")
        return None
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--tools", nargs="+", default=[*META, *WEIGHTS])
    parser.add_argument("--peer-python", default=sys.executable)
    options = parser.parse_args()
    for name in options.models:
        cells = {}
        for tool in options.tools:
            found = cell(sys.executable if tool in ("forward", "examine") else options.peer_python, tool, name)
            if found is not None:
                cells[tool] = found
                print(
                    f"{name:26} {tool:10} build {found['build']:7.3f} s  first {found['first']:8.3f} s"
                    f"  least {found['least']:8.3f} s  +{found['MB']:7.1f} MB",
                    flush=True,
                )
        if "examine" not in cells:
            continue
        ours = cells["examine"]
        for tool in (t for t in cells if t != "examine"):
            theirs = cells[tool]
            whole = (theirs["build"] + theirs["first"]) / (ours["build"] + ours["first"])
            least = theirs["least"] / ours["least"]
            print(f"{name:26} {tool:10} / examine: least {least:6.2f}  build and first {whole:6.1f}")


if __name__ == "__main__":
    main()
