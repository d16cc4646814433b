"""The baseline: what was accepted stays silent, what is new speaks, what is gone is pruned."""

from pathlib import Path

import pytest

from snellen.findings import Finding, Place
from snellen.findings.baseline import read_baseline, write_baseline
from snellen.findings.settings import SettingsError

OLD = Finding(rule="dark-image", message="m", place=Place(image="a.jpg"))
NEW = Finding(rule="dark-image", message="m", place=Place(image="b.jpg"))


def test_round_trip_and_prune(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    assert write_baseline(path, [OLD, NEW, OLD]) == 2
    assert read_baseline(path) == {OLD.fingerprint, NEW.fingerprint}
    write_baseline(path, [NEW])
    assert read_baseline(path) == {NEW.fingerprint}


def test_a_missing_baseline_is_empty_and_another_file_is_refused(tmp_path: Path) -> None:
    assert read_baseline(tmp_path / "none.json") == frozenset()
    other = tmp_path / "other.json"
    other.write_text('{"images": []}')
    with pytest.raises(SettingsError, match="not a baseline"):
        read_baseline(other)
