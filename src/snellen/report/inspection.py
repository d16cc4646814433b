"""What `inspect` prints beyond the report: the cost under a convention, a table folded by depth, the largest batch."""

from dataclasses import dataclass
from io import StringIO

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from snellen.network.budget import card_bytes
from snellen.network.conventions import convention_cost, convention_text
from snellen.network.devices import roofline
from snellen.network.facts import NetworkFacts
from snellen.report.plain import number, plain, share, short, size


@dataclass(frozen=True)
class InspectionOptions:
    """What of a network is printed, and how."""

    convention: str = "macs"
    depth: int | None = None
    """Parts of a layer's name that are kept; None: no table of layers."""
    card: str | None = None
    optimizer: str = "adamw"
    amp: bool = False
    device: str | None = None
    """Name of a device whose roofline is told."""


def inspection_text(network: NetworkFacts, options: InspectionOptions) -> str:
    """Lines of plain text. Raises UseError on an unknown convention or card, ValueError on an unknown optimizer."""
    lines = []
    cost = convention_cost(network, options.convention)
    bound = "at least " if network.uncounted_operators else ""
    lines.append(f"cost: {bound}{cost:,} ({convention_text(options.convention)})")
    lines.append(f"backward: {network.backward_macs:,} MACs")
    if network.uncounted_operators:
        lines.append(f"costs not counted: {plain(', '.join(network.uncounted_operators), 400)}")
    lines += [f"assumed: {plain(text, 200)}" for text in network.assumptions or []]
    if options.card is not None:
        memory = card_bytes(options.card)
        batch = network.largest_batch(memory, options.optimizer, options.amp)
        how = f"{options.optimizer}{', mixed precision' if options.amp else ''}"
        used = f"; that step holds {size(network.training_memory(batch, options.optimizer, options.amp))}"
        lines.append(f"largest batch in {size(memory)} ({how}): {batch:,}{used if batch else ''}")
    if options.device is not None:
        lines += [_bound(network, options.device, half) for half in (False, True)]
    for row in network.effective.iter_rows(named=True):
        lines.append(
            f"effective field of {plain(row['layer'], 60)}: {number(row['height'])} x {number(row['width'])} px"
        )
    if network.seconds_per_pass is not None:
        lines.append(f"measured: {duration(network.seconds_per_pass)} a pass ({plain(network.timed_on or '', 120)})")
        slow = network.times.sort("seconds", descending=True, maintain_order=True).head(5)
        told = [f"{plain(r['layer'] or '(root)', 40)} {duration(r['seconds'])}" for r in slow.iter_rows(named=True)]
        lines.append(f"slowest layers: {', '.join(told)}")
    text = "\n".join(lines) + "\n"
    return text + (_folded(network, options.depth) if options.depth is not None else "")


def _bound(network: NetworkFacts, name: str, half: bool) -> str:
    rows = roofline(network, name, half=half)
    seconds = float(rows["seconds"].sum())
    waiting = float(rows.filter(pl.col("bound") == "memory")["seconds"].sum()) / (seconds or 1.0)
    bits = "16 bits" if half else "float32"
    return f"{name}, {bits}: at least {duration(seconds)} a pass, {share(waiting) or '0 %'} of it waiting for memory"


def duration(seconds: float) -> str:
    """Seconds in the unit that fits."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{number(seconds * factor)} {unit}"
    return f"{number(seconds * 1e6)} us"


def _folded(network: NetworkFacts, depth: int) -> str:
    rows = folded_rows(network, depth)
    table = Table(
        box=None, pad_edge=False, title=f"layers to depth {depth} ({convention_text('macs')})", title_justify="left",
        header_style="dim",
    )  # fmt: skip
    table.add_column("layer")
    for heading in ("kind", "output", "parameters", "MACs", "share", "element-wise"):
        table.add_column(heading, justify="right")
    for name, kind, shape, params, macs, elementwise in rows:
        level = name.count(".")
        told = share(macs / network.macs) if network.macs else "–"
        cells = ("  " * level + name, kind, shape, short(params), short(macs), told, short(elementwise))
        table.add_row(*(Text(plain(cell, 80)) for cell in cells))
    buffer = StringIO()
    Console(file=buffer, width=140, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def folded_rows(network: NetworkFacts, depth: int) -> list[tuple[str, str, str, int, int, int]]:
    """Name, kind, output shape, parameters, multiply-adds and element-wise operations per block of `depth` name parts.

    In the order of the forward pass; each layer is in exactly one row, so that the columns add up to the totals.
    """
    blocks: dict[str, list[dict[str, object]]] = {}
    for row in network.layers.sort("order", nulls_last=True, maintain_order=True).to_dicts():
        blocks.setdefault(".".join(row["layer"].split(".")[:depth]) or "(root)", []).append(row)
    rows = []
    for name, inside in blocks.items():
        kind = str(inside[0]["kind"]) if len(inside) == 1 else f"{len(inside)} layers"
        shape = inside[-1]["output_shape"]
        told = " × ".join(str(n) for n in shape) if isinstance(shape, list) else "–"
        params, macs, elementwise = (sum(int(str(r[c])) for r in inside) for c in ("params", "macs", "elementwise"))
        rows.append((name, kind, told, params, macs, elementwise))
    return rows
