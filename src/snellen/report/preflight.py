"""What the experiments before (or beside) a training measured: pictures of the input, a table, the sweep of rates."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from markupsafe import Markup

from snellen.report.charts import Series, lines
from snellen.report.plain import number, plain
from snellen.watching.facts import RunFacts

MOST_ROWS = 60
MOST_BYTES = 400_000
"""Bytes of pictures on the page, before base64."""
LISTED_BY_LAYER = ("gradient-reach", "lr-range", "running-statistics")
"""Trials of many rows each; the facts hold them."""


@dataclass(frozen=True)
class Preflight:
    """The section of a report."""

    pictures: list[tuple[str, str]]
    """Caption and data URI."""
    rows: list[tuple[str, str, str, str, str]]
    """Trial, step, value, what a sound program gives, detail."""
    chart: Markup


def preflight(run: RunFacts | None, pictures: Mapping[str, bytes]) -> Preflight | None:
    """The section; None when no experiment was made."""
    if run is None or not (run.trials.height or pictures):
        return None
    shown: list[tuple[str, str]] = []
    spent = 0
    for caption, png in pictures.items():
        spent += len(png)
        if spent > MOST_BYTES:
            break
        shown.append((plain(caption, 160), f"data:image/png;base64,{b64encode(png).decode()}"))
    table = run.trials.filter(~pl.col("trial").is_in(LISTED_BY_LAYER)).head(MOST_ROWS)
    return Preflight(shown, [_row(r) for r in table.to_dicts()], _sweep(run.trials))


def _row(row: Mapping[str, object]) -> tuple[str, str, str, str, str]:
    name = str(row["trial"]) + (f" ({number(row['setting'])})" if row["setting"] is not None else "")  # type: ignore[arg-type]
    value, expected = (number(row[k]) if row[k] is not None else "" for k in ("value", "expected"))  # type: ignore[arg-type]
    return plain(name, 60), str(row["step"]), value or "not measured", expected, plain(str(row["detail"] or ""), 200)


def _sweep(trials: pl.DataFrame) -> Markup:
    points = trials.filter((pl.col("trial") == "lr-range") & (pl.col("setting") > 0) & pl.col("value").is_not_null())
    if points.height < 3:
        return Markup("")
    rates = np.log10(points["setting"].to_numpy()).tolist()
    line = Series("loss", rates, points["value"].to_list())
    return lines("loss over the learning rate", [line], x_label="log10 of the learning rate", y_label="smoothed loss")
