"""Time on this machine, and the bounds of others."""

import time
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor, nn

import snellen
from snellen.errors import UseError
from snellen.network.devices import DEVICES, roofline
from snellen.network.examine import examine
from snellen.network.latency import with_times
from snellen.network.shadow import ExamineError
from tests.network.models import SmallNet


class _Sleep(nn.Module):
    def __init__(self, seconds: float, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.seconds = seconds
        self.scale = nn.Parameter(torch.ones(1))
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta:
            time.sleep(self.seconds)
        x = x * self.scale
        return self.inner(x) if self.inner is not None else x


def test_each_layer_is_charged_its_own_time() -> None:
    model = nn.Sequential(_Sleep(0.03, _Sleep(0.06)), _Sleep(0.01))
    facts = with_times(examine(model, (1, 3, 8, 8)), model, torch.zeros(1, 3, 8, 8), budget=0.0)
    told = dict(facts.times.select("layer", "seconds").iter_rows())
    assert told["0"] == pytest.approx(0.03, abs=0.02)
    assert told["0.inner"] == pytest.approx(0.06, abs=0.02)
    assert told["1"] == pytest.approx(0.01, abs=0.02)
    assert facts.seconds_per_pass == pytest.approx(0.1, abs=0.05)
    assert facts.timed_on is not None
    assert "median of 3 passes" in facts.timed_on


def test_the_model_is_left_as_it_was() -> None:
    model = SmallNet().train()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    snellen.inspect(model, (3, 16, 16), time=True, effective=False)
    assert model.training
    assert all(m.training and not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())


def test_without_weights_there_is_no_time() -> None:
    model = SmallNet().to("meta")
    with pytest.raises(ExamineError, match="needs weights"):
        snellen.inspect(model, (3, 16, 16), time=True)


def test_the_roofline_is_the_slower_of_the_two() -> None:
    facts = examine(nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()), (1, 64, 56, 56))
    rows = {r["layer"]: r for r in roofline(facts, "H100").iter_rows(named=True)}
    size = 4 * (64 * 56 * 56 * 2 + 64 * 64 * 9 + 64)
    operations = 2 * 64 * 64 * 9 * 56 * 56
    assert rows["0"]["operations"] == operations
    assert rows["0"]["bytes"] == size
    assert rows["0"]["seconds"] == pytest.approx(max(operations / 67e12, size / 3350e9))
    assert rows["1"]["bound"] == "memory"
    half = roofline(facts, "h100", half=True)
    assert half["bytes"].sum() * 2 == roofline(facts, "h100")["bytes"].sum()
    with pytest.raises(UseError, match="expected one of"):
        roofline(facts, "abacus")


@pytest.mark.parametrize("name", sorted(DEVICES))
def test_devices_are_plausible_and_cited(name: str) -> None:
    device = DEVICES[name]
    assert 5e12 < device.flops_32 < device.flops_16 < 3e15
    # A device that needed one operation a byte, or thousands, would be a slip of the unit.
    assert 5 < device.flops_32 / device.bandwidth < 200
    assert "NVIDIA" in device.source


def test_effective_fields_are_asked_for(tmp_path: Any) -> None:
    facts = snellen.inspect("resnet18", input_size=96, effective=True).network
    assert facts is not None
    sizes = facts.effective["height"].to_list()
    assert facts.effective["layer"].to_list() == ["layer1.1.act2", "layer2.1.act2", "layer3.1.act2", "layer4.1.act2"]
    assert sizes[0] < sizes[1] < sizes[2]
    # Open branches: the field grows with depth, and stays within the theoretical one.
    assert 11 < sizes[0] < 43
    assert all(sum(h) == pytest.approx(1) for h in facts.effective["heat"])
    assert any("random weights" in text for text in facts.assumptions or [])
    facts.save(tmp_path)
    assert type(facts).load(tmp_path).effective.equals(facts.effective)
    assert isinstance(facts.effective.schema["heat"], pl.List)
