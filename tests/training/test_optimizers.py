"""Which parameters are trained, how fast, and with what decay."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.optim._param_groups import param_groups_weight_decay
from torch import nn

from snellen.errors import UseError
from snellen.models import create
from snellen.training import Recipe, default_recipe
from snellen.training.layers import head_of, layers_of
from snellen.training.optimizers import make_optimizer, set_rate
from snellen.training.trainer import train
from snellen.training.transfer import transfer_of
from tests.training.subjects import digit_images


def recipe_with(**fields: Any) -> Recipe:
    return Recipe.build({"task": "classification", "model": "any", "image_size": 32, **fields})


def classifier(name: str) -> nn.Module:
    return create(name, task="classification", num_classes=10, image_size=32)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "convnext_atto"])
def test_decay_is_where_timm_has_it(name: str) -> None:
    model = timm.create_model(name, num_classes=10)
    ours = make_optimizer(model, recipe_with(weight_decay=0.3)).param_groups
    spared = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    theirs = param_groups_weight_decay(model, 0.3, no_weight_decay_list=spared)
    assert {id(p): g["weight_decay"] for g in ours for p in g["params"]} == {
        id(p): g["weight_decay"] for g in theirs for p in g["params"]
    }


def test_embeddings_have_no_decay() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    groups = make_optimizer(model, recipe_with()).param_groups
    assert [[tuple(p.shape) for p in g["params"]] for g in groups] == [[(3, 4)], [(5, 4), (3,)]]


RATES = {"sgd": 0.05, "adam": 0.05, "adamw": 0.05, "rmsprop": 0.02, "adagrad": 0.5, "adadelta": 50.0}


@pytest.mark.parametrize(("name", "lr"), RATES.items())
def test_each_optimizer_goes_downhill(name: str, lr: float) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = make_optimizer(model, recipe_with(optimizer=name, lr=lr, weight_decay=0.0, momentum=0.8))
    assert type(optimizer).__name__.lower() == name
    x = torch.randn(32, 3)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]])
    losses = []
    for _ in range(60):
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    options = optimizer.param_groups[0]
    assert options["betas"][0] == 0.8 if "betas" in options else options.get("rho", options.get("momentum", 0.8)) == 0.8
    assert name != "sgd" or options["nesterov"]


@pytest.mark.parametrize("name", ["small-resnet", "resnet18", "mobilenet_v2", "squeezenet1_0"])
def test_every_parameter_is_in_one_layer_and_the_head_is_last(name: str) -> None:
    model = classifier(name)
    layers = layers_of(model)
    held = [id(p) for layer in layers for p in layer.parameters]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    head = head_of(model)
    assert {10} == {p.shape[0] for p in head}
    assert {id(p) for p in head} <= {id(p) for p in layers[-1].parameters}
    assert len(layers) >= 7


def test_discriminative_rates_fall_towards_the_input_and_follow_the_schedule() -> None:
    model = classifier("resnet18")
    recipe = recipe_with(transfer="discriminative", layer_decay=0.5, lr=0.1)
    optimizer = make_optimizer(model, recipe)
    set_rate(optimizer, 0.2)
    rate = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    assert len(rate) == len(list(model.parameters()))
    names = ["fc", "layer4.1", "layer4.0", "layer3.1"]
    parts = dict(model.named_modules())
    for back, name in enumerate(names):
        assert {rate[id(p)] for p in parts[name].parameters()} == {0.2 * 0.5**back}
    assert rate[id(model.conv1.weight)] == pytest.approx(0.2 * 0.5**10)


def test_the_head_of_a_detector_is_what_stands_behind_its_backbone() -> None:
    model = create("ssdlite", task="detection", num_classes=3, image_size=64)
    transfer_of(model, recipe_with(task="detection", transfer="head"))
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert "backbone" not in trained
    assert trained


def test_last_layers_are_a_third_of_them() -> None:
    model = classifier("resnet18")
    transfer_of(model, recipe_with(transfer="last-layers"))
    trained = {name.rsplit(".", 2)[0] for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"layer3", "layer4", "fc"}


def test_what_is_frozen_keeps_weights_and_statistics(tmp_path: Path) -> None:
    data = digit_images(tmp_path / "data", 40, side=16)
    recipe = default_recipe(data, epochs=1, batch_size=8, freeze=["backbone.stem"])
    before = classifier("small-resnet")
    torch.manual_seed(recipe.seed)
    before = create(recipe.model, task=recipe.task, num_classes=10, image_size=recipe.image_size)
    after = train(data, recipe, tmp_path / "run").model.state_dict()
    same = {name for name, value in before.state_dict().items() if torch.equal(value, after[name])}
    assert {name for name in after if name.startswith("backbone.stem")} <= same
    assert not any(name.endswith("running_mean") for name in same if not name.startswith("backbone.stem"))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"freeze": ["layer9"]}, "no module is called 'layer9': did you mean 'layer"),
        ({"freeze": ["fc"], "transfer": "head"}, "nothing of the network is trained"),
    ],
)
def test_what_cannot_be_frozen_is_told(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(UseError, match=told):
        transfer_of(classifier("resnet18"), recipe_with(**fields))
