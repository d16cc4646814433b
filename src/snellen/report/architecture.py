"""The network, folded by blocks, and what its levels can see of the objects there are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from markupsafe import Markup

from snellen.data.facts import DataFacts
from snellen.network.facts import NetworkFacts
from snellen.report.block_graph import Node, block_edges, block_graph, block_of
from snellen.report.field_pictures import field_pictures
from snellen.report.inspection import duration
from snellen.report.marks import levels
from snellen.report.network_charts import concentration, device_rows, intensity, slowest
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
    graph: Markup
    charts: list[tuple[str, Markup, str]]
    fields: list[tuple[str, Markup, str]]
    """What outputs see, over an image."""
    devices: tuple[list[str], list[list[str]]]
    """Head and rows of the table of devices."""
    convention: str
    blocks: list[Block]
    cut: int
    """Layers not listed."""
    warnings: list[str]


def architecture(network: NetworkFacts, data: DataFacts | None, root: Path | None = None) -> Architecture:
    """Tables and drawings of `network`; with `data`, its levels are drawn against the objects' sizes, and what outputs
    see over one of the images below `root`."""
    depth = _block_depth(_shown(network)["layer"].to_list())
    blocks = network_blocks(network)
    of = block_of(network, depth)
    nodes = [Node(b.name, b.shape, b.part, f"block-{i}") for i, b in enumerate(blocks[:MOST_BLOCKS])]
    sides = _object_sides(network, data)
    charts = [
        (
            "Where it is concentrated", concentration(network, [b.name for b in blocks], of),
            f"Of all parameters, multiply-adds and bytes of outputs{' and seconds' if len(network.times) else ''}.",
        ),
        (
            "Operations per byte", intensity(network),
            "On the slope a layer waits for memory, on the flat it computes; area is the share of operations.",
        ),
    ]  # fmt: skip
    if len(network.times):
        whole = duration(network.seconds_per_pass or 0.0)
        charts.append(("Slowest layers here", slowest(network), f"A pass takes {whole}: {network.timed_on}."))
    if len(network.levels):
        hint = "Pixels of the input: objects by the root of their area, levels from stride to receptive field."
        charts.append(("What each level sees", _levels(network, sides), hint))
    told = [f"costs not counted: {', '.join(network.uncounted_operators[:8])}"] if network.uncounted_operators else []
    told += [f"assumed: {text}" for text in network.assumptions or []]
    return Architecture(
        totals=network_totals(network),
        graph=block_graph(nodes, block_edges(network, of)) if len(nodes) > 1 else Markup(""),
        charts=[c for c in charts if c[1]],
        fields=field_pictures(network, data, root, sides),
        devices=device_rows(network),
        convention=plain(network.convention, 200),
        blocks=blocks[:MOST_BLOCKS],
        cut=len(network.layers) - sum(b.layers for b in blocks[:MOST_BLOCKS]),
        warnings=[plain(t) for t in told],
    )


def _shown(network: NetworkFacts) -> pl.DataFrame:
    return network.layers.sort("order", nulls_last=True, maintain_order=True).head(MOST_LAYERS)


def network_blocks(network: NetworkFacts) -> list[Block]:
    """The layers in order of the forward pass, folded below the modules that hold them."""
    shown = _shown(network)
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


def _levels(network: NetworkFacts, sides: np.ndarray) -> Markup:
    rows = [
        (f"level {r['level']}", r["stride"] or 0.0, r["rf"] or 0.0)
        for r in network.levels.sort("level").head(10).to_dicts()
    ]
    return levels("objects against strides and receptive fields", rows, sides)


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
