import numpy as np
import pytest

from snellen.evaluation.detection_calibration import calibration_metrics, fit_detection_scaling
from snellen.evaluation.operating_point import best_f1, threshold_gain
from snellen.evaluation.scaling import load_scaling
from tests.rules.evaluation_injections import good_detector, good_digits, scored


def case(shift: float, seed: int = 0, images: int = 200) -> tuple:
    """Two classes, right ones above wrong ones by score; those of the second class score lower by `shift`."""
    rng = np.random.default_rng(seed)
    n = 2000
    classes, owners = rng.integers(0, 2, n), rng.integers(0, images, n)
    correct = rng.random(n) < 0.5
    scores = np.clip(rng.normal(np.where(correct, 0.75, 0.45), 0.1) - shift * classes, 0, 1)
    objects = np.zeros((2, images), dtype=np.int64)
    np.add.at(objects, (classes[correct], owners[correct]), 1)
    return scores, correct, classes, owners, objects


def test_thresholds_for_each_class_win_where_scores_are_shifted_and_only_there() -> None:
    gain = threshold_gain(*case(0.3))
    assert gain is not None
    assert gain.gain > 0.05
    assert gain.low > 0
    for seed in range(5):
        none = threshold_gain(*case(0.0, seed))
        assert none is not None
        assert abs(none.gain) < 0.01
    assert threshold_gain(*case(0.3, images=5)) is None


def test_beta_weighs_recall() -> None:
    scores, correct = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, False, True])
    assert best_f1(scores, correct, 2, beta=0.5).threshold == 0.9
    assert best_f1(scores, correct, 2, beta=2.0).threshold == 0.6
    assert best_f1(scores, correct, 2, beta=0.5).f1 == pytest.approx(1.25 * 1 / (1 + 0.25 * 2))


def test_inflated_scores_are_measured_and_mended(tmp_path) -> None:
    rng = np.random.default_rng(0)
    honest = rng.random(4000)
    correct, images = rng.random(4000) < honest, rng.integers(0, 100, 4000)
    fair = calibration_metrics(honest, correct, images)
    boasted = calibration_metrics(honest**0.4, correct, images)
    assert fair["ece"] < 0.03
    assert abs(fair["score_inflation"]) < 0.02
    assert boasted["ece"] > 0.1
    assert boasted["score_inflation"] > 0.1
    assert boasted["ece_isotonic"] < 0.04
    assert calibration_metrics(honest[:20], correct[:20], images[:20])["ece"] is None


def test_a_map_is_fitted_saved_and_applied(tmp_path) -> None:
    facts = scored(*good_detector())[0]
    for kind in ("temperature", "isotonic"):
        scaling = fit_detection_scaling(facts, kind)
        scaling.save(tmp_path / "scaling.json")
        mended = load_scaling(tmp_path / "scaling.json").apply(facts.predictions["score"].to_numpy())
        right = (facts.predictions["outcome"] == "correct").to_numpy()
        images = np.arange(len(right))
        before = calibration_metrics(facts.predictions["score"].to_numpy(), right, images)
        assert calibration_metrics(mended, right, images)["ece"] < before["ece"]
    with pytest.raises(ValueError, match="classification"):
        fit_detection_scaling(good_digits(tmp_path)[0])
