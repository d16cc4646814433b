"""Steps and epochs told to TensorBoard, Weights & Biases or MLflow; each an optional package, imported when named."""

import hashlib
import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from snellen.errors import UseError
from snellen.training.recipe import Recipe

PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
"""Name in a recipe -> package that has to be installed."""


class Logger(Protocol):
    """Told of numbers by name, and of the end."""

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Numbers of a step; those of an epoch bear the number of its last step."""

    def close(self, reason: str) -> None:
        """The run ended: finished, early-stopping, interrupted or diverged."""


class TensorBoard:
    """Event files in RUN/tensorboard; a resumed run writes a further file, from its first step on."""

    def __init__(self, folder: Path, recipe: Recipe, first_step: int) -> None:
        writer = _imported("torch.utils.tensorboard", "tensorboard").SummaryWriter
        # What a killed run wrote after its last checkpoint is written again, and the older points are hidden.
        self.writer: Any = writer(str(folder / "tensorboard"), purge_step=first_step or None)
        if not first_step:
            self.writer.add_text("recipe", f"```toml\n{recipe.to_toml()}\n```")

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """As `Logger.log`."""
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)

    def close(self, reason: str) -> None:
        """As `Logger.close`."""
        self.writer.add_text("stop reason", reason)
        self.writer.close()


class WeightsAndBiases:
    """A run of the project `snellen`; files in RUN/wandb. WANDB_MODE=offline keeps it on this machine."""

    def __init__(self, folder: Path, recipe: Recipe, first_step: int) -> None:
        wandb = _imported("wandb", "wandb")
        identity = folder.resolve().name
        self.run: Any = wandb.init(
            project="snellen", name=identity, id=_word(folder), dir=str(folder), resume="allow",
            config=recipe.model_dump(mode="json"),
        )  # fmt: skip

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """As `Logger.log`."""
        self.run.log(dict(numbers), step=step)

    def close(self, reason: str) -> None:
        """As `Logger.close`."""
        self.run.summary["stop_reason"] = reason
        self.run.finish(exit_code=int(reason == "diverged"))


class MLflow:
    """A run of the experiment `snellen`, where MLFLOW_TRACKING_URI says, else in RUN/mlflow.db."""

    def __init__(self, folder: Path, recipe: Recipe, first_step: int) -> None:
        mlflow = _imported("mlflow", "mlflow")
        if "MLFLOW_TRACKING_URI" not in os.environ:
            mlflow.set_tracking_uri(f"sqlite:///{folder.resolve() / 'mlflow.db'}")
        self.client: Any = mlflow.MlflowClient()
        found = self.client.get_experiment_by_name("snellen")
        experiment = found.experiment_id if found else self.client.create_experiment("snellen")
        name = folder.resolve().name
        earlier = self.client.search_runs([experiment], filter_string=f"tags.folder = '{_word(folder)}'")
        if first_step and earlier:
            self.run_id = earlier[0].info.run_id
            return
        run = self.client.create_run(experiment, tags={"folder": _word(folder)}, run_name=name)
        self.run_id = run.info.run_id
        for key, value in recipe.model_dump(mode="json").items():
            self.client.log_param(self.run_id, key, value)

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """As `Logger.log`."""
        for name, value in numbers.items():
            self.client.log_metric(self.run_id, name, value, step=step)

    def close(self, reason: str) -> None:
        """As `Logger.close`."""
        self.client.set_tag(self.run_id, "stop_reason", reason)
        self.client.set_terminated(self.run_id, "FAILED" if reason == "diverged" else "FINISHED")


KINDS: dict[str, Any] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "mlflow": MLflow}


def loggers_of(recipe: Recipe, folder: Path, first_step: int) -> Sequence[Logger]:
    """Those that `recipe` names, writing on from `first_step`. Raises UseError for a package that is not there."""
    made: list[Logger] = [KINDS[name](folder, recipe, first_step) for name in recipe.loggers]
    return made


def check_loggers(recipe: Recipe) -> None:
    """Raise UseError, before anything is begun, for a logger whose package is not installed."""
    for name in recipe.loggers:
        _imported(PACKAGES[name], name)


def _imported(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UseError(f"loggers: {package} is not installed; `pip install {package}`, or leave it out") from error


def _word(folder: Path) -> str:
    """A name for a folder that services take as an identity."""
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
