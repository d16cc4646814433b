"""The network, folded by blocks, and what its levels can see of the objects there are."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from markupsafe import Markup

from snellen.data.facts import DataFacts
from snellen.network.facts import NetworkFacts
from snellen.report.charts import bars
from snellen.report.marks import levels
from snellen.report.plain import number, plain, share, short
from snellen.report.totals import network_totals

MOST_LAYERS = 400
MOST_BLOCKS = 40


@dataclass(frozen=True)
class Block:
    """The layers below one module."""

    name: str
    layers: int
    params: str
    macs: str
    macs_share: str
    part: float
    """Share of all multiply-adds, 0..1."""
    shape: str
    rows: list[tuple[str, str, str, str, str, str]]
    """Layer, kind, output shape, parameters, multiply-adds, receptive field."""


@dataclass(frozen=True)
class Architecture:
    """The network section."""

    totals: list[tuple[str, str]]
    charts: list[tuple[str, Markup, str]]
    blocks: list[Block]
    cut: int
    """Layers not listed."""
    warnings: list[str]


def architecture(network: NetworkFacts, data: DataFacts | None) -> Architecture:
    """Tables and drawings of `network`; with `data`, its levels are drawn against the objects' sizes."""
    blocks = network_blocks(network)
    heavy = sorted((b for b in blocks if b.part > 0), key=lambda b: -b.part)[:10]
    cost = bars("share of multiply-adds by block", [(b.name, [round(100 * b.part, 1)]) for b in heavy], unit=" %")
    charts = [("Where the cost is", cost, "Multiply-adds of one forward pass.")]
    if len(network.levels):
        hint = "Pixels of the input: objects by the root of their area, levels from stride to receptive field."
        charts.append(("What each level sees", _levels(network, data), hint))
    told = [f"costs not counted: {', '.join(network.uncounted_operators[:8])}"] if network.uncounted_operators else []
    return Architecture(
        totals=network_totals(network),
        charts=[c for c in charts if c[1]],
        blocks=blocks[:MOST_BLOCKS],
        cut=len(network.layers) - sum(b.layers for b in blocks[:MOST_BLOCKS]),
        warnings=[plain(t) for t in told],
    )


def network_blocks(network: NetworkFacts) -> list[Block]:
    """The layers in order of the forward pass, folded below the modules that hold them."""
    shown = network.layers.sort("order", nulls_last=True, maintain_order=True).head(MOST_LAYERS)
    depth = _block_depth(shown["layer"].to_list())
    grouped: dict[str, list[dict[str, object]]] = {}
    for row in shown.to_dicts():
        grouped.setdefault(".".join(row["layer"].split(".")[:depth]) or "(root)", []).append(row)
    return [_block(name, rows, network.macs) for name, rows in grouped.items()]


def _block_depth(names: list[str]) -> int:
    """How many name parts make a block: as few as give at least six of them, and at most 40."""
    best = 1
    for depth in (1, 2, 3):
        count = len({".".join(n.split(".")[:depth]) for n in names})
        if count <= MOST_BLOCKS:
            best = depth
        if count >= 6:
            break
    return best


def _block(name: str, rows: list[dict[str, object]], total: int) -> Block:
    macs = sum(_int(r["macs"]) for r in rows)
    params = sum(_int(r["params"]) for r in rows)
    part = macs / total if total else 0.0
    last = rows[-1]["output_shape"]
    lines = [
        (
            plain(r["layer"], 80), plain(r["kind"], 40), _shape(r["output_shape"]), short(_int(r["params"])),
            short(_int(r["macs"])), _field(r),
        )
        for r in rows
    ]  # fmt: skip
    return Block(plain(name, 60), len(rows), short(params), short(macs), share(part), part, _shape(last), lines)


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _shape(value: object) -> str:
    return " × ".join(str(v) for v in value) if isinstance(value, list) else "–"


def _field(row: dict[str, object]) -> str:
    height, width = row["rf_height"], row["rf_width"]
    if not isinstance(height, float) or not isinstance(width, float):
        return "–"
    if np.isinf(height) or np.isinf(width):
        return "global"
    return number(height) if height == width else f"{number(height)} × {number(width)}"


def _levels(network: NetworkFacts, data: DataFacts | None) -> Markup:
    rows = [
        (f"level {r['level']}", r["stride"] or 0.0, r["rf"] or 0.0)
        for r in network.levels.sort("level").head(10).to_dicts()
    ]
    return levels("objects against strides and receptive fields", rows, _object_sides(network, data))


def _object_sides(network: NetworkFacts, data: DataFacts | None) -> np.ndarray:
    """Square roots of the boxes' areas at the network's input, the image's longer side scaled to the input's."""
    if data is None or not len(data.boxes):
        return np.zeros(0)
    long = pl.max_horizontal("width", "height")
    boxes = data.boxes.filter(pl.col("usable")).join(
        data.sizes().select("image", long=long).unique("image"), on="image", how="inner"
    ).filter(pl.col("long") > 0)  # fmt: skip
    side = ((pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1"))).sqrt() / pl.col("long")
    return boxes.select(side)["x2"].to_numpy() * max(network.input_shape[2:] or [1])
