"""See SameLayerRepeated."""

from collections.abc import Iterator
from typing import Any

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.rules.run._layers import inside, modules
from snellen.watching.facts import RunFacts


class SameLayerRepeated(Rule):
    """One layer stands in several places, where several layers were meant.

    ## What it does
    Reports a module with weights that is registered under several names and called once for each, one call behind the
    other; and one that is called twice in a row while its twin of the same shape is never called.

    ## Why is this bad?
    `[layer] * n` makes n references to one layer: the network has an n-th of the weights it seems to have.

    ## How it is computed
    Names of one and the same module object, and the calls of the first forward pass: each later call took a tensor of
    the shape that the call before gave, and no other layer with weights ran in between; or a module registered under
    several names got the very same tensor each time, as five heads that are one. One head for many levels and
    networks that call one name in a loop on purpose are not meant.

    ## Example
        same-layer-repeated blocks.0, blocks.1, blocks.2 are one module: 3 calls train one set of weights

    ## Fix
    `nn.ModuleList([make() for _ in range(n)])`, or `copy.deepcopy`.

    ## Known false positives
    Weights shared over depth on purpose (ALBERT) by listing one layer n times.

    ## References
    18 of 365 silent bugs in the PYSIASSIST sample are state sharing or model structure.
    """

    name = "same-layer-repeated"
    code = "RUN115"
    category = Category.SUSPICIOUS

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield one finding for each such layer, the outermost where modules hold each other."""
        rows = modules(run)
        found: list[str] = []
        for row in rows:
            held = sum(r["parameters"] for r in rows if inside(r["name"], row["name"]) and ":" not in r["name"])
            if (
                not (row["chained"] or row["same_input"])
                or row["calls"] < 2
                or not held
                or any(inside(row["name"], f) for f in found)
            ):
                continue
            names = [row["name"], *row["same_as"]]
            twin = None if row["same_as"] else self._twin(row, rows)
            if len(names) < 2 and twin is None:
                continue
            found.append(row["name"])
            what = (
                f"{', '.join(names[:4])}{' ...' if len(names) > 4 else ''} are one and the same module"
                if twin is None
                else f"{row['name']} is called twice in a row and its twin {twin} never"
            )
            yield Finding(
                message=f"{what}: {row['calls']} calls (limit 1) use one set of {held:,} weights",
                place=Place(layer=row["name"]),
                evidence={"names": names[:20], "calls": row["calls"], "twin": twin},
                affected=row["calls"],
                fix=Fix(FixSafety.UNSAFE, "make each layer anew: [make() for _ in range(n)], not [layer] * n"),
            )

    def _twin(self, row: dict[str, Any], rows: list[dict[str, Any]]) -> str | None:
        parent = row["name"].rpartition(".")[0]
        return next(
            (
                r["name"]
                for r in rows
                if r is not row
                and not r["calls"]
                and r["trainable"]
                and r["name"].rpartition(".")[0] == parent
                and (r["kind"], r["settings"], r["parameters"]) == (row["kind"], row["settings"], row["parameters"])
            ),
            None,
        )
