"""What is done to a run's raw predictions: the threshold of suppression, calibrated scores, a threshold for each class.

Fitted on validation predictions (`pipeline_fit`), kept as `pipeline.json` in the run folder, applied by `predict`.
"""

import stat
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from snellen.errors import UseError
from snellen.evaluation.scaling import IsotonicScaling, Scaling

FILE = "pipeline.json"
"""Its name in a run folder."""
MAX_BYTES = 64 * 1024**2
"""Isotonic maps of a thousand classes take a tenth of it."""
KEPT_ORDER = 1e-4
"""Share of the raw score in a calibrated one: the plateaus of an isotonic map keep their order, and with it AP."""
Share = Annotated[float, Field(ge=0, le=1)]
Floats = NDArray[np.float64]


class Gain(BaseModel):
    """One score before and after, each half of the images measured with what was fitted on the other."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    metric: str
    before: float
    after: float


class Pipeline(BaseModel):
    """Steps in the order in which they are taken; those that were not worth it are absent."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: Literal[1] = 1
    task: Literal["classification", "detection"]
    class_names: tuple[str, ...] = Field(min_length=1)
    """Of the run that it belongs to, in order of the outputs."""
    nms_iou: Annotated[float, Field(gt=0, le=1)] | None = None
    """IoU above which suppression takes two boxes of a class for one; None: the network's own."""
    scaling: Annotated[Scaling, Field(discriminator="kind")] | None = None
    """From the score to the share right; None: scores stay."""
    threshold: Share | None = None
    """Detections below are not shown, scores calibrated; None: the caller's default."""
    thresholds: dict[str, Share] = Field(default_factory=dict)
    """Those of single classes, which come before `threshold`."""
    split: str
    """What it was fitted on."""
    images: int = Field(ge=1)
    """Images it was fitted on."""
    gains: tuple[Gain, ...] = ()

    @model_validator(mode="after")
    def _fits_its_classes(self) -> Self:
        strange = sorted(self.thresholds.keys() - set(self.class_names))
        if strange:
            raise ValueError(f"thresholds of no class: {strange[0]!r}")
        if len(set(self.class_names)) < len(self.class_names):
            raise ValueError("class_names holds a name twice")
        if self.task == "classification" and (self.nms_iou or self.thresholds or self.threshold is not None):
            raise ValueError("a classifier has neither suppression nor thresholds")
        columns = len(self.class_names) if self.task == "classification" else 1
        if isinstance(self.scaling, IsotonicScaling) and len(self.scaling.maps) != columns:
            raise ValueError(f"scaling has {len(self.scaling.maps)} maps, expected {columns}")
        return self

    def calibrated(self, scores: Floats) -> Floats:
        """Scores (N,) of detections, 0..1, as shares right; their order stays."""
        if self.scaling is None or not len(scores):
            return scores
        return np.asarray((1 - KEPT_ORDER) * self.scaling.apply(scores) + KEPT_ORDER * scores)

    def detections(self, table: pl.DataFrame, threshold: float | None, otherwise: float) -> pl.DataFrame:
        """Rows of predictions with calibrated scores, those that are shown.

        That is from `threshold` on or, where it is None, from the threshold of the class, else `otherwise` on.
        """
        scored = table.with_columns(pl.Series("score", self.calibrated(table["score"].to_numpy()), dtype=pl.Float64))
        if threshold is not None:
            return scored.filter(pl.col("score") >= threshold)
        common = otherwise if self.threshold is None else self.threshold
        own = pl.col("class_name").replace_strict(self.thresholds, default=common, return_dtype=pl.Float64)
        return scored.filter(pl.col("score") >= own)

    def probabilities(self, p: Floats) -> Floats:
        """Calibrated (N, C) distributions."""
        return p if self.scaling is None or not len(p) else self.scaling.apply(p)

    def __str__(self) -> str:
        steps = []
        if self.nms_iou is not None:
            steps.append(f"suppression at IoU {self.nms_iou:g}")
        if self.scaling is not None:
            steps.append(f"{self.scaling.kind} calibration")
        if self.thresholds:
            low, high = min(self.thresholds.values()), max(self.thresholds.values())
            steps.append(f"thresholds of {len(self.thresholds)} classes ({low:.2f} to {high:.2f})")
        if self.threshold is not None and len(self.thresholds) < len(self.class_names):
            steps.append(f"threshold {self.threshold:.2f}{' for the others' if self.thresholds else ''}")
        return ", ".join(steps) or "nothing"


def load_pipeline(path: Path) -> Pipeline:
    """Read a `pipeline.json`. Raises UseError, in one line, when it cannot be read or holds no pipeline."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise UseError(f"{path}: no regular file: it was not opened")
        if state.st_size > MAX_BYTES:
            raise UseError(f"{path}: more than {MAX_BYTES // 1024**2} MiB, no pipeline is that large")
        return Pipeline.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UseError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        told = " ".join(f"{where}: {first['msg']}".split())[:300]
        raise UseError(f"{path}: no pipeline of this program: {told}") from error
