"""Whatever a file holds, reading it ends in rows or in one clear line, never in another exception."""

import json
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from snellen.data.dataset_error import DatasetError
from snellen.data.examine import examine
from snellen.data.facts import DataFacts
from snellen.data.images import measure
from snellen.findings.severity import Tier

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
FIELDS = [
    "id", "image_id", "category_id", "bbox", "area", "file_name", "width", "height", "name", "segmentation", "iscrowd",
    "keypoints", "num_keypoints", "skeleton", "supercategory",
]  # fmt: skip
RUNS = st.fixed_dictionaries({"counts": ANY_JSON, "size": ANY_JSON | st.lists(st.integers(), max_size=2)})
RECORD = st.dictionaries(
    st.sampled_from(FIELDS),
    ANY_JSON | RUNS | st.lists(st.floats() | st.integers(), min_size=4, max_size=4) | st.integers(0, 3),
)
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def picture(path: Path, side: int = 20, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def read(path: Path, tier: Tier = Tier.PIXELS) -> DataFacts | None:
    try:
        return examine(path, tier=tier, cache=False, workers=1)
    except DatasetError as error:
        if "\n" in str(error):
            pytest.fail(f"more than one line: {error}")
        return None


@FUZZ
@given(
    st.dictionaries(st.sampled_from(["images", "annotations", "categories"]), st.lists(RECORD, max_size=5) | ANY_JSON)
)
def test_any_coco_document(document: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.json"
        path.write_text(json.dumps(document))
        read(path, Tier.HEADERS)


@FUZZ
@given(st.binary(max_size=200) | st.text(max_size=80).map(lambda t: t.encode("utf-8", "replace")))
def test_any_bytes_as_any_annotation(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("voc/Annotations", "yolo/labels/train"):
            (folder / part).mkdir(parents=True)
        picture(folder / "voc/JPEGImages/a.png")
        picture(folder / "yolo/images/train/a.png")
        (folder / "voc/Annotations/a.xml").write_bytes(data)
        (folder / "yolo/labels/train/a.txt").write_bytes(data)
        (folder / "yolo/data.yaml").write_text("train: images/train\nnames: [a, b]\n")
        (folder / "train.json").write_bytes(data)
        (folder / "odd.yaml").write_bytes(data)
        assert read(folder / "voc", Tier.LABELS) is not None
        assert read(folder / "yolo", Tier.LABELS) is not None
        read(folder / "train.json", Tier.LABELS)
        read(folder / "odd.yaml", Tier.LABELS)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged tags; `examine` silences it
@FUZZ
@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]), st.integers(0, 400), st.binary(max_size=40))
def test_any_damage_to_an_image(kind: str, at: int, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.img"
        Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(path, format=kind)
        whole = path.read_bytes()
        path.write_bytes(whole[:at] + data + whole[at + len(data) :])
        row = measure(path, Tier.PIXELS)
        assert row["exists"]
        assert row["decoded"] == ("phash" in row)


def test_a_900_megapixel_png_is_not_decoded(tmp_path: Path) -> None:
    """A solid 30000 x 30000 grey PNG of under a megabyte, valid to the last byte."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    squeeze = zlib.compressobj(1)
    body = b"".join(squeeze.compress(bytes(30001)) for _ in range(30000)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
    path = tmp_path / "c" / "big.png"
    path.parent.mkdir()
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    picture(tmp_path / "c" / "good.png")
    data = examine(tmp_path, cache=False)
    row = data.images.filter(image="c/big.png").row(0, named=True)
    assert row["error"].startswith("too large: 30000 x 30000")
    assert not row["decoded"]
    assert (row["width"], row["height"]) == (30000, 30000)
    assert data.images.filter(image="c/good.png")["decoded"].item()
    assert data.ledger["image"].to_list() == ["c/big.png"]


def test_truncated_jpeg_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "c" / "a.jpg"
    path.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:900])
    row = examine(tmp_path, cache=False).images.row(0, named=True)
    assert row["complete"] is False
    assert row["decoded"] is False
    assert "truncated" in row["error"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: None, "no dataset found"),
        (lambda p: (p / "notes.txt").write_text("hello"), "no dataset found"),
        (lambda p: (p / "empty").mkdir(), "no dataset found"),
        (lambda p: (p / "train.json").write_text("{ broken"), "not JSON"),
        (lambda p: (p / "data.yaml").write_text("train: [gone]\nnames: [a]"), "gone"),
    ],
)
def test_nothing_to_examine_is_one_clear_line(tmp_path: Path, make: object, says: str) -> None:
    make(tmp_path)  # type: ignore[operator]
    with pytest.raises(DatasetError, match=says) as caught:
        examine(tmp_path, cache=False)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_path_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nothing at this path"):
        examine(tmp_path / "gone")


def test_paths_that_leave_the_dataset_are_not_followed(tmp_path: Path) -> None:
    secret = picture(tmp_path / "secret" / "s.png")
    root = tmp_path / "set"
    picture(root / "ok.png")
    names = ["ok.png", "../secret/s.png", str(secret), "a\0b", "..\\secret\\s.png"]
    images = [{"id": i, "file_name": n, "width": 20, "height": 20} for i, n in enumerate(names)]
    (root / "train.json").write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    data = examine(root, cache=False)
    assert data.images["image"].to_list() == ["ok.png"]
    assert data.problems["kind"].to_list() == ["unsafe-path"] * 4


def test_strange_names_stay_what_they_are(tmp_path: Path) -> None:
    names = ["<script>alert(1)<.png", "line\nbreak.png", "a..dots...png", "naïve ü.png"]
    for name in names:
        picture(tmp_path / "c<b>" / name)
    data = examine(tmp_path, cache=False)
    assert sorted(data.images["image"]) == sorted(f"c<b>/{n}" for n in names)
    assert data.images["decoded"].all()


def test_zero_byte_label_is_background(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "train" / "a.png")
    label = tmp_path / "labels" / "train" / "a.txt"
    label.parent.mkdir(parents=True)
    label.write_bytes(b"")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [a]\n")
    data = examine(tmp_path, cache=False)
    assert data.images["label_file"].to_list() == ["labels/train/a.txt"]
    assert data.boxes.is_empty()
    assert data.problems.is_empty()


def test_xml_bomb_is_a_problem(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "annotations").mkdir()
    bomb = '<!DOCTYPE l [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><annotation><filename>&b;</filename></annotation>'
    (tmp_path / "annotations" / "a.xml").write_text(bomb)
    assert examine(tmp_path, cache=False).problems["kind"].to_list() == ["corrupt-annotation-file"]


NAME = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=12)


@FUZZ
@given(st.lists(st.tuples(NAME, NAME, st.sampled_from([".png", ".JPG", ".txt", ""])), min_size=1, max_size=6))
def test_every_picture_in_class_folders_is_listed_or_in_the_ledger(paths: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        picture(root / "known" / "a.png", side=2)
        for folder, stem, suffix in paths:
            if folder not in (".", "..") and len(f"{stem}{suffix}".encode()) < 200:
                picture(root / folder / "a.png", side=2)
                (root / folder / f"x{stem}{suffix}").write_bytes(b"")
        data = examine(root, tier=Tier.LABELS, cache=False)
        seen = set(data.images["image"]) | set(data.ledger["file"])
        for path in root.rglob("*"):
            if path.suffix.lower() in (".png", ".jpg") and path.is_file():
                assert seen & {
                    p.relative_to(root).as_posix() for p in (path, *path.parents) if p != root and root in p.parents
                }
