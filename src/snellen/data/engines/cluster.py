"""Measures on the machines of a Ray cluster. Each must see the dataset by the same path, and have Snellen installed."""

import warnings
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from snellen.data.engines.task import Chunk, Job, Row, measure_chunk, prepare, refused
from snellen.errors import UseError
from snellen.findings.severity import Tier

AHEAD = 3
"""Chunks for each core of the cluster that are under way or wait."""


class RayEngine:
    """The cluster that Ray is connected to or finds (`RAY_ADDRESS`), else a local one; `workers` cores at most."""

    chunk = 64

    def __init__(self, workers: int | None) -> None:
        try:
            import ray
        except ImportError as error:
            raise UseError("the engine ray needs Ray: pip install 'snellen[ray]'") from error
        self._ray: Any = ray
        self._workers = workers

    def __enter__(self) -> Self:
        self._mine = not self._ray.is_initialized()
        if self._mine:
            self._ray.init(log_to_driver=False, include_dashboard=False, logging_level="error")
        self._task = self._ray.remote(num_cpus=1, max_retries=0)(_measure_there)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._mine:
            self._ray.shutdown()

    def run(self, job: Job, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, list[Row]]]:
        """See Engine. A chunk whose worker dies is tried again image by image; one that dies then has an `error`."""
        most = self._workers or AHEAD * max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        pending: dict[Any, Chunk] = {}
        try:
            for chunk in chunks:
                pending[self._task.remote(job, chunk)] = chunk
                if len(pending) >= most:
                    yield from self._finished(job, pending)
            while pending:
                yield from self._finished(job, pending)
        finally:
            for reference in pending:
                self._ray.cancel(reference, force=True)

    def _finished(self, job: Job, pending: dict[Any, Chunk]) -> Iterator[tuple[Chunk, list[Row]]]:
        for reference in self._ray.wait(list(pending), num_returns=1)[0]:
            chunk = pending.pop(reference)
            try:
                yield chunk, self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except self._ray.exceptions.RayError as error:
                if len(chunk) == 1:
                    why = f"cannot be decoded: its worker was lost each time ({type(error).__name__})"
                    yield chunk, [refused(why, Tier(job.tier))]
                else:
                    # Machines go for reasons of their own: an image is blamed only when it was tried three times alone.
                    alone = self._task.options(max_retries=2)
                    pending |= {alone.remote(job, [key]): [key] for key in chunk}


def _measure_there(job: Job, chunk: Chunk) -> list[Row]:
    prepare()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return measure_chunk(job, chunk)
