"""What several run rules ask of the recognised loss and of the batches."""

import math
from typing import Any

import polars as pl

from snellen.watching.facts import RunFacts

DISTANCES = ("mse", "rmse", "l1", "smooth-l1", "log-cosh")
"""Losses of regression."""
BINARY = ("bce", "bce-logits", "binary-focal")
UNKNOWN = ("", "zero", "nan")
"""No loss was recognised."""


def form(run: RunFacts) -> dict[str, Any]:
    """The recognised loss; {} when none was."""
    return {} if run.loss_form.get("name", "") in UNKNOWN else run.loss_form


def distance(run: RunFacts) -> dict[str, Any]:
    """The recognised loss, or the distance that is the larger part of it, of raw outputs; {} when it is no distance."""
    known = form(run) or run.loss_form
    name = known.get("name") or known.get("part")
    return {**known, "name": name, "before": known.get("before", "")} if name in DISTANCES else {}


def loss_name(run: RunFacts) -> str:
    """Name of the loss: recognised by value, or as the loop told it; "" when neither."""
    return str(form(run).get("name") or run.loss_kind)


def rows(run: RunFacts, role: str) -> pl.DataFrame:
    """The training rows of BATCHES for the main tensor of a role: the one the loss is of, or the first."""
    found = run.batches.filter((pl.col("role") == role) & (pl.col("phase") == "training"))
    if not found.height:
        return found
    key = {"output": "output", "target": "against"}.get(role, "")
    name = form(run).get(key)
    names = found["name"].unique().to_list()
    return found.filter(pl.col("name") == (name if name in names else found["name"][0]))


def made_by(run: RunFacts) -> str:
    """The operator that made the outputs, at the first look; "" when autograd was not asked."""
    found = rows(run, "output")["made_by"].drop_nulls()
    return str(found[0]) if len(found) else ""


def one_answer_each(run: RunFacts) -> bool:
    """Whether there is one target for each sample, and not one for each pixel or token."""
    shapes = rows(run, "target")["shape"].to_list()
    return bool(shapes) and all(len(s) == 1 or math.prod(s[1:]) == 1 for s in shapes)


def masks(run: RunFacts) -> bool:
    """Whether the targets are images of class ids, (N, H, W) or (N, 1, H, W)."""
    shapes = rows(run, "target")["shape"].to_list()
    return bool(shapes) and all(len(s) >= 3 and s[-1] > 1 and s[-2] > 1 for s in shapes)


def equal_marks(run: RunFacts) -> tuple[float, int, int] | None:
    """The one value, 0 or 1, of all targets of a binary loss that has several for each sample, how many targets and how
    many batches were looked at; None where they differ."""
    marks = rows(run, "target").drop_nulls("minimum")
    if not marks.height or form(run).get("name") not in BINARY or form(run).get("target") != "values":
        return None
    low, high = float(marks["minimum"].to_numpy().min()), float(marks["maximum"].to_numpy().max())
    shapes = marks["shape"].to_list()
    if low != high or low not in (0.0, 1.0) or not all(math.prod(s[1:]) > 1 for s in shapes):
        return None
    return low, sum(math.prod(s) for s in shapes), marks.height


def class_counts(run: RunFacts) -> tuple[list[int], int]:
    """How often each class of the outputs was the target, in training, and how often an id that is no class."""
    found = run.classes.filter(pl.col("phase") == "training").sort("class_id")
    if not found.height:
        return [], 0
    limit = run.loss_form.get("classes") or _columns(run)
    counts, outside = [0] * limit, 0
    for class_id, count in zip(found["class_id"].to_list(), found["targets"].to_list(), strict=True):
        if 0 <= class_id < limit:
            counts[class_id] = count
        else:
            outside += count
    return counts, outside


def _columns(run: RunFacts) -> int:
    """Classes that the outputs tell apart; one output tells two."""
    widths = {s[1] if len(s) > 1 else 1 for s in rows(run, "output")["shape"].to_list()}
    return max(max(widths, default=1), 2)


def optimizers(run: RunFacts) -> int:
    """Number of watched optimizers; 1 when it is not known."""
    return int(run.groups["optimizer"].n_unique()) if run.groups.height else 1


def expected_first(run: RunFacts) -> float | None:
    """What the first loss should be: as the loop told, or that of an even guess for the recognised loss."""
    if run.initial_loss_expected is not None:
        return run.initial_loss_expected
    known = form(run)
    if known.get("reduction") != "mean" or known.get("scale") != 1.0 or known.get("before"):
        return None
    if known["name"] == "cross-entropy" and known.get("target") == "class-ids" and (known.get("classes") or 0) > 1:
        return math.log(known["classes"])
    if known["name"] == "bce-logits" and known.get("positive_weight") is None and known.get("target") == "values":
        return math.log(2)
    return None
