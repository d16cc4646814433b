"""The cost of a network as other counters report it, so that published numbers can be compared.

All of them say "FLOPs" or "MACs" and mean multiply-adds, but leave out different operators, and charge norms,
activations and pooling differently. What each charges was measured on fvcore 0.1.5, thop 0.1.1 and ptflops 0.7.5 (its
default backend); what they count on plain networks is imitated, not how they fail on compiled or parametrised ones.
"""

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

from snellen.errors import UseError
from snellen.network.facts import NetworkFacts

Row = Mapping[str, Any]

CONVOLUTIONS = frozenset(f"{name}{n}d" for name in ("Conv", "ConvTranspose") for n in (1, 2, 3))
NORMS = frozenset(f"{name}{n}d" for name in ("BatchNorm", "InstanceNorm") for n in (1, 2, 3)) | {"LayerNorm"}
RECURRENT = frozenset({"RNN", "GRU", "LSTM"})


def convention_cost(facts: NetworkFacts, convention: str) -> int:
    """The number that `convention` reports for one forward pass of the examined input.

    `macs`: multiply-adds; `flops`: twice that; `fvcore`, `thop`, `ptflops`: as those packages count.
    Raises UseError on any other name.
    """
    if convention not in CONVENTIONS:
        raise UseError(f"convention {convention!r}: expected one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[convention][1](facts)


def convention_text(convention: str) -> str:
    """What stands beside a number of that convention."""
    return CONVENTIONS[convention][0]


def _fvcore(facts: NetworkFacts) -> int:
    affine = {r["layer"] for r in facts.layers.iter_rows(named=True) if r["params"]}
    total = 0
    for row in facts.operators.iter_rows(named=True):
        operator, owner = row["operator"].removeprefix("aten."), row["kind"]
        if operator in ("convolution", "mm", "addmm", "bmm") and owner not in RECURRENT:
            total += row["macs"]
        elif "batch_norm" in operator:
            total += row["inputs"] * (2 if row["layer"] in affine else 1)
        elif operator in ("native_layer_norm", "native_group_norm"):
            total += row["inputs"] * (5 if row["layer"] in affine else 4)
        elif operator == "_adaptive_avg_pool2d" or (operator == "mean" and owner == "AdaptiveAvgPool2d"):
            total += row["inputs"]
        elif operator in ("upsample_bilinear2d", "grid_sampler_2d"):
            total += 4 * row["outputs"]
        elif operator == "upsample_nearest2d":
            total += row["outputs"]
    return total


def _thop(facts: NetworkFacts) -> int:
    return sum(_thop_layer(*layer) for layer in _layers(facts))


def _thop_layer(row: Row, inputs: int, outputs: int) -> int:
    kind: str = row["kind"]
    if kind.startswith("ConvTranspose") and kind in CONVOLUTIONS:
        # Charged per output position, not per input position.
        return int(row["macs"] * prod(row["output_shape"][2:]) // prod(row["input_shape"][2:]))
    if kind in CONVOLUTIONS or kind == "Linear" or kind in RECURRENT:
        return int(row["macs"])
    if kind in NORMS:
        return inputs * (4 if row["params"] else 2)
    if kind.startswith("AdaptiveAvgPool"):
        return inputs + outputs
    if kind.startswith("AvgPool"):
        return outputs
    if kind == "Softmax":
        return 3 * inputs - inputs // row["input_shape"][-1]
    return 0


def _ptflops(facts: NetworkFacts) -> int:
    return sum(_ptflops_layer(*layer) for layer in _layers(facts)) // facts.input_shape[0]


def _ptflops_layer(row: Row, inputs: int, outputs: int) -> int:
    kind: str = row["kind"]
    if kind in CONVOLUTIONS or kind == "Linear":
        return int(row["macs"]) + (outputs if row["has_bias"] else 0)
    if kind in NORMS or kind == "GroupNorm":
        return inputs * (2 if row["params"] and kind != "LayerNorm" else 1)
    if kind in ("ReLU", "PReLU", "ELU", "GELU"):
        return 2 * outputs  # Once for the module, once for the function within.
    if kind in ("ReLU6", "LeakyReLU", "SiLU", "Softmax"):
        return outputs
    if "Pool" in kind and kind[-2:] in ("1d", "2d", "3d"):
        return 2 * inputs
    if kind == "MultiheadAttention" and row["heads"]:
        # Scaling, the biases of four projections, and the softmax; the sequence may lie along either axis.
        entries = row["calls"] * prod(row["input_shape"])
        length = max(row["input_shape"][:-1])
        return int(row["macs"]) + 5 * entries + row["heads"] * length * entries // row["input_shape"][-1]
    return 0


def _layers(facts: NetworkFacts) -> Iterator[tuple[Row, int, int]]:
    """The layers that ran, each with the elements that its first operator read and its last one wrote in all calls."""
    run: dict[tuple[str, str], list[Row]] = {}
    for row in facts.operators.iter_rows(named=True):
        run.setdefault((row["layer"], row["kind"]), []).append(row)
    for row in facts.layers.iter_rows(named=True):
        inside = [o for o in run.get((row["layer"], row["kind"]), []) if o["outputs"]]
        if inside:
            yield row, _main(inside)["inputs"], _main(inside)["outputs"]


def _main(operators: list[Row]) -> Row:
    """The operator that does the work of a layer: most multiply-adds, then most elements."""
    return max(operators, key=lambda o: (o["macs"], o["inputs"] + o["outputs"]))


CONVENTIONS: Mapping[str, tuple[str, Callable[[NetworkFacts], int]]] = {
    "macs": ("MACs: one multiply-add counts 1", lambda facts: facts.macs),
    "flops": ("FLOPs: one multiply-add counts 2; element-wise operations apart", lambda facts: facts.flops),
    "fvcore": ("as fvcore counts: multiply-adds without fused attention, 2 per normalised element", _fvcore),
    "thop": ("as thop counts: multiply-adds of known module types, 4 per normalised element", _thop),
    "ptflops": ("as ptflops counts: multiply-adds and biases of known modules, 2 per activation; per image", _ptflops),
}
"""Name -> (what it says, how it is computed)."""
