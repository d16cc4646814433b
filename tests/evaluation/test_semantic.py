import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from snellen.evaluation.boundaries import boundary_counts, boundary_width, contour_f1
from snellen.evaluation.facts import ScoreFacts
from snellen.evaluation.pixel_confusion import count_pixels
from snellen.evaluation.semantic import NO_CLASS, evaluate_semantic


def names(classes: int) -> list[str]:
    return [f"c{k}" for k in range(classes)]


def blobs(seed: int, classes: int = 4, shape: tuple[int, int] = (40, 60), noise: float = 0.5):
    """A smooth random label map and another like it."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(2 * classes, 5, 7))
    fields = [cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC) for field in coarse]
    z, e = np.stack(fields[:classes]), np.stack(fields[classes:])
    return z.argmax(0).astype(np.uint8), (z + noise * e).argmax(0).astype(np.uint8)


DTYPES = st.sampled_from([np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64, np.uint64])


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 7), st.integers(0, 70), DTYPES, DTYPES, st.integers(0, 2**32 - 1))
def test_counts_equal_scikit_learn_for_every_dtype(classes: int, n: int, one, two, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wide = rng.choice([*range(classes), classes, 100, -1, 2**40 + 1, 2**32], (2, n))
    true, predicted = wide[0].astype(one), wide[1].astype(two)
    got = count_pixels(true[None], predicted[None], classes)
    known = (true >= 0) & (true < classes)
    folded = np.where((predicted < 0) | (predicted >= classes), classes, predicted).astype(np.int64)
    want = np.zeros((classes, classes + 1), dtype=np.int64)
    if known.any():
        want = metrics.confusion_matrix(true[known].astype(np.int64), folded[known], labels=range(classes + 1))[:-1]
    assert (got.confusion == want).all()
    assert got.unlabelled == n - known.sum()


def test_more_classes_than_the_dtype_holds() -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (count_pixels(labels, labels, 300).confusion[:256, :256] == np.eye(256)).all()
    with pytest.raises(TypeError, match="expected integers"):
        count_pixels(labels.astype(float), labels, 3)


@pytest.mark.parametrize("seed", range(6))
def test_scores_equal_scikit_learn_over_the_pixels(seed: int) -> None:
    pairs = [blobs(10 * seed + i, classes=6) for i in range(3)]
    for t, _ in pairs:
        t[:4] = 255
        t[t == 5] = 0  # a class that is predicted and never labelled
    facts = evaluate_semantic([(f"{i}.png", t, p) for i, (t, p) in enumerate(pairs)], names(7))
    true = np.concatenate([t[t < 255] for t, _ in pairs])
    guess = np.concatenate([p[t < 255] for t, p in pairs])
    iou = metrics.jaccard_score(true, guess, average=None, labels=range(6), zero_division=0)
    shares = np.bincount(true, minlength=6) / len(true)
    expected = {
        "miou": iou.mean(),
        "pixel_accuracy": metrics.accuracy_score(true, guess),
        "mean_dice": metrics.f1_score(true, guess, average="macro", labels=range(6), zero_division=0),
        "mean_accuracy": metrics.recall_score(true, guess, average="macro", labels=np.unique(true)),
        "fw_iou": float(shares @ iou),
    }
    for metric, value in expected.items():
        assert facts.score(metric) == pytest.approx(value, abs=1e-12), metric
    assert facts.per_class["iou"].to_list()[:6] == pytest.approx(iou.tolist(), abs=1e-12)
    absent = facts.per_class.row(6, named=True)
    assert (absent["iou"], absent["dice"], absent["boundary_iou"]) == (None, None, None)
    assert "neither labelled nor predicted" in absent["undefined"]
    assert facts.per_class.row(5, named=True)["iou"] == 0.0
    assert "no labelled pixel" in facts.per_class.row(5, named=True)["undefined"]


def eroded_boundary(mask: np.ndarray, width: int) -> np.ndarray:
    """The reference's region: the mask less its erosion, the image's outside being outside the mask."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inside = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
    return mask & (inside == 0)


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_boundary_iou_equals_erosion_of_every_mask(seed: int, width: int) -> None:
    t, p = blobs(seed)
    inter, union = boundary_counts(t.astype(np.uint16), p.astype(np.uint16), 4, width)
    for k in range(4):
        one, two = eroded_boundary(t == k, width), eroded_boundary(p == k, width)
        assert (inter[k], union[k]) == ((one & two).sum(), (one | two).sum())


def test_boundary_width_is_the_references() -> None:
    assert boundary_width((480, 640)) == 16
    assert boundary_width((10, 10)) == 1


def brute_contour_f1(t: np.ndarray, p: np.ndarray, k: int, distance: float) -> float | None:
    def contour(labels: np.ndarray) -> np.ndarray:
        points = []
        for y, x in np.argwhere(labels == k):
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= v < labels.shape[0] and 0 <= u < labels.shape[1] and labels[v, u] not in (k, 9):
                    points.append((y, x))
                    break
        return np.array(points).reshape(-1, 2)

    own, other = contour(t), contour(p)
    if not (t == k).any() or not (len(own) or len(other)):
        return None
    if not len(own) or not len(other):
        return 0.0
    gaps = np.sqrt(((own[:, None] - other[None]) ** 2).sum(-1))
    precision, recall = (gaps.min(0) <= distance).mean(), (gaps.min(1) <= distance).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(5))
def test_contour_f1_equals_brute_force(seed: int) -> None:
    t, p = blobs(seed, classes=3, shape=(20, 24), noise=0.8)
    t[5:8, 3:9] = p[5:8, 3:9] = 9
    for distance in (0.5, 1.0, 2.5):
        got = contour_f1(np.minimum(t, 9).astype(np.uint16), p.astype(np.uint16), 9, distance)
        for k in range(4):
            want = brute_contour_f1(t, p, k, distance)
            assert (None if np.isnan(got[k]) else got[k]) == (None if want is None else pytest.approx(want)), (k, want)


def test_a_perfect_map_scores_one_whatever_is_unlabelled() -> None:
    t, _ = blobs(3)
    t[10:20, 10:30] = 255
    p = np.where(t == 255, 2, t)
    facts = evaluate_semantic([("a", t, p), ("b", t, p)], names(4))
    for row in facts.scores.iter_rows(named=True):
        assert row["value"] == pytest.approx(1.0), row["metric"]
    assert facts.predictions.select("iou", "loss", "class_name").row(0) == (1.0, 0.0, None)
    assert facts.problems.is_empty()


def test_the_worst_image_and_its_costliest_confusion_are_named() -> None:
    t, p = blobs(4, noise=0.1)
    bad = np.where(t == 1, 3, t)
    facts = evaluate_semantic([("fine", t, t), ("bad", t, bad), ("middling", t, p)], names(4))
    worst = facts.predictions.sort("iou").row(0, named=True)
    assert (worst["image"], worst["true_class"], worst["class_name"]) == ("bad", "c1", "c3")
    assert worst["loss"] == pytest.approx(float((t == 1).mean()))
    row = facts.scores.filter(metric="miou").row(0, named=True)
    assert row["low"] < row["value"] < row["high"]


def test_bad_maps_are_listed_and_never_a_crash(tmp_path) -> None:
    t, p = blobs(5)
    odd_truth, odd_guess = t.astype(np.int32), p.astype(np.int64)
    odd_truth[0, :3], odd_guess[1, :2] = (-7, 77, 77), 200
    facts = evaluate_semantic(
        [
            ("good", t, p),
            ("shape", t, p[:-1]),
            ("float", t, p.astype(float)),
            ("rgb", np.stack([t] * 3), p),
            ("void", np.full_like(t, 255), p),
            ("odd", odd_truth, odd_guess),
            ("empty", np.zeros((0, 5), dtype=np.uint8), np.zeros((0, 5), dtype=np.uint8)),
        ],
        names(4),
    )
    told = facts.problems.select("kind", "row", "image").rows()
    assert told == [
        ("shape-mismatch", 2, "shape"),
        ("not-a-label-map", 3, "float"),
        ("not-a-label-map", 4, "rgb"),
        ("unlabelled-image", 5, "void"),
        ("object-unknown-class", 6, "odd"),
        ("unknown-class", 6, "odd"),
        ("unlabelled-image", 7, "empty"),
    ]
    assert facts.problems.filter(kind="object-unknown-class")["value"][0] == "3 pixels of value -7, 77"
    assert facts.predictions["image"].to_list() == ["good", "odd"]
    assert facts.confusion.filter(predicted_class=NO_CLASS)["count"].sum() == 2
    assert facts.images == 7
    facts.save(tmp_path)
    assert ScoreFacts.load(tmp_path).per_class.equals(facts.per_class)


def test_nothing_to_score_is_undefined() -> None:
    facts = evaluate_semantic([], names(3))
    assert facts.score("miou") is None
    assert set(facts.scores["undefined"]) == {"no image could be scored"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = evaluate_semantic([("a", np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8))], names(2))
    assert one.score("miou") == 1.0
    assert one.score("boundary_f") is None
    assert one.scores.filter(metric="boundary_f")["undefined"][0] == "no class has a boundary"
    with pytest.raises(ValueError, match="twice"):
        evaluate_semantic([], ["a", "a"])


def test_a_class_can_be_the_one_to_ignore() -> None:
    t, p = blobs(6)
    facts = evaluate_semantic([("a", t, p)], names(4), ignore_index=0)
    moved = evaluate_semantic([("a", np.where(t == 0, 255, t), p)], names(4))
    assert facts.scores.equals(moved.scores)
    assert facts.problems.is_empty()
