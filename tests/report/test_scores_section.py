"""The scores of the page: the numbers are those of the facts, every error has both boxes, nothing is shown twice."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from snellen.evaluation.detection import evaluate_detection
from snellen.evaluation.facts import ALL_CLASSES, CONFUSION, PER_CLASS, SUSPECTS, ScoreFacts
from snellen.evaluation.mended_reliability import mended_reliability
from snellen.facts import table
from snellen.report.confusions import MOST_CONFUSED, confusions
from snellen.report.curves import f1_by_threshold, f1_curves, reliability, roc, small_multiples
from snellen.report.figures import small_interval
from snellen.report.galleries import galleries
from snellen.report.html import BUDGET, render_html
from snellen.report.lost import error_waterfall, failing_segments, recall_by_kind
from snellen.report.plain import number
from snellen.report.thumbnails import Thumbnails
from snellen.result import Result
from tests.report.subjects import finding, verdict
from tests.report.test_html import Page
from tests.rules.evaluation_injections import (
    CLEAN,
    classified,
    detector,
    digits,
    mediocre_detections,
    objects,
    several_labels,
)


@pytest.fixture(scope="module")
def weak() -> ScoreFacts:
    return mediocre_detections(Path())[0]


def pictures(root: Path, facts: ScoreFacts) -> Path:
    for image in set(facts.predictions["image"]) | set(facts.objects["image"]):
        Image.new("RGB", (640, 640), (40, 60, 80)).save(root / image)
    return root


def rendered(facts: ScoreFacts, root: Path | None = None) -> str:
    return render_html(Result(subject="s", verdict=verdict([]), scores=facts), image_root=root)


@pytest.mark.parametrize("name", sorted(CLEAN))
def test_every_task_makes_a_page_of_its_numbers(name: str, tmp_path: Path) -> None:
    facts = next((f for f in CLEAN[name](tmp_path) if isinstance(f, ScoreFacts)), None)
    if facts is None:
        pytest.skip("no scores")
    text = rendered(facts)
    assert Page(text).open == []
    assert len(text.encode()) < BUDGET
    for metric, value, low, high in facts.scores.select("metric", "value", "low", "high").iter_rows():
        assert metric in text
        if low is not None:
            assert f"{number(low)} – {number(high)}" in text, metric
            assert number(value) in text
    for class_name in facts.per_class["class_name"].head(20):
        assert class_name in text


@pytest.mark.parametrize("name", sorted(CLEAN))
def test_without_a_row_there_is_still_a_page(name: str, tmp_path: Path) -> None:
    facts = next((f for f in CLEAN[name](tmp_path) if isinstance(f, ScoreFacts)), None)
    if facts is None:
        pytest.skip("no scores")
    none = replace(facts, **{n: getattr(facts, n).clear() for n in facts.TABLES}, error_costs={}, train_scores={})
    assert Page(rendered(none, tmp_path)).open == []


def test_the_waterfall_adds_up_to_a_perfect_score(weak: ScoreFacts) -> None:
    figure = error_waterfall(weak)
    steps = {name: float(value) for name, value in re.findall(r"<title>([^<:]+): (-?[\d.]+)</title>", figure.drawing)}
    assert steps.pop("perfect") == 100
    assert steps["mAP50"] == pytest.approx(100 * weak.score("mAP50"), abs=0.06)
    for kind, cost in weak.error_costs.items():
        assert steps[kind] == pytest.approx(100 * cost, abs=0.06)
    assert sum(steps.values()) == pytest.approx(100, abs=0.06 * len(steps))
    then = {row[0]: row[2] for row in figure.rows}
    assert then["missed"] == f"{100 * (weak.score('mAP50') + weak.error_costs['missed']):.1f}"


def test_costs_that_overlap_are_told_as_counted_twice(weak: ScoreFacts) -> None:
    figure = error_waterfall(replace(weak, error_costs={"missed": 0.9, "background": 0.5}))
    assert "counted twice" in figure.drawing
    assert "−" in figure.drawing


def test_recall_by_kind_is_that_of_the_slices(weak: ScoreFacts) -> None:
    rows = {tuple(row[:2]): row for figure in recall_by_kind(weak) for row in figure.rows}
    slices = weak.slices.filter((pl.col("property") != "class") & (pl.col("objects") > 0))
    assert len(slices) == len(rows) > 6
    for r in slices.to_dicts():
        told = rows[r["property"], r["bin"]]
        assert told[2:4] == [f"{r['objects']:,}", number(r["found_at_threshold"] / r["objects"])]


def test_f1_curves_reach_the_best_f1_where_the_facts_say(weak: ScoreFacts) -> None:
    found = f1_curves(weak)
    x, y = found[ALL_CLASSES]
    assert np.interp(weak.score("f1_threshold"), x, y) == pytest.approx(weak.score("f1"), abs=0.01)
    for name, f1, at in weak.per_class.select("class_name", "f1", "best_threshold").iter_rows():
        x, y = found[name]
        assert y.max() <= f1 + 1e-12
        assert np.interp(at, x, y) == pytest.approx(f1, abs=0.02)
    told = {row[0]: row for row in f1_by_threshold(weak).rows}
    for name, f1, at in weak.per_class.select("class_name", "f1", "best_threshold").iter_rows():
        assert told[name][1:3] == [number(at), number(f1)]


def test_a_curve_of_labels_reaches_their_best_f1() -> None:
    facts = several_labels(Path())[0]
    found = f1_curves(facts)
    for name, at in facts.per_class.select("class_name", "best_threshold").iter_rows():
        x, y = found[name]
        assert abs(x[np.argmax(y)] - at) < 0.05
    assert roc(facts).drawing
    assert len(roc(facts).rows) == len(facts.per_class) + 1


def test_a_detector_has_no_roc(weak: ScoreFacts) -> None:
    assert roc(weak).drawing == ""


def test_reliability_after_scaling_is_what_the_evaluation_measured(weak: ScoreFacts) -> None:
    mended = mended_reliability(weak)
    assert mended is not None
    assert mended.error == pytest.approx(weak.score("ece_isotonic"), abs=1e-12)
    assert mended.rows["count"].sum() == weak.reliability.filter(class_name=ALL_CLASSES)["count"].sum()
    figure = reliability(weak)
    assert f"Calibration error {number(weak.score('ece'), 2)}; {number(mended.error, 2)} after" in figure.hint
    before = weak.reliability.filter((pl.col("class_name") == ALL_CLASSES) & (pl.col("count") > 0))
    assert [row[3] for row in figure.rows] == [number(v) for v in before["accuracy"]]


def test_scaling_mends_an_overconfident_classifier() -> None:
    labels, p, _ = digits(noise=2.0)
    sharp = p**4 / (p**4).sum(axis=1, keepdims=True)
    facts = classified(labels, sharp, bootstrap=0)[0]
    mended = mended_reliability(facts)
    assert mended is not None
    assert mended.error < 0.6 * facts.score("ece")
    assert mended_reliability(classified(labels[:40], p[:40], bootstrap=0)[0]) is None


def test_eighty_classes_have_a_readable_matrix_and_their_worst_pairs(weak: ScoreFacts) -> None:
    names = [f"class {i}" for i in range(80)]
    pairs = [{"true_class": n, "predicted_class": n, "count": 90} for n in names]
    pairs += [
        {"true_class": names[i], "predicted_class": names[i + 1], "count": 40 - i} for i in range(0, 60, 2) if i < 40
    ]
    facts = replace(
        weak,
        per_class=table(PER_CLASS, [{"class_name": n, "objects": 100} for n in names]),
        confusion=table(CONFUSION, pairs),
    )
    found = confusions(facts)
    assert found is not None
    assert found.pairs[0] == ["class 0", "class 1", "40", "31 %"]
    assert [int(p[2]) for p in found.pairs] == sorted((int(p[2]) for p in found.pairs), reverse=True)
    assert len(found.rows) == MOST_CONFUSED
    assert {"class 0", "class 2"} <= {row[0] for row in found.rows}
    assert "55 more not drawn" in found.hint
    assert len(found.drawing) < 40_000


def test_many_classes_have_a_stamp_each_and_few_curves_with_names() -> None:
    rng = np.random.default_rng(0)
    truth, images = objects(rng, 60, 5, 4)
    guesses = detector(truth, images, rng, classes=4)
    # An image's class is its number, so that truth and predictions stay together.
    shuffled = [
        frame.with_columns(class_name="c" + (pl.col("image").str.slice(0, 4).cast(pl.Int64) % 40).cast(pl.String))
        for frame in (truth, guesses)
    ]
    names = [f"c{i}" for i in range(40)]
    facts = evaluate_detection(*shuffled, names, images=images, bootstrap=0)
    stamps = small_multiples(facts)
    assert len(stamps) == facts.curves.filter(pl.col("class_name") != ALL_CLASSES)["class_name"].n_unique() > 10
    text = rendered(facts)
    assert "more in grey" in text
    assert len(text) < 400_000


def test_each_error_shows_both_boxes_and_says_what_overlaps(weak: ScoreFacts, tmp_path: Path) -> None:
    facts = replace(weak, suspects=table(SUSPECTS))
    found = {g.title: g for g in galleries(facts, Thumbnails(pictures(tmp_path, facts), 10**7), [])}
    wrong = found["Most confident false positives"].tiles
    worst = facts.predictions.filter(~pl.col("outcome").is_in(["correct", "ignored"])).sort("score", descending=True)
    first = worst.row(0, named=True)
    assert wrong[0].caption == first["image"]
    assert wrong[0].note.startswith(f"{first['class_name']} {number(first['score'], 2)}")
    paired = [tile for tile in wrong if " on " in tile.note]
    assert paired
    for tile in paired:
        assert "truth lit" in str(tile.picture)
        assert "guess lit bad" in str(tile.picture)
        assert re.search(r"IoU [\d.]+ · \w+", tile.note)
    for tile in found["Largest misses"].tiles:
        assert "truth lit bad" in str(tile.picture)
        assert "missed · " in tile.note
        assert ("guess lit" in str(tile.picture)) == ("nearest" in tile.note)


def test_no_picture_is_shown_twice(weak: ScoreFacts, tmp_path: Path) -> None:
    root = pictures(tmp_path, weak)
    shown = [
        (tile.caption, re.findall(r'<rect[^>]*class="box guess lit[^>]*>', str(tile.picture)))
        for gallery in galleries(weak, Thumbnails(root, 10**7), [])
        for tile in gallery.tiles
    ]
    assert len(shown) > 10
    assert len({str(s) for s in shown}) == len(shown)
    told = weak.predictions.filter(pl.col("outcome") == "background")["image"].unique().to_list()[:5]
    card = finding("x", "EVL018", message="m", evidence={"images": told})
    again = [t.caption for g in galleries(weak, Thumbnails(root, 10**7), [card]) for t in g.tiles]
    assert not set(told) & set(again)


def test_a_likely_label_error_names_label_and_prediction(weak: ScoreFacts, tmp_path: Path) -> None:
    label = weak.objects.row(0, named=True)
    suspect = {
        "kind": "swapped", "image": label["image"], "label": label["class_name"], "suggested": "zebra", "score": 0.93,
        "object": 0, "x1": label["x1"], "y1": label["y1"], "x2": label["x2"], "y2": label["y2"] + 1,
    }  # fmt: skip
    facts = replace(weak, suspects=table(SUSPECTS, [suspect]))
    gallery = galleries(facts, Thumbnails(pictures(tmp_path, facts), 10**7), [])[0]
    assert gallery.title == "Likely label errors"
    assert f"labelled {label['class_name']}, looks like zebra 0.93 · IoU 0.9" in gallery.tiles[0].note


def test_values_without_a_number_say_why(weak: ScoreFacts) -> None:
    odd = weak.scores.with_columns(
        value=pl.when(pl.col("metric").is_in(["mAP_large", "mAP75"])).then(None).otherwise("value"),
        undefined=pl.when(pl.col("metric") == "mAP75").then(pl.lit("no <objects>")).otherwise(None),
    )
    idle = weak.per_class.with_columns(objects=pl.lit(0, dtype=pl.Int64))
    text = rendered(replace(weak, scores=odd, per_class=idle))
    assert "5 values without a number, and why" in text
    for name, reason in (
        ("mAP_large", "no large objects"),
        ("mAP75", "no &lt;objects&gt;"),
        (idle[0, 0], "no objects of"),
    ):
        assert f"<dt>{name}</dt><dd>{reason}" in text


def test_segments_are_told_in_words_unless_a_finding_tells_them(weak: ScoreFacts) -> None:
    row = {"segment": "size up to 20 px", "count": 60, "failed": 41, "others": 200, "others_failed": 38, "p": 2e-4,
           "excess": 0.2, "images": []}  # fmt: skip
    facts = replace(weak, segments=pl.DataFrame([row], schema=weak.segments.schema))
    assert failing_segments(facts, []) == [
        "size up to 20 px: 41 of 60 objects missed (68 %), 19 % elsewhere (p 0.0002)"
    ]
    assert failing_segments(facts, ["size up to 20 px"]) == []


def test_an_interval_beyond_its_scale_is_not_drawn() -> None:
    assert small_interval(0.4, 0.3, 0.5)
    for odd in ((None, 0.3, 0.5), (0.4, None, None), (40.0, 30.0, 50.0), (float("nan"), 0.1, 0.2)):
        assert small_interval(*odd) == ""
