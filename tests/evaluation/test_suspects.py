"""Labels that predictions speak against: the right ones are accused, and only by a model that knows better."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.evaluation.confident_learning import class_thresholds, suggested_classes
from snellen.evaluation.facts import ScoreFacts
from snellen.evaluation.suspects import classification_suspects, detection_suspects
from tests.rules.evaluation_injections import detector, good_detector, perfect_detections, scored
from tests.rules.label_error_injections import left_out, moved, renamed, some


def healthy(**options: float) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    truth, _guesses, images = good_detector()
    return truth, detector(truth, images, np.random.default_rng(1), confused=0.0, **options), images


def said(labels: pl.DataFrame, guesses: pl.DataFrame, images: list[str], **options: object) -> ScoreFacts:
    return scored(labels, guesses, images, **options)[0]


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [("overlooked", left_out), ("swapped", renamed), ("misplaced", moved)],
    ids=["overlooked", "swapped", "misplaced"],
)
def test_each_kind_of_wrong_label_is_told_from_the_others(kind: str, spoil: object) -> None:
    truth, guesses, images = healthy()
    facts = said(spoil(truth), guesses, images)  # type: ignore[operator]
    suspects = facts.suspects
    assert set(suspects["kind"]) == {kind}
    assert len(suspects) >= 5
    wrong = truth.filter(some(truth))
    assert set(suspects["image"]) <= set(wrong["image"])
    assert suspects["score"].is_sorted(descending=True)
    assert (suspects["score"] >= suspects["usual"]).all()
    assert suspects["object"].is_null().all() == (kind == "overlooked")


def test_labels_that_fit_are_not_accused() -> None:
    assert said(*healthy()).suspects.is_empty()
    assert perfect_detections(None)[0].suspects.is_empty()  # type: ignore[arg-type]


def test_a_part_of_a_labelled_object_is_not_overlooked() -> None:
    truth, guesses, images = healthy()
    part = truth.filter(pl.int_range(pl.len()) % 20 == 0).with_columns(
        pl.lit(1.0).alias("score"), pl.col("x1") + 0.2 * (pl.col("x2") - pl.col("x1")),
        x2=pl.col("x1") + 0.4 * (pl.col("x2") - pl.col("x1")), y2=pl.col("y1") + 0.3 * (pl.col("y2") - pl.col("y1")),
    )  # fmt: skip
    facts = said(truth, pl.concat([guesses, part.select(guesses.columns)]), images)
    assert "overlooked" not in set(facts.suspects["kind"])


def test_a_label_that_another_prediction_defends_stands() -> None:
    truth, guesses, images = healthy()
    labels = renamed(truth)
    defence = labels.filter(some(truth)).with_columns(pl.lit(0.9).alias("score")).select(guesses.columns)
    assert said(labels, pl.concat([guesses, defence]), images).suspects.is_empty()


def test_images_learned_from_are_held_to_the_higher_bar() -> None:
    truth, guesses, images = healthy()
    learned = images[::2]
    # As a network does that learned their labels by heart.
    surer = pl.when(pl.col("image").is_in(learned)).then(pl.col("score") ** 0.2).otherwise("score").alias("score")
    suspects = said(left_out(truth), guesses.with_columns(surer), images, learned=learned).suspects
    usual = dict(suspects.group_by("learned").agg(pl.col("usual").mean()).iter_rows())
    assert usual[True] > usual[False] + 0.05
    assert set(said(left_out(truth), guesses, images).suspects["learned"]) == {None}


def test_a_weak_class_borrows_what_is_usual_from_the_others() -> None:
    truth, guesses, images = healthy()
    few = truth.filter((pl.col("class_name") != "fish") | (pl.int_range(pl.len()) % 12 == 0))
    suspects = said(few, guesses, images).suspects.filter(suggested="fish")
    assert len(suspects) > 10
    assert suspects["usual"].n_unique() == 1


def test_a_model_without_right_answers_accuses_nobody() -> None:
    truth, guesses, images = healthy()
    far = guesses.with_columns(pl.col("x1") + 2000, pl.col("x2") + 2000)
    assert said(truth, far, images).suspects.is_empty()
    assert said(truth, guesses.clear(), images).suspects.is_empty()
    assert said(truth.clear(), guesses, images).suspects.is_empty()


def test_two_boxes_on_one_overlooked_object_are_one_suspect() -> None:
    truth, guesses, images = healthy()
    once = said(left_out(truth), guesses, images).suspects
    twice = said(left_out(truth), pl.concat([guesses, guesses.with_columns(pl.col("x2") + 2)]), images).suspects
    assert len(twice) <= len(once) + 2


def test_suspects_are_the_same_in_any_order_of_the_predictions() -> None:
    truth, guesses, images = healthy()
    facts = said(left_out(truth), guesses, images)
    again = said(left_out(truth), guesses.sample(fraction=1.0, shuffle=True, seed=1), images)
    keys = ["image", "score", "x1"]
    assert facts.suspects.sort(keys).drop("object").equals(again.suspects.sort(keys).drop("object"))
    assert facts.suspects.equals(detection_suspects(facts.predictions, facts.objects))


# --- classification -------------------------------------------------------------------------------------------------


def test_the_confident_joint_of_a_small_case_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.4, 0.6], [0.1, 0.9]])
    labels = np.array([0, 0, 0, 1, 1])
    # (0.9 + 0.7 + 0.2) / 3 and (0.6 + 0.9) / 2: only the third image reaches the other class's mean.
    np.testing.assert_allclose(class_thresholds(labels, p), [0.6, 0.75])
    assert suggested_classes(labels, p, class_thresholds(labels, p)).tolist() == [-1, -1, 1, -1, -1]


@st.composite
def classified(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels of all classes, and probabilities that lean towards them."""
    seed, classes = draw(st.integers(0, 2**32 - 1)), draw(st.integers(2, 6))
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, draw(st.integers(5, 80)))])
    logits = rng.normal(0, 1, (len(labels), classes)) + draw(st.floats(0, 4)) * np.eye(classes)[labels]
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return labels, e / e.sum(axis=1, keepdims=True)


@given(classified())
@settings(deadline=None)  # the first example imports cleanlab
def test_equal_to_cleanlab(case: tuple[np.ndarray, np.ndarray]) -> None:
    filters = pytest.importorskip("cleanlab.filter")
    labels, p = case
    thresholds = class_thresholds(labels, p)
    mine = suggested_classes(labels, p, thresholds) >= 0
    theirs = filters.find_label_issues(labels, p, filter_by="confident_learning", n_jobs=1)
    # Of several classes above their thresholds, cleanlab takes the most probable of all, even one below its own.
    best = p.argmax(axis=1)
    ours_alone = ((p >= thresholds).sum(axis=1) > 1) & (p[np.arange(len(p)), best] < thresholds[best])
    np.testing.assert_array_equal(mine[~ours_alone], theirs[~ours_alone])


@given(classified(), st.booleans())
def test_an_image_whose_label_is_the_best_guess_is_never_accused(
    case: tuple[np.ndarray, np.ndarray], known: bool
) -> None:
    labels, p = case
    images, names = [f"{i}.png" for i in range(len(labels))], [str(k) for k in range(p.shape[1])]
    suspects = classification_suspects(images, labels, p, names, images[::3] if known else None)
    for row in suspects.iter_rows(named=True):
        i = int(row["image"][:-4])
        assert names[labels[i]] == row["label"] != names[p[i].argmax()]
        assert row["score"] >= row["usual"] - 1e-6
        assert row["learned"] is ((i % 3 == 0) if known else None)
    margins = (suspects["score"] - suspects["label_score"]).to_list()
    assert margins == sorted(margins, reverse=True)


def test_no_images_no_suspects() -> None:
    assert classification_suspects([], np.zeros(0, np.int64), np.zeros((0, 3)), list("abc")).is_empty()
