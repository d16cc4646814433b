"""Training that starts from the weights of a file."""

from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from snellen.models import create
from snellen.models.detection.darknet import WeightsError, save_weights
from snellen.training import default_recipe
from snellen.training.checkpoint import CheckpointError
from snellen.training.prepare import build_model
from snellen.training.start_weights import StartError, start_from
from snellen.training.trainer import train
from tests.training.subjects import digit_images, digit_scenes


def classifier(seed: int, classes: int = 10) -> torch.nn.Module:
    torch.manual_seed(seed)
    return create("small-resnet", task="classification", num_classes=classes, image_size=32)


def test_a_run_goes_on_from_another_runs_weights_and_says_so(tmp_path: Path) -> None:
    data = digit_images(tmp_path / "data", 64)
    first = train(data, default_recipe(data, epochs=1), tmp_path / "first")
    heard: list[str] = []
    recipe = default_recipe(data, epochs=1, lr=1e-9, weights=str(tmp_path / "first"))
    second = train(data, recipe, tmp_path / "second", progress=lambda stage, *_: heard.append(stage))
    for (name, a), b in zip(first.model.named_parameters(), second.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6), name
    assert any(text.startswith("weights: ") and "tensors from" in text for text in heard)


def test_what_has_another_shape_keeps_its_own_start_and_is_named(tmp_path: Path) -> None:
    donor, model = classifier(0, classes=7), classifier(1)
    save_file(donor.state_dict(), tmp_path / "donor.safetensors")
    own = model.head.weight.clone()
    told = start_from(model, tmp_path / "donor.safetensors")
    assert torch.equal(model.backbone.stem[0][0].weight, donor.backbone.stem[0][0].weight)
    assert torch.equal(model.head.weight, own)
    assert "as initialised: head.weight, head.bias; not used: head.bias, head.weight" in told


def test_a_published_checkpoint_of_torchvision_is_read_by_its_names(tmp_path: Path) -> None:
    donor = torchvision.models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    torch.save({"model": donor.state_dict()}, tmp_path / "coco.pth")
    model = create("ssdlite320_mobilenet_v3_large", task="detection", num_classes=90, image_size=320)
    assert "as initialised" not in start_from(model, tmp_path / "coco.pth")


def test_darknet_files_fill_the_network_or_its_backbone(tmp_path: Path) -> None:
    data = digit_scenes(tmp_path / "data", 12, side=64)
    recipe = default_recipe(data, model="yolov3-tiny-darknet", image_size=64)
    donor = build_model(data, recipe.vary(seed=1))
    save_weights(donor, tmp_path / "whole.weights")
    save_weights(donor.backbone, tmp_path / "tiny.conv.15")
    whole = build_model(data, recipe.vary(weights=str(tmp_path / "whole.weights")))
    assert all(torch.equal(a, b) for a, b in zip(donor.parameters(), whole.parameters(), strict=True))
    part = build_model(data, recipe.vary(weights=str(tmp_path / "tiny.conv.15")))
    assert all(torch.equal(a, b) for a, b in zip(donor.backbone.parameters(), part.backbone.parameters(), strict=True))
    with pytest.raises(WeightsError, match="no such file"):
        build_model(data, recipe.vary(weights=str(tmp_path / "none.weights")))


def test_files_of_others_are_refused_in_a_line(tmp_path: Path) -> None:
    save_file({"other.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"broken")
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "pickled.pth")
    for name, error in (("other", StartError), ("broken", StartError)):
        with pytest.raises(error) as refused:
            start_from(classifier(0), tmp_path / f"{name}.safetensors")
        assert "\n" not in str(refused.value)
    with pytest.raises(CheckpointError, match="can be trusted"):
        start_from(classifier(0), tmp_path / "pickled.pth")
