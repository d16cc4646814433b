"""Small real datasets that the verbs are tested on, and one short exam of each task that several tests look at."""

import pytest

from snellen.data.digits import Digits, build_digits
from snellen.findings.settings import LoadedSettings, Settings
from snellen.result import Result
from snellen.verbs.exam import exam


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    return build_digits(tmp_path_factory.mktemp("digits"), train_scenes=64, val_scenes=32)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> LoadedSettings:
    return LoadedSettings(Settings(), "defaults", tmp_path_factory.mktemp("settings"))


@pytest.fixture(scope="session")
def detection_exam(digits: Digits, plain: LoadedSettings, tmp_path_factory: pytest.TempPathFactory) -> Result:
    out = tmp_path_factory.mktemp("runs") / "detection"
    return exam(digits.detection, out=out, settings=plain, cache=False, epochs=1)


@pytest.fixture(scope="session")
def classification_exam(digits: Digits, plain: LoadedSettings, tmp_path_factory: pytest.TempPathFactory) -> Result:
    out = tmp_path_factory.mktemp("runs") / "classification"
    return exam(digits.classification, out=out, settings=plain, cache=False, epochs=2)
