"""Classifiers by name: ours, and those that tables of the literature name."""

import pytest
import torch

from snellen.models import create
from snellen.models.literature import ABSENT, CARRIED
from snellen.models.registry import ModelError, check_name, known, model_names


def test_every_table_name_is_carried_or_said_to_be_absent() -> None:
    assert all(known(name, "classification") for name in CARRIED.values())
    assert all(known(name, "classification") for name in ABSENT.values())
    stems = {n.lower().split(" (")[0].replace("-", "").replace(" ", "_") for n in ABSENT}
    assert not stems & set(model_names("classification"))  # what is said to be absent is


def test_lenet_has_the_layers_of_the_paper() -> None:
    """Fig. 2 of the paper for one channel: C1 156 weights, C5 48,120, F6 10,164; ours sees three channels."""
    net = create("lenet", task="classification", num_classes=10, image_size=32)
    sizes = {name: sum(p.numel() for p in module.parameters()) for name, module in net.named_modules()}
    assert sizes["features.0"] == 3 * 150 + 6
    assert sizes["classifier.0"] == 48_120
    assert sizes["classifier.2"] == 10_164
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert create("lenet", task="classification", num_classes=4, image_size=64)(torch.zeros(1, 3, 64, 64)).shape == (
        1,
        4,
    )


def test_a_name_that_is_almost_right_is_told_of() -> None:
    with pytest.raises(ModelError, match="resnet18"):
        check_name("resnet-18", "classification")
    with pytest.raises(ModelError, match="retinanet-resnet18"):
        check_name("retinanet-resnet81", "detection")
