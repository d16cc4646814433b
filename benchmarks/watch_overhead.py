"""Cost of the recorder on a step of training: `python benchmarks/watch_overhead.py [cpu|cuda]`.

Watched and unwatched blocks of steps alternate, so that a noisy machine hits both; printed are the medians and the
median of the pairwise ratios.
"""

import statistics
import sys
import time

import torch
from torch.nn import functional as F  # noqa: N812
from torchvision.models import resnet18

from snellen.watching import Recorder


def main(device: str, block: int = 20, pairs: int = 8) -> None:
    """Time `pairs` pairs of `block` steps of a ResNet-18; a block holds one sampled step, as a long run does."""
    torch.set_num_threads(1)
    # On one thread the process's own time is the cost; other programs on the machine do not enter it.
    clock = time.process_time if device == "cpu" else time.perf_counter
    size, batch = (64, 16) if device == "cpu" else (224, 64)
    model = resnet18(num_classes=10).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    x, y = torch.randn(batch, 3, size, size, device=device), torch.randint(10, (batch,), device=device)
    recorder = Recorder(model, optimizer, every=20)

    def steps(watched: bool) -> float:
        begin = clock()
        for _ in range(block):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            value = loss.item()
            if watched:
                recorder.step(loss=value)
        return (clock() - begin) / block

    recorder._probes.attach()
    steps(True)  # past the first steps, which are all sampled
    recorder._probes.detach()
    off, on = [], []
    for _ in range(pairs):
        off.append(steps(False))
        recorder._probes.attach()
        on.append(steps(True))
        recorder._probes.detach()
    ratios = [b / a for a, b in zip(off, on, strict=True)]
    print(
        f"ResNet-18, {device}, batch {batch} of {size}: {statistics.median(off) * 1e3:.1f} ms alone, "
        f"{statistics.median(on) * 1e3:.1f} ms watched, {statistics.median(ratios) - 1:+.1%} "
        f"(pairs {min(ratios) - 1:+.1%} to {max(ratios) - 1:+.1%})"
    )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "cpu")
