"""See ProjectionDead."""

from collections.abc import Iterator
from dataclasses import replace

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.rules.run._layers import always_zero, at_start, gradients, owner
from snellen.watching.facts import RunFacts


class ProjectionDead(Rule):
    """One projection of an attention layer does not learn while the others do.

    ## What it does
    Reports query, key, value and output projections with a gradient of exactly 0, or frozen, beside ones that learn.

    ## Why is this bad?
    Attention with a dead query or key weighs all tokens alike or at random: it is a mean.

    ## How it is computed
    Gradient norms of the weights of each attention layer, and of the thirds of a fused projection, at looks after step
    0: exactly 0 at three and more looks while another of that layer is not. Frozen: one of them asks for no gradient
    and the others, of at least three, do.

    ## Example
        projection-dead blocks.1.attn.query gets a gradient of exactly 0 at 6 of 6 looks; key and value learn

    ## Fix
    Look for a zero start of both query and key, `.detach()` or `requires_grad = False` on that one.

    ## Known false positives
    Fine-tuning of chosen projections, if it spares only one.

    ## References
    DEFault++: mutation operators QZ, QFG on transformers.
    """

    name = "projection-dead"
    code = "RUN126"
    category = Category.CORRECTNESS
    causes = (
        "symmetric-units",
        "dead-relu",
        "step-function-in-forward",
        "signal-lost-in-depth",
        "attention-not-scaled",
        "gradients-erased",
        "lr-too-high",
    )

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run, at the first such projection."""
        found = list(self._each(run))
        if found:
            names = [f.evidence["parameter"] for f in found]
            yield replace(found[0], evidence={"parameter": names[0], "parameters": names[:20]}, affected=len(found))

    def _each(self, run: RunFacts) -> Iterator[Finding]:
        norms = gradients(run) | gradients(run, "part_grad_norm")
        zero = always_zero(norms)
        parameters = {r["name"]: r for r in run.parameters.iter_rows(named=True) if len(r["shape"]) == 2}
        for layer in dict.fromkeys(n.partition(":")[0] for n in at_start(run, "attention_entropy")):
            holder = {n: owner(n.partition("[")[0]) for n in norms}
            mine = [n for n in norms if layer in (holder[n], owner(holder[n]))]
            # A fused projection is judged by its thirds, not as a whole.
            mine = [n for n in mine if f"{n}[q]" not in norms and n.partition("[")[0].endswith("weight")]
            dead = [n for n in mine if n in zero]
            for name in dead if len(dead) < len(mine) else ():
                looks = len(norms[name])
                yield self._finding(
                    name, f"gets a gradient of exactly 0 at {looks} of {looks} looks (limit {looks - 1})", len(mine)
                )
            own = [r for n, r in parameters.items() if owner(n) and owner(owner(n)) == layer]
            still = [r for r in own if not r["trainable"]]
            if len(own) >= 3 and len(still) == 1:
                yield self._finding(still[0]["name"], f"is frozen and the other {len(own) - 1} are not", len(own))

    def _finding(self, name: str, what: str, count: int) -> Finding:
        return Finding(
            message=f"{name} {what}: of {count} projections this one does not learn",
            place=Place(layer=owner(name.partition("[")[0])),
            evidence={"parameter": name},
            fix=Fix(FixSafety.UNSAFE, f"let {name} train, from a random start"),
        )
