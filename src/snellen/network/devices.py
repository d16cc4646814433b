"""Peak speeds of common devices, and what they bound a network to: the roofline model.

Williams, Waterman & Patterson, "Roofline: An Insightful Visual Performance Model for Multicore Architectures", CACM
2009: a layer takes at least its operations over the peak, and at least its bytes over the bandwidth. Each tensor is
taken to be read and written once and nothing to be kept in caches or fused, so that a compiler may do better on
memory, while real kernels seldom reach the peak.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from snellen.errors import UseError
from snellen.facts import Schema, table
from snellen.network.facts import NetworkFacts


@dataclass(frozen=True)
class Device:
    """What the maker states of one device: dense, without sparsity, 16-bit products summed in 32 bits."""

    flops_32: float
    """Floating-point operations per second in float32, outside tensor cores."""
    flops_16: float
    """In float16 or bfloat16 on tensor cores."""
    bandwidth: float
    """Bytes per second of device memory."""
    source: str


DEVICES: Mapping[str, Device] = {
    "t4": Device(8.1e12, 65e12, 320e9, "NVIDIA T4 data sheet, 2019"),
    "v100": Device(15.7e12, 125e12, 900e9, "NVIDIA V100 (SXM2) data sheet, 2020"),
    "a10": Device(31.2e12, 125e12, 600e9, "NVIDIA A10 data sheet, 2021"),
    "a100-40": Device(19.5e12, 312e12, 1555e9, "NVIDIA A100 (SXM, 40 GB) data sheet, 2021"),
    "a100-80": Device(19.5e12, 312e12, 2039e9, "NVIDIA A100 (SXM, 80 GB) data sheet, 2021"),
    "l4": Device(30.3e12, 121e12, 300e9, "NVIDIA L4 data sheet, 2023; half of what it states with sparsity"),
    "l40s": Device(91.6e12, 362e12, 864e9, "NVIDIA L40S data sheet, 2023"),
    "h100": Device(67e12, 989e12, 3350e9, "NVIDIA H100 (SXM) data sheet, 2023; half of what it states with sparsity"),
    "h200": Device(67e12, 989e12, 4800e9, "NVIDIA H200 (SXM) data sheet, 2024; half of what it states with sparsity"),
    "rtx-3090": Device(35.6e12, 71e12, 936e9, "NVIDIA Ampere GA102 GPU architecture white paper, 2021"),
    "rtx-4090": Device(82.6e12, 165.2e12, 1008e9, "NVIDIA Ada GPU architecture white paper, 2022"),
}
"""By the names of `budget.CARDS`, where one card has one speed."""

ROOFLINE: Schema = {
    "layer": (pl.String(), "`layer` of the row in `layers`"),
    "kind": (pl.String(), "its `kind`"),
    "operations": (pl.Int64(), "floating-point operations, element-wise ones included"),
    "bytes": (pl.Int64(), "inputs, weights and outputs, each once"),
    "intensity": (pl.Float64(), "operations per byte"),
    "seconds": (pl.Float64(), "the least that a forward pass spends here on the device"),
    "bound": (pl.String(), "compute or memory: which of the two takes longer"),
}


def device(name: str) -> Device:
    """The device of that name ("rtx-4090", "RTX 4090"). Raises UseError on a name that is not in the table."""
    found = DEVICES.get(name.strip().lower().replace(" ", "-").replace("_", "-"))
    if found is None:
        raise UseError(f"device {name!r}: expected one of {', '.join(DEVICES)}")
    return found


def roofline(facts: NetworkFacts, name: str, *, half: bool = False) -> pl.DataFrame:
    """One row per layer that ran, with columns `ROOFLINE`, for one forward pass of the examined input.

    `half`: weights, activations and products in 16 bits. Raises UseError on an unknown device.
    """
    chosen = device(name)
    peak = chosen.flops_16 if half else chosen.flops_32
    rows = []
    for row in moved_bytes(facts).iter_rows(named=True):
        size = row["bytes"] // 2 if half else row["bytes"]
        computing, moving = row["operations"] / peak, size / chosen.bandwidth
        rows.append(
            {
                **row, "bytes": size, "intensity": row["operations"] / size if size else None,
                "seconds": max(computing, moving), "bound": "compute" if computing >= moving else "memory",
            }
        )  # fmt: skip
    return table(ROOFLINE, rows)


def moved_bytes(facts: NetworkFacts) -> pl.DataFrame:
    """Layer, kind, operations and bytes (float32, each tensor once) of every layer that ran and touched data."""
    read = pl.col("input_shape").list.eval(pl.element().product()).list.first().fill_null(0) * 4 * pl.col("calls")
    return facts.layers.filter(pl.col("order").is_not_null()).select(
        "layer", "kind",
        operations=2 * pl.col("macs") + pl.col("elementwise"),
        bytes=(read + pl.col("activation_bytes") + 4 * pl.col("params")).cast(pl.Int64),
    ).filter((pl.col("operations") > 0) & (pl.col("bytes") > 0))  # fmt: skip
