"""What is found out before a training: the largest batch, the rate, and what the device can do."""

from pathlib import Path

import pytest
import torch

from snellen.errors import UseError
from snellen.experiments.rates import suggested
from snellen.network.examine import examine
from snellen.training import Recipe, default_recipe
from snellen.training.batch_size import free_memory, largest_batch_size, largest_that_fits
from snellen.training.engine import make_accelerator, precision_of
from snellen.training.lr_finder import find_rate
from snellen.training.prepare import build_model
from snellen.verbs.tuning import tuned, without_auto
from tests.training.subjects import digit_images, digit_scenes


@pytest.mark.parametrize(("limit", "most", "lowest"), [(100, 256, 88), (7, 256, 6), (1, 256, 0), (300, 40, 40)])
def test_the_search_stops_within_an_eighth_of_what_fits(limit: int, most: int, lowest: int) -> None:
    tried: list[int] = []

    def step(count: int) -> None:
        tried.append(count)
        if count > limit:
            raise torch.cuda.OutOfMemoryError("out of memory")

    found = largest_that_fits(step, most)
    assert lowest <= found <= min(limit, most)
    assert found in tried or found == 0
    assert len(tried) <= 14


def test_on_a_processor_the_batch_is_computed_from_the_network(tmp_path: Path) -> None:
    data = digit_images(tmp_path, 400, side=8)
    recipe = default_recipe(data, image_size=64)
    facts = examine(build_model(data, recipe), (1, 3, 64, 64))
    memory = facts.training_memory(37, "adamw")
    assert largest_batch_size(data, recipe, memory=memory) == 37
    assert largest_batch_size(data, recipe, memory=2**50) == 80  # a quarter of the 320 that are trained on
    with pytest.raises(UseError, match="does not fit into memory"):
        largest_batch_size(data, recipe, memory=1)
    assert free_memory() > 2**20


def test_auto_becomes_numbers_in_the_recipe(tmp_path: Path) -> None:
    overrides, auto = without_auto({"lr": "auto", "batch_size": "auto", "epochs": 3})
    assert (overrides, auto) == ({"epochs": 3}, ["batch_size", "lr"])
    data = digit_images(tmp_path, 80, side=8)
    recipe = default_recipe(data, batch_size=4)
    larger = tuned(data, recipe, ["batch_size"])
    assert larger.batch_size == 16
    assert larger.lr == pytest.approx(recipe.lr * 2, rel=1e-3)
    assert tuned(data, recipe.vary(optimizer="sgd"), ["batch_size"]).lr == pytest.approx(recipe.lr * 4, rel=1e-3)
    assert tuned(data, recipe, ["batch_size"], named=["lr"]).lr == recipe.lr


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_the_rate_is_where_the_loss_falls_fastest(tmp_path: Path, task: str) -> None:
    make = digit_images if task == "classification" else digit_scenes
    data = make(tmp_path, 40, side=32) if task == "classification" else make(tmp_path, 16, side=64)
    recipe = default_recipe(data, image_size=32 if task == "classification" else 64, batch_size=8)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    found = find_rate(data, recipe, seconds=60)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.rate == suggested(found.points)
    assert 1e-5 < found.rate < 1.0
    assert len(found.points) > 20


def test_precision_is_what_the_device_has() -> None:
    recipe = Recipe(task="classification", model="any", image_size=32)
    if not torch.cuda.is_available():
        assert precision_of(recipe) == "no"
        with pytest.raises(UseError, match="fp16 needs a CUDA device"):
            precision_of(recipe.vary(amp_dtype="fp16"))
    assert precision_of(recipe.vary(amp_dtype="bf16")) == "bf16"
    assert precision_of(recipe.vary(amp_dtype="bf16", amp=False)) == "no"
    # One process trains twice with different precisions.
    assert make_accelerator(recipe.vary(amp_dtype="bf16")).mixed_precision == "bf16"
    assert make_accelerator(recipe.vary(amp=False)).mixed_precision == "no"


def test_sharding_needs_processes() -> None:
    with pytest.raises(UseError, match="start several with torchrun"):
        make_accelerator(Recipe(task="classification", model="any", image_size=32, sharded=True))
