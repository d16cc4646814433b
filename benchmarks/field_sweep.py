"""Receptive fields of timm's families: for how many is every layer's field known, and what is left open.

    python benchmarks/field_sweep.py [--all] [--families swin_transformer xcit ...] [--verbose]

Runs the first network of every timm module on the meta device (`--all`: every network), and prints those with a layer
that ran and whose receptive field is unknown, or that cannot be examined; then the totals. `--verbose` prints the
fields of all: the largest finite one, its stride, whether gates were left out, and the last layer's.
"""

import argparse
import math
import time

import timm

from snellen.errors import UseError
from snellen.network.examine import examine
from snellen.network.resolve import load_model


def smallest(family: str) -> str:
    """The first network of a timm module in alphabetical order that is small by its name, else the first."""
    names = timm.list_models(module=family)
    return next((n for part in ("atto", "nano", "tiny", "small", "_s_") for n in names if part in n), names[0])


def main() -> None:
    """Examine each network and print what is not known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--families", nargs="+")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    families = options.families or timm.list_modules()
    chosen = timm.list_models() if options.all else [smallest(f) for f in families if timm.list_models(module=f)]
    complete, open_, failed, start = 0, 0, 0, time.perf_counter()
    for name in chosen:
        try:
            model = load_model(name)
            facts = examine(model, (1, *model.default_cfg["input_size"]))
        except UseError as error:
            failed += 1
            print(f"{name:44} FAILED {error}")
            continue
        ran = facts.layers.filter(facts.layers["calls"] > 0)
        unknown = ran.filter(ran["rf_height"].is_null() & ran["order"].is_not_null())
        finite = [v for v in ran["rf_height"].drop_nulls() if math.isfinite(v)]
        if unknown.is_empty():
            complete += 1
        else:
            open_ += 1
            first = unknown.row(0, named=True)
            print(f"{name:44} {unknown.height:4} of {ran.height} unknown, first {first['layer']} ({first['kind']})")
        if options.verbose:
            last = ran.filter(ran["order"].is_not_null()).row(-1, named=True)
            gated = bool(ran["rf_gated"].any())
            print(f"{name:44} largest {max(finite, default=0):7.0f} gated {gated!s:5} last {last['rf_height']}")
    print(f"{len(chosen)} networks in {time.perf_counter() - start:.0f} s:", end=" ")
    print(f"{complete} known in every layer, {open_} in part, {failed} not examined")


if __name__ == "__main__":
    main()
