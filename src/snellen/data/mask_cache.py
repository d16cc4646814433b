"""Measured columns of a dataset's masks, kept between runs in one Parquet file a dataset and tier."""

from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl

from snellen.data.cache import Stamp
from snellen.data.facts import MASK_VALUES, MASKS
from snellen.data.masks import VALUE_COLUMNS
from snellen.files import written_whole
from snellen.findings.severity import Tier

MASKS_VERSION = 1
"""Raised whenever `masks.measure_mask` would say something else of the same file."""
HEADER = ("format", "mode", "width", "height", "error", "values", "pixel_hash")
KEPT: dict[str, pl.DataType] = {
    "file": pl.String(), "kind": pl.String(), "stamp_bytes": pl.Int64(), "stamp_mtime_ns": pl.Int64(),
    **{name: MASKS[name][0] for name in HEADER},
    "regions": pl.List(pl.Struct({n: MASK_VALUES[n][0] if n in MASK_VALUES else pl.Int64() for n in VALUE_COLUMNS})),
}  # fmt: skip
Key = tuple[str, str]
"""File, relative to the root, and kind."""


def load(folder: Path, root: Path, tier: Tier) -> dict[Key, tuple[Stamp, dict[str, Any]]]:
    """Mask and kind -> its stamp and what `measure_mask` said; empty when nothing usable is kept."""
    path = _path(folder, root, tier)
    if not path.is_file():
        return {}
    try:
        kept = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError):
        return {}
    if dict(kept.schema) != KEPT:
        return {}
    return {
        (row["file"], row["kind"]): (
            (row["stamp_bytes"], row["stamp_mtime_ns"]),
            {name: row[name] for name in (*HEADER, "regions") if row[name] is not None},
        )
        for row in kept.iter_rows(named=True)
    }


def store(folder: Path, root: Path, tier: Tier, rows: Mapping[Key, tuple[Stamp | None, dict[str, Any]]]) -> None:
    """Keep `rows`. A cache that cannot be written is done without."""
    kept = pl.DataFrame(
        [
            {"file": f, "kind": k, "stamp_bytes": s[0], "stamp_mtime_ns": s[1], **row}
            for (f, k), (s, row) in rows.items()
            if s is not None
        ],
        schema=KEPT,
        orient="row",
    )
    with suppress(OSError), written_whole(_path(folder, root, tier), shared=True) as temporary:
        kept.write_parquet(temporary)


def _path(folder: Path, root: Path, tier: Tier) -> Path:
    digest = blake2b(str(root).encode("utf-8", "replace"), digest_size=12).hexdigest()
    return folder / f"masks-v{MASKS_VERSION}-{tier.name.lower()}-{digest}.parquet"
