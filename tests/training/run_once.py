"""Trains one small run in a process of its own: `python -m tests.training.run_once DATA OUT TASK [resume]`."""

import sys
from pathlib import Path

import torch

from snellen.training import default_recipe
from snellen.training.trainer import train
from tests.training.subjects import digit_images, digit_scenes


def main() -> None:
    if "double" in sys.argv:
        # In single precision rounding grows tenfold a step early in training; in double a real difference stands out.
        torch.set_default_dtype(torch.float64)
        torch.Tensor.float = torch.Tensor.double
    root, out, task = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    if task == "classification":
        data = digit_images(root, 160)
        recipe = default_recipe(data, epochs=3, batch_size=16, ema_decay=0.9, checkpoint_seconds=0.2)
    else:
        data = digit_scenes(root, 40, side=64)
        recipe = default_recipe(data, epochs=2, batch_size=8, checkpoint_seconds=0.2)
    trained = train(data, recipe, out, resume="resume" in sys.argv)
    print(trained.stop_reason)


if __name__ == "__main__":
    main()
