"""The largest batch that fits: tried on a CUDA device, computed for a processor."""

import os
from collections.abc import Callable

import torch

from snellen.data.facts import DataFacts
from snellen.errors import UseError
from snellen.experiments.snapshot import generators_kept
from snellen.network.examine import examine
from snellen.training.folds import split_of
from snellen.training.prepare import build_model
from snellen.training.recipe import Recipe
from snellen.training.rehearsal import rehearsal_of
from snellen.training.tasks.base import forward

MOST = 256
"""Larger batches train no faster per image and need other learning rates."""
SHARE = 0.6
"""Of the memory that is free: kernels need room to work, and the images are in memory, too."""
LEAST_BATCHES = 4
"""Of an epoch: a batch is at most a quarter of the training images."""
STATES = {"sgd": "momentum", "adam": "adam", "adamw": "adamw", "rmsprop": "rmsprop", "adagrad": "adagrad"}
"""Optimizer of a recipe -> as `network.budget` counts its state; adadelta keeps two numbers, as adam does."""


def largest_batch_size(data: DataFacts, recipe: Recipe, *, memory: int | None = None) -> int:
    """Images for a batch: the largest that fits, at most 256 and a quarter of the training images.

    On CUDA training steps of growing batches are tried; on a processor the memory of a step is computed from the
    network, for `memory` bytes (None: most of what is free). The random generators are as before. Raises UseError when
    not even two images fit, or there is nothing to train on.
    """
    with generators_kept():
        images = len(split_of(data, recipe).train)
        most = max(2, min(MOST, images // LEAST_BATCHES))
        fits = _tried(data, recipe, most) if torch.cuda.is_available() else _computed(data, recipe, memory)
    if fits < 2:
        raise UseError(
            f"batch_size: {recipe.model} at {recipe.image_size} px does not fit into memory with two images; "
            "take a smaller image_size, or accumulate"
        )
    return min(most, fits)


def _computed(data: DataFacts, recipe: Recipe, memory: int | None) -> int:
    size = recipe.image_size
    facts = examine(build_model(data, recipe), (1, 3, size, size), name=recipe.model, task=recipe.task)
    free = int(SHARE * free_memory()) if memory is None else memory
    return facts.largest_batch(free, STATES.get(recipe.optimizer, "adam"))


def free_memory() -> int:
    """Bytes of main memory that a process may still have: what the machine has free, and its control group allows."""
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = pages
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            told = dict(line.split(":", 1) for line in file)
        free = int(told["MemAvailable"].split()[0]) * 1024  # what the page cache gives back counts, too
    except (OSError, KeyError, ValueError):
        free = pages
    return min([free, *_of_group()])


def _of_group() -> list[int]:
    """What the control group of a container leaves, where there is one with a limit."""
    values = []
    for name in ("memory.max", "memory.current"):
        try:
            with open(f"/sys/fs/cgroup/{name}", encoding="ascii") as file:
                values.append(int(file.read()))
        except (OSError, ValueError):
            return []
    return [max(0, values[0] - values[1])]


def _tried(data: DataFacts, recipe: Recipe, most: int) -> int:
    """Steps of 2, 4, 8 ... images until one does not fit, then between the last two."""
    trial = rehearsal_of(data, recipe.vary(batch_size=2), device=torch.device("cuda"))
    if not trial.batches:
        return 0
    x, targets = trial.batches[0]
    trial.network.train()

    def step(count: int) -> None:
        rows = [i % len(x) for i in range(count)]
        wanted = targets[rows] if isinstance(targets, torch.Tensor) else [targets[i] for i in rows]
        with torch.autocast("cuda", enabled=recipe.amp):
            outputs = forward(trial.network, trial.network, x[rows], wanted)
        trial.loss_fn(outputs, wanted).backward()
        trial.optimizer.step()
        trial.optimizer.zero_grad()

    return largest_that_fits(step, most)


def largest_that_fits(step: Callable[[int], None], most: int) -> int:
    """The largest count up to `most` with which `step` does not run out of CUDA memory, within an eighth; 0: none."""

    def fits(count: int) -> bool:
        try:
            step(count)
            return True
        except torch.cuda.OutOfMemoryError:
            return False
        finally:
            torch.cuda.empty_cache()

    good, count = 0, 2
    while count <= most and fits(count):
        good, count = count, count * 2
    if count > most:
        return most if good and (good == most or fits(most)) else good
    while count - good > max(1, good // 8):
        middle = (good + count) // 2
        good, count = (middle, count) if fits(middle) else (good, middle)
    return good
