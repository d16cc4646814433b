"""Cost of watching on a step of training: `python benchmarks/watch_overhead.py [cpu|cuda] [--networks ...]`.

Two like networks are trained in one process, one of them watched, a step of each in turn, so that a noisy machine hits
both; then the other one is watched, because two networks that nobody watches may differ for where their tensors lie in
memory: the geometric mean of the two ratios is free of that. A block of steps holds one sampled step, as a long run at
the default settings does once its first second of watching is spent. Printed for each network are the medians, and the
median, best and worst ratio of the blocks; last the median and the worst of the networks' medians. `--parts` adds which
part of the watch takes the time; `--control` watches nobody, and shows how far from 1 such ratios are by chance.
"""

import argparse
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import snellen
from snellen.models import create
from snellen.models.detection.base import Detector, Target
from snellen.watching.budget import GRACE_SECONDS
from snellen.watching.watch import EVERY

WARM = 64
"""Steps before anything is timed; activations are looked at in steps 0, 1, 2, 4, ... 64, and seldom from then on."""
Step = Callable[[], tuple[Tensor, Any, Any, Any]]
"""Forward pass: loss, inputs, targets, outputs."""


def _images(batch: int, size: int, device: str) -> Tensor:
    return torch.randn(batch, 3, size, size, device=device)


def resnet(device: str) -> tuple[nn.Module, Step]:
    """ResNet-18."""
    from torchvision.models import resnet18

    batch, size = (16, 96) if device == "cpu" else (64, 224)
    model = resnet18(num_classes=10).to(device)
    x, y = _images(batch, size, device), torch.randint(10, (batch,), device=device)

    def step() -> tuple[Tensor, Any, Any, Any]:
        out = model(x)
        return F.cross_entropy(out, y), x, y, out

    return model, step


def vit(device: str) -> tuple[nn.Module, Step]:
    """ViT-small/16."""
    import timm

    batch, size = (4, 224) if device == "cpu" else (32, 224)
    model = timm.create_model("vit_small_patch16_224", num_classes=10).to(device)
    x, y = _images(batch, size, device), torch.randint(10, (batch,), device=device)

    def step() -> tuple[Tensor, Any, Any, Any]:
        out = model(x)
        return F.cross_entropy(out, y), x, y, out

    return model, step


class UNet(nn.Module):
    """Four levels of 32 to 256 channels (Ronneberger et al. 2015, with batch norm and half the width)."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        widths = (32, 64, 128, 256)
        self.down = nn.ModuleList(self.block(a, b) for a, b in zip((3, *widths[:-1]), widths, strict=True))
        ups = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in ups)
        self.merge = nn.ModuleList(self.block(2 * b, b) for _, b in ups)
        self.head = nn.Conv2d(widths[0], classes, 1)

    @staticmethod
    def block(a: int, b: int) -> nn.Sequential:
        """Two convolutions."""
        return nn.Sequential(
            nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(),
            nn.Conv2d(b, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Logits of every pixel."""
        kept = []
        for index, block in enumerate(self.down):
            x = block(x if index == 0 else F.max_pool2d(x, 2))
            kept.append(x)
        for up, merge, skip in zip(self.up, self.merge, kept[-2::-1], strict=True):
            x = merge(torch.cat([up(x), skip], 1))
        return self.head(x)


def unet(device: str) -> tuple[nn.Module, Step]:
    """A U-Net."""
    batch, size = (2, 128) if device == "cpu" else (16, 256)
    model = UNet().to(device)
    x, y = _images(batch, size, device), torch.randint(5, (batch, size, size), device=device)

    def step() -> tuple[Tensor, Any, Any, Any]:
        out = model(x)
        return F.cross_entropy(out, y), x, y, out

    return model, step


def detector(device: str) -> tuple[nn.Module, Step]:
    """Our own detector, with its own loss."""
    batch, size = (4, 320) if device == "cpu" else (16, 320)
    model = create("ssdlite", task="detection", num_classes=5, image_size=size).to(device)
    assert isinstance(model, Detector)
    x = _images(batch, size, device)
    targets = []
    for _ in range(batch):
        corner = torch.rand(3, 2, device=device) * size * 0.6
        boxes = torch.cat([corner, corner + size * 0.3], 1)
        targets.append(Target(boxes, torch.randint(5, (3,), device=device)))

    def step() -> tuple[Tensor, Any, Any, Any]:
        out = model(x)
        terms = model.loss(out, targets, model.assign(out, targets))
        loss = torch.stack([t.total / t.weight.clamp(min=1) for t in terms.values()]).sum()
        return loss, x, targets, out

    return model, step


NETWORKS = {"ResNet-18": resnet, "ViT-small": vit, "U-Net": unet, "detector": detector}


def measure(name: str, device: str, pairs: int, parts: bool, control: bool) -> float:
    """Print the cost on one network and return the median ratio."""
    # On one thread the process's own time is the cost; other programs on the machine do not enter it.
    clock = time.process_time if device == "cpu" else time.perf_counter

    def made() -> tuple[nn.Module, Step, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model, forward = NETWORKS[name](device)
        return model, forward, torch.optim.AdamW(model.parameters(), lr=1e-4)

    def steps(forward: Step, optimizer: torch.optim.Optimizer, count: int, watch: snellen.Watch | None) -> float:
        begin = clock()
        for _ in range(count):
            loss, x, y, out = forward()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            if watch is not None:
                watch.step(loss=loss, inputs=x, targets=y, outputs=out)
        return (clock() - begin) / count

    networks = [made(), made()]
    off: list[list[float]] = [[], []]
    on: list[list[float]] = [[], []]
    spent: Counter[str] = Counter()
    block = EVERY
    for turn in range(2):
        (model, watched, optimizer), (_, plain, plain_optimizer) = networks[turn], networks[1 - turn]
        watch = snellen.watch(model, optimizer)
        watch.start()
        # Past the first steps, which are looked at closely, and the time in which the budget does not bind yet.
        steps(plain, plain_optimizer, 5, None)
        while watch.context.step <= WARM or watch.ledger.own_seconds < 1.1 * GRACE_SECONDS:
            steps(watched, optimizer, 1, watch)
        if control:
            watch.finish()
        block = max(block, watch.recorder.every)
        spent.subtract(watch.ledger.seconds)
        for _ in range(pairs):
            alone, with_it = 0.0, 0.0
            for _ in range(block):
                alone += steps(plain, plain_optimizer, 1, None)
                with_it += steps(watched, optimizer, 1, None if control else watch)
            off[turn].append(alone / block)
            on[turn].append(with_it / block)
        spent.update(watch.ledger.seconds)
        watch.finish()
    there, back = ([b / a for a, b in zip(off[turn], on[turn], strict=True)] for turn in range(2))
    ratios = [math.sqrt(a * b) for a, b in zip(there, back, strict=True)]
    alone, with_it = (statistics.median(chain(*times)) * 1e3 for times in (off, on))
    print(
        f"{name:10} {device}: {alone:7.1f} ms alone, {with_it:7.1f} watched, sampled every {block} steps: "
        f"median {statistics.median(ratios):.3f}, best {min(ratios):.3f}, worst {max(ratios):.3f}",
        flush=True,
    )
    if parts:
        each = alone / 1e3 * block * pairs * 2
        print("          ", {k: f"{v / each:.2%}" for k, v in spent.most_common(9)}, watch.ledger.failures)
    return statistics.median(ratios)


def main() -> None:
    """Measure the networks asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("device", nargs="?", default="cpu")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--control", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    how = options.pairs, options.parts, options.control
    found = [measure(name, options.device, *how) for name in options.networks]
    print(f"median of the networks {statistics.median(found):.3f}, worst {max(found):.3f}")


if __name__ == "__main__":
    main()
