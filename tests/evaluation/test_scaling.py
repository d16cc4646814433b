import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from snellen.errors import UseError
from snellen.evaluation.calibration import expected_calibration_error
from snellen.evaluation.scaling import LIMITS, IsotonicScaling, TemperatureScaling, load_scaling


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def boasting(n: int = 20_000, classes: int = 5, temperature: float = 2.5, seed: int = 0):
    """Labels drawn from softmax(z): a model that says softmax(T z) is too sure by exactly T."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, (n, classes))
    p = softmax(z)
    y = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=classes - 1)
    return softmax(temperature * z), y


def error(p: np.ndarray, y: np.ndarray) -> float:
    return expected_calibration_error(p.max(axis=1), (p.argmax(axis=1) == y).astype(float))


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_the_temperature_that_was_applied_is_found_and_undone(true: float) -> None:
    p, y = boasting(temperature=true)
    fitted = TemperatureScaling.fit(p, y)
    assert fitted.temperature == pytest.approx(true, rel=0.05)
    test, labels = boasting(temperature=true, seed=1)
    after = fitted.apply(test)
    assert (after.argmax(axis=1) == test.argmax(axis=1)).all()
    assert error(after, labels) < 0.02
    if true == 2.5:
        assert error(test, labels) > 0.1


def test_temperature_has_least_log_loss() -> None:
    p, y = boasting(500)
    best = TemperatureScaling.fit(p, y)
    least = log_loss(y, best.apply(p), labels=range(5))
    for other in (0.99, 1.01):
        moved = best.model_copy(update={"temperature": best.temperature * other})
        assert log_loss(y, moved.apply(p), labels=range(5)) > least


def test_temperature_of_scores_equals_logistic_regression_without_intercept() -> None:
    rng = np.random.default_rng(3)
    logit = rng.normal(0, 3, 4000)
    y = rng.random(4000) < 1 / (1 + np.exp(-logit / 3))
    fitted = TemperatureScaling.fit(1 / (1 + np.exp(-logit)), y)
    peer = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(logit[:, None], y)
    assert fitted.temperature == pytest.approx(1 / peer.coef_[0, 0], rel=1e-5)
    scores = 1 / (1 + np.exp(-logit[:50]))
    assert fitted.apply(scores) == pytest.approx(1 / (1 + np.exp(-logit[:50] / fitted.temperature)))


def test_no_finite_optimum_ends_at_a_limit() -> None:
    p = np.tile([0.7, 0.3], (10, 1))
    assert TemperatureScaling.fit(p, np.zeros(10)).temperature == pytest.approx(LIMITS[0])
    assert TemperatureScaling.fit(p, np.ones(10)).temperature == pytest.approx(LIMITS[1])
    assert TemperatureScaling.fit(np.full((4, 2), 0.5), [0, 1, 0, 1]).temperature == 1.0
    certain = TemperatureScaling.fit(np.eye(3)[[0, 1, 2, 0]], [0, 1, 2, 1])
    assert np.isfinite(certain.apply(np.eye(3))).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=30))
def test_isotonic_scores_equal_scikit_learn(records) -> None:
    scores, right = np.array([s for s, _ in records]), np.array([r for _, r in records])
    peer = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, right)
    grid = np.linspace(0, 1, 41)
    assert IsotonicScaling.fit(scores, right).apply(grid) == pytest.approx(peer.predict(grid), abs=1e-9)


def test_isotonic_distributions_stay_distributions_and_calibrate() -> None:
    p, y = boasting()
    fitted = IsotonicScaling.fit(p, y)
    test, labels = boasting(seed=1)
    after = fitted.apply(test)
    assert after.sum(axis=1) == pytest.approx(np.ones(len(test)))
    assert error(after, labels) < 0.03 < error(test, labels)
    never = IsotonicScaling.fit(np.array([[0.9, 0.1], [0.8, 0.2]]), [0, 0])
    assert never.apply([[0.1, 0.9]])[0] == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize("kind", [TemperatureScaling, IsotonicScaling])
def test_saved_and_read_back_it_applies_alike(kind, tmp_path) -> None:
    p, y = boasting(300)
    fitted = kind.fit(p, y)
    fitted.save(tmp_path / "scaling.json")
    again = load_scaling(tmp_path / "scaling.json")
    assert again == fitted
    assert (again.apply(p) == fitted.apply(p)).all()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"kind": "pickle"}',
        '{"kind": "temperature", "temperature": 0, "images": 1}',
        '{"kind": "temperature", "temperature": NaN, "images": 1}',
        '{"kind": "temperature", "temperature": 2, "images": 1, "extra": 1}',
        '{"kind": "isotonic", "images": 1, "maps": []}',
        '{"kind": "isotonic", "images": 1, "maps": [{"scores": [0.1, 0.2], "shares": [0.5]}]}',
        '{"kind": "isotonic", "images": 1, "maps": [{"scores": [0.2, 0.1], "shares": [0.1, 0.5]}]}',
        '{"kind": "isotonic", "images": 1, "maps": [{"scores": [0.1, 0.2], "shares": [0.5, 0.1]}]}',
    ],
)
def test_a_file_that_is_no_calibration_is_refused_in_one_line(text: str, tmp_path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UseError, match="no calibration") as caught:
        load_scaling(tmp_path / "x.json")
    assert "\n" not in str(caught.value)
    with pytest.raises(UseError, match="cannot be read"):
        load_scaling(tmp_path / "absent.json")


def test_values_that_are_no_probabilities_are_refused() -> None:
    scaling = TemperatureScaling(temperature=2, images=1)
    for bad in ([np.nan], [1.5], [[-0.1, 1.1]]):
        with pytest.raises(ValueError, match=r"within 0\.\.1"):
            scaling.apply(bad)
    with pytest.raises(ValueError, match="expected as many"):
        TemperatureScaling.fit([0.5], [1, 0])
    with pytest.raises(ValueError, match="do not fit 2 classes"):
        TemperatureScaling.fit([[0.5, 0.5]], [2])
    with pytest.raises(ValueError, match="fitted on 2 columns"):
        IsotonicScaling.fit([[0.5, 0.5], [0.4, 0.6]], [0, 1]).apply([[0.2, 0.3, 0.5]])
    assert json.loads(scaling.model_dump_json())["kind"] == "temperature"
