"""Measures the image files of a dataset, from the cache where they have not changed."""

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from snellen.data import cache as measured_cache
from snellen.data.cache import KEY, MEASURED, Journal, Stamp
from snellen.data.engines import open_engine
from snellen.data.engines.task import Chunk, Job, refused
from snellen.data.facts import IMAGES, LEDGER, DataFacts
from snellen.data.images import measure
from snellen.data.records import Records
from snellen.facts import table
from snellen.findings.severity import Tier
from snellen.progress import Progress

STAGE = "measure images"


def measure_images(
    records: Records, tier: Tier, cache: Path | None, workers: int | None, progress: Progress, engine: str = "local"
) -> pl.DataFrame:
    """The measured columns of all images, in their order.

    `engine` and `workers` as in `engines.open_engine`. An image whose size and time are those in the cache is not
    opened. Whatever ends this, what was measured until then is in the cache. Raises UseError as the engine does.
    """
    listing = _listing(records)
    known = _known(listing, cache, records.root, tier)
    journal = Journal(cache, records.root, tier)
    fresh = listing.join(known.select("image"), on="image", how="anti", maintain_order="left")
    done = listing.height - fresh.height
    progress(STAGE, done, listing.height, f"{done} from the cache" if done else "")
    undecoded = {"decoded": False if tier >= Tier.PIXELS else None}
    for key in fresh.filter("gone")["image"]:
        journal.append(key, None, {"exists": False} | undecoded)
    for key in records.misnamed.intersection(fresh["image"]):
        journal.append(key, None, refused("its name is not UTF-8: rename the file", tier))
    to_open = fresh.filter(~pl.col("gone") & ~pl.col("image").is_in(list(records.misnamed)))
    done = listing.height - to_open.height
    try:
        if to_open.height:
            _measure(to_open, Job(str(records.root), int(tier)), journal, engine, workers, done, progress)
    finally:
        journal.flush()
    progress(STAGE, listing.height, listing.height)
    measured = pl.concat([known, journal.frame()])
    if cache and to_open.height:
        _keep(measured, listing, cache, records.root, tier)
    return listing.select("image").join(
        measured.select("image", *MEASURED), on="image", how="left", maintain_order="left"
    )


def _measure(
    to_open: pl.DataFrame, job: Job, journal: Journal, engine: str, workers: int | None, done: int, progress: Progress
) -> None:
    stamps: dict[str, Stamp] = {}
    """Of the images under way."""
    total = done + to_open.height

    def chunks(size: int) -> Iterator[Chunk]:
        for part in to_open.iter_slices(1024):
            stamps.update({key: (length, mtime) for key, length, mtime in part.select(KEY).iter_rows()})
            keys = part["image"].to_list()
            yield from (keys[at : at + size] for at in range(0, len(keys), size))

    with warnings.catch_warnings(), open_engine(engine, workers, to_open.height) as opened:
        # Our own limit speaks of too large images; Pillow's warnings about damaged metadata are of no use here.
        warnings.simplefilter("ignore")
        for chunk, rows in opened.run(job, chunks(opened.chunk)):
            for key, row in zip(chunk, rows, strict=True):
                journal.append(key, stamps.pop(key), row)
            done += len(chunk)
            progress(STAGE, done, total)


def _listing(records: Records) -> pl.DataFrame:
    """Columns image, stamp_bytes, stamp_mtime_ns (null when the file cannot be looked at) and gone."""
    keys = list(records.images)
    sizes: list[int | None] = []
    times: list[int | None] = []
    gone: list[bool] = []
    for key in keys:
        try:
            state = os.stat(os.path.join(records.root, key))
        except (OSError, ValueError) as error:
            sizes.append(None)
            times.append(None)
            gone.append(isinstance(error, FileNotFoundError) and key not in records.misnamed)
        else:
            sizes.append(state.st_size)
            times.append(state.st_mtime_ns)
            gone.append(False)
    columns = {"image": keys, "stamp_bytes": sizes, "stamp_mtime_ns": times, "gone": gone}
    return pl.DataFrame(
        columns, schema={"image": pl.String, "stamp_bytes": pl.Int64, "stamp_mtime_ns": pl.Int64, "gone": pl.Boolean}
    )


def _known(listing: pl.DataFrame, cache: Path | None, root: Path, tier: Tier) -> pl.DataFrame:
    """The cached rows of images that have not changed."""
    if cache is None:
        return Journal(None, root, tier).frame()
    return measured_cache.load(cache, root, tier).join(listing, on=KEY, how="semi")


def _keep(measured: pl.DataFrame, listing: pl.DataFrame, cache: Path, root: Path, tier: Tier) -> None:
    """Store what was measured, and what other listings of the same folder had stored."""
    others = measured_cache.load(cache, root, tier).join(listing, on="image", how="anti")
    measured_cache.store(cache, root, tier, pl.concat([measured.drop_nulls("stamp_bytes"), others]))


def measure_again(data: DataFacts, unreadable: Mapping[str, str]) -> DataFacts:
    """`data` with the images that were `unreadable` (image -> why) after it was examined measured as they are now.

    They stand in the ledger; an image that reads well again keeps the reason it could not be read by.
    """
    if not unreadable:
        return data
    names = list(data.images["image"])
    rows = []
    left_out = data.ledger.to_dicts()
    for row in data.images.filter(pl.col("image").is_in(list(unreadable))).iter_rows(named=True):
        now = measure(Path(data.root) / row["image"], data.tier)
        if now["exists"] and not now.get("error"):
            now |= {"decoded": False, "error": f"{unreadable[row['image']]} (when it was to be trained on)"}
        rows.append(row | now)
        reason = now.get("error") or "the file is missing"
        left_out.append({"record": "image", "file": row["image"], "image": row["image"], "reason": reason})
    others = data.images.filter(~pl.col("image").is_in(list(unreadable)))
    images = pl.DataFrame({"image": names}).join(
        pl.concat([others, table(IMAGES, rows)]), on="image", how="left", maintain_order="left"
    )
    return replace(data, images=images, ledger=table(LEDGER, left_out))
