"""What several run rules ask of the tables of modules, parameters and signals."""

import json
import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import polars as pl

from snellen.watching.facts import RunFacts

WEIGHT_KINDS = ("Conv", "Linear", "NonDynamicallyQuantizableLinear", "Bilinear", "LSTM", "GRU", "RNN", "MultiheadAtt")
"""Beginnings of the class names of layers that multiply by a weight matrix."""
FEWEST_LOOKS = 3
"""Sampled steps after step 0 before an exact zero counts as lasting: a zero-initialised branch has one at step 0."""


def modules(run: RunFacts) -> list[dict[str, Any]]:
    """Rows of the table of modules with `settings` read, called ones in the order of their first call."""
    rows = run.modules.to_dicts()
    for row in rows:
        row["settings"] = json.loads(row["settings"] or "{}")
    return sorted(rows, key=lambda r: math.inf if r["order"] is None else r["order"])


def at_start(run: RunFacts, signal: str) -> dict[str, float]:
    """Layer -> value of that signal at step 0, in the order in which the forward pass gave them."""
    rows = run.signals.filter((pl.col("signal") == signal) & (pl.col("step") == 0))
    found: dict[str, float] = {}
    for layer, value in rows.select("layer", "value").iter_rows():
        if value is not None:
            found.setdefault(layer, value)
    return found


def matrices(run: RunFacts) -> list[dict[str, Any]]:
    """Rows of trainable weights of two and more axes, with `fan_in`, of layers that multiply by them."""
    return [
        row | {"fan_in": math.prod(row["shape"][1:])}
        for row in run.parameters.iter_rows(named=True)
        if row["trainable"] and len(row["shape"]) > 1 and (row["layer"] or "").startswith(WEIGHT_KINDS)
    ]


def handmade(run: RunFacts) -> list[dict[str, Any]]:
    """The same of layers written by hand: trainable matrices that begin other than zero, of which each gives as many
    numbers as the next one takes; [] where they do not fit (tables, fields)."""
    found = [
        row | {"fan_in": row["shape"][1]}
        for row in run.parameters.iter_rows(named=True)
        if row["trainable"] and row["start_norm"] and len(row["shape"]) == 2 and min(row["shape"]) > 1
    ]
    fits = all(a["shape"][1] == b["shape"][0] or a["shape"][0] == b["shape"][1] for a, b in pairwise(found))
    return found if fits else []


def owner(parameter: str) -> str:
    """Name of the module that holds a parameter."""
    return parameter.rpartition(".")[0]


def gradients(run: RunFacts, signal: str = "grad_norm") -> dict[str, list[float]]:
    """Parameter -> its gradient norms at the sampled steps after step 0."""
    rows = run.signals.filter((pl.col("signal") == signal) & (pl.col("step") > 0))
    grouped = rows.group_by("layer", maintain_order=True).agg(pl.col("value"))
    return {layer: values for layer, values in grouped.iter_rows() if layer is not None}


def always_zero(norms: Mapping[str, list[float]]) -> set[str]:
    """Parameters whose gradient was exactly 0 at each of at least `FEWEST_LOOKS` looks."""
    return {name for name, values in norms.items() if len(values) >= FEWEST_LOOKS and not any(values)}


def widths(run: RunFacts) -> set[int]:
    """Every number of features that a layer with weights takes or gives."""
    keys = ("in_features", "out_features", "in_channels", "out_channels", "embedding_dim", "hidden_size", "embed_dim")
    return {row["settings"][key] for row in modules(run) for key in keys if key in row["settings"]}


def inside(name: str, outer: str) -> bool:
    """Whether module or parameter `name` lies in module `outer`; everything lies in the root, named ""."""
    return not outer or name == outer or name.startswith(f"{outer}.")


def saturating(run: RunFacts) -> Iterator[str]:
    """Names of sigmoid and tanh activations that ran, as modules or as functions."""
    names = run.signals.filter((pl.col("signal") == "saturation") & (pl.col("step") == 0))["layer"]
    yield from (str(n) for n in names.unique(maintain_order=True))
