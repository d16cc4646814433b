"""Near-duplicates found and invented by Snellen, imagededup and cleanvision on one planted set, and the search's speed.

    pip install imagededup cleanvision        # in an environment of their own; both are optional
    SNELLEN_DATA=/path/to/data python benchmarks/near_duplicates.py [source] [images]
    python benchmarks/near_duplicates.py search [hashes]

The set: `images` (1,000) quarters of photographs (`source`: coco128 or bccd), which do not overlap, and 30 copies of
each kind: JPEG of quality 40, half the size, darker, 4 % cropped off every side, mirrored, turned by 90 degrees. A
pair is true when it is a copy and its original; all others are invented. With `search`, the time of all searches
that Snellen makes among so many (1,000,000) hashes: spread evenly, biased as those of photographs are, and three made
to be slow.

coco128 holds one picture of fruit whose right half is the left one mirrored: its quarters are found and
count as invented.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

PLANTED = 30
Pairs = set[tuple[str, str]]


def cropped(image: Image.Image, share: float = 0.04) -> Image.Image:
    """`share` taken off every side."""
    width, height = image.size
    return image.crop(
        (round(share * width), round(share * height), round((1 - share) * width), round((1 - share) * height))
    )


CHANGES: dict[str, tuple[Callable[[Image.Image], Image.Image], int]] = {
    "q40": (lambda image: image, 40),
    "half": (lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC), 90),
    "dark": (lambda image: image.point(lambda value: value * 0.75), 90),
    "crop4": (cropped, 90),
    "flip": (lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 90),
    "turn90": (lambda image: image.transpose(Image.Transpose.ROTATE_90), 90),
}


def build(folder: Path, source: str, count: int) -> None:
    """Write the set below `folder`, one class folder; the names of planted copies are `<original>-<change>.jpg`."""
    files = sorted((Path(os.environ["SNELLEN_DATA"]) / source).rglob("*.jpg"))
    quarters = [(file, column, row) for file in files for column in (0, 1) for row in (0, 1)]
    rng = np.random.default_rng(0)
    chosen = sorted(rng.choice(len(quarters), min(count, len(quarters)), replace=False))
    planted = iter(rng.choice(len(chosen), PLANTED * len(CHANGES), replace=False).tolist())
    plan: dict[int, str] = {next(planted): change for change in CHANGES for _ in range(PLANTED)}
    for position, index in enumerate(chosen):
        file, column, row = quarters[index]
        with Image.open(file) as picture:
            width, height = picture.width // 2, picture.height // 2
            box = (column * width, row * height, (column + 1) * width, (row + 1) * height)
            quarter = picture.convert("RGB").crop(box)
        quarter.save(folder / f"{position:05}.jpg", quality=92)
        if position in plan:
            change, quality = CHANGES[plan[position]]
            change(quarter).save(folder / f"{position:05}-{plan[position]}.jpg", quality=quality)


def snellen(folder: Path) -> Pairs:
    """The pairs of Snellen's facts, all else that it measures included."""
    from snellen.data.examine import examine

    data = examine(folder.parent, cache=False, workers=1)
    same = data.images.filter(pl.col("hash").is_duplicated())["image"]
    assert same.is_empty()
    return {(Path(a).name, Path(b).name) for a, b in data.pairs.select("image", "other").iter_rows()}


def imagededup(method: str, bits: int) -> Callable[[Path], Pairs]:
    """imagededup's hash `method` within so many bits."""

    def run(folder: Path) -> Pairs:
        from imagededup import methods

        hasher = getattr(methods, method)(verbose=False)
        encodings = hasher.encode_images(image_dir=str(folder), num_enc_workers=0)
        found = hasher.find_duplicates(encoding_map=encodings, max_distance_threshold=bits, num_dist_workers=0)
        return {(min(a, b), max(a, b)) for a, others in found.items() for b in others}

    return run


def cleanvision(folder: Path) -> Pairs:
    """cleanvision's exact and near duplicates."""
    from cleanvision import Imagelab

    lab = Imagelab(data_path=str(folder))
    lab.find_issues({"near_duplicates": {}, "exact_duplicates": {}}, n_jobs=1, verbose=False)
    pairs = set()
    for kind in ("near_duplicates", "exact_duplicates"):
        for group in lab.info[kind]["sets"]:
            names = sorted(Path(name).name for name in group)
            pairs |= {(a, b) for i, a in enumerate(names) for b in names[i + 1 :]}
    return pairs


def compare(source: str = "coco128", count: int = 1000) -> None:
    """Print a row a tool: copies found of each kind, pairs invented, seconds."""
    tools: dict[str, Callable[[Path], Pairs]] = {
        "snellen": snellen,
        "imagededup pHash <= 10": imagededup("PHash", 10),
        "imagededup dHash <= 10": imagededup("DHash", 10),
        "cleanvision": cleanvision,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "all"
        folder.mkdir()
        build(folder, source, count)
        print(f"{source}: {len(list(folder.iterdir()))} images, {PLANTED} copies planted of each kind")
        print(f"{'':24}" + "".join(f"{change:>8}" for change in CHANGES) + f"{'invented':>10}{'seconds':>9}")
        for tool, run in tools.items():
            start = time.perf_counter()
            try:
                pairs = run(folder)
            except ImportError as error:
                print(f"{tool:24} not installed: {error}")
                continue
            took = time.perf_counter() - start
            truth = {pair for pair in pairs if Path(pair[0]).stem[:5] == Path(pair[1]).stem[:5]}
            found = [sum(any(change in name for name in pair) for pair in truth) for change in CHANGES]
            print(f"{tool:24}" + "".join(f"{n:8}" for n in found) + f"{len(pairs - truth):10}{took:9.1f}")


def search(count: int = 1_000_000) -> None:
    """Print the time of Snellen's searches among `count` hashes, and what they give."""
    from snellen.data.candidates import candidates
    from snellen.data.hashes import WINDOWS

    rng = np.random.default_rng(0)

    def scattered(centres: int, flips: int) -> np.ndarray:
        out = rng.integers(0, 1 << 63, centres, dtype=np.uint64)[rng.integers(0, centres, count)]
        for _ in range(flips):
            out ^= np.uint64(1) << rng.integers(0, 63, count).astype(np.uint64)
        return out

    likely = np.append(0, rng.uniform(0.3, 0.7, 63))
    biased = np.packbits((rng.random((count, 64), np.float32) < likely).astype(np.uint8), axis=1)
    sets = {
        "evenly spread": scattered(count, 0),
        "each bit set in 30 to 70 %": biased.view(">u8").ravel().astype(np.uint64),
        "all equal": np.full(count, 12345, np.uint64),
        "100 clusters within 8 bits": scattered(100, 4),
        "one cluster within 24 bits": scattered(1, 12),
    }
    candidates(pl.DataFrame({name: scattered(100, 0)[:100] for name in WINDOWS}), lambda *_: None)  # compile
    for label, hashes in sets.items():
        # A centre is a few bits from the whole, as it is in photographs.
        near = [hashes ^ (np.uint64(1) << rng.integers(0, 63, count).astype(np.uint64)) for _ in range(2)]
        columns = dict(zip(WINDOWS, (hashes, *near), strict=True))
        start, cpu = time.perf_counter(), time.process_time()
        found = candidates(pl.DataFrame(columns), lambda *_: None)
        took, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(
            f"{label:28} {count:,} hashes: {took:6.1f} s ({cpu:.1f} s cpu), {len(found.whole):,} candidates",
            *found.notes,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["search"]:
        search(*(int(a) for a in sys.argv[2:3]))
    else:
        compare(*sys.argv[1:2], *(int(a) for a in sys.argv[2:3]))
