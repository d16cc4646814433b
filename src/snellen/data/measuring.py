"""Measures the image files of a dataset, from the cache where they have not changed."""

import os
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from snellen.data import cache as measured_cache
from snellen.data.facts import IMAGES, LEDGER, DataFacts
from snellen.data.images import measure
from snellen.data.records import Records, leads_out
from snellen.facts import table
from snellen.findings.severity import Tier
from snellen.progress import Progress

COLUMNS: dict[str, pl.DataType] = {name: IMAGES[name][0] for name in ("image", *measured_cache.MEASURED)}


def measure_images(
    records: Records, tier: Tier, cache: Path | None, workers: int | None, progress: Progress
) -> pl.DataFrame:
    """The measured columns of all images, in their order; `workers` threads measure, None: one a core."""
    keys = list(records.images)
    known = measured_cache.load(cache, records.root, tier) if cache else {}
    stamps = {key: measured_cache.stamp(records.root / key) for key in keys}
    fresh = [k for k in keys if k not in known or stamps[k] is None or known[k][0] != stamps[k]]
    missing = set(fresh)
    done = len(keys) - len(fresh)
    rows: dict[str, dict[str, Any]] = {k: known[k][1] for k in keys if k not in missing}
    progress("measure images", done, len(keys), f"{done} from the cache" if done else "")
    with warnings.catch_warnings(), ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        # Our own limit speaks of too large images; Pillow's warnings about damaged metadata are of no use here.
        warnings.simplefilter("ignore")
        for key, row in zip(fresh, pool.map(lambda k: _measured(records, k, tier), fresh), strict=True):
            rows[key] = row
            done += 1
            progress("measure images", done, len(keys))
    if cache and fresh:
        measured_cache.store(cache, records.root, tier, {k: (stamps[k], rows[k]) for k in keys})
    columns = {n: [rows[k].get(n) for k in keys] if n != "image" else keys for n in COLUMNS}
    return pl.DataFrame(columns, schema=COLUMNS)


def _measured(records: Records, key: str, tier: Tier) -> dict[str, Any]:
    refused = {"exists": True, "decoded": False if tier >= Tier.PIXELS else None}
    if key in records.misnamed:
        return refused | {"error": "its name is not UTF-8: rename the file"}
    if leads_out(records.root, records.root / key):
        return refused | {"error": "a link that leads out of the dataset's folder, not followed: copy the file in"}
    return measure(records.root / key, tier)


def measure_again(data: DataFacts, unreadable: Mapping[str, str]) -> DataFacts:
    """`data` with the images that were `unreadable` (image -> why) after it was examined measured as they are now.

    They stand in the ledger; an image that reads well again keeps the reason it could not be read by.
    """
    if not unreadable:
        return data
    rows = data.images.to_dicts()
    left_out = data.ledger.to_dicts()
    for row in rows:
        why = unreadable.get(row["image"])
        if why is None:
            continue
        now = measure(Path(data.root) / row["image"], data.tier)
        if now["exists"] and not now.get("error"):
            now |= {"decoded": False, "error": f"{why} (when it was to be trained on)"}
        row |= now
        reason = now.get("error") or "the file is missing"
        left_out.append({"record": "image", "file": row["image"], "image": row["image"], "reason": reason})
    return replace(data, images=table(IMAGES, rows), ledger=table(LEDGER, left_out))
