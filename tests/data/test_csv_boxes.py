"""CSV boxes: the same boxes as other formats of the set, by whatever columns, and no file that breaks the reader."""

import os
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from snellen.data.examine import examine
from snellen.data.facts import DataFacts
from snellen.findings.severity import Tier
from tests.data.test_hostile_input import FUZZ, picture, read
from tests.rules.data_injections import detection
from tests.rules.mask_injections import csv_boxes, semantic

PLAIN = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def corners(data: DataFacts) -> list[tuple[object, ...]]:
    rows = data.boxes.join(data.images.select("image", "split"), on="image")
    name = pl.col("class_name").str.replace("digit ", "")
    return sorted(rows.select("split", "image", name, pl.col("^[xy][12]$").round(2)).rows(), key=repr)


def test_the_same_boxes_as_coco(tmp_path: Path) -> None:
    assert corners(examine(csv_boxes(tmp_path), cache=False)) == corners(examine(detection(tmp_path), cache=False))


def labelled(folder: Path, text: str, name: str = "boxes.csv", image: str = "a.png") -> DataFacts:
    """The dataset of one 20 x 20 picture and a table."""
    picture(folder / image)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return examine(folder, tier=Tier.HEADERS, cache=False)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN + "a.png,20,20,cat,2,3,10,12\n",
        "\ufeffimage;xmin;xmax;ymin;ymax;label\na.png;2;10;3;12;cat\n",
        "image_path\tx_min\ty_min\tx_max\ty_max\tclass_name\na.png\t2\t3\t10\t12\tcat\n",
        'filename,cell_type,xmin,xmax,ymin,ymax\n"a.png",cat,2,10,3,12\n',
        "a.png,2,3,10,12,cat\n",
        "b.png,,,,,\na.png,2,3,10,12,cat\n",
        "path,label,x1,y1,x2,y2\na.png,cat,0.1,0.15,0.5,0.6\n",
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
        "a,xclick,/m/01yrx,1,0.1,0.5,0.15,0.6,1,0,0,0,0\n",
    ],
)
def test_columns_are_known_by_their_names(tmp_path: Path, text: str) -> None:
    if "ImageID" in text:
        (tmp_path / "class-descriptions-boxable.csv").write_text("/m/01yrx,cat\n/m/0bt9lr,dog\n")
    data = labelled(tmp_path, text)
    assert (data.format, data.task) == ("csv", "detection")
    assert data.boxes.select("image", "class_name", "x1", "y1", "x2", "y2", "usable").rows() == [
        ("a.png", "cat", 2.0, 3.0, 10.0, 12.0, True)
    ]
    assert data.problems.is_empty()
    assert data.images["image"].to_list() == (["b.png", "a.png"] if "b.png" in text else ["a.png"])


def test_open_images_flags_and_names(tmp_path: Path) -> None:
    (tmp_path / "class-descriptions.csv").write_text("LabelName,DisplayName\n/m/1,cat\n/m/2,dog\n")
    head = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf\n"
    rows = "a,x,/m/1,1,0,0.5,0,0.5,1,-1,0\na,x,/m/2,1,0,0.5,0,0.5,0,1,1\na,x,/m/9,1,0,0.5,0,0.5,0,0,0\n"
    data = labelled(tmp_path, head + rows, "train-annotations-bbox.csv", "train/deep/a.jpg")
    assert data.boxes.select("class_name", "occluded", "truncated", "crowd", "usable").rows() == [
        ("cat", True, None, False, True), ("dog", False, True, True, True), (None, False, False, False, False)
    ]  # fmt: skip
    assert data.images["image_id"].item() == "a"
    assert data.classes.select("class_name", "declared").rows() == [("cat", True), ("dog", True)]
    assert data.problems["kind"].to_list() == ["malformed-label"]


def test_bad_rows_are_problems_and_good_ones_stay(tmp_path: Path) -> None:
    rows = [
        "a.png,20,20,cat,2,3,10,12",
        "a.png,20,20,cat,nan,3,10,12",
        "a.png,20,20,cat,9,3,2,12",
        "a.png,20,20,,2,3,10,12",
        "a.png,20,20,cat,two,3,10,12",
        ",20,20,cat,2,3,10,12",
        "../../etc/passwd,20,20,cat,2,3,10,12",
        "a.png,20",
        "",
        "gone.png,20,20,cat,2,3,10,12",
        "a.png,20,20,dog,4,5,10,12",
    ]
    data = labelled(tmp_path, PLAIN + "\n".join(rows))
    assert data.boxes["row"].to_list() == [2, 3, 4, 8, 11, 12]
    assert data.boxes["usable"].to_list() == [True, False, False, False, True, True]
    assert data.problems.select("kind", "row").rows() == [
        ("malformed-label", 5), ("malformed-label", 6), ("malformed-label", 7), ("unsafe-path", 8)
    ]  # fmt: skip
    assert data.images.select("image", "exists").rows() == [("a.png", True), ("gone.png", False)]


def test_splits_by_name_and_by_column(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        picture(tmp_path / "one" / split / f"{split}.png")
        (tmp_path / "one" / split / "_annotations.csv").write_text(PLAIN + f"{split}.png,20,20,cat,2,3,10,12\n")
    assert examine(tmp_path / "one", cache=False).images.select("image", "split").rows() == [
        ("train/train.png", "train"), ("valid/valid.png", "val")
    ]  # fmt: skip
    text = "set,path,label,x_min,y_min,x_max,y_max\nTRAINING,a.png,cat,2,3,10,12\nVALIDATION,b.png,cat,2,3,10,12\n"
    picture(tmp_path / "two" / "b.png")
    assert labelled(tmp_path / "two", text).images["split"].to_list() == ["train", "val"]


def test_fractions_are_of_the_image_as_displayed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (200, 100)).save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "b.csv").write_text("image,xmin,ymin,xmax,ymax\na.jpg,0,0,1,1\n")
    data = examine(tmp_path, cache=False)
    assert data.boxes.select("x2", "y2", "class_name").row(0) == (100.0, 200.0, "object")


def test_what_was_recognised_before_stays(tmp_path: Path) -> None:
    root = semantic(tmp_path)
    (root / "boxes.csv").write_text(PLAIN + "images/train/00001.png,128,128,cat,2,3,10,12\n")
    data = examine(root, tier=Tier.LABELS, cache=False)
    assert data.format == "masks"
    assert any("boxes.csv holds boxes too and was not read" in note for note in data.notes)
    for name in ("cat/a.png", "dog/b.png"):
        picture(tmp_path / "folders" / name)
    (tmp_path / "folders" / "boxes.csv").write_text(PLAIN + "cat/a.png,20,20,cat,2,3,10,12\n")
    assert examine(tmp_path / "folders", cache=False).format == "class-folders"
    assert examine(tmp_path / "folders" / "boxes.csv", cache=False).format == "csv"


@FUZZ
@given(
    st.sampled_from(
        [PLAIN, "a.png,2,3,10,12,cat\n", "ImageID,LabelName,XMin,XMax,YMin,YMax\n", "path;x1;y1;x2;y2\n", ""]
    ),
    st.text(max_size=120)
    | st.text('a.png,"\n\r\0;0123-e', max_size=120)
    | st.lists(
        st.lists(st.sampled_from(["a.png", "../a", "", "nan", "1e999", "-3", "0.5", '"', "cat"]), max_size=9)
    ).map(lambda rows: "\n".join(",".join(row) for row in rows)),
)
def test_any_text(head: str, body: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture(folder / "a.png")
        for path in (folder / "boxes.csv", folder / "class-descriptions.csv"):
            path.write_text(head + body, encoding="utf-8", errors="replace", newline="")
        read(folder, Tier.LABELS)
        read(folder / "boxes.csv", Tier.LABELS)


def test_a_line_without_end_is_bounded(tmp_path: Path) -> None:
    data = labelled(tmp_path, PLAIN + "a.png,20,20,cat,2,3,10,12\n" + '"' + "x" * 3_000_000 + "\n")
    assert data.boxes.height == 1
    assert set(data.problems["kind"]) <= {"malformed-label", "unsafe-path"}
    assert data.problems["value"].str.len_chars().max() <= 200


@pytest.mark.skipif("SNELLEN_DATA" not in os.environ, reason="SNELLEN_DATA names no folder of real datasets")
@pytest.mark.parametrize(("voc", "table"), [("raccoon", "raccoon_labels.csv"), ("bccd", "test.csv")])
def test_real_tables_say_what_their_xml_says(voc: str, table: str) -> None:
    root = Path(os.environ["SNELLEN_DATA"]) / voc
    xml = examine(root, tier=Tier.LABELS, cache=False)
    csv = examine(root / table, tier=Tier.LABELS, cache=False)
    assert any(f"{table} holds boxes too" in note for note in xml.notes)
    columns = [pl.col("image").str.split("/").list.last(), "class_name", "x1", "y1", "x2", "y2"]
    assert sorted(xml.boxes.select(columns).rows()) == sorted(csv.boxes.select(columns).rows())
