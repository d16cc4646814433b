"""See ParametersNeverUsed."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.findings.words import listed, plural
from snellen.rules.run._copies import idle_copies
from snellen.rules.run._series import event, signal
from snellen.watching.facts import RunFacts


class ParametersNeverUsed(Rule):
    """A part of the model never runs.

    ## What it does
    Lists trainable parameters whose module took no part in any forward pass and which never got a gradient.

    ## Why is this bad?
    The part keeps its random start; under DistributedDataParallel the run hangs or stops.

    ## How it is computed
    Fires when such parameters make up at least `share` of what is trainable, or several processes train. Experts
    that a router chooses among are not meant: members of a list of which others are used at some steps only. Nor is
    a copy of a model that is trained.

    ## Example
        parameters-never-used the aux branch (2 parameters, 12 % of the weights) never ran

    ## Fix
    Call the layer in forward, or take it out.

    ## Known false positives
    Spare parts of a pretrained model; small ones are below the limit.

    ## References
    guardtower; PyTorch documentation of DistributedDataParallel, find_unused_parameters.
    """

    name = "parameters-never-used"
    code = "RUN098"
    category = Category.SUSPICIOUS
    causes = (
        "layer-without-gradient",
        "no-backward",
        "forward-without-grad",
        "gradients-erased",
        "loss-without-graph",
        "same-layer-repeated",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.05
        """Share of the trainable weights, in 0..1, from which a spare part is worth a word on one device."""
        min_steps: int = 10
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        if run.steps.height < o.min_steps or run.parameters.is_empty():
            return
        without = set(run.without_gradient) - set(idle_copies(run))
        sizes = run.parameters.with_columns(
            numbers=pl.col("shape").list.eval(pl.element().product()).list.first().fill_null(1)
        ).filter(pl.col("trainable"))
        seen = pl.col("called").fill_null(True) | pl.col("ran").fill_null(False)
        rows = sizes.filter(~seen & pl.col("name").is_in(sorted(without)))
        reached = signal(run, "grad_norm").group_by("layer").agg(samples=pl.len(), zeros=(pl.col("value") == 0).sum())
        most = reached["samples"].max() if reached.height else 0
        routed = {
            _family(row["layer"])
            for row in reached.iter_rows(named=True)
            if row["samples"] < most or 0 < row["zeros"] < most
        }
        rows = rows.filter(~pl.col("name").map_elements(lambda n: _family(n) in routed, return_dtype=pl.Boolean()))
        if rows.is_empty():
            return
        names = rows["name"].to_list()
        share = float(rows["numbers"].sum()) / max(float(sizes["numbers"].sum()), 1.0)
        if share < o.share and not event(run, "distributed"):
            return
        yield Finding(
            message=(
                f"{plural(len(names), 'trainable parameter')} ({listed(names, 3)}), {share:.1%} of the weights (limit "
                f"{o.share:.0%}), never ran and never got a gradient in {run.steps.height} steps; the layers are "
                f"built and not "
                "used"
            ),
            place=Place(layer=names[0]),
            evidence={
                "parameters": names[:20],
                "share": share,
                "chain": ["its module was never called", "its gradient was always None", "it is trainable"],
            },
            affected=len(names),
            of=sizes.height,
            fix=Fix(FixSafety.UNSAFE, "call the layer in forward or remove it"),
        )


def _family(name: str) -> str:
    """The name with every number starred: members of one list have it in common."""
    return ".".join("*" if part.isdigit() else part for part in name.split("."))
