"""`examine`: read a dataset's labels, then measure its image files as deep as asked."""

import os
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from snellen.data import cache as measured_cache
from snellen.data.detect import read_dataset
from snellen.data.facts import BOXES, CLASSES, IMAGES, LEDGER, PROBLEMS, DataFacts
from snellen.data.images import measure
from snellen.data.records import Records, leads_out
from snellen.facts import table
from snellen.findings.severity import Tier
from snellen.progress import Progress, silent


def examine(
    path: str | Path,
    *,
    tier: Tier = Tier.PIXELS,
    cache: bool = True,
    cache_dir: Path | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> DataFacts:
    """Examine the dataset at `path`: its labels, from HEADERS on its files, at PIXELS one decode of every image.

    What was measured is kept in `cache_dir` (default: `$XDG_CACHE_HOME/snellen`) unless `cache` is false, so that a
    second run opens no image that has not changed. `workers` threads measure; None: one a core.
    Raises DatasetError when there is no dataset at `path`; a bad file or record is a row of
    the tables, never an exception.
    """
    progress("read labels", 0, 1)
    records = read_dataset(Path(path))
    progress("read labels", 1, 1)
    if tier >= Tier.HEADERS:
        folder = (cache_dir or measured_cache.default_folder()) if cache else None
        _measure_all(records, tier, folder, workers or os.cpu_count() or 1, progress)
    images = table(IMAGES, records.images.values())
    names = {name for name, _ in records.classes.values()}
    used = {b["class_name"] for b in records.boxes if b["class_name"]} - names
    extra = enumerate(sorted(used), max(records.classes, default=-1) + 1)
    classes = [
        *({"class_id": i, "class_name": n, "declared": d} for i, (n, d) in sorted(records.classes.items())),
        *({"class_id": i, "class_name": n, "declared": False} for i, n in extra),
    ]
    return DataFacts(
        root=str(records.root),
        format=records.format,
        task=records.task,
        images=images,
        boxes=table(BOXES, records.boxes),
        problems=table(PROBLEMS, records.problems),
        classes=table(CLASSES, classes),
        ledger=table(LEDGER, _ledger(records)),
        tier_gathered=int(tier),
        notes=records.notes,
    )


def _measure_all(records: Records, tier: Tier, cache: Path | None, workers: int, progress: Progress) -> None:
    """Fill the measured columns of all images, from the cache where the file has not changed."""
    keys = list(records.images)
    known = measured_cache.load(cache, records.root, tier) if cache else {}
    stamps = {key: measured_cache.stamp(records.root / key) for key in keys}
    fresh = [k for k in keys if k not in known or stamps[k] is None or known[k][0] != stamps[k]]
    missing = set(fresh)
    done = len(keys) - len(fresh)
    rows: dict[str, dict[str, Any]] = {k: known[k][1] for k in keys if k not in missing}
    progress("measure images", done, len(keys), f"{done} from the cache" if done else "")
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        # Our own limit speaks of too large images; Pillow's warnings about damaged metadata are of no use here.
        warnings.simplefilter("ignore")
        for key, row in zip(fresh, pool.map(lambda k: _measured(records, k, tier), fresh), strict=True):
            rows[key] = row
            done += 1
            progress("measure images", done, len(keys))
    for key, row in rows.items():
        records.images[key] |= row
    if cache and fresh:
        measured_cache.store(cache, records.root, tier, {k: (stamps[k], rows[k]) for k in keys})


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


def _ledger(records: Records) -> Iterable[dict[str, Any]]:
    """What training cannot use, and why."""
    for row in records.images.values():
        reason = "the file is missing" if row.get("exists") is False else row.get("error")
        if reason:
            yield {"record": "image", "file": row["image"], "image": row["image"], "reason": reason}
    for box in records.boxes:
        if not box["usable"]:
            reason = (
                "its image is not listed, lies outside, or is another split's" if box["image"] is None
                else "its class is not declared" if box["class_name"] is None
                else "its image's size is unknown" if box["x1"] is None
                else "its coordinates are not finite or enclose nothing"
            )  # fmt: skip
            yield {"record": "box", "file": box["file"], "row": box["row"], "image": box["image"], "reason": reason}
    for problem in records.problems:
        if problem["kind"] in ("corrupt-annotation-file", "malformed-label", "orphan-label", "unsafe-path"):
            kind = "file" if problem["row"] is None else "box"
            yield {
                "record": kind, "file": problem["file"], "row": problem["row"], "image": problem["image"],
                "reason": problem["message"],
            }  # fmt: skip
