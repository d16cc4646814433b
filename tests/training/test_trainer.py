"""The loop as its user meets it: what is written, who is told, how it stops, what comes out."""

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor, nn

from snellen.data.facts import DataFacts
from snellen.errors import UseError
from snellen.training import Recipe, default_recipe, samples
from snellen.training.predict import load_run, predict
from snellen.training.run_folder import RunError
from snellen.training.trainer import make_optimizer, train
from tests.training.subjects import digit_images, digit_scenes


class Notebook:
    """A watcher that writes down what it is told."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.told: list[tuple[str, dict[str, Any]]] = []

    def start(self, **facts: Any) -> None:
        self.told.append(("start", facts))

    def step(self, **facts: Any) -> None:
        assert all(p.grad is not None for p in self.model.parameters()), "told before the gradients are cleared"
        self.told.append(("step", facts))

    def epoch(self, **facts: Any) -> None:
        self.told.append(("epoch", facts))

    def state_dict(self) -> dict[str, Any]:
        return {"count": len(self.told)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.told.append(("load", state))

    def finish(self, stop_reason: str) -> None:
        self.told.append(("finish", {"stop_reason": stop_reason}))


def small(data: Any, **overrides: Any) -> Recipe:
    return default_recipe(data, **{"epochs": 2, "batch_size": 16, **overrides})


def test_a_run_leaves_its_folder_and_tells_its_watcher(tmp_path: Path) -> None:
    data = digit_images(tmp_path / "data", 80)
    books: list[Notebook] = []

    def factory(model: nn.Module, optimizer: torch.optim.Optimizer) -> Notebook:
        books.append(Notebook(model, optimizer))
        return books[0]

    recipe = small(data)
    trained = train(data, recipe, tmp_path / "run", recorder_factory=factory)
    assert trained.stop_reason == "finished"
    kinds = [kind for kind, _ in books[0].told]
    assert kinds == ["start", *["step"] * 4, "epoch", *["step"] * 4, "epoch", "finish"]
    start, first = books[0].told[0][1], books[0].told[1][1]
    assert start["initial_loss_expected"] == pytest.approx(math.log(10))
    assert 0.1 <= start["baseline_metric"] <= 0.3
    assert (first["batch_size"], first["targets"], first["clip_limit"]) == (16, None, 10.0)
    assert first["grad_norm"] > 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "steps.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(8))
    assert [line["loss"] for line in lines] == [f["loss"] for k, f in books[0].told if k == "step"]
    assert Recipe.from_toml(tmp_path / "run" / "recipe.toml") == recipe
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["torch"]
    assert pl.read_parquet(tmp_path / "run" / "ledger.parquet").height == 80
    assert trained.epochs["metric"].null_count() == 0
    with pytest.raises(RunError, match="holds a run already"):
        train(data, recipe, tmp_path / "run")
    with pytest.raises(RunError, match=r"lr 0\.003 -> 0\.01"):
        train(data, recipe.vary(lr=0.01), tmp_path / "run", resume=True)


def test_predictions_of_a_classifier_are_those_of_its_run(tmp_path: Path) -> None:
    data = digit_images(tmp_path / "data", 60)
    trained = train(data, small(data, ema_decay=0.5), tmp_path / "run")
    model, recipe, names = load_run(tmp_path / "run")
    files = {name: tmp_path / "data" / name for name in data.images["image"][:10]}
    (tmp_path / "broken.png").write_bytes(b"no image")
    files["broken.png"] = tmp_path / "broken.png"
    told = predict(model, recipe, names, files, batch_size=4)
    assert told.images == list(files)[:10]
    assert list(told.unreadable) == ["broken.png"]
    assert told.probabilities is not None
    assert told.probabilities.shape == (10, 10)
    assert torch.allclose(torch.from_numpy(told.probabilities).sum(1), torch.ones(10), atol=1e-5)
    assert told.predictions["class_name"][0] == names[int(told.probabilities[0].argmax())]
    again = predict(trained.model, trained.recipe, trained.class_names, files)
    assert torch.allclose(torch.from_numpy(again.probabilities), torch.from_numpy(told.probabilities), atol=1e-5)


def test_a_detector_counts_its_positives_and_predicts_in_pixels_of_the_image(tmp_path: Path) -> None:
    data = digit_scenes(tmp_path / "data", 30, side=96)
    books: list[Notebook] = []

    def factory(model: nn.Module, optimizer: torch.optim.Optimizer) -> Notebook:
        books.append(Notebook(model, optimizer))
        return books[0]

    train(data, small(data, image_size=64, batch_size=8), tmp_path / "run", recorder_factory=factory)
    first = books[0].told[1][1]
    assert first["positives"] >= first["targets"] > 0
    told = predict(*load_run(tmp_path / "run"), [tmp_path / "data" / "0000.png"], min_score=0.0)
    assert 0 < told.predictions.height <= 100
    inside = (pl.col("x1") >= 0) & (pl.col("x1") < pl.col("x2")) & (pl.col("x2") <= 96) & (pl.col("y2") <= 96)
    assert told.predictions.select(inside.all()).item()
    assert told.predictions["x2"].max() > 64


def test_ctrl_c_saves_and_the_run_goes_on_to_the_same_end(tmp_path: Path) -> None:
    data = digit_images(tmp_path / "data", 80)
    recipe = small(data)
    train(data, recipe, tmp_path / "whole")

    def impatient(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "train" and done == 5:
            raise KeyboardInterrupt

    stopped = train(data, recipe, tmp_path / "run", progress=impatient)
    assert stopped.stop_reason == "interrupted"
    resumed = train(data, recipe, tmp_path / "run", resume=True)
    assert resumed.stop_reason == "finished"
    assert (tmp_path / "run" / "steps.jsonl").read_text() == (tmp_path / "whole" / "steps.jsonl").read_text()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    data = digit_images(tmp_path / "data", 60)

    def broken(logits: Tensor, labels: Tensor) -> Tensor:
        return logits.sum() * float("nan")

    trained = train(data, small(data), tmp_path / "run", loss=broken)
    assert trained.stop_reason == "diverged"


def test_own_model_and_loss_take_the_place_of_the_defaults(tmp_path: Path) -> None:
    data = digit_images(tmp_path / "data", 60)
    mine = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))

    def squares(logits: Tensor, labels: Tensor) -> Tensor:
        return (logits.softmax(1) - nn.functional.one_hot(labels, 10)).square().sum(1).mean()

    trained = train(data, small(data, lr=1e-3), tmp_path / "run", model=mine, loss=squares)
    assert trained.model is mine
    assert trained.epochs["train_loss"][1] < trained.epochs["train_loss"][0]


def test_patience_ends_a_run_that_no_longer_learns(tmp_path: Path) -> None:
    data = digit_images(tmp_path / "data", 60)
    trained = train(data, small(data, epochs=8, lr=1e-9, patience=2, warmup_steps=0), tmp_path / "run")
    assert trained.stop_reason == "early-stopping"
    assert trained.epochs.height < 8


def test_norms_and_biases_have_no_weight_decay(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = make_optimizer(model, Recipe(task="classification", model="resnet18", image_size=32))
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decay[id(model[0].weight)] > 0
    assert decay[id(model[0].bias)] == decay[id(model[1].weight)] == decay[id(model[1].bias)] == 0


def test_a_hostile_checkpoint_is_refused(tmp_path: Path) -> None:
    data = digit_images(tmp_path / "data", 60)
    train(data, small(data, epochs=1), tmp_path / "run")
    torch.save({"model": Path("/")}, tmp_path / "run" / "checkpoints" / "best.pt")
    with pytest.raises(UseError, match=r"best\.pt: not a checkpoint"):
        load_run(tmp_path / "run")
    with pytest.raises(UseError, match="not a run folder"):
        load_run(tmp_path / "data")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")  # Python 3.12 warns of any fork beside threads
def test_a_file_that_goes_in_mid_training_is_one_line(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the images do not fit in memory they are read in each epoch."""
    monkeypatch.setattr(samples.Samples, "_bytes", lambda self: samples.CACHE_BYTES + 1)
    data = digit_images(tmp_path / "data", 60)

    def lose(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "train" and done == 1:
            for path in (tmp_path / "data").rglob("*.png"):
                path.unlink()

    with pytest.raises(UseError, match=r"^\d/\d{4}\.png cannot be read any more: No such file.*--resume") as caught:
        train(data, small(data, workers=workers, batch_size=6), tmp_path / "run", progress=lose)
    assert "\n" not in str(caught.value)


def test_ctrl_c_in_the_last_step_is_not_forgotten(tmp_path: Path) -> None:
    data = digit_images(tmp_path / "data", 60)

    def impatient(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "train" and done == total:
            raise KeyboardInterrupt

    assert train(data, small(data, epochs=1), tmp_path / "run", progress=impatient).stop_reason == "interrupted"
    assert train(data, small(data, epochs=1), tmp_path / "run", resume=True).stop_reason == "finished"


def test_a_run_is_not_resumed_on_changed_labels(tmp_path: Path) -> None:
    data = digit_scenes(tmp_path / "data", 24, side=64)
    recipe = small(data, epochs=1, image_size=64, batch_size=8)
    train(data, recipe, tmp_path / "run")
    fewer = DataFacts(**{**vars(data), "boxes": data.boxes.head(data.boxes.height - 1)})
    with pytest.raises(RunError, match="not the one this run began with"):
        train(fewer, recipe, tmp_path / "run", resume=True)
