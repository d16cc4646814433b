"""Reading TRIALS: what several rules over experiments share."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from snellen.watching.facts import RunFacts


def trials(run: RunFacts, name: str) -> pl.DataFrame:
    """Rows of one trial that have a value, in order of step."""
    rows = run.trials.filter((pl.col("trial") == name) & pl.col("value").is_not_null() & pl.col("value").is_not_nan())
    return rows.sort("step", maintain_order=True)


def first(run: RunFacts, name: str) -> Mapping[str, Any] | None:
    """The earliest row of a trial with a value, or None."""
    rows = trials(run, name).head(1).to_dicts()
    return rows[0] if rows else None


def last(run: RunFacts, name: str) -> Mapping[str, Any] | None:
    """The latest row of a trial with a value, or None."""
    rows = trials(run, name).tail(1).to_dicts()
    return rows[0] if rows else None


def learned(run: RunFacts, name: str, steps: int) -> Mapping[str, Any] | None:
    """The latest row, if the weights had seen at least `steps` updates by then; else None.

    In a preflight the second look comes after one batch was learned by heart; those updates count.
    """
    row = last(run, name)
    if row is None or not row["step"]:
        return None
    if run.steps.height > 1:
        return row if row["step"] + 1 >= steps else None
    drilled = last(run, "overfit-loss")
    return row if drilled is not None and (drilled["setting"] or 0) >= steps else None
