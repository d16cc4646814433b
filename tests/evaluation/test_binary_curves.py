import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from snellen.evaluation.binary_curves import binary_summary, staircase, tied_order, weighted_areas

TIED = st.sampled_from([-2.5, -0.5, -0.0, 0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
DTYPES = st.sampled_from([np.float16, np.float32, np.float64])
RECORDS = st.lists(st.tuples(st.one_of(TIED, st.floats(-5, 5, width=16)), st.booleans()), min_size=1, max_size=40)


def reference(scores: np.ndarray, positive: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """scikit-learn's three numbers; None where it warns that one is undefined."""
    if not positive.any():
        return None, None, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", metrics._classification.UndefinedMetricWarning)
        auc = None if positive.all() else metrics.roc_auc_score(positive, scores)
        ap = metrics.average_precision_score(positive, scores)
        f1 = max(metrics.f1_score(positive, scores >= t) for t in np.unique(scores))
    return auc, ap, f1


@settings(max_examples=200, deadline=None)
@given(RECORDS, DTYPES)
def test_all_three_equal_scikit_learn_with_ties_signs_and_single_classes(records, dtype) -> None:
    scores = np.array([s for s, _ in records]).astype(dtype)
    positive = np.array([p for _, p in records])
    got = binary_summary(scores, positive)
    auc, ap, f1 = reference(scores.astype(np.float64), positive)
    assert got.roc_auc == (None if auc is None else pytest.approx(auc, abs=1e-9))
    assert got.average_precision == (None if ap is None else pytest.approx(ap, abs=1e-9))
    assert got.best_f1 == (None if f1 is None else pytest.approx(f1, abs=1e-9))
    if got.best_threshold is not None:
        reached = metrics.f1_score(positive, scores >= dtype(got.best_threshold))
        assert reached == pytest.approx(got.best_f1, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(RECORDS, DTYPES)
def test_staircase_counts_what_is_at_or_above_each_distinct_score(records, dtype) -> None:
    scores = np.array([s for s, _ in records]).astype(dtype)
    positive = np.array([p for _, p in records])
    steps = staircase(scores, positive)
    assert steps.thresholds.tolist() == np.unique(scores + dtype(0))[::-1].astype(np.float64).tolist()
    assert steps.taken.tolist() == [int((scores >= t).sum()) for t in steps.thresholds]
    assert steps.true_positives.tolist() == [int(positive[scores >= t].sum()) for t in steps.thresholds]


@settings(max_examples=100, deadline=None)
@given(RECORDS, st.integers(0, 2**32 - 1))
def test_weighted_areas_equal_scikit_learn_with_sample_weights(records, seed) -> None:
    scores, positive = np.array([s for s, _ in records]), np.array([p for _, p in records])
    weights = np.random.default_rng(seed).integers(0, 4, len(scores)).astype(np.float64)
    auc, ap = weighted_areas(*tied_order(scores), positive, weights)
    repeated = np.repeat(np.arange(len(scores)), weights.astype(int))
    want_auc, want_ap, _ = reference(scores[repeated], positive[repeated]) if len(repeated) else (None, None, None)
    assert auc == (None if want_auc is None else pytest.approx(want_auc, abs=1e-9))
    assert ap == (None if want_ap is None else pytest.approx(want_ap, abs=1e-9))


def test_constant_scores_order_nothing() -> None:
    got = binary_summary(np.full(10, 0.3, dtype=np.float32), np.arange(10) < 4)
    assert (got.roc_auc, got.average_precision) == (0.5, 0.4)
    assert got.best_f1 == pytest.approx(8 / 14)
    assert got.best_threshold == np.float32(0.3)


def test_no_records_and_no_positives_are_undefined() -> None:
    empty = binary_summary(np.zeros(0), np.zeros(0, dtype=bool))
    assert (empty.roc_auc, empty.average_precision, empty.best_f1, empty.best_threshold) == (None,) * 4
    none = binary_summary([0.1, 0.9], [False, False])
    assert (none.roc_auc, none.average_precision, none.best_f1, none.negatives) == (None, None, None, 2)
    assert len(staircase(np.zeros(0), np.zeros(0, dtype=bool)).taken) == 0


def test_infinite_scores_are_ordered_and_nan_is_refused() -> None:
    assert binary_summary([np.inf, 3.0, -np.inf], [True, True, False]).roc_auc == 1.0
    with pytest.raises(ValueError, match="1 of 3 scores are NaN"):
        binary_summary([0.1, np.nan, 0.3], [True, True, False])
    with pytest.raises(ValueError, match="do not fit"):
        binary_summary([0.1, 0.2], [True])
