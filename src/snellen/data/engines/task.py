"""What a worker does with a chunk of images. Imports neither Polars nor Torch: a worker is to start fast."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from snellen.data.images import measure
from snellen.errors import UseError
from snellen.findings.severity import Tier

Chunk = list[str]
"""Keys of images: paths relative to the job's root."""
Row = dict[str, Any]
"""Columns of `IMAGES`; what a row does not say is null."""


@dataclass(frozen=True)
class Job:
    """What is the same for every chunk."""

    root: str
    tier: int


def measure_chunk(job: Job, chunk: Chunk) -> list[Row]:
    """One row an image. Raises UseError when this machine does not see the dataset's folder."""
    if not os.path.isdir(job.root):
        raise UseError(f"{job.root}: {platform.node()} does not see this folder; every machine must, by the same path")
    tier, links = Tier(job.tier), Links(job.root)
    return [_measured(job.root, key, tier, links) for key in chunk]


def refused(why: str, tier: Tier) -> Row:
    """The row of a file that is there but is not opened."""
    return {"exists": True, "decoded": False if tier >= Tier.PIXELS else None, "error": why}


def _measured(root: str, key: str, tier: Tier, links: "Links") -> Row:
    path = os.path.join(root, key)
    if links.lead_out(path):
        return refused("a link that leads out of the dataset's folder, not followed: copy the file in", tier)
    return measure(Path(path), tier)


class Links:
    """Whether links lead paths out of a folder; each folder on the way is resolved once."""

    def __init__(self, root: str) -> None:
        self._root = Path(os.path.realpath(root))
        self._out: dict[str, bool] = {}

    def lead_out(self, path: str) -> bool:
        """Whether `path`, which lies below the root, is in truth outside of it."""
        folder = os.path.dirname(path)
        if folder not in self._out:
            self._out[folder] = self._outside(folder)
        return self._out[folder] or (os.path.islink(path) and self._outside(path))

    def _outside(self, path: str) -> bool:
        return not Path(os.path.realpath(path)).is_relative_to(self._root)


def prepare() -> None:
    """Make a process that only measures fast: no threads within OpenCV, no memory handed back after each picture."""
    cv2.setNumThreads(0)
    settle_memory()


def settle_memory() -> None:
    """Have glibc keep some megabytes of freed memory: it else maps and clears pages anew for every picture.

    Freeing one large block raises its thresholds for mapping and trimming (mallopt(3), M_MMAP_THRESHOLD); measured at
    5 % of the time of an image. Elsewhere it does nothing.
    """
    block = np.empty(24 << 20, np.uint8)
    block[0] = 0
    del block
