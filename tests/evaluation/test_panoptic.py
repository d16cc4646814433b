"""Hand-worked cases, and the reference's own numbers on seeded ones.

The numbers of REFERENCE were printed by cocodataset/panopticapi (`pq_compute_single_core`, `pq_average`) for the very
cases that `random_case` makes; the package is not on PyPI. Where it can be imported, it is run, on twenty more cases,
and `python -m tests.evaluation.test_panoptic` prints the numbers anew.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from snellen.evaluation.facts import BACKGROUND_CLASS, ScoreFacts
from snellen.evaluation.panoptic import PanopticImage, Segment, evaluate_panoptic
from snellen.evaluation.panoptic_match import segment_boxes

CLASSES = ["cat", "dog", "sky", "grass"]
THINGS = {"cat", "dog"}
REFERENCE: dict[int, tuple[float, ...]] = {
    0: (
        0.5322792258574234,
        0.7673790190369081,
        0.6937229437229436,
        0.5180806413205554,
        0.7505346327415652,
        0.6904761904761905,
        0.5464778103942913,
        0.7842234053322509,
        0.696969696969697,
    ),
    1: (
        0.5472507237241715,
        0.7492589444172663,
        0.7357142857142858,
        0.5977236115891578,
        0.789920282332047,
        0.7571428571428571,
        0.49677783585918533,
        0.7085976065024855,
        0.7142857142857143,
    ),
    2: (
        0.4298482108032451,
        0.760093270666795,
        0.5666666666666667,
        0.46033880705675506,
        0.7414063068647807,
        0.6190476190476191,
        0.3993576145497352,
        0.7787802344688093,
        0.5142857142857142,
    ),
    3: (
        0.4420863583855148,
        0.6807645781011047,
        0.6568764568764569,
        0.4781058819477625,
        0.6829642776845007,
        0.7076923076923077,
        0.4060668348232671,
        0.6785648785177087,
        0.606060606060606,
    ),
    4: (
        0.4447698296958218,
        0.7604438218283901,
        0.5867604617604617,
        0.4813735402127489,
        0.7424962965245536,
        0.6507936507936507,
        0.4081661191788946,
        0.7783913471322265,
        0.5227272727272727,
    ),
    5: (
        0.40355398785354357,
        0.6913942386812935,
        0.5929292929292929,
        0.3083304335011433,
        0.7296397017926667,
        0.4222222222222222,
        0.49877754220594395,
        0.6531487755699201,
        0.7636363636363637,
    ),
}


def random_map(rng: np.random.Generator, segments: int) -> np.ndarray:
    """A (24, 32) map of rectangles over void, with ids that leave gaps."""
    out = np.zeros((24, 32), dtype=np.int64)
    for i in range(1, segments + 1):
        y, x = rng.integers(0, 18), rng.integers(0, 24)
        out[y : y + rng.integers(4, 14), x : x + rng.integers(4, 16)] = 1000 * i + 7
    return out


def random_case(seed: int, images: int = 4) -> list[PanopticImage]:
    rng = np.random.default_rng(seed)
    cases = []
    for number in range(images):
        true = random_map(rng, 7)
        predicted = np.where(
            rng.random(true.shape) < 0.1, random_map(rng, 5), np.roll(true, rng.integers(0, 3), axis=1)
        )
        true_segments = [
            Segment(int(i), CLASSES[rng.integers(4)], bool(rng.random() < 0.2)) for i in np.unique(true) if i
        ]
        named = {s.id: s.class_name for s in true_segments}
        predicted_segments = [
            Segment(int(i), named[i] if i in named and rng.random() < 0.8 else CLASSES[rng.integers(4)])
            for i in np.unique(predicted)
            if i
        ]
        cases.append(PanopticImage(f"{number}.png", true, true_segments, predicted, predicted_segments))
    return cases


def headline(facts: ScoreFacts) -> tuple[float | None, ...]:
    return tuple(facts.score(m + g) for g in ("", "_things", "_stuff") for m in ("pq", "sq", "rq"))


def panopticapi_numbers(cases: list[PanopticImage], folder: Path) -> tuple[float, ...]:
    """What the reference makes of `cases`: PQ, SQ, RQ of all classes, of things, of stuff; NaN without classes."""
    from panopticapi.evaluation import pq_compute_single_core

    categories = {k: {"id": k, "name": name, "isthing": int(name in THINGS)} for k, name in enumerate(CLASSES)}
    pairs = []
    for case in cases:
        both = []
        for side, labels, segments in (
            ("true", np.asarray(case.true_map), case.true_segments),
            ("predicted", np.asarray(case.predicted_map), case.predicted_segments),
        ):
            rgb = np.stack([labels % 256, labels // 256 % 256, labels // 65536], axis=-1).astype(np.uint8)
            (folder / side).mkdir(exist_ok=True)
            Image.fromarray(rgb).save(folder / side / f"{case.name}")
            infos = [
                {"id": s.id, "category_id": CLASSES.index(s.class_name), "iscrowd": int(s.crowd),
                 "area": int((labels == s.id).sum())}
                for s in segments
            ]  # fmt: skip
            both.append({"image_id": case.name, "file_name": case.name, "segments_info": infos})
        pairs.append(tuple(both))
    stat = pq_compute_single_core(0, pairs, str(folder / "true"), str(folder / "predicted"), categories)
    out: list[float] = []
    for isthing in (None, True, False):
        found, _ = stat.pq_average(categories, isthing)
        out += [float(found[m]) for m in ("pq", "sq", "rq")]
    return tuple(out)


@pytest.mark.parametrize("seed", range(100, 120))
def test_equals_panopticapi_itself_where_it_is_installed(seed: int, tmp_path: Path) -> None:
    pytest.importorskip("panopticapi", reason="github.com/cocodataset/panopticapi is not on PyPI")
    cases = random_case(seed)
    facts = evaluate_panoptic(cases, CLASSES, THINGS, bootstrap=0)
    assert headline(facts) == pytest.approx(panopticapi_numbers(cases, tmp_path), abs=1e-12)


@pytest.mark.parametrize("seed", REFERENCE)
def test_equals_panopticapi(seed: int) -> None:
    facts = evaluate_panoptic(random_case(seed), CLASSES, THINGS, bootstrap=0)
    assert facts.problems.is_empty()
    assert headline(facts) == pytest.approx(REFERENCE[seed], abs=1e-12)


def one(true: Any, true_segments: list[Segment], predicted: Any, segments: list[Segment]) -> ScoreFacts:
    image = PanopticImage("a.png", np.array(true), true_segments, np.array(predicted), segments)
    return evaluate_panoptic([image], CLASSES, THINGS, bootstrap=0)


def test_a_match_a_miss_and_a_false_positive_by_hand() -> None:
    """A cat of 4 px found with 3 of them (IoU 3/4), a dog missed, a cat invented on the dog's place: PQ 0.75 / 1.5."""
    true = [[1, 1, 2, 2, 9, 9], [1, 1, 2, 2, 9, 9]]
    guess = [[1, 1, 5, 5, 9, 9], [1, 9, 5, 5, 9, 9]]
    facts = one(
        true, [Segment(1, "cat"), Segment(2, "dog"), Segment(9, "sky")],
        guess, [Segment(1, "cat"), Segment(5, "cat"), Segment(9, "sky")],
    )  # fmt: skip
    cat, dog, sky, grass = (facts.per_class.row(k, named=True) for k in range(4))
    assert (cat["pq"], cat["sq"], cat["rq"]) == pytest.approx((0.5, 0.75, 2 / 3))
    assert (dog["pq"], dog["sq"], dog["rq"]) == (0.0, None, 0.0)
    assert "counts as 0 in means" in dog["undefined"]
    assert sky["pq"] == pytest.approx(4 / 5)
    assert (grass["pq"], grass["undefined"]) == (None, "neither labelled nor predicted: PQ, SQ and RQ are 0 / 0")
    assert facts.score("pq") == pytest.approx((0.5 + 0 + 0.8) / 3)
    assert facts.score("pq_things") == pytest.approx(0.25)
    assert facts.score("pq_stuff") == pytest.approx(0.8)
    told = facts.predictions.select("class_name", "true_class", "outcome").rows()
    assert told == [("cat", "cat", "correct"), ("cat", "dog", "classification"), ("sky", "sky", "correct")]
    assert facts.objects.select("class_name", "found").rows() == [("cat", True), ("dog", False), ("sky", True)]
    assert set(facts.confusion.rows()) == {("cat", "cat", 1), ("dog", "cat", 1), ("sky", "sky", 1)}


def test_void_counts_neither_in_the_union_nor_as_an_error() -> None:
    true, guess = [[1, 1, 0, 0, 0, 0]], [[1, 1, 1, 1, 2, 2]]
    facts = one(true, [Segment(1, "cat")], guess, [Segment(1, "cat"), Segment(2, "dog")])
    assert headline(facts)[:3] == (1.0, 1.0, 1.0)
    assert facts.predictions["outcome"].to_list() == ["correct", "ignored"]


def test_half_on_void_is_an_error_and_more_is_none() -> None:
    for guess, pq in (([[0, 2, 2, 2, 2, 0]], 0.0), ([[0, 0, 2, 2, 2, 0]], None)):
        facts = one([[9, 9, 9, 0, 0, 0]], [Segment(9, "sky")], guess, [Segment(2, "dog")])
        assert facts.per_class.filter(class_name="dog")["pq"][0] == pq


def test_crowd_is_not_missed_and_excuses_its_class_alone() -> None:
    true, guess = [[1, 1, 1, 1, 2, 2]], [[3, 3, 4, 4, 2, 2]]
    segments = [Segment(1, "cat", crowd=True), Segment(2, "sky")]
    facts = one(true, segments, guess, [Segment(3, "cat"), Segment(4, "dog"), Segment(2, "sky")])
    assert facts.predictions["outcome"].to_list() == ["ignored", "background", "correct"]
    assert facts.per_class["pq"].to_list() == [None, 0.0, 1.0, None]
    assert facts.confusion.filter(true_class=BACKGROUND_CLASS).rows() == [(BACKGROUND_CLASS, "dog", 1)]


def test_an_overlap_of_exactly_one_half_is_no_match() -> None:
    facts = one(
        [[1, 1, 9, 9]], [Segment(1, "cat"), Segment(9, "sky")], [[1, 8, 8, 8]], [Segment(1, "cat"), Segment(8, "sky")]
    )
    assert facts.per_class.filter(class_name="cat")["pq"][0] == 0.0
    assert facts.per_class.filter(class_name="sky")["pq"][0] == pytest.approx(2 / 3)


def test_illegal_input_is_listed_where_the_reference_stops(tmp_path) -> None:
    good = np.array([[1, 1, 2, 2]])
    segments = [Segment(1, "cat"), Segment(2, "sky")]
    odd = [Segment(1, "cat"), Segment(1, "dog"), Segment(2, "ghost"), Segment(3, "dog"), Segment(0, "sky")]
    facts = evaluate_panoptic(
        [
            PanopticImage("fine", good, segments, good, segments),
            PanopticImage("odd", np.array([[1, 1, 7, 7]]), odd[:1], np.array([[1, 1, 2, 8]]), odd),
            PanopticImage("shape", good, segments, good.T, segments),
            PanopticImage("float", good, segments, good / 2, segments),
            PanopticImage("nothing", np.zeros((0, 0), int), [], np.zeros((0, 0), int), []),
        ],
        CLASSES,
        THINGS,
    )
    assert facts.problems.select("image", "kind").rows() == [
        ("odd", "object-pixels-without-segment"),
        ("odd", "duplicate-segment-id"),
        ("odd", "unknown-class"),
        ("odd", "segment-without-pixels"),
        ("odd", "void-segment"),
        ("odd", "pixels-without-segment"),
        ("shape", "shape-mismatch"),
        ("float", "not-a-label-map"),
    ]
    assert facts.score("pq") == 1.0
    assert facts.images == 5
    facts.save(tmp_path)
    assert ScoreFacts.load(tmp_path).objects.equals(facts.objects)


def test_nothing_is_undefined() -> None:
    facts = evaluate_panoptic([], CLASSES, THINGS)
    assert headline(facts) == (None,) * 9
    assert set(facts.scores["undefined"]) == {"no class of these is labelled or predicted"}
    with pytest.raises(ValueError, match="lacks one of"):
        evaluate_panoptic([], CLASSES, {"ghost"})


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_perfect_prediction_scores_one_and_boxes_hold_their_pixels(seed: int) -> None:
    cases = [
        PanopticImage(c.name, c.true_map, [Segment(s.id, s.class_name) for s in c.true_segments], c.true_map,
                      [Segment(s.id, s.class_name) for s in c.true_segments])
        for c in random_case(seed, images=2)
    ]  # fmt: skip
    facts = evaluate_panoptic(cases, CLASSES, THINGS, bootstrap=12)
    assert facts.score("pq") == 1.0
    row = facts.scores.filter(metric="pq").row(0, named=True)
    assert (row["low"], row["high"]) == (1.0, 1.0)
    labels = np.asarray(cases[0].true_map)
    ids = np.array([s.id for s in cases[0].true_segments])
    for i, box in zip(ids, segment_boxes(labels, ids), strict=True):
        ys, xs = np.nonzero(labels == i)
        assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(6):
            print(f"    {number}: {panopticapi_numbers(random_case(number), Path(scratch))},")
