"""See StepFunctionInForward."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._layers import always_zero, gradients, modules, owner
from snellen.watching.facts import RunFacts


class StepFunctionInForward(Rule):
    """A rounding in the middle of the network stops the gradient.

    ## What it does
    Reports `round`, `floor`, `ceil`, `trunc` and `sign` in the forward pass where the layers before get gradients of
    exactly 0.

    ## Why is this bad?
    A step function's derivative is 0 wherever it exists: nothing before it learns, and no error says so.

    ## How it is computed
    Operators of the first forward pass, and gradient norms at looks after step 0. Fires when the weights of at least
    `layers` layers that ran before it had a gradient of exactly 0 at each of three and more looks and one behind it had
    not. Straight-through estimators pass a gradient and are not meant.

    ## Example
        step-function-in-forward aten.round in the model: 4 weights before it get a gradient of exactly 0

    ## Fix
    Leave it out of training, or pass the gradient: `x + (x.round() - x).detach()`.

    ## Known false positives
    None known.

    ## References
    Bengio, Leonard & Courville 2013, Estimating or Propagating Gradients, arXiv:1308.3432.
    """

    name = "step-function-in-forward"
    code = "RUN129"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        layers: int = 1
        """Layers before it that stand still."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = modules(run)
        steps = [r for r in rows if r["kind"].rstrip("_") in STEPS]
        order = {r["name"]: r["order"] for r in rows if r["order"] is not None}
        norms = {n: v for n, v in gradients(run).items() if owner(n) in order}
        zero = always_zero(norms)
        for row in steps:
            before = [n for n in norms if order[owner(n)] < row["order"]]
            behind = [n for n in norms if order[owner(n)] > row["order"]]
            still = [n for n in before if n in zero]
            if len({owner(n) for n in still}) >= self.options.layers and any(n not in zero for n in behind):
                layer = row["name"].partition(":")[0]
                yield Finding(
                    message=(
                        f"{row['kind']} in {layer or 'the model'}: the {len(still)} parameters before it ({still[-1]} "
                        "...) get a gradient of exactly 0 (limit above 0) and never learn"
                    ),
                    place=Place(layer=layer or owner(still[-1])),
                    evidence={"operator": row["kind"], "parameters": still[:20]},
                    affected=len(still),
                    of=len(norms),
                    fix=Fix(FixSafety.UNSAFE, "pass the gradient: x + (x.round() - x).detach()"),
                )
                return


STEPS = tuple(f"aten.{name}" for name in ("round", "floor", "ceil", "trunc", "sign", "heaviside"))
