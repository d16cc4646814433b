"""The recipe as a value: text and back, refusals, and what it picks for a dataset."""

import subprocess
import sys
from pathlib import Path

import pytest

from snellen.training.recipe import Recipe, RecipeError
from snellen.training.recipe_defaults import default_recipe
from tests.training.subjects import digit_images, digit_scenes


def test_a_recipe_survives_toml_and_prints_its_documentation() -> None:
    recipe = Recipe(task="detection", model="ssdlite", image_size=96, lr=1.25e-4, flip=True, mean=(0.1, 0.2, 0.3))
    text = recipe.to_toml()
    assert Recipe.from_toml(text) == recipe
    assert "# Peak learning rate.\nlr = 0.000125" in text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("epoch = 3", "did you mean 'epochs'"),
        ('task = "detection"\nmodel = "ssdlite"\nimage_size = 100', "image_size.*got 100"),
        ('task = "detection"\nmodel = "ssdlite"\nimage_size = 96\nlr = -1.0', "lr.*got -1.0"),
        ("lr = = 3", "recipe: "),
    ],
)
def test_a_bad_recipe_is_refused_by_name(text: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        Recipe.from_toml(text)


def test_defaults_follow_the_data(tmp_path: Path) -> None:
    digits = default_recipe(digit_images(tmp_path / "digits", 40))
    assert (digits.task, digits.image_size, digits.model) == ("classification", 32, "small-resnet")
    scenes = default_recipe(digit_scenes(tmp_path / "scenes", 20))
    assert (scenes.task, scenes.image_size, scenes.model) == ("detection", 128, "ssdlite")
    # Objects of 80 px need no more pixels than the floor.
    large = default_recipe(digit_scenes(tmp_path / "large", 10, side=640, smallest=40))
    assert large.image_size <= 320
    with pytest.raises(RecipeError, match="did you mean 'epochs'"):
        default_recipe(digit_images(tmp_path / "digits", 40), epoch=3)
    assert default_recipe(digit_images(tmp_path / "digits", 40), epochs=3).epochs == 3


def test_the_recipe_needs_no_torch() -> None:
    code = "import sys, snellen.training; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
