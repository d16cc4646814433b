"""Where image files are measured: on this machine, or on those of a Ray cluster. The facts are the same, bit for bit.

An engine takes a job and chunks of image keys, and gives back each chunk with its rows, in the order in which they
come to be finished. It holds only a few chunks for each worker at a time, whatever their number.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from snellen.data.engines.task import Chunk, Job, Row
from snellen.errors import UseError

ENGINES = ("local", "ray")


class Engine(Protocol):
    """See above."""

    chunk: int
    """Images that a chunk should hold."""

    def run(self, job: Job, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, list[Row]]]:
        """Measure `chunks`; each comes with one row an image, in its order."""


def open_engine(name: str, workers: int | None, images: int) -> AbstractContextManager[Engine]:
    """The engine for `images` images on `workers` workers; None: one a core, of this machine or of the cluster.

    Raises UseError for an unknown engine, for less than one worker, and for `ray` where Ray is not installed.
    """
    if name not in ENGINES:
        raise UseError(f"engine {name!r}: there are {' and '.join(ENGINES)}")
    if workers is not None and workers < 1:
        raise UseError(f"workers = {workers}: at least 1 is needed")
    if name == "ray":
        from snellen.data.engines.cluster import RayEngine

        return RayEngine(workers)
    from snellen.data.engines.local import LocalEngine

    return LocalEngine(workers, images)
