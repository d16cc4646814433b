"""Checkpoints: plain tensors and primitives, written whole or not at all, read without pickled code."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from snellen.errors import UseError
from snellen.files import written_whole


class CheckpointError(UseError):
    """A checkpoint that is missing, damaged or not ours."""


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write `path` whole: a kill or a power cut at any moment leaves the old file or the new one."""
    with written_whole(path, durable=True) as temporary:
        torch.save(state, temporary)


def load(path: Path) -> dict[str, Any]:
    """What `save_atomically` wrote, on the CPU. Raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no checkpoint there")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds on a damaged or hostile file
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path}: not a checkpoint that can be trusted: {first}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, not a checkpoint")
    return state


def random_states() -> dict[str, Any]:
    """The state of every generator a step may draw from, as tensors and primitives."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "python": random.getstate(),
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Put back what `random_states` took."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
    kind, keys, position, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = states["python"]
    random.setstate((version, tuple(internal), gauss_next))
