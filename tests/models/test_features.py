"""Backbones cut off behind the last map that is wanted."""

import pytest
import torch

from snellen.models.features import features


@pytest.mark.parametrize("name", [None, "resnet18", "convnext_atto"])
@pytest.mark.parametrize("strides", [(8, 16, 32), (16,)])
def test_every_weight_of_a_backbone_has_a_part_in_its_maps(name: str | None, strides: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    body = features(name, strides)
    maps = body(torch.randn(1, 3, 64, 64))
    assert [64 // m.shape[-1] for m in maps] == list(body.strides) == list(strides)
    assert [m.shape[1] for m in maps] == list(body.channels)
    sum(m.square().sum() for m in maps).backward()
    assert not [name for name, p in body.named_parameters() if p.grad is None]
