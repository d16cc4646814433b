"""What a constant guess gets, known by the metric's name."""

import pytest

from snellen.facts import table
from snellen.rules.run.below_baseline import BelowBaseline
from snellen.watching.facts import EPOCHS, EVENTS, SIGNALS, STEPS, RunFacts


def messages(metric: str, values: list[float]) -> list[str]:
    """What the rule says of a run of 120 steps with these validation metrics."""
    run = RunFacts(
        steps=table(STEPS, [{"step": i, "epoch": i // 30, "loss": 1.0} for i in range(120)]),
        epochs=table(EPOCHS, [{"epoch": i, "train_loss": 1.0, "metric": v} for i, v in enumerate(values)]),
        signals=table(SIGNALS, []),
        events=table(EVENTS, []),
        metric_name=metric,
    )
    return [finding.message for finding in BelowBaseline().check(run)]


@pytest.mark.parametrize(
    ("metric", "best", "constant"), [("r2", -0.02, "0.000"), ("val-MCC", 0.0, "0.000"), ("roc_auc", 0.49, "0.500")]
)
def test_metrics_that_are_corrected_for_chance_need_no_baseline(metric: str, best: float, constant: str) -> None:
    (message,) = messages(metric, [best - 0.1, best - 0.2, best, best - 0.3])
    assert f"at most {best:.3f} in 4 epochs where a constant guess gives {constant}" in message
    assert messages(metric, [best, best, best, best + 0.3]) == []


def test_other_metrics_say_nothing_of_a_constant_guess() -> None:
    assert messages("accuracy", [0.1, 0.1, 0.1, 0.1]) == []
    assert messages("auc", [0.4, 0.4, 0.4, 0.4]) == []
