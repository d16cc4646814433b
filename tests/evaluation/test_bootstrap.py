import numpy as np
import pytest

from snellen.evaluation.bootstrap import image_draws, interval, replicate_detection
from snellen.evaluation.coco_core import AREA_RANGES, coco_summary, interpolated_precision, match_boxes, mean_defined
from snellen.evaluation.significance import exact_mcnemar, holm, percentile_levels, two_sided
from tests.evaluation.coco_reference import Case, random_case


def ignored_of(case: Case) -> np.ndarray:
    areas = case.object_boxes[:, 2] * case.object_boxes[:, 3]
    return case.object_crowd | (areas < AREA_RANGES[:, :1]) | (areas > AREA_RANGES[:, 1:])


@pytest.mark.parametrize("seed", range(6))
def test_a_draw_is_scored_as_the_weighted_staircase_is(seed: int) -> None:
    case = random_case(np.random.default_rng(seed), ties=seed % 2 == 0)
    matching = match_boxes(*case.arguments, num_classes=case.num_classes, num_images=case.num_images)
    order, starts = matching.staircase_order()
    ignored = ignored_of(case)
    drawn = replicate_detection(
        matching, order, starts, case.object_classes, case.object_images, ignored,
        num_images=case.num_images, replicates=4, seed=seed,
    )  # fmt: skip
    for r, weights in enumerate(image_draws(case.num_images, 4, seed)):
        for area, name in enumerate(("", "_small", "_medium", "_large")):
            real = ~ignored[area]
            positives = np.bincount(case.object_classes[real], weights[case.object_images[real]], case.num_classes)
            precision = interpolated_precision(
                matching.status[area], order, starts, weights[matching.images], positives
            )
            mean = mean_defined(precision)
            value = drawn.metrics["mAP" + name][r]
            assert np.isnan(value) if mean is None else value == pytest.approx(mean, abs=1e-12)
            if not area:
                held = positives > 0
                assert drawn.ap[r][held] == pytest.approx(precision.mean(axis=(0, 1))[held], abs=1e-12)
                assert drawn.ap50[r][held] == pytest.approx(precision[0].mean(axis=0)[held], abs=1e-12)


def test_every_image_drawn_once_is_the_score_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snellen.evaluation.bootstrap.image_draws", lambda images, *_: iter([np.ones(images)]))
    case = random_case(np.random.default_rng(3), objects=200, noise=300, num_images=3)
    matching = match_boxes(*case.arguments, num_classes=case.num_classes, num_images=case.num_images)
    drawn = replicate_detection(
        matching, *matching.staircase_order(), case.object_classes, case.object_images, ignored_of(case),
        num_images=case.num_images, replicates=1,
    )  # fmt: skip
    for metric, value in coco_summary(matching).items():
        assert drawn.metrics[metric][0] == pytest.approx(value, abs=1e-12), metric


@pytest.mark.parametrize("images", [5, 12, 100])
def test_the_interval_of_a_mean_covers_the_truth_even_for_few_images(images: int) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(400):
        sample = rng.normal(size=images)
        drawn = np.array([w @ sample / images for w in image_draws(images, 400, trial)])
        low, high = interval(drawn, images)
        covered += low <= 0 <= high
    assert 0.9 <= covered / 400 <= 0.99


def test_too_little_gives_no_interval() -> None:
    assert interval(np.full(100, np.nan), 50) == (None, None)
    assert interval(np.arange(100.0), 1) == (None, None)
    low, high = percentile_levels(1000)
    assert (low, high) == pytest.approx((2.5, 97.5), abs=0.02)


def test_holm_and_mcnemar_on_worked_cases() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert exact_mcnemar(0, 10) == pytest.approx(2 / 2**10)
    assert exact_mcnemar(5, 5) == 1.0
    assert exact_mcnemar(0, 0) == 1.0
    assert two_sided(1.96, 1.0, 1e9) == pytest.approx(0.05, abs=1e-4)
    assert two_sided(0.0, 0.0, 5) == 1.0
