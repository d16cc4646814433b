"""Measures on the cores of this machine: in threads where there is little to do, else in processes of its own.

Decoders leave the interpreter's lock, but about a tenth of the work on an image does not, so that threads stop paying
at a handful of cores. Processes have no such end, and guard against what decoders do to a process: one that crashes or
does not end on some image costs that image a row with an `error`, nothing more.

The processes are plain children that talk over pipes (`child.py`), not `multiprocessing`: that would import the
caller's script anew in each of them.
"""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from types import TracebackType
from typing import IO, Any, Self

import cv2
import msgspec

from snellen.data.engines.task import Chunk, Job, Row, measure_chunk, refused, settle_memory
from snellen.errors import UseError
from snellen.findings.severity import Tier

CHILDREN_FROM = 1000
"""Images from which on processes, which take about half a second to start, are worth it."""
SECONDS = 300.0
"""A chunk may take so long in a process, and then each of its images."""
AHEAD = 3
"""Chunks for each worker that are under way or wait."""


class LocalEngine:
    """`workers` threads or processes, None: one a core; processes from CHILDREN_FROM images on."""

    def __init__(self, workers: int | None, images: int) -> None:
        self.workers = min(workers or _cores(), max(1, images))
        self.chunk = 16 if images >= CHILDREN_FROM else 4
        self._children: queue.SimpleQueue[Child] | None = queue.SimpleQueue() if images >= CHILDREN_FROM else None
        self._all: list[Child] = []

    def __enter__(self) -> Self:
        settle_memory()
        self._cv_threads = cv2.getNumThreads()
        cv2.setNumThreads(0)
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="snellen")
        if self._children is not None:
            self._all = [Child() for _ in range(self.workers)]
            for child in self._all:
                self._children.put(child)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._all:
            child.close(kill=kind is not None)
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
        cv2.setNumThreads(self._cv_threads)

    def run(self, job: Job, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, list[Row]]]:
        """See Engine."""
        pending: dict[Future[list[Row]], Chunk] = {}
        for chunk in chunks:
            pending[self._pool.submit(self._measure, job, chunk)] = chunk
            if len(pending) >= AHEAD * self.workers:
                yield from self._finished(pending)
        while pending:
            yield from self._finished(pending)

    def _finished(self, pending: dict[Future[list[Row]], Chunk]) -> Iterator[tuple[Chunk, list[Row]]]:
        done, _ = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            yield pending.pop(future), future.result()

    def _measure(self, job: Job, chunk: Chunk) -> list[Row]:
        if self._children is None:
            return measure_chunk(job, chunk)
        child = self._children.get()
        try:
            try:
                return child.ask(job, chunk)
            except ChildLostError as lost:
                child.restart()
                if len(chunk) == 1:
                    return [refused(f"cannot be decoded: {lost}", Tier(job.tier))]
            rows = []
            for key in chunk:
                try:
                    rows += child.ask(job, [key])
                except ChildLostError as lost:
                    child.restart()
                    rows.append(refused(f"cannot be decoded: {lost}", Tier(job.tier)))
            return rows
        finally:
            self._children.put(child)


class ChildLostError(Exception):
    """A child ended, or was ended, before it answered; the message says why."""


class Child:
    """One process that measures chunks. Frames: 4 bytes of length, little-endian, then MessagePack."""

    def __init__(self) -> None:
        self._closed = False
        self._start()

    def _start(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "snellen.data.engines.child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=environment, start_new_session=True,  # Ctrl-C is for the parent, which ends its children itself
        )  # fmt: skip

    def ask(self, job: Job, chunk: Chunk) -> list[Row]:
        """The rows of `chunk`. Raises ChildLostError when the child dies over it or takes more than SECONDS."""
        process = self._process
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(SECONDS, end)
        timer.daemon = True
        timer.start()
        try:
            send(process.stdin, [msgspec.to_builtins(job), chunk])
            answer = receive(process.stdout)
        except (OSError, ValueError):  # its pipes are broken, or closed
            answer = None
        finally:
            timer.cancel()
        if answer is None:
            why = f"it took more than {SECONDS:.0f} s" if late.is_set() else "the decoder crashed"
            raise ChildLostError(why)
        if isinstance(answer, str):
            raise UseError(answer)
        return list(answer)

    def restart(self) -> None:
        """Begin again with a new process, unless the engine was closed meanwhile."""
        self._end()
        if not self._closed:
            self._start()

    def close(self, kill: bool) -> None:
        """End the process for good: at once, or when it has nothing left to do."""
        self._closed = True
        if not kill and self._process.stdin:
            self._process.stdin.close()
            self._process.wait()
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with suppress(OSError):  # what was not yet written is lost with the process
                    pipe.close()


def send(pipe: IO[bytes] | None, value: Any) -> None:
    """Write one frame."""
    data = msgspec.msgpack.encode(value)
    assert pipe is not None
    pipe.write(len(data).to_bytes(4, "little") + data)
    pipe.flush()


def receive(pipe: IO[bytes] | None) -> Any:
    """Read one frame; None at the end of the stream."""
    assert pipe is not None
    head = pipe.read(4)
    data = pipe.read(int.from_bytes(head, "little")) if len(head) == 4 else b""
    return msgspec.msgpack.decode(data) if len(head) == 4 and len(data) == int.from_bytes(head, "little") else None


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
