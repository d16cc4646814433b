"""What is written in a format and read again is what it was, within the precision that the writer states."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from snellen.data.examine import examine
from snellen.data.facts import DataFacts
from snellen.data.writers.formats import writer
from snellen.data.writers.losses import Losses
from snellen.data.writers.save import save
from snellen.findings.severity import Tier
from snellen.progress import silent
from tests.data.writers.generated import datasets, on_disk

Labels = dict[str, tuple[str | None, list[tuple[Any, ...]]]]
quick = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def through(data: DataFacts, name: str) -> tuple[DataFacts, DataFacts, dict[str, str], Losses]:
    with on_disk(data) as (there, folder):
        losses = Losses()
        written = writer(name)(there, losses)
        target = folder / "target"
        target.mkdir()
        save(there, written, target, "link", losses, silent)
        again = examine(target, tier=Tier.HEADERS, cache=False, workers=1)
    return there, again, dict(written.places), losses


def labels(data: DataFacts, places: Callable[[str], str], digits: int, *columns: str) -> Labels:
    found: Labels = {places(image): (split, []) for image, split in data.images.select("image", "split").iter_rows()}
    for row in data.boxes.iter_rows(named=True):
        box = tuple(round(row[c], digits) + 0.0 for c in ("x1", "y1", "x2", "y2"))
        found[places(row["image"])][1].append((row["class_name"], box, *(row[c] for c in columns)))
    return {image: (split, sorted(rows, key=repr)) for image, (split, rows) in found.items()}


def same(name: str, data: DataFacts, digits: int, *columns: str, splits: bool = True) -> tuple[DataFacts, Losses]:
    before, after, places, losses = through(data, name)
    assert after.problems.to_dicts() == []
    left, right = labels(before, places.__getitem__, digits, *columns), labels(after, str, digits, *columns)
    if "splits" in losses or not splits:
        left, right = ({k: (None, v[1]) for k, v in x.items()} for x in (left, right))
    assert left == right
    return after, losses


@quick
@given(datasets())
def test_coco_keeps_boxes_classes_ids_crowds_and_splits(data: DataFacts) -> None:
    after, losses = same("coco", data, 6, "crowd", "class_id")
    assert dict(after.images.select("image", "image_id").iter_rows()) == dict(
        data.images.select("image", "image_id").iter_rows()
    )
    assert {kind for kind, _ in losses} <= {"splits", "keypoint-flip"}


@quick
@given(datasets())
def test_voc_keeps_boxes_classes_difficult_and_splits(data: DataFacts) -> None:
    _, losses = same("voc", data, 9, "crowd")
    assert {k for k, _ in losses} <= {"decimals", "unused-classes", "hidden-images", "renamed-images"}


@quick
@given(datasets())
def test_yolo_keeps_boxes_to_a_millionth_pixel(data: DataFacts) -> None:
    after, losses = same("yolo", data, 5)
    assert after.classes["class_name"].to_list() == data.classes["class_name"].to_list()
    assert losses.count("crowd-flags") == data.boxes["crowd"].sum()


@quick
@given(datasets(ids=False))
def test_every_kind_of_yolo_row_keeps_the_boxes(data: DataFacts) -> None:
    for name in ("yolo-segments", "yolo-obb"):
        same(name, data, 5)


@quick
@given(datasets())
def test_csv_keeps_boxes_classes_crowds_and_splits(data: DataFacts) -> None:
    if through(data, "csv")[3].count("ambiguous-corners"):
        return
    after, losses = same("csv", data, 9, "crowd")
    assert after.classes["class_name"].to_list() == data.classes["class_name"].to_list()
    assert {k for k, _ in losses} <= {"class-names"}


@quick
@given(datasets())
def test_open_images_keeps_boxes_classes_and_groups(data: DataFacts) -> None:
    if not data.boxes.height:
        return
    before, after, places, losses = through(data, "open-images")
    boxed = set(data.boxes["image"])
    left = {k: v for k, v in labels(before, places.__getitem__, 5, "crowd").items() if v[1]}
    right = labels(after, str, 5, "crowd")
    assert losses.count("images-without-boxes") == data.images.height - len(boxed)
    if "splits" in losses:
        left, right = ({k: (None, v[1]) for k, v in x.items()} for x in (left, right))
    assert left == right


def shapes(data: DataFacts, places: Callable[[str], str], digits: int) -> list[Any]:
    """Rings and keypoints by image and class."""
    rings = [
        (places(r["image"]), r["class_name"], r["kind"], [[round(v, digits) + 0.0 for v in x] for x in r["rings"]])
        for r in data.outlines.iter_rows(named=True)
    ]
    poses = [
        (places(r["image"]), r["class_name"], [round(v, digits) + 0.0 for v in r["xyv"]])
        for r in data.keypoints.iter_rows(named=True)
    ]
    return [sorted(rings, key=repr), sorted(poses, key=repr)]


@quick
@given(datasets(outlines=("polygon",), keypoints=True))
def test_coco_keeps_every_ring_and_keypoint(data: DataFacts) -> None:
    before, after, places, _losses = through(data, "coco")
    assert shapes(before, places.__getitem__, 9) == shapes(after, str, 9)
    if data.keypoints.height:
        assert after.keypoint_names == data.keypoint_names
    assert after.keypoints["stated"].sum() == data.keypoints["stated"].sum()


@quick
@given(datasets(keypoints=True))
def test_yolo_pose_keeps_boxes_and_keypoints(data: DataFacts) -> None:
    if not data.keypoints.height:
        return
    before, after, places, _ = through(data, "yolo-pose")
    assert labels(before, places.__getitem__, 5).keys() == labels(after, str, 5).keys()
    assert shapes(before, places.__getitem__, 5) == shapes(after, str, 5)
    assert after.keypoint_flip == data.keypoint_flip


@quick
@given(datasets(outlines=("oriented",)))
def test_yolo_obb_keeps_rotated_boxes(data: DataFacts) -> None:
    before, after, places, losses = through(data, "yolo-obb")
    turned = shapes(before, places.__getitem__, 5)[0]
    found = shapes(after, str, 5)[0]
    assert [ring for ring in found if ring in turned] == turned
    assert len(found) == data.boxes.height
    assert losses.count("upright-boxes") == data.boxes.height - len(turned)


@quick
@given(datasets(outlines=("polygon",)))
def test_yolo_segments_join_rings_without_adding_area(data: DataFacts) -> None:
    from snellen.data.writers.coco import _area

    before, after, _, losses = through(data, "yolo-segments")
    assert losses.count("parts") == sum(len(r) > 1 for r in data.outlines["rings"])
    areas = {row["object"]: row["rings"] for row in before.outlines.iter_rows(named=True)}
    hulls = sorted(round(v, 3) for r in areas.values() for v in (min(x for g in r for x in g[0::2]),))
    drawn = [row["rings"][0] for row in after.outlines.iter_rows(named=True)]
    assert len(drawn) == data.boxes.height
    for hull in hulls:
        assert any(abs(min(ring[0::2]) - hull) < 1e-2 for ring in drawn)
    single = sorted(_area(r) for r in areas.values() if len(r) == 1)
    assert all(any(abs(_area([ring]) - a) < 1e-2 for ring in drawn) for a in single)


@pytest.mark.parametrize("name", ["coco", "voc", "yolo", "csv"])
def test_a_second_trip_changes_nothing(name: str, tmp_path: Path) -> None:
    """A -> F -> A' -> F gives the same files as A -> F."""
    from snellen.verbs.convert import convert
    from tests.rules.data_injections import detection

    convert(detection(tmp_path), tmp_path / "one", to=name)
    convert(tmp_path / "one", tmp_path / "two", to=name)
    files = {p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file()}
    assert files == {p.relative_to(tmp_path / "two") for p in (tmp_path / "two").rglob("*") if p.is_file()}
    for path in files - {Path("conversion.json")}:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()
