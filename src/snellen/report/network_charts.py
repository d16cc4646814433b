"""Where a network's parameters, operations, memory and time are, and what devices bound it to."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from markupsafe import Markup

from snellen.network.devices import DEVICES, moved_bytes, roofline
from snellen.network.facts import NetworkFacts
from snellen.report.charts import WIDTH, bars
from snellen.report.inspection import duration
from snellen.report.plain import number, plain, share
from snellen.report.svg import Frame, Scale, drawing, element, path, text, tooltip

Rows = list[list[str]]
SHOWN = ("t4", "a100-80", "h100")
"""Devices whose roofs are drawn."""
DOTS = 80
"""Layers drawn under them, those with most operations."""


def concentration(network: NetworkFacts, blocks: Sequence[str], of: dict[str, str]) -> Markup:
    """Per block its share of parameters, operations, memory of activations and, where measured, time."""
    told = network.layers.with_columns(block=pl.col("layer").replace_strict(of, default=None))
    columns = {"params": "params", "MACs": "macs", "outputs": "activation_bytes"}
    found = {title: dict(told.group_by("block").agg(pl.col(name).sum()).iter_rows()) for title, name in columns.items()}
    if len(network.times):
        timed = network.times.with_columns(block=pl.col("layer").replace_strict(of, default=None))
        found["time"] = dict(timed.group_by("block").agg(pl.col("seconds").sum()).iter_rows())
    wholes = {title: sum(v or 0 for v in values.values()) or 1 for title, values in found.items()}
    parts = {b: [100 * (values.get(b) or 0) / wholes[t] for t, values in found.items()] for b in blocks}
    # Those that hold most of anything, in the order of the pass.
    heavy = set(sorted(parts, key=lambda b: -max(parts[b]))[:9])
    rows = [(b, [round(v, 1) for v in parts[b]]) for b in blocks if b in heavy and max(parts[b]) >= 0.05]
    return bars("shares by block", rows, list(found), unit=" %")


def slowest(network: NetworkFacts) -> Markup:
    """The layers that take longest on this machine, in milliseconds."""
    rows = network.times.sort("seconds", descending=True, maintain_order=True).head(12)
    told = [(_end(r["layer"] or "(root)"), [round(1e3 * r["seconds"], 3)]) for r in rows.iter_rows(named=True)]
    return bars("milliseconds of the slowest layers", told, unit=" ms")


def _end(name: str, most: int = 17) -> str:
    """The end of a dotted name, which tells layers apart."""
    return name if len(name) <= most else "…" + name[1 - most :]


def intensity(network: NetworkFacts) -> Markup:
    """Layers by operations per byte under the float32 roofs of devices; a dot's area is its share of operations.

    The dots lie on the last of the roofs.
    """
    rows = moved_bytes(network)
    if rows.is_empty():
        return Markup("")
    x = np.maximum((rows["operations"] / rows["bytes"]).to_numpy(), 0.05)
    part = (rows["operations"] / rows["operations"].sum()).to_numpy()
    low, high = min(float(x.min()), 0.2) / 1.5, max(float(x.max()), 300.0) * 1.5
    peak = max(DEVICES[d].flops_32 for d in SHOWN)
    floor = min(DEVICES[d].bandwidth for d in SHOWN) * low
    frame = Frame(Scale(low, high, 52.0, WIDTH - 58, True), Scale(floor, peak * 1.6, 196.0, 8.0, True))
    parts = list(frame.axes("operations per byte", values=False))
    for index, name in enumerate(SHOWN):
        found = DEVICES[name]
        ridge = found.flops_32 / found.bandwidth
        roof = [(low, low * found.bandwidth), (ridge, found.flops_32), (high, found.flops_32)]
        parts.append(path([(frame.x(a), frame.y(b)) for a, b in roof], f"line t{index}"))
        parts.append(text(frame.x(high) + 4, frame.y(found.flops_32) + 3.5, name, class_="tick"))
    best = DEVICES[SHOWN[-1]]
    layers = zip(rows.iter_rows(named=True), x, part, strict=True)
    for row, at, weight in sorted(layers, key=lambda t: -t[2])[:DOTS]:
        y = frame.y(min(at * best.bandwidth, best.flops_32))
        told = f"{number(at)} operations per byte, {share(float(weight)) or '0 %'} of all"
        dot = [tooltip(f"{plain(row['layer'], 80)} ({row['kind']}): {told}")]
        radius = max(1.6, 16 * float(weight) ** 0.5)
        parts.append(element("circle", dot, cx=frame.x(at), cy=y, r=radius, class_="s1 pale"))
    powers = [p for p in (9, 10, 11, 12, 13) if floor <= 10**p <= peak * 1.6]
    parts += [text(48, frame.y(10.0**p) + 3.5, f"{10 ** (p - 9):,} G", "end", "tick") for p in powers]
    return drawing(WIDTH, 232.0, parts, "operations per byte under the roofs of devices")


def device_rows(network: NetworkFacts) -> tuple[list[str], Rows]:
    """Per device the least time of a pass in float32 and in 16 bits, how much of it waits for memory, the source."""
    rows = []
    for name, found in DEVICES.items():
        cells = [name, found.source]
        for half in (False, True):
            told = roofline(network, name, half=half)
            seconds = float(told["seconds"].sum())
            waiting = float(told.filter(pl.col("bound") == "memory")["seconds"].sum())
            cells += [duration(seconds) if seconds else "–", share(waiting / seconds) if seconds else "–"]
        rows.append(cells)
    head = ["device", "peak and bandwidth from", "float32", "waits for memory", "16 bits", "waits for memory"]
    return head, rows
