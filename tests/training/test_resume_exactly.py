"""A run that is stopped in the middle of an epoch goes on bit for bit, whatever the recipe asks for."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from snellen.training import default_recipe
from snellen.training.run_folder import RunFolder
from snellen.training.snapshots import snapshot_files
from snellen.training.trainer import train
from tests.training.subjects import digit_images, digit_scenes, shapes_with_maps

OPTIONS: dict[str, dict[str, Any]] = {
    "sgd, 1/t": {"optimizer": "sgd", "schedule": "inverse", "lr": 0.02},
    "adam, step": {"optimizer": "adam", "schedule": "step", "lr_milestones": [1]},
    "rmsprop, piecewise": {
        "optimizer": "rmsprop", "schedule": "piecewise", "lr_milestones": [1], "lr_values": [1e-3, 1e-4],
    },
    "adagrad, exponential": {"optimizer": "adagrad", "schedule": "exponential", "hold_steps": 1},
    "adadelta, one-cycle": {"optimizer": "adadelta", "schedule": "one-cycle", "lr": 1.0},
    "plateau, moving average": {"schedule": "plateau", "plateau_patience": 0, "ema_decay": 0.9, "lr": 1e-9},
    "stochastic average": {"swa_epochs": 2, "swa_lr": 1e-3},
    "snapshots": {"schedule": "restarts", "cycles": 3, "snapshots": 2},
    "in parts, several scales": {"accumulate": 2, "multi_scale": 0.5},
    "frozen": {"freeze": ["backbone.stem"], "transfer": "discriminative", "channels_last": False},
    "head, in a fold": {"transfer": "head", "folds": 3, "fold": 1},
    "half precision, in a bag": {"amp_dtype": "bf16", "bags": 2, "bag": 1},
}  # fmt: skip


def interrupted_and_whole(data: Any, recipe: Any, folder: Path) -> tuple[Any, Any]:
    """The same recipe trained in one go, and stopped after the third step and resumed."""

    def impatient(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "train" and done == 3:
            raise KeyboardInterrupt

    whole = train(data, recipe, folder / "whole")
    assert train(data, recipe, folder / "cut", progress=impatient).stop_reason == "interrupted"
    return whole, train(data, recipe, folder / "cut", resume=True)


def assert_same(whole: Any, resumed: Any, folder: Path) -> None:
    one, two = (json.loads("[" + ",".join((folder / n / "steps.jsonl").read_text().splitlines()) + "]") for n in (
        "whole", "cut"))  # fmt: skip
    assert one == two
    assert whole.epochs.drop("seconds").equals(resumed.epochs.drop("seconds"))
    assert whole.best_epoch == resumed.best_epoch
    states = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    snapshots = [snapshot_files(RunFolder(folder / n)) for n in ("whole", "cut")]
    for a, b in zip(*snapshots, strict=True):
        weights = [torch.load(path, weights_only=True)["model"] for path in (a, b)]
        assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


@pytest.mark.parametrize("name", list(OPTIONS))
def test_a_classifier_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    data = digit_images(tmp_path / "data", 40, side=16)
    plain = {"image_size": 32, "epochs": 3, "batch_size": 16, "warmup_steps": 1}
    recipe = default_recipe(data, **{**plain, **OPTIONS[name]})
    whole, resumed = interrupted_and_whole(data, recipe, tmp_path)
    assert_same(whole, resumed, tmp_path)
    assert len(snapshot_files(RunFolder(tmp_path / "whole"))) == recipe.snapshots


@pytest.mark.parametrize("name", ["in parts, several scales", "stochastic average"])
def test_a_detector_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    data = digit_scenes(tmp_path / "data", 12, side=64)
    recipe = default_recipe(data, image_size=64, epochs=2, batch_size=4, **OPTIONS[name])
    whole, resumed = interrupted_and_whole(data, recipe, tmp_path)
    assert_same(whole, resumed, tmp_path)


@pytest.mark.slow
def test_a_detector_by_regions_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """Its regions are drawn at random, twice where the batch is computed in parts."""
    data = digit_scenes(tmp_path / "data", 10, side=64)
    recipe = default_recipe(
        data, model="faster-rcnn-fpn", image_size=64, epochs=2, batch_size=4, accumulate=2, ema_decay=0.9
    )
    whole, resumed = interrupted_and_whole(data, recipe, tmp_path)
    assert_same(whole, resumed, tmp_path)


def test_a_segmenter_goes_on_bit_for_bit(tmp_path: Path) -> None:
    data = shapes_with_maps(tmp_path / "data", 10)
    options = {"accumulate": 2, "multi_scale": 0.5, "schedule": "restarts", "snapshots": 1, "loss": "ce+dice"}
    recipe = default_recipe(data, image_size=32, epochs=2, batch_size=4, **options)
    whole, resumed = interrupted_and_whole(data, recipe, tmp_path)
    assert_same(whole, resumed, tmp_path)
