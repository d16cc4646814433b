"""The batches of an epoch, each cut into the parts that it is computed in, and those among the processes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from snellen.training.recipe import Recipe
from snellen.training.run_folder import RunError
from snellen.training.samples import Batch, Samples, collate
from snellen.training.splits import SamplesError


@dataclass(frozen=True)
class Loaded:
    """One batch as a process gets it."""

    size: int
    """Images of the whole batch, over all processes."""
    parts: list[Batch]
    """This process's share of each of the parts that it is computed in."""


def load(samples: Samples, recipe: Recipe, batches: Sequence[Any], rank: int, world: int) -> Iterator[Loaded]:
    """This process's share of `batches` (rows of all processes), in order, loaded by the recipe's workers.

    Raises RunError when a part has too few images for the processes, SamplesError when a file has gone.
    """
    cut = [np.array_split(rows, recipe.accumulate) for rows in batches]
    mine = [[[int(i) for i in part[rank::world]] for part in parts] for parts in cut]
    if any(len(part) < world for parts in cut for part in parts):
        shared = f"{recipe.accumulate} parts and {world} processes" if recipe.accumulate > 1 else f"{world} processes"
        raise RunError(f"batches of {recipe.batch_size} images cannot be shared by {shared}")
    loader = DataLoader(
        samples,
        batch_sampler=[part for parts in mine for part in parts],
        num_workers=recipe.workers,
        collate_fn=collate,
        generator=torch.Generator(),
    )
    stream = iter(loader)
    try:
        for rows, parts in zip(batches, mine, strict=True):
            yield Loaded(len(rows), [next(stream) for _ in parts])
    except SamplesError as error:
        # A loading process hands its error on within a traceback; the last line is ours.
        told = str(error).strip().splitlines()[-1].rpartition("SamplesError: ")[2]
        raise SamplesError(f"{told}; restore it and go on with --resume, or start a new run without it") from error
