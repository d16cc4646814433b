"""VOC folders: flags, splits, masks, and XML of any kind."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from snellen.data.examine import examine
from snellen.data.facts import DataFacts
from snellen.data.readers.voc_masks import voc_colour
from snellen.findings.severity import Tier

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
BOX = "<bndbox><xmin>1.5</xmin><ymin>2</ymin><xmax>7</xmax><ymax>9</ymax></bndbox>"


def dataset(folder: Path, objects: dict[str, str], tier: Tier = Tier.LABELS) -> DataFacts:
    (folder / "Annotations").mkdir(exist_ok=True)
    (folder / "JPEGImages").mkdir(exist_ok=True)
    for stem, text in objects.items():
        Image.new("RGB", (10, 12)).save(folder / "JPEGImages" / f"{stem}.png")
        size = "<size><width>10</width><height>12</height></size>"
        xml = f"<annotation><filename>{stem}.png</filename>{size}{text}</annotation>"
        (folder / "Annotations" / f"{stem}.xml").write_text(xml)
    return examine(folder, tier=tier, cache=False)


def thing(name: str, more: str = "") -> str:
    return f"<object><name>{name}</name>{more}{BOX}</object>"


def test_flags_are_what_the_file_says_and_parts_are_counted(tmp_path: Path) -> None:
    flags = "<truncated>1</truncated><occluded>0</occluded><difficult>1</difficult>"
    part = f"<part><name>head</name>{BOX}</part>"
    data = dataset(tmp_path, {"a": thing("cat", flags) + thing("dog", part * 2)})
    assert data.boxes.select("class_name", "truncated", "occluded", "crowd", "box_stated").rows() == [
        ("cat", True, False, True, True),
        ("dog", None, None, False, True),
    ]
    assert data.boxes.select("x1", "y1", "x2", "y2").row(0) == (1.5, 2, 7, 9)
    assert "2 parts of objects are not read" in data.notes


def test_trainval_is_for_images_that_no_other_list_names(tmp_path: Path) -> None:
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name, text in (("val", "b\n"), ("test", "c\n"), ("trainval", "a\nb\n")):
        (lists / f"{name}.txt").write_text(text)
    data = dataset(tmp_path, {stem: thing("cat") for stem in "abc"})
    assert data.images["split"].to_list() == ["train", "val", "test"]
    assert data.problems.is_empty()


def masks(folder: Path, stems: str, value: int = 8, colours: bool = False) -> None:
    (folder / "SegmentationClass").mkdir()
    for stem in stems:
        pixels = np.zeros((12, 10), np.uint8)
        pixels[2:9, 1:7] = value
        pixels[0] = 255
        if colours:
            palette = np.zeros((256, 3), np.uint8)
            palette[value] = [int(voc_colour(value)[i : i + 2], 16) for i in (1, 3, 5)]
            image = Image.fromarray(palette[np.where(pixels == 255, 0, pixels)])
        else:
            image = Image.fromarray(pixels)
            image.putpalette(bytes(range(256)) * 3)
        image.save(folder / "SegmentationClass" / f"{stem}.png")


@pytest.mark.parametrize("colours", [False, True])
def test_masks_of_vocs_own_classes_are_named_by_its_list(tmp_path: Path, colours: bool) -> None:
    masks(tmp_path, "az", colours=colours)
    data = dataset(tmp_path, {"a": thing("cat"), "b": thing("dog")}, Tier.PIXELS)
    assert data.classes.select("class_id", "class_name", "colour").rows() == [
        (8, "cat", "#400000"),
        (12, "dog", "#400080"),
    ]
    assert data.images["mask_file"].to_list() == ["SegmentationClass/a.png", None]
    assert data.masks["kind"].to_list() == ["colour" if colours else "index"]
    assert data.masks["undeclared"].to_list() == [0.0]
    assert "cat" in data.mask_values["class_name"].to_list()
    assert data.problems["kind"].to_list() == ["orphan-mask"]


def test_masks_of_other_classes_are_named_and_not_judged(tmp_path: Path) -> None:
    masks(tmp_path, "a")
    data = dataset(tmp_path, {"a": thing("widget")}, Tier.PIXELS)
    assert data.images["mask_file"].to_list() == ["SegmentationClass/a.png"]
    assert data.masks.is_empty()
    assert any("labelmap.txt" in note for note in data.notes)


def test_a_labelmap_says_what_masks_mean(tmp_path: Path) -> None:
    masks(tmp_path, "a", value=2)
    labels = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nbolt:1,1,1::\nwidget:2,2,2::\n"
    (tmp_path / "labelmap.txt").write_text(labels)
    data = dataset(tmp_path, {"a": thing("widget")}, Tier.PIXELS)
    assert data.classes.select("class_id", "class_name").rows() == [(1, "bolt"), (2, "widget")]
    assert data.masks["undeclared"].to_list() == [0.0]
    assert data.boxes["usable"].all()


def test_two_images_of_one_stem(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    Image.new("L", (3, 3)).save(tmp_path / "JPEGImages" / "a.bmp")
    data = dataset(tmp_path, {"a": thing("cat")})
    assert data.problems["kind"].to_list() == ["shared-label-file"]


def test_what_is_passed_over_stands_in_the_ledger(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    Image.new("L", (3, 3)).save(tmp_path / "JPEGImages" / ".hidden.png")
    os.symlink(tmp_path / "JPEGImages", tmp_path / "JPEGImages" / "again")
    data = dataset(tmp_path, {"a": thing("cat")})
    assert sorted(data.ledger["file"]) == ["JPEGImages/.hidden.png", "JPEGImages/again"]


TAGS = st.sampled_from(
    ["annotation", "object", "name", "bndbox", "xmin", "ymin", "xmax", "ymax", "size", "width", "part"]
)
TREE = st.recursive(
    st.text(alphabet="0123456789.-naif ab<&;'\u00e9\u0000", max_size=6),
    lambda inner: st.tuples(TAGS, st.lists(inner, max_size=4)).map(
        lambda pair: f"<{pair[0]}>{''.join(pair[1])}</{pair[0]}>"
    ),
    max_leaves=25,
)


@FUZZ
@given(TREE | st.binary(max_size=120).map(lambda data: data.decode("latin-1")))
def test_any_xml(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = dataset(Path(folder), {"a": text})
    assert data.images.height == 1


@pytest.mark.parametrize(
    "text",
    [
        "<annotation>" + "<object>" * 100_000 + "</object>" * 100_000 + "</annotation>",
        "<annotation>" + thing("cat") * 20_000 + "</annotation>",
        '<?xml version="1.0" encoding="utf-7"?><annotation/>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>',
        f"<annotation><filename>{'x' * 100_000}</filename></annotation>",
        f"<annotation><object><name>{'9' * 10_000}</name>{BOX.replace('7', '9' * 10_000)}</object></annotation>",
    ],
)
def test_hostile_xml_is_rows(tmp_path: Path, text: str) -> None:
    dataset(tmp_path, {"a": thing("cat")})
    (tmp_path / "Annotations" / "b.xml").write_text(text)
    data = examine(tmp_path, tier=Tier.LABELS, cache=False)
    assert data.images["image"].to_list() == ["JPEGImages/a.png"]
    assert all(len(p["message"]) <= 1000 for p in data.problems.iter_rows(named=True))
