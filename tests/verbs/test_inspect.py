"""Inspect: a network by name or as a module, alone or against a dataset."""

import pytest
from torch import nn

from snellen.data.digits import Digits
from snellen.errors import UseError
from snellen.findings.settings import LoadedSettings
from snellen.verbs.inspect import inspect


def test_a_known_network_has_its_published_size(plain: LoadedSettings) -> None:
    result = inspect("resnet18", settings=plain)
    assert result.network
    assert result.network.total_params == 11_689_512
    # 1.814 GMAC at 224 px: fvcore's and the paper's count, within the rounding of both.
    assert result.network.macs == pytest.approx(1.814e9, rel=0.001)
    assert result.verdict.findings == ()


def test_a_module_with_a_forgotten_layer_is_told(plain: LoadedSettings) -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Conv2d(3, 8, 3)
            self.spare = nn.Linear(8, 8)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.used(x).relu().mean(dim=(2, 3))

    result = inspect(Forgetful(), input_size=32, settings=plain)
    assert "unused-layer" in {f.rule for f in result.verdict.findings}


def test_against_a_dataset_the_head_fits_and_nothing_is_found(digits: Digits, plain: LoadedSettings) -> None:
    result = inspect("ssdlite", data=digits.detection, settings=plain)
    assert result.network
    assert result.network.num_outputs == 10
    assert [f.rule for f in result.verdict.findings] == []


def test_an_unknown_name_is_one_line_with_the_nearest(plain: LoadedSettings) -> None:
    with pytest.raises(UseError, match="resnet18"):
        inspect("resnet1888", settings=plain)
