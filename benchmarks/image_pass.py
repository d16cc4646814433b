"""Time the image pass: against one full decode, against cleanvision and imagededup, warm against cold, and a million.

    python benchmarks/image_pass.py [decode] [peers] [cache] [million] [--folder PICTURES] [--images 1000]

Peers: pip install cleanvision imagededup. decode takes the pictures of --folder (or of `coco128` below SNELLEN_DATA;
without either, drawn ones), the others JPEGs of 640 x 480 pixels times --scale, pieced together from them.

decode: one thread; every picture is decoded whole by Pillow, then measured, in turn and 4 x --rounds times; the least
processor time of each picture counts, so that a busy machine does not. Prints ms an image, and the ratio, by kind.
peers: one round warms up, the next ones alternate between the programs; the median of each, on one and on all cores,
by the clock and by the processor (which a busy machine changes less).
Ours does all of `examine`, near-duplicates too, but the cache, and `pass` only measures the images; cleanvision finds
its nine default issues, imagededup only its perceptual hashes.
cache: `examine` with an empty cache, and again. million: a class-folder set of --listing names (links to one tiny PNG)
examined at tiers LABELS, HEADERS, HEADERS again (warm); seconds and the peak of resident memory of a fresh process.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from PIL import Image

from snellen.data.detect import read_dataset
from snellen.data.examine import examine
from snellen.data.images import measure
from snellen.data.measuring import measure_images
from snellen.findings.severity import Tier
from snellen.progress import silent


def drawn(seed: int, width: int = 640, height: int = 480) -> Image.Image:
    """Noise of all scales, the finer the weaker."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for octave in range(7):
        coarse = Image.fromarray(rng.integers(0, 256, (3 * 2**octave, 4 * 2**octave, 3), np.uint8))
        total += (np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float64) - 128) / 1.5**octave
    return Image.fromarray((total * 0.5 + 128).clip(0, 255).astype(np.uint8))


def pictures(folder: Path | None) -> list[bytes]:
    """JPEG files to copy from."""
    if folder is None and "SNELLEN_DATA" in os.environ:
        folder = Path(os.environ["SNELLEN_DATA"]) / "coco128" / "images"
    if folder is not None:
        return [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))[:256]]
    made = []
    for seed in range(64):
        buffer = io.BytesIO()
        drawn(seed).save(buffer, "JPEG", quality=92)
        made.append(buffer.getvalue())
    return made


def build(root: Path, sources: list[bytes], images: int, scale: int) -> None:
    """A class-folder set of `images` JPEGs of 640 x 480 times `scale`, each of four quarters of four pictures."""
    rng = np.random.default_rng(0)
    tiles = [Image.open(io.BytesIO(data)).convert("RGB").resize((480, 360)) for data in sources]
    for number in range(images):
        whole = Image.new("RGB", (640, 480))
        for corner in ((0, 0), (320, 0), (0, 240), (320, 240)):
            x, y = int(rng.integers(160)), int(rng.integers(120))
            whole.paste(tiles[int(rng.integers(len(tiles)))].crop((x, y, x + 320, y + 240)), corner)
        path = root / f"class{number % 10}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        whole.resize((640 * scale, 480 * scale), Image.Resampling.BICUBIC).save(path, quality=90)


def kinds(folder: Path, sources: list[bytes], images: int) -> dict[str, list[Path]]:
    """Files to decode, by kind; each at most `images`."""
    found: dict[str, list[Path]] = {}

    def put(kind: str, name: str, image: Image.Image | bytes, **options: object) -> None:
        path = folder / name
        path.write_bytes(image) if isinstance(image, bytes) else image.save(path, **options)
        found.setdefault(kind, []).append(path)

    for number, data in enumerate(sources[:images]):
        put("JPEG as it is", f"{number}.jpg", data)
        image = Image.open(io.BytesIO(data)).convert("RGB")
        put("JPEG, quality 85", f"{number}-85.jpg", image, quality=85)
        if number % 8 == 0:
            half = image.resize((image.width * 25 // 32, image.height * 25 // 32))
            put("JPEG, 500 px", f"{number}-500.jpg", half, quality=90)
            put("PNG", f"{number}.png", image)
            large = image.resize((image.width * 4, image.height * 4), Image.Resampling.BICUBIC)
            put("JPEG, 2560 px", f"{number}-large.jpg", large, quality=90)
        put("PNG, 32 px", f"{number}-tiny.png", image.resize((32, 32)))
    return found


def full_decode(path: Path) -> None:
    """What every loader does first."""
    with Image.open(path) as image:
        image.load()


def decode(sources: list[bytes], rounds: int) -> None:
    """See the head of this file."""
    cv2.setNumThreads(1)
    actions: dict[str, Callable[[Path], object]] = {
        "decode": full_decode,
        "headers": lambda path: measure(path, Tier.HEADERS),
        "pixels": lambda path: measure(path, Tier.PIXELS),
    }
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'':20}{'decode':>9}{'headers':>9}{'pixels':>9}   pixels/decode")
        for kind, paths in kinds(Path(folder), sources, 128).items():
            least = {name: dict.fromkeys(paths, 9e9) for name in actions}
            for _ in range(rounds):
                for path in paths:
                    for name, action in actions.items():
                        start = time.thread_time()
                        action(path)
                        least[name][path] = min(least[name][path], time.thread_time() - start)
            ms = {name: sum(times.values()) / len(paths) * 1e3 for name, times in least.items()}
            print(
                f"{kind:20}" + "".join(f"{ms[name]:9.3f}" for name in actions) + f"{ms['pixels'] / ms['decode']:12.2f}"
            )


def processor_seconds() -> float:
    """Of this process and those that it has ended."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def peers(sources: list[bytes], images: int, rounds: int, scale: int) -> None:
    """See the head of this file."""
    from cleanvision import Imagelab
    from imagededup.methods import PHash

    def cleanvision(root: Path, cores: int) -> None:
        Imagelab(data_path=str(root)).find_issues(n_jobs=cores, verbose=False)

    def imagededup(root: Path, cores: int) -> None:
        PHash(verbose=False).encode_images(str(root), recursive=True, num_enc_workers=cores if cores > 1 else 0)

    programs: dict[str, Callable[[Path, int], object]] = {
        "snellen": lambda root, cores: examine(root, cache=False, workers=cores),
        "pass": lambda root, cores: measure_images(read_dataset(root), Tier.PIXELS, None, cores, silent),
        "cleanvision": cleanvision,
        "imagededup": imagededup,
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        build(root, sources, images, scale)
        for cores in sorted({1, os.cpu_count() or 1}):
            seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
            for _ in range(rounds + 1):
                for name, program in programs.items():
                    start, spent = time.perf_counter(), processor_seconds()
                    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                        program(root, cores)
                    seconds[name].append((time.perf_counter() - start, processor_seconds() - spent))
            median_of = {
                name: [median(column) for column in zip(*rows[1:], strict=True)] for name, rows in seconds.items()
            }
            for name, (wall, spent) in median_of.items():
                ratios = f"{wall / median_of['snellen'][0]:5.1f} x, {spent / median_of['snellen'][1]:5.1f} x"
                print(
                    f"{cores} cores  {name:12} {wall / images * 1e3:7.2f} ms an image, "
                    f"{spent / images * 1e3:7.2f} ms of processor   {ratios}"
                )


def cache(sources: list[bytes], images: int, scale: int) -> None:
    """See the head of this file."""
    with tempfile.TemporaryDirectory() as folder:
        root, kept = Path(folder) / "set", Path(folder) / "cache"
        build(root, sources, images, scale)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            examine(root, cache_dir=kept)
            times.append(time.perf_counter() - start)
        print(f"first {times[0]:.2f} s, warm {min(times[1:]):.3f} s: 1/{times[0] / min(times[1:]):.0f}")


MILLION = """
import json, resource, sys, time
from pathlib import Path
from snellen.data.examine import examine
from snellen.findings.severity import Tier
start = time.perf_counter()
data = examine(Path(sys.argv[1]), tier=Tier[sys.argv[2]], cache_dir=Path(sys.argv[3]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
table = data.images.estimated_size("mb")
print(json.dumps([data.images.height, time.perf_counter() - start, peak, table]))
"""


def million(listing: int) -> None:
    """See the head of this file."""
    with tempfile.TemporaryDirectory() as folder:
        tiny, root = Path(folder) / "tiny.png", Path(folder) / "set"
        Image.new("L", (8, 8), 77).save(tiny)
        for label in range(100):
            (root / f"class{label:02d}").mkdir(parents=True)
        source = tiny
        for number in range(listing):
            if number % 30_000 == 0:  # file systems allow some ten thousand names for one file
                source = Path(folder) / f"tiny{number}.png"
                source.write_bytes(tiny.read_bytes())
            os.link(source, root / f"class{number % 100:02d}" / f"image_{number:07d}.png")
        for tier in ("LABELS", "HEADERS", "HEADERS"):
            arguments = [sys.executable, "-c", MILLION, str(root), tier, str(Path(folder) / "cache")]
            done = subprocess.run(arguments, stdout=subprocess.PIPE, check=True, text=True)
            height, seconds, peak, table = json.loads(done.stdout)
            print(f"{tier:8} {height:,} images: {seconds:.1f} s, {peak:.0f} MiB at most, images table {table:.0f} MB")


def main() -> None:
    """Run what is named, or all but the million."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["decode", "peers", "cache"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--listing", type=int, default=1_000_000)
    options = parser.parse_args()
    sources = pictures(options.folder)
    for what in options.what:
        print(f"--- {what}")
        if what == "decode":
            decode(sources, 4 * options.rounds)
        elif what == "peers":
            peers(sources, options.images, options.rounds, options.scale)
        elif what == "cache":
            cache(sources, options.images, options.scale)
        else:
            million(options.listing)


if __name__ == "__main__":
    main()
