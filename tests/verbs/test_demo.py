"""The demo's promise: healthy data is learned and passes in silence, planted defects are named."""

from pathlib import Path

import pytest

from snellen.verbs.demo import demo


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_healthy_demo_reaches_its_goals_in_silence(tmp_path: Path) -> None:
    outcome = demo(out=tmp_path / "demo")
    found = {t: [(f.rule, f.message) for f in r.verdict.findings] for t, r in outcome.results.items()}
    assert outcome.passed, (str(outcome), found)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_sick_demo_names_every_planted_defect(tmp_path: Path) -> None:
    outcome = demo(sick=True, out=tmp_path / "sick")
    assert sum(len(planted) for planted in outcome.planted.values()) >= 12
    assert outcome.passed, str(outcome)
    assert "MISSED" not in str(outcome)
