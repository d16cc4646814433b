"""A recipe: everything that decides a training run, as one value that prints itself. Imports no torch."""

import difflib
import json
import math
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from snellen.data.facts import DataFacts
from snellen.errors import UseError


class RecipeError(UseError):
    """A recipe that cannot be used; the message names field, value and remedy."""


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Recipe(BaseModel):
    """A complete training recipe. Batch sizes and steps are global: over all processes together."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    task: Literal["classification", "detection"]
    """What is learned."""
    model: str
    """Name of the network, as `snellen.models.create` takes it."""
    pretrained: bool = False
    """Start from published weights (asks the network for them) instead of from scratch."""
    image_size: int = Field(ge=16, le=4096, multiple_of=16)
    """Side of the square network input, pixels."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Mean of red, green, blue subtracted from the input, 0..1 scale."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Standard deviation of red, green, blue by which the input is divided, 0..1 scale."""
    epochs: int = Field(default=15, ge=1)
    """Passes over the training images."""
    batch_size: int = Field(default=16, ge=1)
    """Images per optimizer step, over all processes; batches of an epoch differ by at most one image."""
    optimizer: Literal["sgd", "adamw"] = "adamw"
    """sgd is stochastic gradient descent with Nesterov momentum."""
    lr: float = Field(default=3e-3, gt=0)
    """Peak learning rate."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of sgd; beta 1 of adamw."""
    weight_decay: float = Field(default=0.02, ge=0)
    """Weight decay of weights with two or more dimensions; norms and biases have none."""
    warmup_steps: int = Field(default=40, ge=0)
    """Steps of linear rise to `lr`."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Course of the learning rate after the warm-up; cosine falls to 1 % of `lr`."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Decay per step of the averaged weights that are evaluated and kept; 0: no average."""
    clip_norm: float = Field(default=10.0, ge=0)
    """Largest global L2 norm of the gradient; 0: no clipping."""
    amp: bool = True
    """Mixed precision where the device has it (CUDA: bfloat16, else float16); a processor computes in float32."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the label given to all classes alike; classification only."""
    regularisation: float = Field(default=1.0, gt=0)
    """Weight of the data against the regularisation (C of scikit-learn) in logistic regression, SVMs and boosting."""
    patience: int = Field(default=0, ge=0)
    """Stop after this many epochs without a better validation metric; 0: never."""
    flip: bool = False
    """Mirror half of the images left-right; wrong for digits, letters, and signs."""
    jitter_scale: float = Field(default=0.0, ge=0, lt=1)
    """Random zoom by a factor in 1 - this .. 1 + this, and a shift that keeps the frame filled where it can."""
    jitter_colour: float = Field(default=0.0, ge=0, lt=1)
    """Random brightness and contrast factors in 1 - this .. 1 + this."""
    seed: int = Field(default=0, ge=0)
    """Decides initial weights, order and augmentation."""
    workers: int = Field(default=0, ge=0)
    """Processes that prepare images; 0: the training process itself. No result depends on it."""
    checkpoint_seconds: float = Field(default=60.0, gt=0)
    """A checkpoint is written at least this often, and after each epoch."""

    def to_toml(self) -> str:
        """The recipe as TOML, each field under its documentation."""
        lines = []
        for name, field in type(self).model_fields.items():
            lines.append(f"# {' '.join((field.description or '').split())}")
            lines.append(f"{name} = {_toml(getattr(self, name))}\n")
        return "\n".join(lines)

    @classmethod
    def from_toml(cls, source: str | Path) -> "Recipe":
        """Read what `to_toml` wrote: a Path is read, a string parsed. Raises RecipeError."""
        origin = str(source) if isinstance(source, Path) else "recipe"
        try:
            text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
            values = tomllib.loads(text)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise RecipeError(f"{origin}: {error}") from error
        return cls.build(values, origin)

    @classmethod
    def build(cls, values: dict[str, Any], origin: str = "recipe") -> "Recipe":
        """A recipe from plain values. Raises RecipeError that names the field, the value and the nearest known name."""
        check_names(values, origin)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            raise RecipeError(
                f"{origin}: {'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}"
            ) from error

    def vary(self, **overrides: Any) -> "Recipe":
        """The same recipe with some fields changed, validated anew. Raises RecipeError."""
        return self.build({**self.model_dump(), **overrides}) if overrides else self


def check_names(values: dict[str, Any], origin: str) -> None:
    """Raise RecipeError at the first name that is no field of a recipe."""
    for name in values:
        if name not in Recipe.model_fields:
            near = difflib.get_close_matches(name, Recipe.model_fields, n=1)
            hint = f": did you mean {near[0]!r}?" if near else f"; known: {', '.join(Recipe.model_fields)}"
            raise RecipeError(f"{origin}: unknown field {name!r}{hint}")


def check_overrides(overrides: dict[str, Any]) -> None:
    """Raise RecipeError at the first field that is unknown or holds what it cannot, whatever the data."""
    Recipe.build({"task": "classification", "model": "any", "image_size": 64, **overrides}, "overrides")


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(v) for v in value)}]"
    if isinstance(value, bool | str):
        return json.dumps(value)
    return repr(value)


SMALLEST_OBJECT = 16.0
"""Pixels that the small objects (5th percentile of sqrt(area)) shall span at the input size: two cells of stride 8."""
LARGEST_INPUT = 320
"""Pixels; beyond it a processor needs minutes per epoch. Name `image_size` to go higher."""
PIXEL_BUDGET = {"classification": 12e6, "detection": 110e6}
"""Training pixels of a whole default run: a minute of `ssdlite`, ten seconds of `small-resnet`, on two cores."""
LEAST_STEPS = {"classification": 200, "detection": 400}
"""Optimizer steps below which the default networks have not learned, however small the dataset."""


def default_recipe(data: DataFacts, **overrides: Any) -> Recipe:
    """A recipe chosen by looking at the data: input size, epochs, batch size, normalisation.

    * input: the images' size up to 320 px, smaller if small objects keep 16 px (detection), or up to 128 px;
    * epochs: as many as fit a budget of training pixels, 4 to 40, and as many as it takes for 200 or 400 steps;
    * batch: 8 images in detection, 32 in classification, fewer where there are fewer than four batches;
    * mean and std: the dataset's own where its pixels have been measured and no published weights are used.

    Raises RecipeError for unknown or impossible overrides, and for a task that nothing is trained for.
    """
    check_overrides(overrides)
    if data.task not in PIXEL_BUDGET:
        raise RecipeError(f"{data.root}: no network is trained for {data.task}; `snellen check` examines the data")
    detection = data.task == "detection"
    size = int(overrides.get("image_size") or _input_size(data))
    images = max(1, data.images.filter(pl.col("split").is_null() | (pl.col("split") == "train")).height)
    batch = max(2, min(int(overrides.get("batch_size") or (8 if detection else 32)), images // 4))
    affordable = round(PIXEL_BUDGET[data.task] / (images * size * size))
    epochs = min(40, max(4, affordable, math.ceil(LEAST_STEPS[data.task] * batch / images)))
    chosen: dict[str, Any] = {
        "task": data.task,
        "model": "ssdlite" if detection else ("small-resnet" if size <= 64 else "resnet18"),
        "image_size": size,
        "epochs": epochs,
        "batch_size": batch,
        "jitter_scale": 0.2 if detection else 0.1,
        "jitter_colour": 0.2,
        "label_smoothing": 0.0 if detection else 0.05,
        "warmup_steps": max(5, min(40, epochs * images // batch // 10)),
    }
    if not overrides.get("pretrained"):
        chosen.update(_measured_normalisation(data))
    return Recipe.build({**chosen, **overrides}, "overrides")


def _input_size(data: DataFacts) -> int:
    sides = data.images.select(
        pl.max_horizontal(pl.coalesce("width", "declared_width"), pl.coalesce("height", "declared_height")).alias(
            "side"
        )
    )["side"].drop_nulls()
    native = float(sides.median() or 224) if len(sides) else 224.0  # type: ignore[arg-type]
    if data.task == "classification":
        return max(32, round(min(native, 128.0) / 32) * 32)
    wanted = native
    usable = data.boxes.filter("usable")
    if len(usable):
        areas = ((usable["x2"] - usable["x1"]) * (usable["y2"] - usable["y1"])).to_numpy()
        small = float(np.sqrt(np.quantile(areas, 0.05)))
        wanted = native * SMALLEST_OBJECT / max(small, 1.0)
    # A photograph shrunk below 160 px shows little of anything.
    floor = min(native, 160.0)
    return _round_up(min(max(wanted, floor), native, LARGEST_INPUT), 32)


def _round_up(value: float, multiple: int) -> int:
    return max(multiple, math.ceil(value / multiple) * multiple)


def _measured_normalisation(data: DataFacts) -> dict[str, Sequence[float]]:
    columns = [f"{kind}_{channel}" for kind in ("mean", "std") for channel in "rgb"]
    measured = data.images.select(columns).drop_nulls()
    if not len(measured):
        return {}
    mean = [round(float(v), 4) for v in measured[:, :3].mean().row(0)]
    # Total variance = mean of the variances within images + variance of the images' means.
    within = (measured[:, 3:].to_numpy() ** 2).mean(axis=0)
    between = measured[:, :3].to_numpy().var(axis=0)
    std = [round(max(float(v), 0.02), 4) for v in np.sqrt(within + between)]
    return {"mean": tuple(mean), "std": tuple(std)}
