"""Masks, panoptic sets and one mask an object: what is drawn is read, in every layout, whatever a file holds."""

import json
import os
import shutil
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from snellen.data import measuring_masks
from snellen.data.examine import examine
from snellen.data.facts import DataFacts
from snellen.data.masks import measure_mask
from snellen.findings.engine import judge
from snellen.findings.settings import LoadedSettings, Settings
from snellen.findings.severity import Tier
from tests.data.test_hostile_input import ANY_JSON, FUZZ, picture, read
from tests.rules.data_injections import detection
from tests.rules.mask_injections import coloured, instances, panoptic, save, semantic

REAL = pytest.mark.skipif("SNELLEN_DATA" not in os.environ, reason="SNELLEN_DATA names no folder of real datasets")


def drawn(data: DataFacts) -> list[tuple[object, ...]]:
    """Split, picture, class and pixels of everything drawn, comparable between layouts; the ground left out."""
    rows = data.mask_values.join(data.images.select("image", "split"), on="image")
    rows = rows.filter(pl.col("class_name").is_not_null() & (pl.col("class_name") != "background"))
    rows = rows.with_columns(pl.col("image").str.split("/").list.last())
    return sorted(rows.group_by("split", "image", "class_name").agg(pl.col("pixels").sum()).rows())


def test_ids_colours_and_segments_of_one_dataset_give_the_same_pixels(tmp_path: Path) -> None:
    tables = [drawn(examine(make(tmp_path), cache=False)) for make in (semantic, coloured, panoptic)]
    assert len(tables[0]) > 100
    assert tables[0] == tables[1] == tables[2]


def test_objects_of_masks_have_the_boxes_of_coco(tmp_path: Path) -> None:
    def corners(data: DataFacts) -> list[tuple[object, ...]]:
        rows = data.boxes.join(data.images.select("image", "split"), on="image")
        name = pl.col("class_name").str.replace("digit ", "")
        return sorted(
            rows.select("split", pl.col("image").str.split("/").list.last(), name, "x1", "y1", "x2", "y2").rows()
        )

    masks = examine(instances(tmp_path), cache=False)
    assert corners(masks) == corners(examine(detection(tmp_path), cache=False))
    assert masks.task == "detection"
    assert not masks.boxes["box_stated"].any()
    assert masks.outlines["area"].sum() == masks.mask_values.filter(value=1)["pixels"].sum()
    segments = examine(panoptic(tmp_path), cache=False)
    assert segments.boxes.select("x1", "y1", "x2", "y2").equals(segments.outlines.select("x1", "y1", "x2", "y2"))
    assert segments.boxes["area"].equals(segments.outlines["area"])
    assert dict(segments.classes.select("class_name", "thing").rows())["background"] is False


def test_nothing_is_decoded_before_it_is_asked_for(tmp_path: Path) -> None:
    root = instances(tmp_path)
    labels = examine(root, tier=Tier.LABELS, cache=False)
    assert labels.masks["mode"].null_count() == labels.masks.height
    assert labels.boxes["x1"].null_count() == labels.boxes["usable"].null_count() == labels.boxes.height
    assert labels.ledger.is_empty()
    headers = examine(root, tier=Tier.HEADERS, cache=False)
    assert set(headers.masks["mode"]) == {"L"}
    assert headers.mask_values.is_empty()


def test_second_run_opens_no_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = semantic(tmp_path)
    first = examine(root, cache_dir=tmp_path / "cache")
    opened: list[Path] = []
    measure = measuring_masks.measure_mask
    monkeypatch.setattr(
        measuring_masks, "measure_mask", lambda path, kind, tier: opened.append(path) or measure(path, kind, tier)
    )
    again = examine(root, cache_dir=tmp_path / "cache")
    assert opened == []
    assert again.masks.equals(first.masks)
    assert again.mask_values.equals(first.mask_values)
    changed = sorted((root / "masks" / "val").glob("*.png"))[0]
    os.utime(changed, ns=(1, 1))
    examine(root, cache_dir=tmp_path / "cache")
    assert opened == [changed]
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(b"PAR1 nonsense")
    assert examine(root, cache_dir=tmp_path / "cache").mask_values.equals(first.mask_values)


def test_measured_values_are_numpys(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blobs = np.kron(rng.integers(0, 5, (9, 13)), np.ones((7, 5), np.int64)).astype(np.uint8)
    save(blobs, tmp_path / "m.png")
    row = measure_mask(tmp_path / "m.png", "index", Tier.PIXELS)
    for region in row["regions"]:
        mine = blobs == region["value"]
        y, x = mine.nonzero()
        assert region["pixels"] == mine.sum()
        assert (region["x1"], region["y1"], region["x2"], region["y2"]) == (x.min(), y.min(), x.max() + 1, y.max() + 1)
        assert region["solid"]
        assert region["between"] == 0
    Image.fromarray(blobs).resize((200, 190), Image.Resampling.NEAREST).save(tmp_path / "near.png")
    near = measure_mask(tmp_path / "near.png", "index", Tier.PIXELS)
    assert [r["value"] for r in near["regions"]] == [0, 1, 2, 3, 4]
    Image.fromarray(blobs * 40).resize((200, 190), Image.Resampling.BILINEAR).save(tmp_path / "soft.png")
    soft = {r["value"]: r for r in measure_mask(tmp_path / "soft.png", "index", Tier.PIXELS)["regions"]}
    loose = [r for r in soft.values() if not r["solid"]]
    assert {0, 40, 80, 120, 160} <= {v for v, r in soft.items() if r["solid"]}
    assert sum(r["between"] for r in loose) > 0.9 * sum(r["pixels"] for r in loose)


def test_strips_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from snellen.data import masks

    rng = np.random.default_rng(1)
    save(np.kron(rng.integers(0, 256, (12, 12, 3)), np.ones((5, 5, 1))), tmp_path / "m.png")
    whole = measure_mask(tmp_path / "m.png", "colour", Tier.PIXELS)
    monkeypatch.setattr(masks, "STRIP", 130)
    assert measure_mask(tmp_path / "m.png", "colour", Tier.PIXELS) == whole


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/{}.jpg", "masks/{}.png"),
        ("JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
        ("train/image/{}.png", "train/label/{}.png"),
        ("images/training/{}.jpg", "annotations/training/{}.png"),
        ("train/{}.png", "train_labels/{}_L.png"),
        ("train/{}.jpg", "train/{}_mask.png"),
        ("{}.jpg", "{}_mask.png"),
        ("imagesTr/{}_0000.png", "labelsTr/{}.png"),
        ("images/sub/{}.tif", "Masks/sub/{}_seg.png"),
    ],
)
def test_layouts_are_found(tmp_path: Path, image: str, mask: str) -> None:
    for number, stem in enumerate(("a", "b.c", "d")):
        picture(tmp_path / image.format(stem), seed=number)
        save(np.eye(20) * (number % 2 + 1), tmp_path / mask.format(stem))
    data = examine(tmp_path, cache=False)
    assert (data.format, data.task) == ("masks", "segmentation")
    assert dict(data.images.select("image", "mask_file").rows()) == {
        image.format(stem): mask.format(stem) for stem in ("a", "b.c", "d")
    }
    assert data.problems.is_empty()
    assert data.classes["class_name"].to_list() == ["0", "1", "2"]
    assert not data.classes["declared"].any()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.csv", "name,id\nground,0\ncell,1\n"),
        ("_classes.csv", "Pixel Value, Class\n0, ground\n1, cell\n"),
        ("classes.txt", "ground\ncell\n"),
        ("dataset.json", '{"labels": {"ground": 0, "cell": 1, "ignore": 2}}'),
        ("class_dict.csv", "name,r,g,b\nground,0,0,0\ncell,200,10,30\n"),
        ("classes.csv", "ground,0,0,0\ncell,200,10,30\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nground:0,0,0::\ncell:200,10,30::\n"),
        ("label_colors.txt", "0 0 0\tground\n200 10 30\tcell\n"),
    ],
)
def test_class_lists_name_ids_and_colours(tmp_path: Path, name: str, text: str) -> None:
    picture(tmp_path / "images" / "a.png")
    mask = np.zeros((20, 20), np.uint8)
    mask[4:9, 4:9] = 1
    coloured = ",10,30" in text or "10 30" in text
    save(np.array([[0, 0, 0], [200, 10, 30]])[mask] if coloured else mask, tmp_path / "masks" / "a.png")
    (tmp_path / name).write_text(text)
    data = examine(tmp_path, cache=False)
    assert data.mask_values.select("class_name", "pixels").rows() == [("ground", 375), ("cell", 25)]
    assert data.masks["kind"].item() == ("colour" if coloured else "index")
    assert data.classes["declared"].all()
    assert data.classes["class_id"].to_list() == [0, 1]


def test_palette_and_grey_rgb_masks_are_ids(tmp_path: Path) -> None:
    ids = np.kron(np.array([[0, 1], [2, 255]]), np.ones((10, 10))).astype(np.uint8)
    for name in "ab":
        picture(tmp_path / "images" / f"{name}.png", seed=ord(name))
    palette = Image.fromarray(ids, "L").convert("P")
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [9, 9, 9] * 253)
    (tmp_path / "masks").mkdir()
    palette.save(tmp_path / "masks" / "a.png")
    save(np.stack([ids] * 3, -1), tmp_path / "masks" / "b.png")
    data = examine(tmp_path, cache=False)
    assert data.mask_values["value"].to_list() == [0, 1, 2, 255] * 2
    assert data.classes.select("class_id", "colour").rows() == [(0, "#000000"), (1, "#800000"), (2, "#008000")]
    assert data.mask_values.filter(value=255)["class_name"].null_count() == 2
    assert data.masks["undeclared"].to_list() == [0.0, 0.0]


def test_colours_without_a_list_are_the_classes(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    save(np.kron(np.array([[[0, 0, 0], [200, 10, 30]]]), np.ones((20, 10, 1))), tmp_path / "masks" / "a.png")
    data = examine(tmp_path, cache=False)
    assert data.masks["kind"].item() == "colour"
    assert data.classes.select("class_id", "class_name", "colour").rows() == [
        (0, "#000000", "#000000"), (1, "#c80a1e", "#c80a1e")
    ]  # fmt: skip


def test_zero_and_255_are_two_classes_and_soft_edges_none(tmp_path: Path) -> None:
    shape = np.zeros((40, 40), np.uint8)
    shape[10:30, 10:30] = 255
    for name, mask in (("a", shape), ("b", np.asarray(Image.fromarray(shape).resize((33, 33)).resize((40, 40))))):
        picture(tmp_path / "images" / f"{name}.png", 40, ord(name))
        save(mask, tmp_path / "masks" / f"{name}.png")
    data = examine(tmp_path, cache=False)
    assert data.classes.select("class_id", "class_name").rows() == [(0, "background"), (1, "foreground")]
    assert data.mask_values.drop_nulls("class_name")["value"].unique().sort().to_list() == [0, 255]
    assert data.masks["undeclared"].to_list()[0] == 0.0
    assert data.masks["blended"].to_list()[1] > 0.9
    assert any("255 is taken as class 1" in note for note in data.notes)


def test_second_of_one_stem_and_images_without_masks_are_listed(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b.png"):
        picture(tmp_path / "images" / name)
    save(np.eye(20), tmp_path / "masks" / "a.png")
    save(np.eye(20), tmp_path / "masks" / "lost.png")
    data = examine(tmp_path, cache=False)
    assert data.images.height == 3
    assert data.images["mask_file"].drop_nulls().to_list() == ["masks/a.png"]
    assert data.problems.select("kind", "file").rows() == [("orphan-mask", "masks/lost.png")]


def test_dsb_folders_are_a_mask_an_object(tmp_path: Path) -> None:
    for image in ("x1", "x2"):
        picture(tmp_path / "stage1_train" / image / "images" / f"{image}.png", seed=ord(image[1]))
        for k in range(3):
            mask = np.zeros((20, 20), np.uint8)
            mask[6 * k : 6 * k + 4, 3:9] = 255
            save(mask if k < 2 or image == "x1" else mask * 0, tmp_path / "stage1_train" / image / "masks" / f"{k}.png")
    data = examine(tmp_path / "stage1_train", cache=False)
    assert (data.format, data.task, data.boxes.height) == ("instance-masks", "detection", 6)
    assert data.boxes.filter("usable").select("x1", "y1", "x2", "y2").rows()[:2] == [(3, 0, 9, 4), (3, 6, 9, 10)]
    assert data.boxes["usable"].sum() == 5
    assert "is empty or cannot be read" in data.ledger["reason"].item()


def test_class_folders_are_still_class_folders(tmp_path: Path) -> None:
    for name in ("cat/a.png", "cat/a_dog_1.png", "dog/b.png", "labels/c.png"):
        picture(tmp_path / name)
    assert examine(tmp_path, cache=False).format == "class-folders"


def test_yaml_of_images_beside_its_folder(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "train" / "a.png")
    picture(tmp_path / "secret" / "a.png")
    save(np.eye(20), tmp_path / "seg" / "masks" / "train" / "a.png")
    text = "train:\n  images: ../images/train\n  masks: masks/train\nval:\n  images: ../../etc\n  masks: masks/train\n"
    (tmp_path / "seg" / "config.yaml").write_text(text + "classes:\n  0: a\n  1: b\n")
    data = examine(tmp_path / "seg", cache=False)
    assert data.images["image"].to_list() == ["images/train/a.png"]
    assert data.problems["kind"].to_list() == ["unsafe-path"]
    assert data.root == str(tmp_path.resolve())


@FUZZ
@given(st.sampled_from(["index", "colour", "panoptic", "instance"]), st.integers(0, 300), st.binary(max_size=40))
def test_any_damage_to_a_mask(kind: str, at: int, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "m.png"
        save(np.arange(300).reshape(10, 10, 3) % 5, path)
        whole = path.read_bytes()
        path.write_bytes(whole[:at] + data + whole[at + len(data) :])
        row = measure_mask(path, kind, Tier.PIXELS)
        assert ("error" in row) != ("regions" in row)


@settings(FUZZ, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["images", "annotations", "categories"]),
        st.lists(
            st.dictionaries(
                st.sampled_from(["id", "image_id", "file_name", "segments_info", "name", "isthing", "width"]),
                ANY_JSON | st.integers(0, 3) | st.sampled_from(["a.png", "b.png"])
                | st.lists(st.dictionaries(
                    st.sampled_from(["id", "category_id", "bbox", "area", "iscrowd"]),
                    ANY_JSON | st.integers(0, 3) | st.lists(st.integers(-2, 30) | st.floats(), min_size=4, max_size=4),
                ), max_size=3),
            ),
            max_size=4,
        ) | ANY_JSON,
    )
)  # fmt: skip
def test_any_panoptic_document(document: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture(folder / "a.png")
        picture(folder / "p" / "a.png")
        (folder / "p.json").write_text(
            json.dumps({**document, "info": "segments_info"}).replace("info", "segments_info", 1)
        )
        read(folder / "p.json")


@FUZZ
@given(
    st.sampled_from(["classes.csv", "labelmap.txt", "label_colors.txt", "classes.txt", "dataset.json", "config.yaml"]),
    st.text(max_size=200) | st.text("name,id0123:;-\n #rgb{}", max_size=100),
)
def test_any_class_list(name: str, text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        picture(Path(folder) / "images" / "a.png")
        save(np.eye(20), Path(folder) / "masks" / "a.png")
        (Path(folder) / name).write_text(text, encoding="utf-8", errors="replace")
        data = read(Path(folder))
        assert data is not None
        assert data.masks.height == 1


def test_a_bomb_and_a_photograph_are_no_masks_and_cost_little(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    for name in ("a", "b"):
        picture(tmp_path / "images" / f"{name}.png")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").write_bytes(bomb)
    noise = np.random.default_rng(0).integers(0, 255, (400, 500, 3))
    save(noise, tmp_path / "masks" / "b.png")
    data = examine(tmp_path, cache=False)
    errors = dict(data.masks.select("file", "error").rows())
    assert errors["masks/a.png"].startswith("too large: 60000 x 60000 pixels")
    assert errors["masks/b.png"] is None
    assert data.mask_values.height <= 4096
    assert data.classes.height <= 256


def test_outlines_that_differ_from_their_boxes_are_found(tmp_path: Path) -> None:
    root = panoptic(tmp_path)
    path = root / "annotations" / "panoptic_train.json"
    document = json.loads(path.read_text())
    document["annotations"][2]["segments_info"][0]["bbox"] = [0, 0, 40, 40]
    path.write_text(json.dumps(document))
    verdict = judge([examine(root, cache=False)], LoadedSettings(Settings(), "test", tmp_path))
    assert {"outline-box-mismatch"} <= {f.rule for f in verdict.findings}


def test_a_picture_twice_with_another_mask_is_found(tmp_path: Path) -> None:
    root = semantic(tmp_path)
    images, masks = sorted((root / "images" / "train").iterdir()), sorted((root / "masks" / "train").iterdir())
    shutil.copyfile(images[0], images[1])
    verdict = judge([examine(root, cache=False)], LoadedSettings(Settings(), "test", tmp_path))
    assert "duplicate-image-with-different-labels" in {f.rule for f in verdict.findings}
    shutil.copyfile(masks[0], masks[1])
    verdict = judge([examine(root, cache=False)], LoadedSettings(Settings(), "test", tmp_path))
    found = {f.rule for f in verdict.findings}
    assert "duplicate-image-with-different-labels" not in found
    assert "duplicate-image" in found


@REAL
@pytest.mark.slow
def test_the_formats_of_coco128_agree(tmp_path: Path) -> None:
    root = Path(os.environ["SNELLEN_DATA"]) / "coco128"
    segments = examine(root / "panoptic_segmentation", cache=False)
    assert segments.problems.is_empty()
    corners = ["x1", "y1", "x2", "y2"]
    assert segments.boxes.select(corners).equals(segments.outlines.select(corners))
    assert segments.boxes["area"].equals(segments.outlines["area"])
    assert segments.masks["undeclared"].sum() == 0

    # Semantic masks: the same pixels of the same classes, segments of one class together.
    masks = examine(root / "semantic_segmentation", cache=False)
    keys = ["image", "class_name"]
    named = masks.mask_values.filter(pl.col("class_name") != "unlabeled").select(*keys, "pixels").sort(keys)
    summed = segments.mask_values.drop_nulls("class_name").group_by(keys).agg(pl.col("pixels").sum()).sort(keys)
    assert named.equals(summed)

    # YOLO boxes and polygons: the things. COCO drew them before the panoptic masks, so that edges differ somewhat.
    things = segments.classes.filter("thing")["class_name"].implode()
    mine = segments.boxes.filter(pl.col("class_name").is_in(things) & ~pl.col("crowd"))
    for folder in ("object_detection", "instance_segmentation"):
        other = examine(root / folder, cache=False)
        both = other.boxes.filter(pl.col("image").is_in(segments.images["image"].implode()))
        pairs = mine.join(both, on=keys, suffix="_other")
        wide = pl.min_horizontal("x2", "x2_other") - pl.max_horizontal("x1", "x1_other")
        high = pl.min_horizontal("y2", "y2_other") - pl.max_horizontal("y1", "y1_other")
        common = wide.clip(0) * high.clip(0)
        areas = sum(
            (pl.col(f"x2{s}") - pl.col(f"x1{s}")) * (pl.col(f"y2{s}") - pl.col(f"y1{s}")) for s in ("", "_other")
        )
        best = pairs.with_columns(iou=common / (areas - common)).group_by("object").agg(pl.col("iou").max())
        found = mine.join(best, on="object", how="left").with_columns(pl.col("iou").fill_null(0))
        assert (found["iou"] > 0.5).mean() > 0.9, folder


@REAL
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "images", "masks", "classes", "rules"),
    [
        ("membrane", 60, 30, 2, {"binary-mask-0-255"}),
        ("coco128/semantic_segmentation", 256, 200, 130, {"missing-mask", "rare-class", "class-missing-in-split"}),
        ("coco128/panoptic_segmentation", 200, 200, 133, {"rare-class", "class-missing-in-split", "unused-class"}),
    ],
)
def test_real_masks(name: str, images: int, masks: int, classes: int, rules: set[str], tmp_path: Path) -> None:
    data = examine(Path(os.environ["SNELLEN_DATA"]) / name, cache=False)
    assert (data.images.height, data.masks.height, data.classes.height) == (images, masks, classes)
    verdict = judge([data], LoadedSettings(Settings(), "test", tmp_path))
    found = {f.rule for f in verdict.findings}
    assert rules <= found
    assert not {r for r in found if "mask" in r or "segment" in r} - rules


def test_masks_get_a_recipe_of_their_own(tmp_path: Path) -> None:
    from snellen.training.recipe_defaults import default_recipe

    assert default_recipe(examine(semantic(tmp_path), cache=False)).task == "segmentation"
