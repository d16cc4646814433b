"""What a recipe says to the network beyond its name: options of the builder, and where anchors come from."""

from pathlib import Path

import pytest

from snellen.cli.common import recipe_overrides
from snellen.errors import UseError
from snellen.models import ModelError
from snellen.training import default_recipe
from snellen.training.prepare import build_model
from snellen.training.recipe import Recipe, RecipeError
from tests.training.subjects import digit_scenes


def test_a_recipe_reaches_the_builder_and_reads_back(tmp_path: Path) -> None:
    data = digit_scenes(tmp_path, 12, side=64)
    said = recipe_overrides(["model=faster-rcnn-fpn", "model_options.box_loss=giou", "model_options.sample=32"])
    recipe = default_recipe(data, **said)
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    model = build_model(data, recipe)
    assert (model.settings.box_loss, model.settings.sample) == ("giou", 32)
    assert build_model(data, recipe.vary(model_options={})).settings.box_loss == "smooth_l1"


@pytest.mark.parametrize(
    ("task", "model", "options", "message"),
    [
        ("detection", "faster-rcnn", {"box_loss": "huber"}, "box_loss: .*giou.*got 'huber'"),
        ("detection", "cascade-rcnn", {"boxloss": "giou"}, "boxloss"),
        ("detection", "retinanet", {"width": 3}, "unexpected .*'width'"),
        ("classification", "resnet18", {"checkpoint_path": "/etc/passwd"}, "checkpoint_path: .*takes drop_rate"),
        ("classification", "small-resnet", {"drop_rate": 0.3}, "drop_rate: small-resnet takes none"),
        ("segmentation", "unet", {"width": 3}, "width: segmentation takes none"),
    ],
)
def test_what_a_network_does_not_take_is_one_line(
    tmp_path: Path, task: str, model: str, options: dict, message: str
) -> None:
    from snellen.models import create

    with pytest.raises(ModelError, match=message) as error:
        create(model, task=task, num_classes=3, image_size=64, options=options)
    assert "\n" not in str(error.value)


def test_a_plain_value_has_no_entries() -> None:
    with pytest.raises(UseError, match=r"--set epochs.x=2: epochs is 3 already"):
        recipe_overrides(["epochs=3", "epochs.x=2"])


def test_dropout_is_an_option_of_classifiers() -> None:
    from snellen.models import create

    model = create("resnet18", task="classification", num_classes=3, image_size=64, options={"drop_rate": 0.3})
    assert model.drop_rate == 0.3


def test_anchors_go_to_levels_that_see_them_or_are_the_papers(tmp_path: Path) -> None:
    data = digit_scenes(tmp_path, 12, side=64)
    recipe = default_recipe(data, model="ssdlite", image_size=64)
    clustered, seen, general = (
        build_model(data, recipe.vary(anchors=kind)).anchor_sides for kind in ("clustered", "seen", "general")
    )
    flat = [sorted(map(tuple, (wh for level in sides for wh in level))) for sides in (clustered, seen, general)]
    assert flat[0] == flat[1] != flat[2]
    with pytest.raises(RecipeError, match=r"anchors: yolov2 has no anchors on just the levels of 8, 16, 32 px"):
        build_model(data, recipe.vary(model="yolov2", anchors="seen"))
