"""Measured columns of a dataset's images, kept between runs in one Parquet file a dataset and tier."""

import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl

from snellen.data.facts import IMAGES
from snellen.files import written_whole
from snellen.findings.severity import Tier

FACTS_VERSION = 3
"""Raised whenever `images.measure` would say something else of the same file."""
MEASURED = list(IMAGES)[list(IMAGES).index("exists") :]
Stamp = tuple[int, int]
"""File size in bytes and modification time in nanoseconds."""


def default_folder() -> Path:
    """`$XDG_CACHE_HOME/snellen`, or `~/.cache/snellen`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snellen"


def stamp(path: Path) -> Stamp | None:
    """Size and time of a file; None when it is not there."""
    try:
        state = path.stat()
    except (OSError, ValueError):
        return None
    return state.st_size, state.st_mtime_ns


def load(folder: Path, root: Path, tier: Tier) -> dict[str, tuple[Stamp, dict[str, Any]]]:
    """Image -> its stamp and columns as measured; empty when nothing usable is kept."""
    path = _path(folder, root, tier)
    if not path.is_file():
        return {}
    try:
        kept = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError):
        return {}
    if kept.columns != ["image", "stamp_bytes", "stamp_mtime_ns", *MEASURED]:
        return {}
    return {
        row["image"]: ((row["stamp_bytes"], row["stamp_mtime_ns"]), {name: row[name] for name in MEASURED})
        for row in kept.iter_rows(named=True)
    }


def store(folder: Path, root: Path, tier: Tier, rows: dict[str, tuple[Stamp | None, dict[str, Any]]]) -> None:
    """Keep `rows`. A cache that cannot be written is done without."""
    schema = {"image": pl.String(), "stamp_bytes": pl.Int64(), "stamp_mtime_ns": pl.Int64()}
    schema |= {name: IMAGES[name][0] for name in MEASURED}
    kept = pl.DataFrame(
        [
            {"image": k, "stamp_bytes": s[0], "stamp_mtime_ns": s[1], **{name: row.get(name) for name in MEASURED}}
            for k, (s, row) in rows.items()
            if s is not None
        ],
        schema=schema,
        orient="row",
    )
    with suppress(OSError), written_whole(_path(folder, root, tier), shared=True) as temporary:
        kept.write_parquet(temporary)


def _path(folder: Path, root: Path, tier: Tier) -> Path:
    digest = blake2b(str(root).encode("utf-8", "replace"), digest_size=12).hexdigest()
    return folder / f"images-v{FACTS_VERSION}-{tier.name.lower()}-{digest}.parquet"
