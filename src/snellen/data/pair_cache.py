"""Verdicts on pairs of images, kept between runs by what the files hold: names and folders do not matter.

Written beside the cache of images, in parts while the work goes on, and merged at its end.
"""

import os
import shutil
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import polars as pl

from snellen.data.rows import Rows
from snellen.facts import Schema
from snellen.files import written_whole

VERDICTS_VERSION = 1
"""Raised whenever `pairs` would judge the same pair differently."""
FLUSH_SECONDS = 2.0
"""Verdicts are written down after so long; a kill loses no more."""
KEPT: Schema = {
    "first": (pl.String(), "hash of the one file's bytes"),
    "second": (pl.String(), "of the other's"),
    "kind": (pl.String(), "as in PAIRS; null: they do not show the same"),
    "orientation": (pl.String(), "as in PAIRS"),
    "similarity": (pl.Float64(), "as in PAIRS"),
}
Verdict = tuple[str | None, str | None, float | None]
"""Kind, orientation and similarity."""


class PairCache:
    """What was judged of pairs of files; kept in memory alone where there is no `folder`."""

    def __init__(self, folder: Path | None, root: Path) -> None:
        digest = blake2b(str(root).encode("utf-8", "replace"), digest_size=12).hexdigest()
        self._path = folder / f"pairs-v{VERDICTS_VERSION}-{digest}.parquet" if folder else None
        self._known: dict[tuple[str, str], Verdict] = {}
        self._fresh = Rows(KEPT)
        self._last = time.monotonic()
        for frame in self._frames():
            rows = frame.iter_rows()
            self._known |= {(first, second): (kind, lay, like) for first, second, kind, lay, like in rows}

    def get(self, first: str, second: str) -> Verdict | None:
        """What is known of the pair; None when it was never judged."""
        return self._known.get((first, second))

    def put(self, first: str, second: str, verdict: Verdict) -> None:
        """Remember the verdict."""
        self._known[first, second] = verdict
        self._fresh.append({"first": first, "second": second} | dict(zip(list(KEPT)[2:], verdict, strict=True)))
        if time.monotonic() - self._last >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write down what is waiting. A cache that cannot be written is done without."""
        self._last = time.monotonic()
        if self._path is None or not len(self._fresh):
            return
        frame, self._fresh = self._fresh.frame(), Rows(KEPT)
        with suppress(OSError), written_whole(self._parts / f"{os.getpid()}-{time.time_ns()}.parquet") as temporary:
            frame.write_parquet(temporary)

    def merge(self) -> None:
        """Make one file of the parts, at the end."""
        self.flush()
        if self._path is None or not self._parts.is_dir():
            return
        with suppress(OSError):
            with written_whole(self._path, shared=True) as temporary:
                pl.concat(self._frames()).unique(["first", "second"], maintain_order=True).write_parquet(temporary)
            shutil.rmtree(self._parts, ignore_errors=True)

    @property
    def _parts(self) -> Path:
        assert self._path is not None
        return self._path.with_suffix(".parts")

    def _frames(self) -> list[pl.DataFrame]:
        frames = [Rows(KEPT).frame()]
        files = [self._path, *sorted(self._parts.glob("*.parquet"))] if self._path else []
        for file in files:
            with suppress(OSError, pl.exceptions.PolarsError):  # damaged, or not there: judged anew
                frame = pl.read_parquet(file)
                if frame.schema == frames[0].schema:
                    frames.append(frame)
        return frames
