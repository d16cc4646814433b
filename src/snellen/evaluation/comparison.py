"""Which differences between runs scored on the same images are real.

Both runs are drawn on the same bootstrap samples of images, so that what makes an image hard cancels. The p-value of a
difference is that of Student's t with its bootstrap standard error (Efron and Tibshirani 1993, ch. 6) and as many
degrees of freedom as there are images that bear on it, less one; where both runs answer the same question of each
image, it is McNemar's exact test. Holm's adjustment holds for all metrics, and for all classes, of all runs together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from snellen.errors import UseError
from snellen.evaluation.bootstrap import MIN_VALUES, interval
from snellen.evaluation.facts import ScoreFacts
from snellen.evaluation.pairs import Floats
from snellen.evaluation.replicates import Sample, sample_of
from snellen.evaluation.significance import exact_mcnemar, holm, two_sided
from snellen.facts import Schema, table

ALPHA = 0.05
MIN_COMMON = 0.8
"""Share of either run's images that the other must have, to compare on those in common."""
MIN_IMAGES = 10
"""With fewer nothing is called real."""

RUNS: Schema = {
    "run": (pl.String(), "as the user named it; the first is the one the others are compared with"),
    "images": (pl.Int64(), "compared on"),
    "metric": (pl.String(), "the headline metric"),
    "value": (pl.Float64(), "its value on these images"),
    "low": (pl.Float64(), "95 % interval"),
    "high": (pl.Float64(), ""),
    "parameters": (pl.Int64(), "null when the run holds no facts of a network"),
    "flops": (pl.Int64(), "of one forward pass at the examined input: 2 x multiply-adds"),
    "input": (pl.String(), "N x C x H x W of that input"),
    "training_seconds": (pl.Float64(), "null when the run did not train"),
    "seconds_per_image": (pl.Float64(), "of prediction, on the machine that evaluated; null where it was not measured"),
}

DIFFERENCES: Schema = {
    "run": (pl.String(), "compared with the first"),
    "name": (pl.String(), "metric, or class"),
    "count": (pl.Int64(), "images, or objects (detection) or images (classification) of the class"),
    "first": (pl.Float64(), "value of the first run on the images compared"),
    "other": (pl.Float64(), "value of this run"),
    "difference": (pl.Float64(), "other - first"),
    "low": (pl.Float64(), "95 % interval of the difference"),
    "high": (pl.Float64(), ""),
    "p": (pl.Float64(), "chance of such a difference between equals"),
    "p_adjusted": (pl.Float64(), "for all questions asked of this table"),
    "real": (pl.Boolean(), "p_adjusted of at most 0.05, on at least 10 images"),
    "better": (pl.Boolean(), "in favour of this run; null when it is not real"),
}

AGREEMENT: Schema = {
    "run": (pl.String(), "compared with the first"),
    "what": (pl.String(), "objects found at each run's best threshold, or images classified rightly"),
    "both": (pl.Int64(), "by both"),
    "only_first": (pl.Int64(), ""),
    "only_other": (pl.Int64(), ""),
    "neither": (pl.Int64(), ""),
    "p": (pl.Float64(), "McNemar's exact test; objects of one image are taken for independent"),
}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs on the same images, and what is told apart. The tables' columns are RUNS, DIFFERENCES and AGREEMENT."""

    task: str
    split: str
    runs: pl.DataFrame
    metrics: pl.DataFrame
    """By run and metric."""
    classes: pl.DataFrame
    """By run and class: AP@[.5:.95] (detection) or recall (classification)."""
    agreement: pl.DataFrame
    notes: list[str] = field(default_factory=list)
    """What was left out or assumed."""

    def __str__(self) -> str:
        from snellen.report.comparison import comparison_text

        return comparison_text(self)


def compare_scores(runs: Sequence[tuple[str, ScoreFacts]], *, replicates: int = 1000, seed: int = 0) -> Comparison:
    """Compare every run with the first; `runs` are names and the facts of their evaluations.

    Where the images differ, those in common are compared if they are at least 0.8 of each run's, and a note says so.
    Raises UseError when there are fewer than two runs or two of one name, when tasks, classes or labels differ, or too
    few images are common.
    """
    names = [name for name, _ in runs]
    if len(runs) < 2 or len(set(names)) < len(names):
        raise UseError("compare: name at least two runs, each once")
    first_name, first_facts = runs[0]
    _same_subject(runs)
    images, notes = _common(runs)
    samples = [sample_of(facts, images, name) for name, facts in runs]
    for name, other in zip(names[1:], samples[1:], strict=True):
        if other.truth != samples[0].truth:
            raise UseError(f"{name}: scored against other labels than {first_name}; evaluate both on one dataset")
    drawn = [s.draw(replicates, seed) for s in samples]
    metrics: list[dict[str, Any]] = []
    classes: list[dict[str, Any]] = []
    agreement: list[dict[str, Any]] = []
    first, values = samples[0], samples[0].values()
    for name, sample, (own_metrics, own_classes) in zip(names[1:], samples[1:], drawn[1:], strict=True):
        theirs = sample.values()
        for metric, value in values.metrics.items():
            p = None
            if metric == first.exact:
                p = exact_mcnemar(*_split(first, sample)[1:3])
            gaps = own_metrics[metric] - drawn[0][0][metric]
            row = _difference(name, metric, len(images), len(images), value, theirs.metrics[metric], gaps, p)
            if metric in first.lower_is_better:
                row["better"] = not row["better"]
            metrics.append(row)
        for k, label in enumerate(first.class_names):
            if not first.class_counts[k]:
                continue
            p = exact_mcnemar(*_split(first, sample, k)[1:3]) if first.exact else None
            gaps = own_classes[:, k] - drawn[0][1][:, k]
            row = _difference(
                name, label, int(first.class_counts[k]), int(first.class_images[k]),
                values.classes[k], theirs.classes[k], gaps, p,
            )  # fmt: skip
            classes.append(row)
        both, one, two, neither = _split(first, sample)
        agreement.append(
            {"run": name, "what": first.what, "both": both, "only_first": one, "only_other": two, "neither": neither,
             "p": exact_mcnemar(one, two)}
        )  # fmt: skip
    for rows in (metrics, classes):
        for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
            row["p_adjusted"] = adjusted
            row["real"] = adjusted <= ALPHA and len(images) >= MIN_IMAGES
            row["better"] = row["better"] if row["real"] else None
    headline = first.headline
    table_of_runs = [
        {"run": name, "images": len(images), "metric": headline, "value": sample.values().metrics[headline],
         "low": low, "high": high}
        for name, sample, (own, _) in zip(names, samples, drawn, strict=True)
        for low, high in [interval(own[headline], len(images))]
    ]  # fmt: skip
    return Comparison(
        task=first_facts.task, split=first_facts.split, runs=table(RUNS, table_of_runs),
        metrics=table(DIFFERENCES, metrics), classes=table(DIFFERENCES, classes), agreement=table(AGREEMENT, agreement),
        notes=notes,
    )  # fmt: skip


def _difference(
    run: str, name: str, count: int, images: int, first: float, other: float, gaps: Floats, p: float | None
) -> dict[str, Any]:
    """One row of DIFFERENCES, but for what needs all rows; `images` bear on it, `gaps` are the drawn differences."""
    gaps = gaps[~np.isnan(gaps)]
    low, high = interval(gaps, images)
    if p is None:
        enough = len(gaps) >= MIN_VALUES and images > 1 and not np.isnan(first) and not np.isnan(other)
        p = two_sided(other - first, float(np.std(gaps, ddof=1)), images - 1) if enough else 1.0
    return {"run": run, "name": name, "count": count, "first": first, "other": other, "difference": other - first,
            "low": low, "high": high, "p": p, "better": other > first}  # fmt: skip


def _split(first: Sample, other: Sample, k: int | None = None) -> tuple[int, int, int, int]:
    """How many objects or images (of class k) both, only the first, only the other, neither got right."""
    a, b = first.right, other.right
    if k is not None:
        a, b = a[first.right_classes == k], b[first.right_classes == k]
    return int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum())


def _common(runs: Sequence[tuple[str, ScoreFacts]]) -> tuple[list[str], list[str]]:
    """The images that all runs were scored on, in the first one's order, and what there is to say of it."""
    sets = [_images(facts) for _, facts in runs]
    common = set(sets[0]).intersection(*sets[1:])
    for (name, _), own in zip(runs, sets, strict=True):
        if len(common) < max(1, MIN_COMMON * len(own)):
            raise UseError(
                f"{name}: scored on {len(own)} images of which {len(common)} are common to all runs (at least "
                f"{MIN_COMMON:.0%} needed); evaluate all runs on one split"
            )
    most = max(len(own) for own in sets)
    left = [image for image in sets[0] if image in common]
    return left, [f"compared on the {len(left)} images in common, of {most}"] if most > len(left) else []


def _images(facts: ScoreFacts) -> list[str]:
    if facts.task == "classification":
        return facts.predictions["image"].unique(maintain_order=True).to_list()
    return facts.evaluated["image"].to_list()


def _same_subject(runs: Sequence[tuple[str, ScoreFacts]]) -> None:
    first_name, first = runs[0]
    for name, facts in runs[1:]:
        if facts.task != first.task:
            raise UseError(f"{name}: scores of {facts.task}, and {first_name} holds scores of {first.task}")
        mine, theirs = set(facts.per_class["class_name"]), set(first.per_class["class_name"])
        if mine != theirs:
            odd = sorted(map(str, mine ^ theirs))
            raise UseError(f"{name}: other classes than {first_name} ({', '.join(odd[:5])}); they cannot be compared")
