"""`calibrate` shows what rules measure, and its numbers are those that the rules judge by."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from snellen.cli.app import app
from snellen.data.facts import DataFacts
from snellen.errors import UseError
from snellen.findings.registry import all_rules
from snellen.verbs.calibrate import calibrate
from tests.rules.data_injections import detection
from tests.rules.test_battery import SICK

MEASURED = {name: rule for name, rule in all_rules().items() if rule.measured is not None}


def test_the_rules_with_a_threshold_over_records_say_what_they_measure() -> None:
    assert len(MEASURED) >= 12
    assert {"blurry-image", "box-out-of-bounds", "extreme-box-aspect", "crowded-image"} <= MEASURED.keys()


@pytest.mark.parametrize("name", sorted(MEASURED))
def test_what_a_rule_reports_lies_beyond_its_threshold(name: str, tmp_path: Path) -> None:
    facts = next(f for f in SICK[name](tmp_path) if isinstance(f, DataFacts))
    rule = MEASURED[name]()
    measured = rule.measured(facts)
    limit = getattr(rule.options, measured.option)
    assert rule.Options.model_fields[measured.option].description
    values = measured.values.drop_nulls()
    beyond = int((values >= limit).sum() if measured.above else (values <= limit).sum())
    found = sum(finding.affected for finding in rule.check(facts))  # type: ignore[attr-defined]
    assert 1 <= found <= beyond <= len(values)


def test_percentiles_cuts_and_suggestions_are_those_of_the_values(tmp_path: Path) -> None:
    done = calibrate(detection(tmp_path), "extreme-box-aspect")
    (cut,) = done.cuts
    assert cut.count == len(cut.values) == sum(cut.counts)
    assert cut.percentiles["50"] == pytest.approx(float(np.median(cut.values)))
    assert cut.at_hundredth is not None
    assert (cut.values > cut.at_hundredth).mean() <= 0.01
    assert f"min-ratio = 20: 0 of {cut.count} boxes lie at or above it (0.00%); the rule reports 0" in str(done)
    assert sum(line.strip().split(" ")[1] == "<" for line in str(done).splitlines() if " < " in f"{line} ") == 1


def test_a_rule_without_a_threshold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UseError, match="degenerate-box: has no threshold over the records"):
        calibrate(detection(tmp_path), "degenerate-box")


def test_json_and_html_on_the_command_line(tmp_path: Path) -> None:
    source = str(detection(tmp_path))
    answer = CliRunner().invoke(app, ["calibrate", source, "--fast", "--format", "json"])
    document = json.loads(answer.stdout)
    assert {cut["rule"] for cut in document["cuts"]} >= {"subpixel-box", "odd-image-size"}
    assert "blurry-image" not in {cut["rule"] for cut in document["cuts"]}
    page = tmp_path / "page.html"
    assert CliRunner().invoke(app, ["calibrate", source, "--fast", "-f", "html", "-o", str(page)]).exit_code == 0
    text = page.read_text()
    assert text.count("<svg") == sum(cut["count"] > 0 for cut in document["cuts"])
    assert "min-ratio 20" in text
