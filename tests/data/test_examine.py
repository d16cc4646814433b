"""What a user notices of examine: the right rows, no second decode, and nothing of theirs touched."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from snellen.data.dataset_error import DatasetError
from snellen.data.defects import plant
from snellen.data.digits import build_digits
from snellen.data.engines import task as module
from snellen.data.examine import examine
from snellen.data.facts import DataFacts
from snellen.findings.engine import judge
from snellen.findings.settings import LoadedSettings, Settings
from snellen.findings.severity import Severity, Tier
from tests.rules.data_injections import detection, voc, yolo

BOXES = ["image", "class_name", "x1", "y1", "x2", "y2"]


def corners(data: DataFacts) -> list[tuple[object, ...]]:
    """Split, class and corners of every box, comparable between formats."""
    joined = data.boxes.join(data.images.select("image", "split"), on="image")
    rows = joined.select("split", pl.col("class_name").str.replace("digit ", ""), pl.col("^[xy][12]$").round(2)).rows()
    return sorted(rows, key=repr)


def test_three_formats_of_one_dataset_give_the_same_boxes(tmp_path: Path) -> None:
    tables = [corners(examine(make(tmp_path), cache=False)) for make in (detection, voc, yolo)]
    assert len(tables[0]) > 200
    assert tables[0] == tables[1] == tables[2]


def test_second_run_opens_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = detection(tmp_path)
    first = examine(root, cache_dir=tmp_path / "cache")
    opened: list[Path] = []
    measure = module.measure
    monkeypatch.setattr(module, "measure", lambda path, tier: opened.append(path) or measure(path, tier))
    again = examine(root, cache_dir=tmp_path / "cache")
    assert opened == []
    assert again.images.equals(first.images)

    changed = sorted((root / "images" / "train").glob("*.png"))[0]
    os.utime(changed, ns=(1, 1))
    examine(root, cache_dir=tmp_path / "cache")
    assert opened == [changed]


def test_a_damaged_cache_is_measured_anew(tmp_path: Path) -> None:
    root = detection(tmp_path)
    first = examine(root, cache_dir=tmp_path / "cache")
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(b"PAR1 nonsense")
    assert examine(root, cache_dir=tmp_path / "cache").images.equals(first.images)


def test_nothing_of_the_users_is_touched(tmp_path: Path) -> None:
    root = detection(tmp_path)

    def state() -> dict[str, tuple[int, bytes]]:
        return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in root.rglob("*") if p.is_file()}

    before = state()
    examine(root, cache_dir=tmp_path / "cache")
    assert state() == before


def test_labels_only_is_free_of_torch_and_pixels(tmp_path: Path) -> None:
    root = detection(tmp_path)
    code = (
        "import sys; from snellen.data.examine import examine; from snellen.findings import Tier\n"
        f"data = examine({str(root)!r}, tier=Tier.LABELS)\n"
        "assert data.images['exists'].null_count() == data.images.height, 'a file was looked at'\n"
        "assert 'torch' not in sys.modules and 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_facts_survive_saving(tmp_path: Path) -> None:
    data = examine(detection(tmp_path), cache=False)
    data.save(tmp_path / "facts")
    loaded = DataFacts.load(tmp_path / "facts")
    assert loaded.boxes.equals(data.boxes)
    assert loaded.tier is Tier.PIXELS


def test_pixel_facts_say_what_the_picture_shows(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    red = np.zeros((100, 300, 3), np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(folder / "red.png")
    grain = np.random.default_rng(0).integers(0, 2**16, (64, 64), np.uint16)
    Image.fromarray(grain).save(folder / "deep.png")
    rows = {r["image"]: r for r in examine(tmp_path, cache=False).images.iter_rows(named=True)}
    assert rows["c/red.png"]["mean_r"] == pytest.approx(1.0)
    assert rows["c/red.png"]["mean_g"] == 0.0
    assert rows["c/red.png"]["contrast"] == pytest.approx(0.0, abs=1e-6)
    assert rows["c/red.png"]["brightness_p99"] == pytest.approx(0.241**0.5, abs=0.002)
    assert rows["c/deep.png"]["mode"] == "I;16"
    assert rows["c/deep.png"]["mean_g"] == pytest.approx(0.5, abs=0.02)


def test_phash_survives_recompression_and_scaling(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    small = np.random.default_rng(3).integers(0, 255, (9, 9, 3), np.uint8)
    picture = Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC)
    picture.save(folder / "a.png")
    picture.save(folder / "b.jpg", quality=40)
    picture.resize((320, 240)).save(folder / "c.png")
    Image.fromarray(small[::-1, ::-1]).resize((640, 480), Image.Resampling.BICUBIC).save(folder / "z.png")
    a, b, c, z = examine(tmp_path, cache=False).images["phash"]
    assert (a ^ b).bit_count() <= 6
    assert (a ^ c).bit_count() <= 6
    assert (a ^ z).bit_count() > 16


def test_exif_rotation_boxes_are_of_the_turned_image(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "images").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (200, 100)).save(tmp_path / "images" / "a.jpg", exif=exif)
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 1 1\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [a]\n")
    data = examine(tmp_path, cache=False)
    assert data.boxes.select("x2", "y2").row(0) == (100.0, 200.0)
    assert data.images["exif_orientation"].item() == 6


def test_splits_as_declared(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("valid", 2)):
        for number in range(count):
            path = tmp_path / split / "cat" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), number * 40 + len(split)).save(path)
    data = examine(tmp_path, cache=False)
    assert data.images["split"].value_counts(sort=True).rows() == [("train", 3), ("val", 2)]


def test_digits_are_the_same_each_time_and_exact(tmp_path: Path) -> None:
    for name in ("a", "b"):
        build_digits(tmp_path / name, train_scenes=5, val_scenes=2)
    first, second = ({p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in "ab")
    assert first == second
    for annotation in json.loads((tmp_path / "a/digits-detection/train.json").read_text())["annotations"]:
        runs = annotation["segmentation"]["counts"]
        mask = np.repeat(np.arange(len(runs)) % 2, runs).reshape(128, 128, order="F")
        rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
        left, top, width, height = annotation["bbox"]
        assert (left, top, left + width, top + height) == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert annotation["area"] == mask.sum()


@pytest.mark.parametrize("which", ["detection", "classification"])
def test_every_planted_defect_is_found_where_it_was_planted(tmp_path: Path, which: str) -> None:
    digits = build_digits(tmp_path, train_scenes=60, val_scenes=12)
    root = getattr(digits, which)
    planted = plant(root)
    verdict = judge([examine(root, cache=False)], LoadedSettings(Settings(), "test", tmp_path))
    found = {(f.rule, f.place.image) for f in verdict.findings}
    assert {(p.rule, p.where) for p in planted} <= found
    assert len(verdict.roots) == len(planted)


@pytest.mark.skipif("SNELLEN_DATA" not in os.environ, reason="SNELLEN_DATA names no folder of real datasets")
@pytest.mark.parametrize(
    ("name", "images", "boxes", "classes", "rules"),
    [
        ("bccd", 364, 4888, 3, {"degenerate-box", "split-leak-near"}),
        ("raccoon", 200, 217, 1, {"duplicate-image", "near-duplicate-image"}),
        (
            "coco128/object_detection", 256, 1827, 80,
            {"orphan-label", "rare-class", "class-missing-in-split", "subpixel-box"},
        ),
        ("sign_digits", 2062, 0, 10, set()),
    ],
)  # fmt: skip
def test_real_datasets(name: str, images: int, boxes: int, classes: int, rules: set[str], tmp_path: Path) -> None:
    data = examine(Path(os.environ["SNELLEN_DATA"]) / name, cache=False)
    assert (data.images.height, data.boxes.height, data.classes.height) == (images, boxes, classes)
    assert data.images["decoded"].all()
    verdict = judge([data], LoadedSettings(Settings(), "test", tmp_path))
    assert {f.rule for f in verdict.findings if f.severity >= Severity.WARNING} == rules


def test_a_folder_of_datasets_is_not_taken_for_classes(tmp_path: Path) -> None:
    detection(tmp_path / "both")
    yolo(tmp_path / "both")
    with pytest.raises(DatasetError, match=r"holds 2 datasets, not classes: name one of detection, yolo"):
        examine(tmp_path / "both", cache=False)
