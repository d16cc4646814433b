"""COCO files as people write them: whatever an annotation holds, the facts say it as it stands."""

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from snellen.data import json_document
from snellen.data.examine import examine
from snellen.data.facts import DataFacts
from snellen.findings.severity import Tier

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FINITE = st.floats(-1e6, 1e6)


def document(annotations: list[Any], **more: Any) -> dict[str, Any]:
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 100, "height": 80} for i in (1, 2, 3)]
    categories = [{"id": 7, "name": "cat", "supercategory": "animal"}, {"id": 9, "name": "dog"}]
    return {"images": images, "annotations": annotations, "categories": categories} | more


def annotation(**fields: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 30, 40], "area": 1200, "iscrowd": 0} | fields


def read(folder: Path, content: Any, tier: Tier = Tier.LABELS) -> DataFacts:
    path = folder / "boxes.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return examine(path, tier=tier, cache=False)


def test_polygons_keep_every_bit_and_every_part(tmp_path: Path) -> None:
    rings = [[0.1, 0.2, 10.3, 0.2, 10.3, 20.7], [1 / 3, 2e-9, 50.123456789012345, 3, 4, 5]]
    data = read(tmp_path, document([annotation(), annotation(id=2, segmentation=rings)]))
    row = data.outlines.row(0, named=True)
    assert row["rings"] == rings
    assert (row["object"], row["kind"], row["row"], row["class_name"]) == (1, "polygon", 2, "cat")
    assert row["image"] == "1.jpg"
    assert data.boxes["polygon_points"].to_list() == [None, 6]
    assert data.problems.is_empty()


@FUZZ
@given(st.data())
def test_run_lengths_of_either_form_are_the_mask_as_pycocotools_sees_it(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits, dtype=np.uint8).reshape(height, width)
    packed = coco_mask.encode(np.asfortranarray(mask))
    text = packed["counts"].decode()
    runs, last = [0], 0
    for bit in mask.ravel(order="F").tolist():
        if bit != last:
            runs.append(0)
            last = bit
        runs[-1] += 1
    entries = [
        annotation(id=i, segmentation={"size": [height, width], "counts": c}) for i, c in enumerate((text, runs))
    ]
    with tempfile.TemporaryDirectory() as folder:
        outlines = read(Path(folder), document(entries)).outlines
    assert outlines["rle"].to_list() == [text, text]
    assert outlines.select("rle_width", "rle_height").unique().rows() == [(width, height)]
    x, y, w, h = coco_mask.toBbox(packed)
    for row in outlines.iter_rows(named=True):
        assert row["finite"]
        assert row["area"] == coco_mask.area(packed)
        corners = [row[c] for c in ("x1", "y1", "x2", "y2")]
        assert corners == ([x, y, x + w, y + h] if mask.any() else [None] * 4)


@pytest.mark.parametrize(
    ("counts", "size"),
    [
        ([5, -1, 6], [2, 5]),
        ([5, 4], [2, 5]),
        ([5, 6], [2, 5]),
        ([2**62, 2**62, 2**62, 2**62], [2, 5]),
        ([10], [-2, -5]),
        ([0], [0, 0]),
        ([10], [2**40, 2**40]),
        ("", [2, 5]),
        ("ooooooooooooooooooooooooooooooooo", [2, 5]),
        ("é€", [2, 5]),
        ("5\u0000", [2, 5]),
        ("P", [2, 5]),
    ],
)
def test_hostile_run_lengths_are_not_finite(tmp_path: Path, counts: Any, size: list[int]) -> None:
    data = read(tmp_path, document([annotation(segmentation={"counts": counts, "size": size})]))
    row = data.outlines.row(0, named=True)
    assert row["finite"] is False
    assert (row["area"], row["x1"]) == (None, None)
    assert data.boxes["usable"].item()


def test_an_annotation_without_bbox_has_the_hull_of_its_outline(tmp_path: Path) -> None:
    rings = [[10, 20, 40, 25, 30, 60], [5, 30, 8, 30, 8, 33]]
    runs = {"counts": [81, 3, 77, 2, 80 * 100 - 163], "size": [80, 100]}
    entries = [annotation(segmentation=rings), annotation(id=2, segmentation=runs), annotation(id=3)]
    entries[0]["bbox"] = []
    del entries[1]["bbox"]
    data = read(tmp_path, document(entries))
    assert data.boxes.select("x1", "y1", "x2", "y2").rows() == [(5, 20, 40, 60), (1, 1, 3, 4), (1, 2, 31, 42)]
    assert data.boxes["box_stated"].to_list() == [False, False, True]
    assert data.boxes["usable"].all()
    assert data.problems.is_empty()


def test_keypoints_their_names_and_lines(tmp_path: Path) -> None:
    points = [10.5, 20, 2, 0, 0, 0, 30, 40, 1]
    category = {"id": 7, "name": "person", "keypoints": ["nose", "eye", "ear"], "skeleton": [[1, 2], [2, 3], [3, 9]]}
    entries = [
        annotation(keypoints=points, num_keypoints=2),
        annotation(id=2),
        annotation(id=3, keypoints=points[:8]),
        annotation(id=4, keypoints=[1, "x", 2]),
    ]
    data = read(tmp_path, document(entries) | {"categories": [category]})
    assert data.keypoints.select("object", "xyv", "stated").rows() == [(0, points, 2)]
    assert data.keypoint_names == ["nose", "eye", "ear"]
    assert data.skeleton == [[0, 1], [1, 2]]
    assert data.boxes.height == 4
    assert data.problems["kind"].to_list() == ["malformed-label"] * 3


def test_supercategories_crowds_and_flags_that_contradict_stay_visible(tmp_path: Path) -> None:
    entries = [annotation(iscrowd=1, segmentation=[[0, 0, 9, 0, 9, 9]]), annotation(id=2, ignore=True, category_id=9)]
    data = read(tmp_path, document(entries))
    assert data.classes["supercategory"].to_list() == ["animal", None]
    assert data.boxes["crowd"].to_list() == [True, True]
    assert data.outlines["kind"].to_list() == ["polygon"]


def test_every_odd_value_is_a_row(tmp_path: Path) -> None:
    entries: list[Any] = [
        annotation(id=1, bbox=[float("nan"), 2, math.inf, 4]),
        annotation(id=2, bbox=["1", "2", "3", "4"], area="12"),
        annotation(id=3, bbox=[1, 2, 3]),
        annotation(id=4, bbox=None),
        annotation(id=5, category_id="7"),
        annotation(id=6, category_id=None),
        annotation(id=7, image_id=99),
        annotation(id=7),
        annotation(id="7"),
        annotation(id=8, segmentation=[[1, 2, 3]]),
        annotation(id=9, segmentation=[1, 2, 3, 4, 5, 6]),
        annotation(id=10, segmentation={"counts": [1.5], "size": [1, 2]}),
        annotation(id=11, segmentation={"counts": "1"}),
        annotation(id=12, segmentation=[[]]),
        annotation(id=13, category_id=2**70),
        "text",
        None,
        annotation(id=14, area=10**400, category_id=8),
    ]
    entries.append(annotation(id=15, area="3", segmentation={"counts": "<000", "size": ["8", "10"]}))
    data = read(tmp_path, document(entries))
    assert data.outlines["rle"].to_list() == ["<000"]
    assert data.boxes["row"].to_list() == [1, 2, 5, 7, 8, 9, 10, 11, 12, 13, 14, 18, 19]
    first = data.boxes.row(0, named=True)
    assert math.isnan(first["x1"])
    assert first["x2"] != first["x2"] or math.isinf(first["x2"])
    assert data.boxes["area"].to_list()[1] == 12
    assert data.boxes["area"].to_list()[-2] == math.inf
    found = sorted((p["row"], p["kind"]) for p in data.problems.iter_rows(named=True))
    assert found == [
        (3, "malformed-label"), (4, "malformed-label"), (6, "malformed-label"), (7, "unknown-image-id"),
        (8, "duplicate-id"), (10, "malformed-label"), (11, "malformed-label"), (12, "malformed-label"),
        (13, "malformed-label"), (15, "malformed-label"), (16, "malformed-label"), (17, "malformed-label"),
    ]  # fmt: skip
    assert set(data.boxes.filter(~data.boxes["usable"])["row"]) == {1, 7, 18}


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace('"cat"', r'"c\ud800t NaN, \\ \" Infinity"').encode(),
        lambda text: text.replace('"area": 1200', '"area": NaN').encode(),
        lambda text: text.replace('"area": 1200', '"area": 3, "area": 1200').encode(),
        lambda text: text.replace('"area": 1200', '"area": 1200, "attributes": {"score": -Infinity}').encode(),
    ],
)
def test_json_that_python_writes_and_others_do_not(tmp_path: Path, change: Any) -> None:
    data = read(tmp_path, change(json.dumps(document([annotation(), annotation(id=2)]))))
    assert data.boxes["usable"].to_list() == [True, True]
    assert data.problems.is_empty()


@FUZZ
@given(
    st.lists(st.tuples(FINITE, FINITE, st.floats(0, 100), st.floats(0, 100)), max_size=30),
    st.lists(st.integers(0, 29), max_size=5, unique=True),
    st.integers(1, 400),
)
def test_chunks_and_odd_records_change_nothing(boxes: list[Any], odd: list[int], size: int) -> None:
    entries = [
        annotation(id=i, bbox=box, extra={"nested": [{"a": "}, {"}, [1, 2]]}, segmentation=[[*box, *box]])
        for i, box in enumerate(boxes)
    ]
    for i in odd:
        if i < len(entries):
            entries[i]["area"] = "1200"
    whole = json_document.CHUNK_BYTES
    with tempfile.TemporaryDirectory() as folder:
        try:
            json_document.CHUNK_BYTES = size
            data = read(Path(folder), document(entries))
        finally:
            json_document.CHUNK_BYTES = whole
    assert data.boxes["row"].to_list() == list(range(1, len(boxes) + 1))
    corners = [(x, y, x + w, y + h) for x, y, w, h in boxes]
    assert data.boxes.select("x1", "y1", "x2", "y2").rows() == corners
    assert data.boxes["area"].to_list() == [1200.0] * len(boxes)
    assert [ring for (ring,) in data.outlines["rings"].to_list()] == [[*box, *box] for box in boxes]


def test_hundred_thousand_bad_records_are_counted_not_listed(tmp_path: Path) -> None:
    bad = b"[" + b"1," * 150_000 + b"2]"
    text = json.dumps(document([])).encode().replace(b'"annotations": []', b'"annotations": ' + bad)
    data = read(tmp_path, text)
    assert data.problems.height == 10_001
    assert "140,001 more" in data.problems["message"].to_list()[-1]
    assert data.ledger.height == 10_001


def test_files_beside_the_boxes_are_named(tmp_path: Path) -> None:
    place = tmp_path / "annotations"
    place.mkdir()
    for split in ("train", "val"):
        (place / f"instances_{split}.json").write_text(json.dumps(document([annotation()])))
        (place / f"person_keypoints_{split}.json").write_text(json.dumps(document([annotation()])))
    data = examine(tmp_path, tier=Tier.LABELS, cache=False)
    assert any("person_keypoints_train.json" in note for note in data.notes)


def test_captions_are_no_boxes(tmp_path: Path) -> None:
    captions = {"images": [], "annotations": [{"image_id": 1, "id": 1, "caption": "a cat"}]}
    (tmp_path / "captions_train.json").write_text(json.dumps(captions))
    (tmp_path / "instances_train.json").write_text(json.dumps(document([annotation()])))
    assert examine(tmp_path, tier=Tier.LABELS, cache=False).problems.is_empty()
