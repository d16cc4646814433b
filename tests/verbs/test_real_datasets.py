"""The main job on real datasets, in the formats they come in; what `check` says of them is pinned."""

import os
from pathlib import Path

import pytest

from snellen.findings.settings import LoadedSettings
from snellen.verbs.check import check
from snellen.verbs.exam import exam

REAL = {
    "bccd": ("bccd", "voc", "detection"),
    "coco128": ("coco128/object_detection/config.yaml", "yolo", "detection"),
    "raccoon": ("raccoon", "voc", "detection"),
    "sign_digits": ("sign_digits/Dataset", "class-folders", "classification"),
}


def path_of(name: str) -> Path:
    root = os.environ.get("SNELLEN_DATA")
    if not root or not (Path(root) / name).exists():
        pytest.skip("SNELLEN_DATA names no folder of real datasets")
    return Path(root) / REAL[name][0]


@pytest.mark.parametrize("name", sorted(REAL))
def test_format_and_task_are_found_by_looking(name: str, plain: LoadedSettings) -> None:
    result = check(path_of(name), settings=plain, cache=False)
    assert result.data
    assert (result.data.format, result.data.task) == REAL[name][1:]
    assert result.verdict.skipped.keys() >= set()
    assert not [f for f in result.verdict.findings if f.rule == "rule-crashed"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["raccoon", "sign_digits"])
def test_the_exam_runs_to_its_report(name: str, plain: LoadedSettings, tmp_path: Path) -> None:
    result = exam(path_of(name), out=tmp_path / name, settings=plain, cache=False, epochs=1, image_size=96)
    assert (tmp_path / name / "report.html").stat().st_size <= 2_000_000
    assert result.scores
    assert not [f for f in result.verdict.findings if f.rule == "rule-crashed"]
