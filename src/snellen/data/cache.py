"""Measured columns of a dataset's images, kept between runs: one Parquet file a dataset and tier, and a journal.

While a run measures, what is done is written beside the file every few seconds, in parts; at the end the parts are
merged into it. A run that is killed at any moment loses those few seconds: the next one reads the parts too.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl

from snellen.data.facts import IMAGES
from snellen.data.rows import Rows
from snellen.facts import Schema
from snellen.files import written_whole
from snellen.findings.severity import Tier

FACTS_VERSION = 4
"""Raised whenever `images.measure` would say something else of the same file."""
FLUSH_SECONDS = 2.0
"""What was measured is written down after so long; a kill loses no more."""
FLUSH_ROWS = 1 << 16
"""Or when so many rows are waiting."""
MEASURED = list(IMAGES)[list(IMAGES).index("exists") :]
PIXELS = list(IMAGES)[list(IMAGES).index("decoded") :]
KEPT: Schema = {
    "image": IMAGES["image"],
    "stamp_bytes": (pl.Int64(), "file size when it was measured"),
    "stamp_mtime_ns": (pl.Int64(), "modification time when it was measured, nanoseconds"),
    **{name: IMAGES[name] for name in MEASURED},
}
KEY = ["image", "stamp_bytes", "stamp_mtime_ns"]
Stamp = tuple[int, int]
"""File size in bytes and modification time in nanoseconds."""


def default_folder() -> Path:
    """`$XDG_CACHE_HOME/snellen`, or `~/.cache/snellen`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snellen"


def stamp(path: str | Path) -> Stamp | None:
    """Size and time of a file; None when it is not there."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return None
    return state.st_size, state.st_mtime_ns


def load(folder: Path, root: Path, tier: Tier) -> pl.DataFrame:
    """What is kept of the images below `root`, a row of KEPT each; no rows when nothing usable is."""
    kept = [*_read(_path(folder, root, tier))]
    if tier == Tier.HEADERS:
        # A full run has seen the headers as well; where it could not decode, the headers' own error is not known.
        for frame in _read(_path(folder, root, Tier.PIXELS)):
            nothing = [pl.lit(None, KEPT[name][0]).alias(name) for name in PIXELS]
            kept.append(frame.filter("decoded").with_columns(nothing))
    return pl.concat([*kept, Rows(KEPT).frame()]).unique(KEY, keep="first", maintain_order=True)


def _read(path: Path) -> Iterator[pl.DataFrame]:
    for file in (path, *sorted(_parts(path).glob("*.parquet"))):
        with suppress(OSError, pl.exceptions.PolarsError):  # damaged, or gone meanwhile: measured anew
            frame = pl.read_parquet(file)
            if dict(frame.schema) == {name: dtype for name, (dtype, _) in KEPT.items()}:
                yield frame


def store(folder: Path, root: Path, tier: Tier, rows: pl.DataFrame) -> None:
    """Keep `rows`, of KEPT, and forget the journal. A cache that cannot be written is done without."""
    path = _path(folder, root, tier)
    with suppress(OSError):
        with written_whole(path, shared=True) as temporary:
            rows.write_parquet(temporary)
        shutil.rmtree(_parts(path), ignore_errors=True)


class Journal:
    """Gathers rows of KEPT in column chunks; writes them down as it goes where there is a `folder`."""

    def __init__(self, folder: Path | None, root: Path, tier: Tier) -> None:
        self._parts = _parts(_path(folder, root, tier)) if folder else None
        self._rows = Rows(KEPT)
        self._frames: list[pl.DataFrame] = []
        self._last = time.monotonic()

    def append(self, key: str, stamp: Stamp | None, row: dict[str, Any]) -> None:
        """Add what was measured of one image."""
        # What could not be read is not remembered: permissions and disks are mended without a trace in the stamp.
        size, mtime = stamp if stamp and row.get("hash") is not None else (None, None)
        self._rows.append({"image": key, "stamp_bytes": size, "stamp_mtime_ns": mtime} | row)
        if len(self._rows) >= FLUSH_ROWS or time.monotonic() - self._last >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write down what is waiting."""
        self._last = time.monotonic()
        if not len(self._rows):
            return
        frame, self._rows = self._rows.frame(), Rows(KEPT)
        self._frames.append(frame)
        lasting = frame.drop_nulls("stamp_bytes")
        if self._parts is not None and len(lasting):
            name = f"{os.getpid()}-{time.time_ns()}.parquet"
            with suppress(OSError), written_whole(self._parts / name) as temporary:
                lasting.write_parquet(temporary)

    def frame(self) -> pl.DataFrame:
        """All rows."""
        self.flush()
        return pl.concat([*self._frames, Rows(KEPT).frame()])


def _path(folder: Path, root: Path, tier: Tier) -> Path:
    digest = blake2b(str(root).encode("utf-8", "replace"), digest_size=12).hexdigest()
    return folder / f"images-v{FACTS_VERSION}-{tier.name.lower()}-{digest}.parquet"


def _parts(path: Path) -> Path:
    return path.with_suffix(".parts")
