"""Trains one small run in a process of its own: `python -m tests.training.run_once DATA OUT TASK [resume] [double]
[field=value ...]`, the fields of the recipe as `--set` takes them."""

import sys
from pathlib import Path
from typing import Any

import torch

from snellen.cli.common import recipe_overrides
from snellen.training import default_recipe
from snellen.training.trainer import train
from tests.training.subjects import digit_images, digit_scenes, shapes_with_maps


def main() -> None:
    if "double" in sys.argv:
        # In single precision rounding grows tenfold a step early in training; in double a real difference stands out.
        torch.set_default_dtype(torch.float64)
        torch.Tensor.float = torch.Tensor.double
    root, out, task = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    fields: dict[str, Any] = recipe_overrides([word for word in sys.argv[4:] if "=" in word])
    if task == "classification":
        data = digit_images(root, 160)
        chosen = {"epochs": 3, "batch_size": 16, "ema_decay": 0.9}
    elif task == "segmentation":
        data = shapes_with_maps(root, 16, side=32)
        chosen = {"epochs": 2, "batch_size": 4, "image_size": 32}
    else:
        data = digit_scenes(root, 40, side=64)
        chosen = {"epochs": 2, "batch_size": 8}
    recipe = default_recipe(data, **{"checkpoint_seconds": 0.2, **chosen, **fields})
    trained = train(data, recipe, out, resume="resume" in sys.argv)
    print(trained.stop_reason)


if __name__ == "__main__":
    main()
