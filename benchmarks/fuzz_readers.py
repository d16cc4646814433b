"""Feed every reader with damaged annotation files for a while: no crash, no hang, no gigabytes.

    python benchmarks/fuzz_readers.py TARGET [seconds]      one of the targets below, or `all` in turn
    pip install atheris                                      coverage-guided; without it, blind mutation of the seeds

An input on which a reader does anything but return facts or raise DatasetError is written to `crash-<target>.bin`, and
the script stops with exit code 1. An input may take 20 seconds and 2 GB.
"""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

try:
    import atheris
except ImportError:
    atheris = None

if atheris:
    with atheris.instrument_imports(include=["snellen.data", "yaml"]):
        from snellen.data.examine import examine
else:
    from snellen.data.examine import examine
from PIL import Image

from snellen.data.dataset_error import DatasetError
from snellen.findings.severity import Tier

SECONDS_EACH, BYTES_ALL = 20, 2 << 30
COCO = {
    "images": [{"id": 1, "file_name": "images/a.png", "width": 8, "height": 8}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0,
         "segmentation": [[0, 0, 5, 0, 5, 5.5], [1, 1, 2, 2, 1, 2]], "keypoints": [1, 2, 2], "num_keypoints": 1},
        {"id": 2, "image_id": 1, "category_id": 1, "segmentation": {"counts": [9, 3, 52], "size": [8, 8]}},
        {"id": 3, "image_id": 1, "category_id": 1, "segmentation": {"counts": "93d1", "size": [8, 8]}},
    ],
    "categories": [{"id": 1, "name": "a", "supercategory": "b", "keypoints": ["n"], "skeleton": [[1, 1]]}],
}  # fmt: skip
PANOPTIC = {
    "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
    "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": [
        {"id": 5, "category_id": 1, "area": 3, "bbox": [1, 1, 2, 2], "iscrowd": 0}]}],
    "categories": [{"id": 1, "name": "a", "isthing": 1, "supercategory": "b"}],
}  # fmt: skip
VOC = (
    "<annotation><filename>a.png</filename><size><width>8</width><height>8</height></size><object><name>cat</name>"
    "<difficult>0</difficult><truncated>1</truncated><part/><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax>"
    "<ymax>5</ymax></bndbox></object></annotation>"
)
RECIPE = (
    "path: .\ntrain: images\nval: [images, list.txt]\nnames: &n {0: a, 1: b}\nnc: 2\ntask: obb\nkpt_shape: [1, 3]\n"
    "flip_idx: [0]\nkpt_names: {0: [n]}\nx: {<<: *n}\n"
)
ROWS = "0 0.5 0.5 0.2 0.2\n1 0 0 1 0 1 1\n0 0.1 0.1 0.4 0.1 0.4 0.4 0.1 0.4\n0 nan inf -1 2e300\n"
TARGETS: dict[str, tuple[str, str, list[str]]] = {
    "coco": ("train.json", "train.json", [json.dumps(COCO), json.dumps(COCO).replace("12", "NaN")]),
    "panoptic": ("panoptic_train.json", "panoptic_train.json", [json.dumps(PANOPTIC)]),
    "yolo-yaml": ("data.yaml", "data.yaml", [RECIPE]),
    "yolo-rows": ("labels/a.txt", "data.yaml", [ROWS]),
    "yolo-list": ("list.txt", "data.yaml", ["./images/a.png\nimages/../a.png\n/etc/passwd\n"]),
    "voc": ("Annotations/a.xml", ".", [VOC]),
    "voc-list": ("ImageSets/Main/train.txt", ".", ["a 1\nb -1\n"]),
    "csv": ("boxes.csv", "boxes.csv", ["image,class,xmin,ymin,xmax,ymax\nimages/a.png,cat,1,2,3,4\n"]),
    "labelmap": ("labelmap.txt", ".", ["background:0,0,0::\ncat:8,8,8:head:\n"]),
}
"""Name -> file that is damaged, what is examined, whole contents."""


def prepared(folder: Path, target: str) -> tuple[Path, Path]:
    """The damaged file and what is examined, in a dataset of one image that is otherwise whole."""
    file, subject, _ = TARGETS[target]
    for name in ("images", "JPEGImages", "SegmentationClass", "panoptic_train"):
        (folder / name).mkdir()
        Image.new("L", (8, 8), 1).save(folder / name / "a.png")
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    if target in ("yolo-rows", "yolo-list"):
        lists = "train: list.txt" if target == "yolo-list" else "train: images"
        (folder / "data.yaml").write_text(f"{lists}\nnames: [a, b]\n")
    if target in ("voc-list", "labelmap"):
        (folder / "Annotations").mkdir(exist_ok=True)
        (folder / "Annotations" / "a.xml").write_text(VOC)
    return folder / file, folder / subject


def reader(target: str, folder: Path) -> Callable[[bytes], None]:
    """What takes one damaged content."""
    file, subject = prepared(folder, target)

    def take(data: bytes) -> None:
        file.write_bytes(data)
        with suppress(DatasetError):
            examine(subject, tier=Tier.LABELS, cache=False, workers=1)

    return take


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """`seed` with a few bytes changed, cut, doubled or replaced by what parsers stumble over."""
    data = bytearray(seed)
    odd = [b"9" * 400, b"0x" + b"f" * 5000, b"\\ud800", b"\xff", b"\0", b"\n", b"- "]
    odd += b'NaN -1 1e999 null [ ] { } " << *n &n ../ <object> &a; true , :'.split()
    for _ in range(rng.randint(1, 6)):
        at, length = rng.randint(0, len(data)), rng.randint(0, 20)
        match rng.randint(0, 3):
            case 0:
                data[at : at + length] = b""
            case 1:
                data[at : at + rng.choice([0, length])] = rng.choice(odd)
            case 2:
                data[at:at] = data[rng.randint(0, len(data)) :][:length] * rng.randint(1, 50)
            case _ if at < len(data):
                data[at] = rng.randint(0, 255)
    return bytes(data)


def blind(target: str, seconds: float, folder: Path) -> int:
    """Mutate the seeds until the time is up; returns how many inputs were tried."""
    take, rng, tried = reader(target, folder), random.Random(0), 0
    seeds = [seed.encode() for seed in TARGETS[target][2]]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutated(rng.choice(seeds), rng)
        signal.alarm(SECONDS_EACH)
        try:
            take(data)
        except BaseException:
            Path(f"crash-{target}.bin").write_bytes(data)
            print(f"{target}: stopped by the input in crash-{target}.bin")
            raise
        finally:
            signal.alarm(0)
        tried += 1
    return tried


def guided(target: str, seconds: int, folder: Path) -> None:
    """libFuzzer by way of atheris; does not return."""
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(TARGETS[target][2]):
        (corpus / str(number)).write_bytes(seed.encode())
    (folder / "set").mkdir()
    options = [
        f"-max_total_time={seconds}", f"-timeout={SECONDS_EACH}", f"-rss_limit_mb={BYTES_ALL >> 20}", "-max_len=4096",
        f"-artifact_prefix=crash-{target}-",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], reader(target, folder / "set"))
    atheris.Fuzz()


def main(target: str, seconds: int = 60) -> None:
    """Fuzz one target, or each in a process of its own."""
    if target == "all":
        command = [sys.executable, __file__]
        failed = [name for name in TARGETS if subprocess.run([*command, name, str(seconds)], check=False).returncode]
        raise SystemExit(f"failed: {', '.join(failed)}" if failed else 0)
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        if atheris:
            guided(target, seconds, folder)
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))  # threads reserve address space they do not use
        print(f"{target}: {blind(target, seconds, folder)} inputs, nothing found")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
