"""YOLO sets of every kind: boxes, polygons, oriented boxes and poses, by folders, lists and several roots."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from snellen.boxes import CORNERS
from snellen.data.dataset_error import DatasetError
from snellen.data.examine import examine
from snellen.data.facts import DataFacts
from snellen.data.records import RecordError
from snellen.data.yaml_document import load_yaml
from snellen.findings.severity import Tier

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WIDTH, HEIGHT = 200, 100


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (WIDTH, HEIGHT)).save(path)


def dataset(folder: Path, labels: dict[str, str], recipe: str = "") -> DataFacts:
    for name, text in labels.items():
        picture(folder / "images" / f"{name}.png")
        label = folder / "labels" / f"{name}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(text)
    (folder / "data.yaml").write_text(f"train: images\nnames: [a, b]\n{recipe}")
    return examine(folder, tier=Tier.LABELS, cache=False)


def test_polygons_are_outlines_and_their_hull_is_the_box(tmp_path: Path) -> None:
    data = dataset(tmp_path, {"a": "1 0.1 0.2 0.5 0.2 0.5 0.6\n0 0 0 1 0 1 1 0.5 0.5 0 1\n"})
    assert data.boxes.select("x1", "y1", "x2", "y2").rows() == [(20, 20, 100, 60), (0, 0, 200, 100)]
    assert data.boxes["box_stated"].to_list() == [False, False]
    assert data.boxes["polygon_points"].to_list() == [3, 5]
    first = data.outlines.row(0, named=True)
    assert first["rings"] == [[0.1 * 200, 0.2 * 100, 0.5 * 200, 0.2 * 100, 0.5 * 200, 0.6 * 100]]
    assert (first["object"], first["kind"], first["class_name"]) == (0, "polygon", "b")
    assert first["area"] == pytest.approx(80 * 40 / 2)


def test_four_points_in_every_row_are_oriented_boxes_and_a_note_says_so(tmp_path: Path) -> None:
    square = "0 0.25 0.2 0.35 0.4 0.25 0.6 0.15 0.4\n"
    data = dataset(tmp_path / "guess", {"a": square, "b": square})
    assert data.outlines["kind"].to_list() == ["oriented"] * 2
    assert any("oriented" in note for note in data.notes)
    row = data.outlines.row(0, named=True)
    assert row["skew"] == pytest.approx(0, abs=1e-9)
    assert row["angle"] == pytest.approx(45)
    more = dataset(tmp_path / "more", {"a": square, "b": "0 0 0 1 0 1 1\n"})
    assert set(more.outlines["kind"]) == {"polygon"}
    told = dataset(tmp_path / "told", {"a": square, "b": "0 0 0 1 0 1 1\n"}, "task: obb\n")
    assert told.outlines["kind"].to_list() == ["oriented", "polygon"]
    segments = dataset(tmp_path / "segments", {"a": square}, "task: segment\n")
    assert segments.outlines["kind"].to_list() == ["polygon"]


def test_poses_with_and_without_visibility(tmp_path: Path) -> None:
    three = dataset(
        tmp_path / "three",
        {"a": "0 0.5 0.5 0.2 0.2 0.1 0.2 2 0 0 0\n"},
        "kpt_shape: [2, 3]\nflip_idx: [1, 0]\nkpt_names: {0: [left, right]}\n",
    )
    assert three.keypoints.select("object", "xyv", "stated").rows() == [(0, [20, 20, 2, 0, 0, 0], None)]
    assert (three.keypoint_flip, three.keypoint_names) == ([1, 0], ["left", "right"])
    assert three.boxes.select("x1", "y1", "x2", "y2").row(0) == pytest.approx((80, 40, 120, 60))
    two = dataset(tmp_path / "two", {"a": "0 0.5 0.5 0.2 0.2 0.1 0.2 0 0\n"}, "kpt_shape: [2, 2]\n")
    assert two.keypoints["xyv"].to_list() == [[20, 20, 2, 0, 0, 0]]
    assert any("no visibility" in note for note in two.notes)
    odd = dataset(tmp_path / "odd", {"a": "0 0.5 0.5 0.2 0.2 0.1 0.2\n"}, "kpt_shape: [2, 2]\n")
    assert odd.problems["kind"].to_list() == ["malformed-label"]
    bad = dataset(tmp_path / "bad", {"a": "0 0.5 0.5 0.2 0.2\n"}, "kpt_shape: [x, 9]\n")
    assert bad.problems["kind"].to_list() == ["malformed-label"]
    assert bad.boxes["usable"].all()


def test_boxes_and_polygons_in_one_file_are_a_problem_of_their_own(tmp_path: Path) -> None:
    box = "0 0.5 0.5 0.2 0.2\n"
    data = dataset(tmp_path, {"a": box * 2 + "1 0 0 1 0 1 1\n", "b": box})
    problem = data.problems.row(0, named=True)
    assert (data.problems.height, problem["kind"], problem["row"]) == (1, "mixed-label-rows", 3)
    assert problem["value"] == "2 boxes and 1 polygon"
    assert data.boxes["usable"].all()


def test_two_images_of_one_stem_share_their_labels(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.bmp")
    data = dataset(tmp_path, {"a": "0 0.5 0.5 0.2 0.2\n"})
    problem = data.problems.row(0, named=True)
    assert (problem["kind"], problem["image"], problem["value"]) == (
        "shared-label-file",
        "images/a.png",
        "images/a.bmp",
    )
    assert data.boxes["image"].to_list() == ["images/a.bmp", "images/a.png"]


def test_rows_of_any_oddity_are_rows(tmp_path: Path) -> None:
    rows = ["0 0.5 0.5 0.2 0.2", "", "x 1 1 1 1", "0 nan 0.5 0.2 inf", "0.5 0 0 1 1", "5 0.5 0.5 0.2 0.2", "0 1 2 3",
            "0 0.5 0.5 300 0.2", "0 0 0 1 0 1", "1e400 0 0 1 1", "0 nan nan nan nan nan nan"]  # fmt: skip
    data = dataset(tmp_path, {"a": "\n".join(rows)})
    assert data.boxes["row"].to_list() == [1, 4, 6, 8, 11]
    assert data.boxes["usable"].to_list() == [True, False, False, True, False]
    kinds = sorted((p["row"], p["kind"]) for p in data.problems.iter_rows(named=True))
    assert kinds == [
        (3, "malformed-label"), (5, "malformed-label"), (7, "malformed-label"), (8, "unnormalized-coordinates"),
        (9, "malformed-label"), (10, "malformed-label"), (11, "mixed-label-rows"),
    ]  # fmt: skip
    assert data.outlines["finite"].to_list() == [False]


def test_a_label_of_an_unreadable_image_has_no_pixels(tmp_path: Path) -> None:
    dataset(tmp_path, {"a": "0 0.5 0.5 0.2 0.2\n1 0 0 1 0 1 1\n"})
    (tmp_path / "images" / "a.png").write_bytes(b"")
    data = examine(tmp_path, tier=Tier.LABELS, cache=False)
    assert data.boxes["x1"].to_list() == [None, None]
    assert data.outlines.is_empty()
    assert data.ledger.filter(record="box").height == 2


def test_lists_roots_and_splits(tmp_path: Path) -> None:
    for name in ("one/images/a", "two/images/b", "three/images/c"):
        picture(tmp_path / f"{name}.png")
    (tmp_path / "val.txt").write_text("./three/images/c.png\n\nthree/images/gone.png\n../out.png\n")
    (tmp_path / "data.yaml").write_text("train: [one/images, two/images]\nval: val.txt\nnames: {0: a}\n")
    data = examine(tmp_path, tier=Tier.LABELS, cache=False)
    assert dict(data.images.select("image", "split").rows()) == {
        "one/images/a.png": "train", "two/images/b.png": "train", "three/images/c.png": "val",
        "three/images/gone.png": "val",
    }  # fmt: skip
    assert data.problems["kind"].to_list() == ["unsafe-path"]


def test_what_is_passed_over_stands_in_the_ledger(tmp_path: Path) -> None:
    dataset(tmp_path, {"a": ""})
    picture(tmp_path / "images" / "._a.png")
    picture(tmp_path / "images" / ".trash" / "b.png")
    picture(tmp_path / "elsewhere" / "c.png")
    (tmp_path / "images" / ".git").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "images" / "linked")
    data = examine(tmp_path, tier=Tier.LABELS, cache=False)
    assert data.images["image"].to_list() == ["images/a.png"]
    assert sorted(data.ledger["file"]) == ["images/._a.png", "images/.trash", "images/linked"]


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))


@pytest.mark.parametrize(
    "text",
    [
        f"{BOMB}train: images\nnames: *a11\n",
        f"{BOMB}train: *a11\nval: images\nnames: [a]\n",
        f"{BOMB}train: images\nnames: {{0: a}}\nkpt_shape: *a11\nflip_idx: *a11\n",
        f"{MERGES}train: images\nnames: [a]\n",
        "train: images\nnames: &n [*n, a]\n",
        f"train: images\nnames: [0x{'f' * 6000}]\n",
        f"train: images\nnames: {'[' * 5000}\n",
        f"train: images\nnames: {'{a: ' * 5000}\n",
    ],
)
def test_yaml_bombs_cost_nothing(tmp_path: Path, text: str) -> None:
    dataset(tmp_path, {"a": "0 0.5 0.5 0.2 0.2\n"})
    (tmp_path / "data.yaml").write_text(text)
    with suppress(DatasetError):
        data = examine(tmp_path / "data.yaml", tier=Tier.LABELS, cache=False)
        assert all(len(p["message"]) <= 1000 for p in data.problems.iter_rows(named=True))


@FUZZ
@given(st.text(alphabet="&*<>[]{}:-,?!|#'\"% \n\tab01", max_size=60) | st.text(max_size=40))
def test_any_yaml(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.yaml"
        path.write_text(text, encoding="utf-8", errors="replace")
        with suppress(RecordError):
            load_yaml(path)


@FUZZ
@given(
    st.lists(
        st.lists(st.sampled_from(["0", "1", "-1", "0.5", "nan", "inf", "1e400", "x", "", "2.5", "½"]), max_size=11)
    ),
    st.sampled_from(["", "task: obb\n", "task: [1]\n", "kpt_shape: [2, 3]\n", "kpt_shape: [1, 2]\nflip_idx: [5]\n"]),
)
def test_any_columns(rows: list[list[str]], recipe: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = dataset(Path(folder), {"a": "\n".join(" ".join(row) for row in rows)}, recipe)
    spoken = set(data.boxes["row"]) | set(data.problems["row"].drop_nulls())
    lines = "\n".join(" ".join(row) for row in rows).splitlines()
    assert spoken == {at for at, line in enumerate(lines, 1) if line.strip()}
    assert data.boxes.filter("usable").select(pl.all_horizontal(pl.col("x1", "x2").is_finite()).all()).item()


@pytest.mark.skipif("SNELLEN_DATA" not in os.environ, reason="SNELLEN_DATA names no folder of real datasets")
def test_polygons_and_boxes_of_coco128_agree() -> None:
    """The polygons are traced from panoptic masks: whole pixels, and without the objects those leave out."""
    root = Path(os.environ["SNELLEN_DATA"]) / "coco128"
    boxes = examine(root / "object_detection", tier=Tier.LABELS, cache=False)
    polygons = examine(root / "instance_segmentation", tier=Tier.LABELS, cache=False)
    assert set(boxes.classes["class_name"]) == set(polygons.classes["class_name"])
    name = pl.col("image").str.split("/").list.last()
    assert set(boxes.images.select(name, "split").rows()) == set(polygons.images.select(name, "split").rows())
    mine, hulls = (d.boxes.with_columns(name).select("image", "class_name", "row", *CORNERS) for d in (boxes, polygons))
    pairs = hulls.join(mine, on=["image", "class_name"], suffix="_box")
    apart = pl.max_horizontal((pl.col(c) - pl.col(f"{c}_box")).abs() for c in CORNERS)
    nearest = pairs.group_by("image", "row").agg(apart.min().alias("apart"))["apart"]
    assert len(nearest) >= 0.99 * hulls.height
    assert (nearest <= 2.5).mean() >= 0.9
    assert (nearest <= 8).mean() >= 0.98
