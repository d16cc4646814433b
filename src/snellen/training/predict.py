"""Predictions of a trained network, as the table that `snellen.evaluation` scores."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snellen.data.decoding import UNREADABLE, decode
from snellen.data.records import clean
from snellen.evaluation.facts import PREDICTIONS
from snellen.facts import table
from snellen.models.classical import is_classical
from snellen.models.detection.base import Found
from snellen.progress import Progress, silent
from snellen.training import checkpoint
from snellen.training.ensemble import Ensemble
from snellen.training.members import Members, read_members
from snellen.training.pixels import fit_frame, normalised
from snellen.training.prepare import built_from
from snellen.training.recipe import Recipe
from snellen.training.run_folder import RunError, RunFolder, read_model
from snellen.training.snapshots import snapshot_files
from snellen.training.splits import LEDGER

COLUMNS = list(PREDICTIONS)[:7]
NMS_IOU = 0.5
"""Of suppression, where nothing else is asked for."""


@dataclass(frozen=True)
class Predicted:
    """What a network says of some images."""

    predictions: pl.DataFrame
    """The first seven columns of `evaluation.facts.PREDICTIONS`; classification: the best class of each image."""
    probabilities: NDArray[np.float32] | None
    """Classification: (N, C), rows as `images`, columns as the class names; None in detection."""
    images: list[str]
    """The images that could be read, in the order given."""
    unreadable: dict[str, str]
    """Image -> why it could not be read."""


def load_run(folder: Path, *, together: bool = True) -> tuple[nn.Module, Recipe, list[str]]:
    """The network of a run with its best weights (the last ones when no epoch was finished), recipe, class names.

    On the CPU, in eval mode. A folder of folds or bags, and with `together` the snapshots that a recipe asks for, are
    an `Ensemble`. Raises RunError, RecipeError or CheckpointError.
    """
    run = RunFolder(folder)
    members = read_members(folder)
    if members is not None:
        return _load_members(folder, members)
    if not run.recipe.is_file():
        raise RunError(f"{folder}: not a run folder: recipe.toml is missing")
    recipe, class_names, anchors = read_model(run)
    if is_classical(recipe.model):
        from snellen.training.classical import load_classical

        return load_classical(run, recipe, len(class_names)), recipe, class_names
    model = built_from(recipe, len(class_names), anchors)
    snapshots = snapshot_files(run) if together and recipe.snapshots else []
    files = snapshots or [run.best if run.best.is_file() else run.last]
    networks = [deepcopy(model) for _ in files[1:]] + [model]
    for network, file in zip(networks, files, strict=True):
        try:
            network.load_state_dict(checkpoint.load(file)["model"])
        except (KeyError, RuntimeError) as error:
            raise RunError(f"{folder}: the weights do not fit {recipe.model}: {str(error).splitlines()[0]}") from error
    return (Ensemble(networks) if snapshots else model).eval(), recipe, class_names


def _load_members(folder: Path, members: Members) -> tuple[nn.Module, Recipe, list[str]]:
    """The networks of several runs as one, the recipe of the first, and the class names of them all."""
    loaded = [load_run(folder / name) for name in members.names if RunFolder(folder / name).best.is_file()]
    if not loaded:
        raise RunError(f"{folder}: none of its {members.count} {members.kind} has finished an epoch")
    _, recipe, class_names = loaded[0]
    if any(names != class_names or other.task != recipe.task for _, other, names in loaded):
        raise RunError(f"{folder}: its runs are of different classes or tasks")
    return Ensemble([model for model, _, _ in loaded]).eval(), recipe, class_names


def load_ledger(folder: Path) -> pl.DataFrame | None:
    """Which image a run used for what; None when it does not say. Raises RunError when that cannot be read."""
    path = RunFolder(folder).ledger
    if not path.is_file():
        return None
    try:
        return pl.read_parquet(path).select(list(LEDGER))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{path}: not the ledger of a run: {str(error).splitlines()[0]}") from error


def predict(
    model: nn.Module,
    recipe: Recipe,
    class_names: Sequence[str],
    images: Mapping[str, Path] | Sequence[Path],
    *,
    min_score: float = 0.02,
    nms_iou: float = NMS_IOU,
    batch_size: int = 32,
    progress: Progress = silent,
) -> Predicted:
    """Predict every image that can be read.

    Boxes are xyxy pixels of the decoded, EXIF-applied image, at most 100 an image, after suppression within each class.

    Args:
        model: As `load_run` or `train` return it; used on the device it is on, put in eval mode.
        recipe: Its recipe: input size and normalisation.
        class_names: Its classes, in order of its outputs.
        images: Key of the table -> file; a sequence of paths is its own keys.
        min_score: Detections below this are left out; classification keeps every image.
        nms_iou: IoU above which suppression takes two boxes of a class for one.
    """
    return predict_each(
        model, recipe, class_names, images, (nms_iou,), min_score=min_score, batch_size=batch_size, progress=progress
    )[0]


@torch.no_grad()
def predict_each(
    model: nn.Module,
    recipe: Recipe,
    class_names: Sequence[str],
    images: Mapping[str, Path] | Sequence[Path],
    nms_ious: Sequence[float],
    *,
    min_score: float = 0.02,
    batch_size: int = 32,
    progress: Progress = silent,
) -> list[Predicted]:
    """As `predict`, once for each of `nms_ious`, with one pass through the network."""
    files = dict(images) if isinstance(images, Mapping) else {clean(str(path)): Path(path) for path in images}
    unreadable: dict[str, str] = {}
    rows: list[list[dict[str, object]]] = [[] for _ in nms_ious]
    chances: list[NDArray[np.float32]] = []
    read: list[str] = []
    model.eval()
    device = next(chain(model.parameters(), model.buffers())).device
    mean, std = (torch.tensor(v, device=device) * 255 for v in (recipe.mean, recipe.std))
    for names, frames, scales in _frames(files, recipe, batch_size, unreadable):
        outputs = model(normalised(frames.to(device), mean, std))
        read += names
        if recipe.task == "classification":
            probabilities = outputs.float().softmax(dim=1).cpu().numpy()
            chances.append(probabilities)
            for name, row in zip(names, probabilities, strict=True):
                best = int(row.argmax())
                said = {"image": name, "class_name": class_names[best], "score": float(row[best])}
                for own_rows in rows:
                    own_rows.append(said)
        else:
            for nms_iou, own_rows in zip(nms_ious, rows, strict=True):
                found = model.detect(outputs, min_score=min_score, nms_iou=nms_iou)  # type: ignore[operator]
                for name, scale, boxes in zip(names, scales, found, strict=True):
                    own_rows += _boxes(name, scale, boxes, class_names)
        progress("predict", len(read) + len(unreadable), len(files))
    schema = {name: PREDICTIONS[name] for name in COLUMNS}
    empty = np.zeros((0, len(class_names)), np.float32)
    probabilities = (np.concatenate(chances) if chances else empty) if recipe.task == "classification" else None
    return [Predicted(table(schema, own_rows), probabilities, read, unreadable) for own_rows in rows]


def _boxes(
    name: str,
    scale: tuple[float, float, int, int],
    found: Found,
    class_names: Sequence[str],
) -> Iterator[dict[str, object]]:
    """Rows of the boxes found in one image, in its own pixels; what lay in the letterbox's border is none."""
    sx, sy, width, height = scale
    own = (found.boxes.cpu() / torch.tensor([sx, sy, sx, sy])).clamp(min=0)
    own = torch.minimum(own, torch.tensor([width, height, width, height], dtype=torch.float32))
    for box, score, label in zip(own.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True):
        if box[2] > box[0] and box[3] > box[1]:
            sides = dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
            yield {"image": name, "class_name": class_names[label], "score": score, **sides}


def _frames(
    files: Mapping[str, Path], recipe: Recipe, batch_size: int, unreadable: dict[str, str]
) -> Iterator[tuple[list[str], Tensor, list[tuple[float, float, int, int]]]]:
    """Batches of (keys, frames (N, 3, S, S) uint8, per image the two scales and the image's width and height)."""
    names: list[str] = []
    frames: list[Tensor] = []
    scales: list[tuple[float, float, int, int]] = []
    for name, path in files.items():
        try:
            pixels = decode(path)
        except UNREADABLE as error:
            unreadable[name] = getattr(error, "strerror", None) or str(error) or type(error).__name__
            continue
        frame, sx, sy = fit_frame(pixels, recipe.image_size, keep_ratio=recipe.task != "classification")
        names.append(name)
        frames.append(frame)
        scales.append((sx, sy, pixels.shape[1], pixels.shape[0]))
        if len(names) == batch_size:
            yield names, torch.stack(frames), scales
            names, frames, scales = [], [], []
    if names:
        yield names, torch.stack(frames), scales
