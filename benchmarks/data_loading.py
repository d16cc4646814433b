"""Images per second into normalised training batches on one core, against PIL and torchvision's v1 transforms.

Both sides read every file anew (no cache), resize to the recipe's input, mirror half of the images, and give
normalised float32 batches; ours keeps boxes and their letterbox beside it, theirs has only the picture. The sides take
turns, batch by batch in one process on one thread; times are of the processor, so that a busy machine does not count,
and the ratio is of their medians.

    python benchmarks/data_loading.py DATASET [DATASET ...] [--size 224] [--images 256] [--rounds 5]
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import cv2
import numpy as np
import torch
from PIL import Image
from torchvision import transforms as v1

from snellen.data.examine import examine
from snellen.findings.severity import Tier
from snellen.training.pixels import normalised
from snellen.training.recipe import Recipe
from snellen.training.recipe_defaults import default_recipe
from snellen.training.samples import Samples, collate
from snellen.training.splits import split_examples

BATCH = 16


def ours(samples: Samples, recipe: Recipe) -> Callable[[list[int]], torch.Tensor]:
    """What the trainer does with a batch of rows."""
    mean, std = (torch.tensor(v) * 255 for v in (recipe.mean, recipe.std))

    def batch(rows: list[int]) -> torch.Tensor:
        return normalised(collate([samples[i] for i in rows]).images, mean, std)

    return batch


def theirs(files: list[Path], recipe: Recipe) -> Callable[[list[int]], torch.Tensor]:
    """The pipeline of torchvision's tutorials."""
    side = recipe.image_size
    pipeline = v1.Compose(
        [v1.Resize((side, side)), v1.RandomHorizontalFlip(), v1.ToTensor(), v1.Normalize(recipe.mean, recipe.std)]
    )

    def batch(rows: list[int]) -> torch.Tensor:
        return torch.stack([pipeline(Image.open(files[i]).convert("RGB")) for i in rows])

    return batch


def measure(dataset: Path, size: int | None, images: int, rounds: int) -> None:
    """Print one line for a dataset."""
    data = examine(dataset, tier=Tier.HEADERS)
    still = {"flip": True, "jitter_scale": 0.0, "jitter_colour": 0.0}
    recipe = default_recipe(data, **still, **({"image_size": size} if size else {}))
    chosen = split_examples(data, 0).train
    chosen = [chosen[i] for i in np.random.default_rng(0).permutation(len(chosen))[:images]]
    samples = Samples(Path(data.root), chosen, recipe, augment=True, cache_bytes=0)
    sides = (ours(samples, recipe), theirs([Path(data.root) / e.image for e in chosen], recipe))
    parts = [list(range(i, min(i + BATCH, len(chosen)))) for i in range(0, len(chosen), BATCH)]
    seconds: tuple[list[float], list[float]] = ([], [])
    for side in sides:
        side(parts[0])
    for turn in range(rounds):
        spent = [0.0, 0.0]
        for rows in parts:
            for which in (0, 1) if turn % 2 else (1, 0):
                began = time.process_time()
                sides[which](rows)
                spent[which] += time.process_time() - began
        for which in (0, 1):
            seconds[which].append(spent[which])
    mine, other = (len(chosen) / statistics.median(s) for s in seconds)
    ratios = sorted(b / a for a, b in zip(*seconds, strict=True))
    print(
        f"{dataset.name:20} {len(chosen):4} images to {recipe.image_size:3} px: ours {mine:7.0f} images/s, "
        f"PIL + torchvision v1 {other:7.0f}, ratio {mine / other:.2f} ({ratios[0]:.2f} .. {ratios[-1]:.2f})",
        flush=True,
    )


def main() -> None:
    """Measure each dataset of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--size", type=int)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for dataset in asked.datasets:
        measure(dataset, asked.size, asked.images, asked.rounds)


if __name__ == "__main__":
    main()
