"""Run lengths and overlaps of masks against pycocotools, and what a hostile file may hold."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as reference
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from snellen.evaluation.coco_core import Detections, Objects, coco_summary, match
from snellen.evaluation.masks import MaskOverlap, Masks, encode, read_segmentations
from snellen.evaluation.pairs import Pairs

H, W = 37, 50
sizes = st.tuples(st.integers(1, 70), st.integers(1, 70))
coordinates = st.one_of(st.floats(-30, 100), st.integers(-5, 80).map(float), st.integers(-10, 160).map(lambda v: v / 2))
polygons = st.lists(coordinates, min_size=6, max_size=30).map(lambda v: v[: len(v) // 2 * 2])


def blobs(rng: np.random.Generator, count: int, height: int = H, width: int = W) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    centre = rng.uniform(0, [height, width], (count, 2))
    radius = rng.uniform(1, [1 + height / 2, 1 + width / 2], (count, 2))
    return (
        ((y - centre[:, :1, None]) / radius[:, :1, None]) ** 2 + ((x - centre[:, 1:, None]) / radius[:, 1:, None]) ** 2
    ) < 1


def rles(masks: np.ndarray) -> list[dict[str, Any]]:
    return [reference.encode(np.asfortranarray(m.astype(np.uint8))) for m in masks]


def read(items: list[Any], height: int, width: int) -> tuple[Masks, list[tuple[int, str, str]]]:
    return read_segmentations(items, np.tile([[height, width]], (len(items), 1)))


def overlap(mine: Masks, other: Masks, crowd: np.ndarray, floor: float = 0.0) -> np.ndarray:
    n, m = len(mine), len(other)
    one = [np.array([v]) for v in (0, n, 0, m)]
    pairs = Pairs(np.arange(n), np.arange(m), *one, np.array([0, n * m]))
    return MaskOverlap(mine, other, crowd, floor)(pairs).reshape(n, m)


@settings(deadline=None)
@given(size=sizes, kind=st.sampled_from(["noise", "blob", "full", "empty", "sparse"]), seed=st.integers(0, 999))
def test_dense_masks_are_encoded_measured_and_decoded_as_in_pycocotools(
    size: tuple[int, int], kind: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    dense = {
        "noise": rng.random((3, *size)) < 0.5,
        "sparse": rng.random((3, *size)) < 0.02,
        "blob": blobs(rng, 3, *size),
        "full": np.ones((3, *size), dtype=bool),
        "empty": np.zeros((3, *size), dtype=bool),
    }[kind]
    masks, expected = encode(dense), rles(dense)
    assert [masks.compressed(i) for i in range(3)] == [r["counts"] for r in expected]
    assert masks.areas.tolist() == reference.area(expected).tolist()
    assert masks.boxes_xywh.tolist() == reference.toBbox(expected).tolist()
    assert all(np.array_equal(masks.dense(i), dense[i]) for i in range(3))
    again, problems = read(expected, *size)
    assert problems == []
    assert np.array_equal(again.runs, masks.runs)
    texts = [r | {"counts": r["counts"].decode()} for r in expected]
    assert np.array_equal(read(texts, *size)[0].runs, masks.runs)
    lists = [{"size": list(size), "counts": masks.counts(i).tolist()} for i in range(3)]
    assert np.array_equal(read(lists, *size)[0].runs, masks.runs)


@settings(max_examples=400, deadline=None)
@given(rings=st.lists(polygons, min_size=1, max_size=3), size=sizes)
def test_polygons_are_drawn_as_in_pycocotools(rings: list[list[float]], size: tuple[int, int]) -> None:
    masks, problems = read([rings], *size)
    assert problems == []
    assert masks.compressed(0) == reference.merge(reference.frPyObjects(rings, *size))["counts"]


@settings(deadline=None)
@given(seed=st.integers(0, 9999), empty=st.booleans())
def test_overlaps_equal_pycocotools(seed: int, empty: bool) -> None:
    rng = np.random.default_rng(seed)
    a, b = blobs(rng, 6), blobs(rng, 4)
    if empty:
        a[0], b[0] = False, False
    crowd = rng.random(4) < 0.5
    expected = reference.iou(rles(a), rles(b), crowd.astype(np.uint8))
    assert np.array_equal(overlap(encode(a), encode(b), crowd), expected)
    above = overlap(encode(a), encode(b), crowd, floor=0.5)
    assert np.array_equal(above[expected >= 0.5], expected[expected >= 0.5])
    assert (above[expected < 0.5] <= expected[expected < 0.5]).all()


def test_masks_of_unequal_size_do_not_overlap() -> None:
    wide, tall = encode(np.ones((1, 4, 6), dtype=bool)), encode(np.ones((1, 6, 4), dtype=bool))
    assert overlap(wide, tall, np.zeros(1, dtype=bool)).tolist() == [[0.0]]


def test_kinds_may_be_mixed_and_keep_their_order() -> None:
    dense = blobs(np.random.default_rng(3), 3)
    ring = [2.0, 2.0, 30.0, 5.0, 20.0, 30.0]
    listed = {"size": [H, W], "counts": encode(dense[1:2]).counts(0).tolist()}
    masks, problems = read([rles(dense)[0], [ring], None, listed, rles(dense)[2]], H, W)
    assert [p[:2] for p in problems] == [(2, "no-segmentation")]
    assert np.array_equal(masks.dense(0), dense[0])
    assert masks.compressed(1) == reference.frPyObjects([ring], H, W)[0]["counts"]
    assert masks.areas[2] == 0
    assert np.array_equal(masks.dense(3), dense[1])
    assert np.array_equal(masks.dense(4), dense[2])


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        (None, "no-segmentation"),
        ([], "no-segmentation"),
        ("text", "no-segmentation"),
        ([[]], "malformed-polygon"),
        ([[1, 2, 3, 4]], "malformed-polygon"),
        ([[1, 2, 3, 4, 5, 6, 7]], "malformed-polygon"),
        ([[1, 2, 3, 4, 5, float("nan")]], "malformed-polygon"),
        ([[1, 2, 3, 4, 5, 1e300]], "malformed-polygon"),
        ([[1, 2, 3, 4, 5, None]], "malformed-polygon"),
        ([[1, 2, 3, 4, 5, [6]]], "malformed-polygon"),
        ([1, 2, 3, 4, 5, 6], "malformed-polygon"),
        ({}, "malformed-rle"),
        ({"size": [H, W]}, "malformed-rle"),
        ({"size": 7, "counts": "x"}, "malformed-rle"),
        ({"size": [W, H], "counts": [H * W]}, "mask-size"),
        ({"size": [H, "50"], "counts": [H * W]}, "mask-size"),
        ({"size": [H, W], "counts": [H * W + 1]}, "rle-size"),
        ({"size": [H, W], "counts": [H * W - 1]}, "rle-size"),
        ({"size": [H, W], "counts": []}, "rle-size"),
        ({"size": [H, W], "counts": ""}, "rle-size"),
        ({"size": [H, W], "counts": [5, -5, H * W]}, "malformed-rle"),
        ({"size": [H, W], "counts": [1.5, 2]}, "malformed-rle"),
        ({"size": [H, W], "counts": [10**30]}, "malformed-rle"),
        ({"size": [H, W], "counts": [2**62, 2**62]}, "rle-size"),
        ({"size": [H, W], "counts": "\u2603"}, "malformed-rle"),
        ({"size": [H, W], "counts": "oooooooooooooooooooo"}, "malformed-rle"),
        ({"size": [H, W], "counts": "o"}, "malformed-rle"),
    ],
)
def test_what_cannot_be_read_is_a_problem_and_an_empty_mask(item: Any, kind: str) -> None:
    good = encode(blobs(np.random.default_rng(0), 1))
    masks, problems = read([{"size": [H, W], "counts": good.compressed(0)}, item], H, W)
    assert [p[:2] for p in problems] == [(1, kind)]
    assert masks.areas.tolist() == [good.areas[0], 0]
    assert np.array_equal(masks.runs, good.runs)


@settings(deadline=None)
@given(texts=st.lists(st.one_of(st.binary(max_size=40), st.text(max_size=40)), max_size=5))
def test_any_text_is_read_or_named(texts: list[Any]) -> None:
    masks, problems = read([{"size": [H, W], "counts": t} for t in texts], H, W)
    bad = {row for row, _, _ in problems}
    assert len(masks) == len(texts)
    for row in set(range(len(texts))) - bad:
        assert masks.counts(row).sum() == H * W
        assert masks.dense(row).sum() == masks.areas[row]


def test_an_image_too_large_for_run_lengths_is_a_problem() -> None:
    _, problems = read([{"size": [10**6, 10**6], "counts": [10**12]}], 10**6, 10**6)
    assert problems[0][1] == "image-size"


def test_dense_masks_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="bool"):
        encode(np.ones((2, 3, 4), dtype=np.uint8))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_twelve_numbers_of_masks_equal_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    side, images, classes, objects = 160, 3, 2, int(rng.integers(1, 14))
    truth = blobs(rng, objects, side, side)
    source = rng.integers(0, objects, 25)
    found = np.stack([np.roll(truth[s], rng.integers(-4, 5, 2), (0, 1)) for s in source])
    crowd = rng.random(objects) < 0.2
    ids = {
        "image": rng.integers(0, images, objects), "class": rng.integers(0, classes, objects),
        "score": np.round(rng.random(25), 1),
    }  # fmt: skip
    truth_rles, found_rles = rles(truth), rles(found)
    document = {
        "images": [{"id": i + 1, "height": side, "width": side} for i in range(images)],
        "categories": [{"id": k + 1} for k in range(classes)],
        "annotations": [
            {
                "id": n + 1, "image_id": int(i) + 1, "category_id": int(k) + 1, "iscrowd": int(c),
                "segmentation": r, "area": int(reference.area(r)), "bbox": reference.toBbox(r).tolist(),
            }
            for n, (i, k, c, r) in enumerate(zip(ids["image"], ids["class"], crowd, truth_rles, strict=True))
        ],
    }  # fmt: skip
    results = [
        {"image_id": int(ids["image"][s]) + 1, "category_id": int(ids["class"][s]) + 1, "segmentation": r, "score": v}
        for s, r, v in zip(source, found_rles, ids["score"].tolist(), strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = document
        coco.createIndex()
        expected = COCOeval(coco, coco.loadRes(results), "segm")
        expected.evaluate()
        expected.accumulate()
        expected.summarize()
    mine, other = read(found_rles, side, side)[0], encode(truth)
    matching = match(
        Objects(ids["class"], ids["image"], other.areas, crowd, crowd),
        Detections(ids["class"][source], ids["image"][source], ids["score"], mine.areas),
        MaskOverlap(mine, other, crowd),
        num_classes=classes,
        num_images=images,
    )
    assert [-1.0 if v is None else v for v in coco_summary(matching).values()] == expected.stats.tolist()
