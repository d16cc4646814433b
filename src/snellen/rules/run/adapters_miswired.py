"""See AdaptersMiswired."""

from collections.abc import Iterator, Mapping
from typing import Any

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.findings.words import listed, plural
from snellen.watching.facts import RunFacts


class AdaptersMiswired(Rule):
    """Low-rank adapters are attached and do not do what they are for.

    ## What it does
    Finds pairs of low-rank factors beside a full weight, and which of them train.

    ## Why is this bad?
    Frozen adapters learn nothing; a trainable base beside them is full fine-tuning with a forgotten memory bill,
    and the saved adapter is worthless without it.

    ## How it is computed
    Two matrices (r, in) and (out, r) in one module, one of them 0 at the start as LoRA is, beside a weight (out,
    in) under the same name, r at most half of in and out. Fires when both factors are frozen while something else
    trains, when the weight beside them is trainable, or when both factors are 0 so that no gradient can reach
    either.

    ## Example
        adapters-miswired the weights beside 4 low-rank adapters are trainable

    ## Fix
    Freeze the base (`requires_grad_(False)`) before the adapters are attached, and mark only adapters as
    trainable.

    ## Known false positives
    Full fine-tuning with adapters on purpose.

    ## References
    Hu et al. 2021, LoRA, arXiv:2106.09685; guardtower LoRA-001 to LoRA-005.
    """

    name = "adapters-miswired"
    code = "RUN106"
    category = Category.CORRECTNESS

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        pairs = list(_pairs(run))
        if not pairs or not run.steps.height:
            return
        frozen = [p for p, (a, b, _) in pairs if not a["trainable"] and not b["trainable"]]
        base = [p for p, (_, _, w) in pairs if w["trainable"]]
        empty = [p for p, (a, b, _) in pairs if not a["start_norm"] and not b["start_norm"]]
        cases = (
            (frozen, "are frozen while other weights train; the adapters learn nothing"),
            (base, "stand beside a weight that is trainable; the base is tuned in full"),
            (empty, "have both factors at 0; no gradient reaches either"),
        )
        for names, what in cases:
            if names and (names is not frozen or run.trainable_params):
                yield Finding(
                    message=(
                        f"{len(names)} of {plural(len(pairs), 'low-rank adapter')} ({listed(names, 3)}; limit 0) {what}"
                    ),
                    place=Place(layer=names[0]),
                    evidence={
                        "adapters": names[:20],
                        "chain": [f"{len(pairs)} low-rank pairs", f"{len(names)} {what}"],
                    },
                    affected=len(names),
                    of=len(pairs),
                    fix=Fix(FixSafety.UNSAFE, "train the adapters and freeze what they adapt"),
                )
                return


Row = Mapping[str, Any]


def _pairs(run: RunFacts) -> Iterator[tuple[str, tuple[Row, Row, Row]]]:
    """Prefix, (r, in), (out, r) and (out, in) of each adapter."""
    matrices = [row for row in run.parameters.iter_rows(named=True) if len(row["shape"]) == 2]
    for weight in matrices:
        out, into = weight["shape"]
        prefix = weight["name"].removesuffix(".weight").removesuffix(".base").removesuffix(".base_layer")
        prefix = prefix.removesuffix(".original0").removesuffix(".linear").removesuffix(".layer")
        near = [row for row in matrices if row is not weight and row["name"].startswith(prefix + ".")]
        near = near or [row for row in matrices if row is not weight and _owner(row) == _owner(weight)]
        for down in near:
            rank = down["shape"][0]
            if down["shape"][1] != into or 2 * rank > min(out, into):
                continue
            up = next((row for row in near if row is not down and list(row["shape"]) == [out, rank]), None)
            if up is not None and 0.0 in (down["start_norm"], up["start_norm"]):
                yield prefix, (down, up, weight)
                break


def _owner(row: Row) -> str:
    return str(row["name"]).rpartition(".")[0]
