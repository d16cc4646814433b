"""Training without steps: features of all images, one fit, one score, kept as a run like any other."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import log_loss
from torch import Tensor

from snellen.data.facts import DataFacts
from snellen.environment import environment
from snellen.facts import table
from snellen.files import to_json, write_text, written_whole
from snellen.models.classical.classifier import ClassicalClassifier
from snellen.models.classical.features import Features
from snellen.models.classical.store import load, save
from snellen.progress import Progress, silent
from snellen.training.folds import split_of
from snellen.training.recipe import Recipe
from snellen.training.run_folder import RunError, RunFolder, refuse_overwriting, write_model
from snellen.training.samples import Samples
from snellen.training.trainer import Trained
from snellen.watching.facts import EPOCHS, RunFacts

BATCH = 64
"""Images whose features are taken at once."""


@dataclass(frozen=True)
class Described:
    """Features and labels of some images."""

    x: Features
    """(N, D)."""
    y: Tensor
    """(N,) int64."""


def train_classical(
    data: DataFacts, recipe: Recipe, out: Path, *, resume: bool = False, progress: Progress = silent
) -> tuple[Trained, RunFacts]:
    """Fit the estimator of `recipe` on the training images of `data`, score it, and keep the run in `out`.

    Images are taken as they are: no augmentation, and of the recipe only model, size, normalisation, pretrained,
    regularisation and seed are used. A run that was cut off is fitted anew: nothing of it can be gone on with.

    Raises UseError when dataset, recipe or run folder cannot be used.
    """
    if recipe.task != "classification":
        raise RunError(f"{recipe.model} classifies images, and {data.root} is a {recipe.task} dataset")
    folder = RunFolder(out)
    refuse_overwriting(folder, recipe, resume)
    began = time.monotonic()
    split = split_of(data, recipe)
    root = Path(data.root)
    parts = {
        "train": Samples(root, split.train, recipe, augment=False),
        "val": Samples(root, split.val, recipe, augment=False),
    }
    unreadable = {**parts["train"].unreadable, **parts["val"].unreadable}
    split = split.without(unreadable)
    model = of_recipe(recipe, len(split.class_names))
    total = sum(len(samples) for samples in parts.values())
    done = 0
    found = {}
    for name, samples in parts.items():
        found[name] = describe(model, samples, partial(_told, progress, done, total))
        done += len(samples)
    progress("fit", 0, 1)
    model.estimator.fit(found["train"].x, found["train"].y.numpy())
    progress("fit", 1, 1)
    row = {
        "epoch": 0,
        "train_loss": _loss(model, found["train"]),
        "val_loss": _loss(model, found["val"]),
        "metric": accuracy(model, found["val"]),
        "train_metric": accuracy(model, found["train"]),
        "seconds": time.monotonic() - began,
    }
    write_text(folder.recipe, recipe.to_toml(), durable=True)
    write_model(folder, split.class_names, None)
    write_text(folder.environment, to_json(environment()))
    with written_whole(folder.ledger) as temporary:
        split.ledger.write_parquet(temporary)
    folder.estimator.parent.mkdir(parents=True, exist_ok=True)
    save(model.estimator, folder.estimator)
    epochs = table(EPOCHS, [row])
    trained = Trained(
        model=model.eval(), run_folder=out, recipe=recipe, class_names=split.class_names, epochs=epochs, best_epoch=0,
        stop_reason="finished", ledger=split.ledger, unreadable=unreadable,
    )  # fmt: skip
    shares = found["val"].y.bincount().float()
    tables: dict[str, Any] = {**RunFacts.empty_tables(), "epochs": epochs}
    facts = RunFacts(
        **tables, task="classification", num_classes=len(split.class_names), metric_name="accuracy",
        baseline_metric=float(shares.max() / shares.sum()), stop_reason="finished",
    )  # fmt: skip
    return trained, facts


def of_recipe(recipe: Recipe, classes: int) -> ClassicalClassifier:
    """The unfitted classifier of a recipe. Raises RunError when its features are unknown."""
    try:
        return ClassicalClassifier(
            recipe.model, classes, mean=recipe.mean, std=recipe.std, pretrained=recipe.pretrained,
            c=recipe.regularisation, seed=recipe.seed,
        )  # fmt: skip
    except (ValueError, OSError, RuntimeError) as error:
        raise RunError(f"{recipe.model}: {str(error).splitlines()[0]}") from error


def load_classical(folder: RunFolder, recipe: Recipe, classes: int) -> ClassicalClassifier:
    """The classifier of a run. Raises UseError."""
    model = of_recipe(recipe, classes)
    model.estimator = load(folder.estimator)
    return model.eval()


def describe(
    model: ClassicalClassifier, samples: Samples, tell: Callable[[int], None] = lambda done: None
) -> Described:
    """Features and labels of all samples."""
    rows, labels = [], []
    for begin in range(0, len(samples), BATCH):
        batch = [samples[i] for i in range(begin, min(begin + BATCH, len(samples)))]
        rows.append(model.features(torch.stack([sample.image for sample in batch])))
        labels += [sample.labels for sample in batch]
        tell(begin + len(batch))
    return Described(np.concatenate(rows), torch.cat(labels))


def accuracy(model: ClassicalClassifier, described: Described) -> float:
    """Share of the images whose class is found."""
    return float((model.estimator.predict(described.x) == described.y.numpy()).mean())


def _told(progress: Progress, before: int, total: int, done: int) -> None:
    progress("features", before + done, total)


def _loss(model: ClassicalClassifier, described: Described) -> float | None:
    """Mean cross-entropy; None of an estimator without probabilities."""
    if not hasattr(model.estimator, "predict_proba"):
        return None
    chances = model.estimator.predict_proba(described.x)
    return float(log_loss(described.y.numpy(), chances, labels=model.estimator.classes_))
