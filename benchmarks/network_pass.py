"""Time of one examination against a plain forward on the processor and against PyTorch's FlopCounterMode.

    python benchmarks/network_pass.py [--models resnet18 ...] [--repeats 3]

Prints, per model: seconds of the forward (eval, no gradients, one image), of FlopCounterMode around it, and of
`examine` on the same model with its weights and on the meta device; the least of the repeats, one thread.
"""

import argparse
import time
from collections.abc import Callable

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from snellen.network.examine import examine
from snellen.network.resolve import load_model

MODELS = ("resnet18", "resnet50", "efficientnet_b0", "vit_base_patch16_224", "convnext_base")


def least(action: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of `repeats` runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measure and print one line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape = (1, 3, 224, 224)
    print(f"{'model':24}{'forward':>9}{'counter':>9}{'examine':>9}{'on meta':>9}   examine/forward  meta/forward")
    for name in options.models:
        model = timm.create_model(name).eval()
        bare = load_model(name)
        x = torch.rand(shape)

        def forward(model: torch.nn.Module = model, x: torch.Tensor = x) -> None:
            with torch.no_grad():
                model(x)

        def counter(forward: Callable[[], None] = forward) -> None:
            with FlopCounterMode(display=False):
                forward()

        plain, counted = least(forward, options.repeats), least(counter, options.repeats)
        ours = least(lambda model=model: examine(model, shape), options.repeats)  # type: ignore[misc]
        meta = least(lambda bare=bare: examine(bare, shape), options.repeats)  # type: ignore[misc]
        print(f"{name:24}{plain:9.3f}{counted:9.3f}{ours:9.3f}{meta:9.3f}   {ours / plain:15.2f}  {meta / plain:12.2f}")


if __name__ == "__main__":
    main()
