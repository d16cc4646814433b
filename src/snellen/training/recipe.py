"""A recipe: everything that decides a training run, as one value that prints itself. Imports no torch."""

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from snellen.errors import UseError


class RecipeError(UseError):
    """A recipe that cannot be used; the message names field, value and remedy."""


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LOSS_NAMES = frozenset({"ce", "focal", "ohem-ce", "dice", "lovasz"})
"""Those of `snellen.models.losses`."""


class Recipe(BaseModel):
    """A complete training recipe. Batch sizes and steps are global: over all processes together."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    task: Literal["classification", "detection", "segmentation"]
    """What is learned."""
    model: str
    """Name of the network, as `snellen.models.create` takes it."""
    model_options: dict[str, bool | int | float | str] = {}
    """What that network takes beyond its name, as `docs/models.md` lists it: {box_loss = "giou"}, {drop_rate = 0.2}."""
    anchors: Literal["clustered", "seen", "general"] = "clustered"
    """Shapes of a detector's anchors. clustered: k-means on the training objects; seen: those, and each on a level
    whose effective receptive field holds it; general: those of the paper."""
    pretrained: bool = False
    """Start from published weights (asks the network for them) instead of from scratch."""
    weights: str = ""
    """File or run folder whose weights training starts from, as far as they fit: see `start_weights.py`."""
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
    accumulate: int = Field(default=1, ge=1)
    """Parts that a batch is computed in, one after the other, to save memory; loss and gradient are the whole batch's,
    where no batch normalisation looks at the part alone."""
    optimizer: Literal["sgd", "adamw", "adam", "rmsprop", "adagrad", "adadelta"] = "adamw"
    """sgd is stochastic gradient descent with Nesterov momentum; adam, rmsprop, adagrad and adadelta have their weight
    decay in the gradient (L2), adamw beside it."""
    lr: float = Field(default=3e-3, gt=0)
    """Peak learning rate."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of sgd and rmsprop; beta 1 of adam and adamw; the averages' decay (rho) of adadelta."""
    weight_decay: float = Field(default=0.02, ge=0)
    """Weight decay of weights with two or more dimensions; norms, biases and embeddings of positions have none."""
    transfer: Literal["all", "head", "last-layers", "discriminative"] = "all"
    """What is trained of a network that comes with weights: all of it; the head alone (little data, like that of the
    weights); the last third of its layers (much data, alike); all, at rates that fall towards the input (data unlike
    that of the weights)."""
    layer_decay: float = Field(default=0.8, gt=0, le=1)
    """Factor of the rate from each layer to the one before it, where transfer is discriminative."""
    freeze: tuple[str, ...] = ()
    """Modules that keep their weights and statistics, by the beginning of their names."""
    warmup_steps: int = Field(default=40, ge=0)
    """Steps of linear rise to `lr`."""
    warmup_start: float = Field(default=0.0, ge=0, lt=1)
    """Share of `lr` that the warm-up begins with; 0: the first of equal stairs."""
    hold_steps: int = Field(default=0, ge=0)
    """Steps between the warm-up and the fall in which the rate is `lr`."""
    schedule: Literal[
        "cosine", "constant", "step", "piecewise", "inverse", "exponential", "halve", "restarts", "one-cycle", "plateau"
    ] = "cosine"
    """Course of the learning rate after the warm-up. cosine and restarts fall to a share of `lr`; step: times gamma at
    each milestone or every so many epochs, halve: half of it; inverse: lr / (1 + gamma epochs); exponential: lr
    gamma^epochs; plateau: times gamma when validation stands still; one-cycle has a rise of its own, no warm-up."""
    lr_final: float = Field(default=0.01, ge=0, le=1)
    """Share of `lr` where cosine and restarts end."""
    lr_gamma: float = Field(default=0.0, ge=0)
    """Factor or rate of the fall; 0: 0.1 for step, inverse and plateau, 0.95 for exponential."""
    lr_every: float = Field(default=10.0, gt=0)
    """Epochs between two falls of step without milestones and of halve."""
    lr_milestones: tuple[float, ...] = ()
    """Epochs after warm-up and hold at which step and piecewise change the rate."""
    lr_values: tuple[float, ...] = ()
    """Learning rates of piecewise, one more than milestones."""
    lr_staircase: bool = False
    """inverse and exponential fall once an epoch instead of each step."""
    cycles: int = Field(default=3, ge=1)
    """Times that restarts falls from `lr`."""
    cycle_factor: float = Field(default=1.0, ge=1)
    """How many times longer each cycle of restarts is than the one before."""
    one_cycle_rise: float = Field(default=0.3, gt=0, lt=1)
    """Part of the run in which one-cycle rises."""
    plateau_patience: int = Field(default=3, ge=0)
    """Epochs without a better validation that plateau bears before it lowers the rate."""
    snapshots: int = Field(default=0, ge=0)
    """Networks at the ends of the last so many cycles of restarts that predict together; 0: the best epoch's alone."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Decay per step of the averaged weights that are evaluated and kept; 0: no average."""
    swa_epochs: int = Field(default=0, ge=0)
    """Last epochs whose ends are averaged, with batch statistics taken anew; the average is what is evaluated and
    kept; 0: no average."""
    swa_lr: float = Field(default=0.0, ge=0)
    """Constant learning rate of those epochs; 0: as the schedule has it."""
    clip_norm: float = Field(default=10.0, ge=0)
    """Largest global L2 norm of the gradient; 0: no clipping."""
    amp: bool = True
    """Mixed precision where the device has it (CUDA: bfloat16, else float16); a processor computes in float32."""
    amp_dtype: Literal["auto", "bf16", "fp16"] = "auto"
    """Which half precision; auto: as `amp` says. bf16 named here is used on a processor, too."""
    channels_last: bool = True
    """Maps with the channels innermost in memory: a convolution network trains a third faster."""
    compile: bool = False
    """Compile the network (torch.compile); it runs as it is, and says why, where that cannot be done."""
    sharded: bool = False
    """Under torchrun: parameters, gradients and optimizer state are divided among the processes (FSDP)."""
    multi_scale: float = Field(default=0.0, ge=0, lt=1)
    """The input side of each step is drawn from 1 - this .. 1 + this times `image_size`, in steps of 32 pixels."""
    loss: str = "ce"
    """Loss of classification and segmentation: ce (cross-entropy), focal, ohem-ce (its hardest labels only); in
    segmentation dice and lovasz, too; or several added up, ce+dice. A detector has its own."""
    focal_gamma: float = Field(default=2.0, ge=0)
    """How little the focal loss makes of easy labels; 0: it is cross-entropy."""
    class_weights: Literal["none", "balanced", "sqrt", "median"] = "none"
    """Weights of the classes in that loss. balanced: against how often they occur, sqrt: the root of that, median: the
    median class's frequency divided by the class's; none: all alike."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the label given to all classes alike by cross-entropy, in classification and segmentation."""
    regularisation: float = Field(default=1.0, gt=0)
    """Weight of the data against the regularisation (C of scikit-learn) in logistic regression, SVMs and boosting."""
    patience: int = Field(default=0, ge=0)
    """Stop after this many epochs without a better validation metric; 0: never."""
    folds: int = Field(default=0, ge=0)
    """Parts of a cross-validation that the images are divided into, of which this run is validated on one; 0: none."""
    fold: int = Field(default=0, ge=0)
    """Which of them, from 0 on."""
    bags: int = Field(default=0, ge=0)
    """Runs that each draw as many training images as there are, with replacement; 0: every image once."""
    bag: int = Field(default=0, ge=0)
    """Which of them this run is, from 0 on."""
    flip: bool = False
    """Mirror half of the images left-right; wrong for digits, letters, and signs."""
    jitter_scale: float = Field(default=0.0, ge=0, lt=1)
    """Random zoom by a factor in 1 - this .. 1 + this, and a shift that keeps the frame filled where it can."""
    jitter_colour: float = Field(default=0.0, ge=0, lt=1)
    """Random brightness and contrast factors in 1 - this .. 1 + this."""
    jitter_saturation: float = Field(default=0.0, ge=0, le=1)
    """Random saturation factor in 1 - this .. 1 + this."""
    jitter_hue: float = Field(default=0.0, ge=0, le=0.5)
    """Hues turned by up to this share of the colour circle, either way."""
    grey: float = Field(default=0.0, ge=0, le=1)
    """Share of the images that lose their colours."""
    flip_vertical: bool = False
    """Turn half of the images upside down."""
    rotate: float = Field(default=0.0, ge=0, le=180)
    """Random rotation about the centre by up to this many degrees, either way."""
    translate: float = Field(default=0.0, ge=0, lt=1)
    """Random shift across and along by up to this share of the side; grey comes in."""
    shear: float = Field(default=0.0, ge=0, lt=60)
    """Random shear across and along by up to this many degrees."""
    perspective: float = Field(default=0.0, ge=0, lt=1)
    """Each corner is drawn in by a random part of up to half of this, across and along."""
    blur: float = Field(default=0.0, ge=0, le=20)
    """Gaussian blur of a random standard deviation up to this, pixels of the input."""
    noise: float = Field(default=0.0, ge=0, le=1)
    """Gaussian noise of a random standard deviation up to this, 0..1 scale, in every pixel and channel."""
    erase: float = Field(default=0.0, ge=0, le=1)
    """Share of the images in which a rectangle of 2 to 33 % of the area is hidden (random erasing, cutout)."""
    mixup: float = Field(default=0.0, ge=0)
    """Parameter of the Beta distribution by which each image is blended with another; 0: never. Classification only."""
    cutmix: float = Field(default=0.0, ge=0)
    """Parameter of the Beta distribution of the area that another image takes; 0: never. With mixup, half of the images
    each. Classification only."""
    mosaic: float = Field(default=0.0, ge=0, le=1)
    """Share of the images that are put together from four. Detection only."""
    copy_paste: float = Field(default=0.0, ge=0, le=1)
    """Share of the images that objects of another are pasted into, cut out where they have outlines, else with their
    boxes. Detection only."""
    sampler: Literal["uniform", "class-balanced", "repeat-factor", "weighted"] = "uniform"
    """How often an image comes in an epoch: once; so that all classes come equally often; more often where its rarest
    class is in fewer than `repeat_threshold` of the images (LVIS); as `sampler_weights` say."""
    repeat_threshold: float = Field(default=0.1, gt=0, le=1)
    """Share of the images below which a class is repeated: by the square root of how far it is below."""
    sampler_weights: tuple[float, ...] = ()
    """Weight of each class in the order of the class list; that of an image is the largest of its objects' classes."""
    seed: int = Field(default=0, ge=0)
    """Decides initial weights, order and augmentation."""
    workers: int = Field(default=0, ge=0)
    """Processes that prepare images; 0: the training process itself. No result depends on it."""
    checkpoint_seconds: float = Field(default=60.0, gt=0)
    """A checkpoint is written at least this often, and after each epoch."""
    loggers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = ()
    """Who is told of every step and epoch beside the run folder; each is a package of its own."""

    @model_validator(mode="after")
    def _fields_agree(self) -> "Recipe":
        if self.schedule == "piecewise" and len(self.lr_values) != len(self.lr_milestones) + 1:
            raise ValueError(
                f"lr_values: piecewise needs one rate more than milestones, got {len(self.lr_values)} for "
                f"{len(self.lr_milestones)}"
            )
        if self.snapshots and self.schedule != "restarts":
            raise ValueError(f"snapshots: taken at the ends of cycles; schedule is {self.schedule!r}, not 'restarts'")
        if self.swa_epochs and self.ema_decay:
            raise ValueError("swa_epochs: two averages of the weights; set ema_decay to 0, or leave it out")
        if self.folds == 1 or self.fold >= max(self.folds, 1):
            raise ValueError(f"folds: two or more, of which fold is one; got fold {self.fold} of {self.folds}")
        if self.bag >= max(self.bags, 1):
            raise ValueError(f"bags: bag is one of them; got bag {self.bag} of {self.bags}")
        if (self.sampler == "weighted") != bool(self.sampler_weights) or min(self.sampler_weights, default=1) <= 0:
            raise ValueError("sampler_weights: one positive number a class, where sampler is 'weighted'")
        return self

    @field_validator("loss")
    @classmethod
    def _loss_is_known(cls, value: str) -> str:
        parts = value.split("+")
        if not set(parts) <= LOSS_NAMES or len(set(parts)) < len(parts):
            raise ValueError(f"one or more of {', '.join(sorted(LOSS_NAMES))}, each once, joined by '+'")
        return value

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
            if not first["loc"]:
                # Fields that do not agree: the message names them, and the input would be the whole recipe.
                raise RecipeError(f"{origin}: {first['msg'].removeprefix('Value error, ')}") from error
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
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(k)} = {_toml(v)}' for k, v in value.items())}}}"
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(v) for v in value)}]"
    if isinstance(value, bool | str):
        return json.dumps(value)
    return repr(value)
