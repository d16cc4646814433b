"""Temperature scaling and isotonic regression: fitted on held-out predictions, saved as JSON, applied to new ones.

Both take what a model puts out: (N, C) distributions of a classifier, or (N,) scores of a detector or of one label,
each in 0..1. Fit them on images that neither trained nor choose the model, and judge them on others.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from snellen.errors import UseError
from snellen.files import write_text

Floats = NDArray[np.float64]
_TINY = float(np.finfo(np.float64).tiny)
LIMITS = (0.01, 100.0)
"""Temperatures tried. Held-out answers that are all right ask for 0, scores without any bearing for infinity."""
MAX_BYTES = 256 * 1024**2


class TemperatureScaling(BaseModel):
    """softmax(z / T), one temperature for all classes (Guo et al., ICML 2017, eq. 9). The order of classes stays.

    Of probabilities p it is p^(1/T), normalised: the logits are known up to a constant, and that cancels. A score p is
    taken for the distribution (1 - p, p), so that T divides its logit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["temperature"] = "temperature"
    temperature: float = Field(ge=LIMITS[0], le=LIMITS[1])
    """T; above 1 the model was too sure, below 1 not sure enough."""
    images: int = Field(ge=1)
    """Records it was fitted on."""

    @classmethod
    def fit(cls, probabilities: ArrayLike, labels: ArrayLike) -> Self:
        """The T of least log loss on `probabilities` ((N, C) or (N,)) and `labels` ((N,) class indices, or 0 and 1).

        The log loss is convex in 1/T: Newton's method, kept within bounds. At a limit of `LIMITS` when there is no
        finite optimum, 1 when every record is uniform. Raises ValueError on shapes that do not fit, no records, or
        values outside 0..1.
        """
        p, y = _checked(probabilities, labels)
        logits = np.log(np.clip(p, _TINY, None))
        if (logits == logits[:, :1]).all():
            return cls(temperature=1.0, images=len(y))
        own = logits[np.arange(len(y)), y]
        low, high = 1 / LIMITS[1], 1 / LIMITS[0]
        beta = 1.0
        for _ in range(100):
            q = _softmax(logits * beta)
            mean = np.einsum("nc,nc->n", q, logits)
            slope = float(np.mean(mean - own))
            curvature = float(np.mean(np.einsum("nc,nc,nc->n", q, logits, logits) - mean**2))
            low, high = (low, beta) if slope > 0 else (beta, high)
            step = beta - slope / curvature if curvature > 0 else np.nan
            new = step if low < step < high else float(np.sqrt(low * high))
            if abs(new - beta) <= 1e-12 * beta:
                break
            beta = new
        return cls(temperature=float(np.clip(1 / beta, *LIMITS)), images=len(y))

    def apply(self, probabilities: ArrayLike) -> Floats:
        """Recalibrated (N, C) or (N,) values, float64. Raises ValueError on values outside 0..1."""
        p = _within(probabilities)
        if p.ndim == 1:
            return _softmax(np.log(np.clip(np.stack([1 - p, p], axis=1), _TINY, None)) / self.temperature)[:, 1]
        return _softmax(np.log(np.clip(p, _TINY, None)) / self.temperature)

    def save(self, path: Path) -> None:
        """Write JSON that `load_scaling` reads."""
        write_text(path, self.model_dump_json(indent=1) + "\n")


class Steps(BaseModel):
    """A monotone map, linear between its points and constant outside."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scores: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(min_length=1)
    """Rising, 0..1."""
    shares: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(min_length=1)
    """Share right at each of `scores`, never falling, 0..1."""

    @model_validator(mode="after")
    def _monotone(self) -> Self:
        if len(self.scores) != len(self.shares):
            raise ValueError(f"{len(self.scores)} scores and {len(self.shares)} shares: expected as many")
        if (np.diff(self.scores) <= 0).any() or (np.diff(self.shares) < 0).any():
            raise ValueError("scores must rise and shares must not fall")
        return self


class IsotonicScaling(BaseModel):
    """The monotone map of least squared error; for C classes one each, then normalised (Zadrozny and Elkan, KDD 2002).

    It can follow any shape and needs more records than a temperature: about a thousand a class (Niculescu-Mizil and
    Caruana, ICML 2005). Equal outputs make ties, and the most probable class may change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["isotonic"] = "isotonic"
    maps: tuple[Steps, ...] = Field(min_length=1)
    """One for each class, or one for scores."""
    images: int = Field(ge=1)
    """Records it was fitted on."""

    @classmethod
    def fit(cls, probabilities: ArrayLike, labels: ArrayLike) -> Self:
        """Fit as `TemperatureScaling.fit` does, by scikit-learn's `IsotonicRegression`. Raises as that does."""
        from sklearn.isotonic import IsotonicRegression

        p, y = _checked(probabilities, labels)
        single = np.ndim(probabilities) == 1
        maps = []
        for k in [1] if single else range(p.shape[1]):
            fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p[:, k], (y == k).astype(float))
            points = zip(fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist(), strict=True)
            scores, shares = zip(*points, strict=True)
            maps.append(Steps(scores=scores, shares=shares))
        return cls(maps=tuple(maps), images=len(y))

    def apply(self, probabilities: ArrayLike) -> Floats:
        """Recalibrated (N, C) or (N,) values, float64; a row that every map sends to 0 becomes uniform.

        Raises ValueError on values outside 0..1, or another number of classes than it was fitted on.
        """
        p = _within(probabilities)
        columns = p[:, None] if p.ndim == 1 else p
        if columns.shape[1] != len(self.maps):
            raise ValueError(f"fitted on {len(self.maps)} columns, applied to {columns.shape[1]}")
        out = np.stack([np.interp(columns[:, k], m.scores, m.shares) for k, m in enumerate(self.maps)], axis=1)
        if p.ndim == 1:
            return out[:, 0]
        totals = out.sum(axis=1, keepdims=True)
        return np.where(totals > 0, out / np.where(totals > 0, totals, 1.0), 1 / out.shape[1])

    def save(self, path: Path) -> None:
        """Write JSON that `load_scaling` reads."""
        write_text(path, self.model_dump_json(indent=1) + "\n")


Scaling = TemperatureScaling | IsotonicScaling
_ANY: TypeAdapter[Scaling] = TypeAdapter(Annotated[Scaling, Field(discriminator="kind")])


def load_scaling(path: Path) -> Scaling:
    """Read what `save` wrote. Raises UseError when the file cannot be read or holds no such map."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UseError(f"{path}: more than {MAX_BYTES // 1024**2} MiB, no calibration is that large")
        return _ANY.validate_json(path.read_bytes())
    except OSError as error:
        raise UseError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise UseError(f"{path}: no calibration: {where}: {first['msg']}") from error


def _within(probabilities: ArrayLike) -> Floats:
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim not in (1, 2):
        raise ValueError(f"expected (N, C) distributions or (N,) scores, got shape {p.shape}")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("expected values within 0..1: apply softmax or sigmoid first, and leave NaN out")
    return p


def _checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """(N, C) distributions and (N,) indices; scores as the second of two columns."""
    p = _within(probabilities)
    p = np.stack([1 - p, p], axis=1) if p.ndim == 1 else p
    y = np.asarray(labels).astype(np.int64)
    if y.shape != (len(p),) or not len(y):
        raise ValueError(f"{len(p)} predictions and labels of shape {y.shape}: expected as many, at least one")
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise ValueError(f"labels of {y.min()} to {y.max()} do not fit {p.shape[1]} classes")
    return p, y


def _softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
