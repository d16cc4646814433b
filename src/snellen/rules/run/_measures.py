"""What the rules about a run's samples and objects share: how a measure is looked up."""

from typing import Any

import polars as pl

from snellen.watching.facts import RunFacts


def measure(run: RunFacts, name: str, phase: str | None = None) -> dict[str, Any] | None:
    """The first row of that measure with a finite value; None where it was not taken."""
    rows = indexed(run, name, phase)
    return rows[0] if rows else None


def number(run: RunFacts, name: str, phase: str | None = None) -> float:
    """Its value; NaN where it was not taken, so that every comparison with it is false."""
    row = measure(run, name, phase)
    return float(row["value"]) if row else float("nan")


def indexed(run: RunFacts, name: str, phase: str | None = None) -> list[dict[str, Any]]:
    """All rows of a measure with finite values, by index."""
    rows = run.measures.filter((pl.col("measure") == name) & pl.col("value").is_finite())
    if phase is not None:
        rows = rows.filter(pl.col("phase") == phase)
    return rows.sort("index", nulls_last=False).to_dicts()


def validated(run: RunFacts) -> bool:
    """Whether the loop told of any result of a validation: passes without gradients may be anything else."""
    return bool(run.epochs["val_loss"].count() + run.epochs["metric"].count() > 0)
