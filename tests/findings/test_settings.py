"""Settings: found by looking up, checked to the last key, with the more exact selector winning."""

import re
from pathlib import Path

import pytest

from snellen.findings.settings import LoadedSettings, Settings, SettingsError, chosen_rules, load_settings


def write(folder: Path, text: str, name: str = "snellen.toml") -> LoadedSettings:
    (folder / name).write_text(text)
    return load_settings(folder)


def names(settings: Settings) -> set[str]:
    return {rule.name for rule in chosen_rules(settings)}


def test_defaults_when_there_is_no_file(tmp_path: Path) -> None:
    loaded = load_settings(tmp_path)
    assert loaded.origin == "defaults"
    assert {"rule-crashed", "box-out-of-bounds"} <= names(loaded.values)


def test_pyproject_of_a_folder_above_is_found(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.snellen]\nfail-on = "warning"\n')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    loaded = load_settings(inner)
    assert loaded.values.fail_on == "warning"
    assert loaded.origin.endswith("pyproject.toml")


def test_the_more_exact_selector_wins(tmp_path: Path) -> None:
    loaded = write(tmp_path, 'select = ["ANN", "EXM001"]\nignore = ["box-out-of-bounds", "EXM"]\n')
    chosen = names(loaded.values)
    assert "degenerate-box" in chosen
    assert "box-out-of-bounds" not in chosen
    assert "rule-crashed" in chosen
    assert "unused-suppression" not in chosen


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('selct = ["ANN"]', "did you mean 'select'"),
        ('select = ["box-out-of-bound"]', "did you mean box-out-of-bounds"),
        ('fail-on = "loud"', "expected info, warning or error"),
        ("select = 3", "got 3"),
        ("[rules.box-out-of-bounds]\ntolerence = 3", "unknown option 'tolerence'"),
        ('[rules.box-out-of-bounds]\nseverity = "loud"', "expected info, warning or error"),
        ("select = [", "snellen.toml"),
        ('[per-path-ignores]\n"a/*" = ["nonsense"]', "no rule is called 'nonsense'"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(says)) as caught:
        write(tmp_path, text)
    assert "snellen.toml" in str(caught.value)


def test_severity_of_a_rule_can_be_changed(tmp_path: Path) -> None:
    loaded = write(tmp_path, '[rules.box-out-of-bounds]\nseverity = "info"\n')
    rule = next(r for r in chosen_rules(loaded.values) if r.name == "box-out-of-bounds")
    assert str(rule.severity) == "info"
