"""Measures the mask files of a dataset, from the cache where they have not changed, and says what their values mean."""

import os
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl

from snellen.data import mask_cache
from snellen.data.cache import stamp
from snellen.data.facts import MASK_VALUES
from snellen.data.mask_cache import HEADER, Key
from snellen.data.mask_classes import meaning, undeclared
from snellen.data.masks import measure_mask
from snellen.data.records import Records, leads_out
from snellen.data.rows import Rows
from snellen.findings.severity import Tier
from snellen.progress import Progress

Measured = dict[Key, dict[str, Any]]
WHOLE = 1
"""Value that stands for every non-zero pixel of an instance's mask."""


def measure_masks(
    records: Records, tier: Tier, cache: Path | None, workers: int | None, progress: Progress
) -> pl.DataFrame:
    """Fill in what is measured of `records`: masks, bitmap outlines, their boxes, classes in use. Returns MASK_VALUES.

    Nothing is read below tier HEADERS. `workers` threads measure; None: one a core.
    """
    values = Rows(MASK_VALUES)
    if tier < Tier.HEADERS or not len(records.masks):
        return values.frame()
    keys = list(zip(records.masks.column("file"), records.masks.column("kind"), strict=True))
    measured = _measured(records, list(dict.fromkeys(keys)), tier, cache, workers, progress)
    meant = meaning(records, measured) if tier >= Tier.PIXELS else {}
    segments = _segments(records)
    for index, key in enumerate(keys):
        row = measured[key]
        for name in HEADER:
            records.masks.put(index, name, row.get(name))
        if row.get("regions") is None:
            continue
        names: Mapping[int, str | None] = meant[key[1]] if key[1] in meant else segments.get(key[0], {})
        image = records.masks.cell(index, "image")
        if key[1] != "instance":
            share, blended = undeclared(row["regions"], names, key[1])
            records.masks.put(index, "undeclared", share)
            records.masks.put(index, "blended", blended)
        for region in row["regions"]:
            said = {name: region[name] for name in MASK_VALUES if name in region}
            values.append({"image": image, "file": key[0], "class_name": names.get(region["value"]), **said})
    if tier >= Tier.PIXELS:
        _fill_outlines(records, measured)
    return values.frame()


def _measured(
    records: Records, keys: list[Key], tier: Tier, cache: Path | None, workers: int | None, progress: Progress
) -> Measured:
    known = mask_cache.load(cache, records.root, tier) if cache else {}
    stamps = {key: stamp(records.root / key[0]) for key in keys}
    rows = {k: known[k][1] for k in keys if k in known and stamps[k] is not None and known[k][0] == stamps[k]}
    fresh = [k for k in keys if k not in rows]
    done = len(rows)
    progress("measure masks", done, len(keys), f"{done} from the cache" if done else "")
    with warnings.catch_warnings(), ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        # Our own limit speaks of too large masks; Pillow's warnings about damaged metadata are of no use here.
        warnings.simplefilter("ignore")
        for key, row in zip(fresh, pool.map(lambda k: _measure(records, k, tier), fresh), strict=True):
            rows[key] = row
            done += 1
            progress("measure masks", done, len(keys))
    if cache and fresh:
        mask_cache.store(cache, records.root, tier, {key: (stamps[key], rows[key]) for key in keys})
    return rows


def _measure(records: Records, key: Key, tier: Tier) -> dict[str, Any]:
    file, kind = key
    if file in records.misnamed:
        return {"error": "its name is not UTF-8: rename the file"}
    if leads_out(records.root, records.root / file):
        return {"error": "a link that leads out of the dataset's folder, not followed: copy the file in"}
    return measure_mask(records.root / file, kind, tier)


def _segments(records: Records) -> dict[str, dict[int, str | None]]:
    """Mask -> value -> class name, of the segments of panoptic masks and of instances; None for an unknown class."""
    found: dict[str, dict[int, str | None]] = {}
    columns = (records.outlines.column(name) for name in ("mask_file", "mask_value", "class_name"))
    for file, value, name in zip(*columns, strict=True):
        if file is not None:
            found.setdefault(file, {})[WHOLE if value is None else value] = name
    return found


def _fill_outlines(records: Records, measured: Measured) -> None:
    """Area, hull and parts of bitmap outlines, and the hulls of objects whose format states no box."""
    outlines, boxes = records.outlines, records.boxes
    regions = {f: {r["value"]: r for r in row["regions"]} for (f, _), row in measured.items() if row.get("regions")}
    for index, (file, value, number) in enumerate(
        zip(outlines.column("mask_file"), outlines.column("mask_value"), outlines.column("object"), strict=True)
    ):
        if file is None:
            continue
        region = regions.get(file, {}).get(WHOLE if value is None else value)
        if region is not None:
            hull = {side: float(region[side]) for side in ("x1", "y1", "x2", "y2")}
            said = {"area": float(region["pixels"]), "components": region["components"], "finite": True, **hull}
            if region["smallest_component"] is not None:
                said["smallest_component"] = float(region["smallest_component"])
        else:
            hull, said = {}, {"area": 0.0, "components": 0} if file in regions else {}
        for name, cell in said.items():
            outlines.put(index, name, cell)
        if boxes.cell(number, "box_stated") is False:
            for name, side in hull.items():
                boxes.put(number, name, side)
            boxes.put(number, "usable", bool(hull) and boxes.cell(number, "image") is not None)
