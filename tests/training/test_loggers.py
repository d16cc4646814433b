"""What loggers are told, read back with their own packages."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from snellen.errors import UseError
from snellen.training import default_recipe
from snellen.training.loggers import MLflow, TensorBoard, WeightsAndBiases
from snellen.training.trainer import train
from tests.training.subjects import digit_images


def a_run(tmp_path: Path, name: str) -> tuple[Path, list[dict[str, Any]], Any]:
    """A run stopped in its second epoch and resumed; its steps as the run folder has them."""
    data = digit_images(tmp_path / "data", 40, side=16)
    recipe = default_recipe(data, epochs=2, batch_size=16, loggers=[name])

    def impatient(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "train" and done == 3:
            raise KeyboardInterrupt

    train(data, recipe, tmp_path / "run", progress=impatient)
    trained = train(data, recipe, tmp_path / "run", resume=True)
    lines = (tmp_path / "run" / "steps.jsonl").read_text().splitlines()
    return tmp_path / "run", [json.loads(line) for line in lines], trained


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_every_step_once(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder, steps, trained = a_run(tmp_path, "tensorboard")
    events = accumulator.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    losses = {event.step: event.value for event in events.Scalars("train/loss")}
    assert losses == pytest.approx({row["step"]: row["loss"] for row in steps})
    assert [e.value for e in events.Scalars("train/lr")] == pytest.approx([row["lr"] for row in steps])
    accuracies = [e.value for e in events.Scalars("val/accuracy")]
    assert accuracies == pytest.approx(trained.epochs["metric"].to_list())
    assert "recipe/text_summary" in events.Tags()["tensors"]


@pytest.mark.filterwarnings("ignore")
def test_weights_and_biases_gets_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    recipe = default_recipe(digit_images(tmp_path / "data", 40, side=16))
    (tmp_path / "run").mkdir()
    logger = WeightsAndBiases(tmp_path / "run", recipe, 0)
    logger.log({"train/loss": 2.5}, 0)
    logger.log({"train/loss": 1.5}, 1)
    logger.log({"train/loss": 0.5}, 2)  # a step is complete when the next one comes
    assert logger.run.summary["train/loss"] == 1.5
    assert logger.run.config["batch_size"] == recipe.batch_size
    logger.close("finished")
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert wandb.run is None


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_one_run_with_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    recipe = default_recipe(digit_images(tmp_path / "data", 40, side=16))
    (tmp_path / "run").mkdir()
    first = MLflow(tmp_path / "run", recipe, 0)
    first.log({"train/loss": 2.5}, 0)
    again = MLflow(tmp_path / "run", recipe, 1)
    again.log({"train/loss": 1.5}, 1)
    again.close("finished")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    history = client.get_metric_history(first.run_id, "train/loss")
    assert {m.step: m.value for m in history} == {0: 2.5, 1: 1.5}
    run = client.get_run(again.run_id)
    assert (again.run_id, run.info.status, run.data.tags["stop_reason"]) == (first.run_id, "FINISHED", "finished")
    assert run.data.params["lr"] == str(recipe.lr)


def test_a_logger_that_is_not_installed_is_told_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    data = digit_images(tmp_path / "data", 40, side=16)
    with pytest.raises(UseError, match="wandb is not installed; `pip install wandb`"):
        train(data, default_recipe(data, loggers=["wandb"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_hides_what_was_written_after_its_checkpoint(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    recipe = default_recipe(digit_images(tmp_path / "data", 40, side=16))
    killed = TensorBoard(tmp_path, recipe, 0)
    for step in range(5):
        killed.log({"train/loss": 1.0}, step)
    killed.writer.flush()
    again = TensorBoard(tmp_path, recipe, 3)
    again.log({"train/loss": 2.0}, 3)
    again.close("finished")
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 2.0)]
