"""See RunningStatisticsUnusable."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.findings.words import plural
from snellen.rules.run._layers import modules
from snellen.watching.facts import RunFacts


class RunningStatisticsUnusable(Rule):
    """Batch norm's running statistics cannot stand for the data: eval() answers otherwise than train().

    ## What it does
    Reports batch norm layers whose running mean never moves, has hardly begun to, or follows the last batch alone, or
    whose eps exceeds the variance.

    ## Why is this bad?
    Training is well and every evaluation is wrong: the network is normalised by numbers that are not those of its data.
    With a large eps nothing is normalised at all.

    ## How it is computed
    Running means before the first step and at the end, for layers that ran in train() mode on inputs that vary;
    `momentum` against `high` (torch counts the new batch's share: Keras's 0.99 is torch's 0.01); (1 - momentum) ** n,
    the share of the mean 0 and variance 1 of a new layer that n passes leave, against `left`, from n = 60 on; `eps`
    against the median variance of the channels at step 0, where it is above `eps`.

    ## Example
        running-statistics-unusable bn1 ran 300 times in train() mode and its running mean did not change: momentum 0

    ## Fix
    `momentum=0.1, eps=1e-5`, torch's defaults.

    ## Known false positives
    None known.

    ## References
    Ioffe & Szegedy 2015, Batch Normalization, arXiv:1502.03167, alg. 2; PyTorch documentation, BatchNorm2d: momentum.
    """

    name = "running-statistics-unusable"
    code = "RUN119"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        high: float = 0.9
        """Share of the newest batch from which the average is of that batch alone."""
        left: float = 0.6
        """Share of what a new layer's statistics were, 0..1; a momentum of 0.01 leaves 0.55 of it after 60 passes."""
        eps: float = 1e-2
        """Smallest eps that is suspected; published networks use at most 1e-3."""
        vary: float = 1e-8
        """Variance from which an input is not constant."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run and kind of fault."""
        o = self.options
        norms = [r for r in modules(run) if "BatchNorm" in r["kind"] and r["calls"] and r["training"]]
        rows = run.signals.filter(pl.col("signal") == "variance")
        most = dict(rows.group_by("layer").agg(pl.col("value").max()).iter_rows())
        start = dict(rows.filter(pl.col("step") == 0).select("layer", "value").iter_rows())
        still = set(run.events.filter(pl.col("kind") == "running-statistics-still")["layer"].to_list())
        slow = run.events.filter((pl.col("kind") == "running-statistics-slow") & (pl.col("value") >= o.left))
        shares = dict(slow.select("layer", "value").iter_rows())
        kept = [r for r in norms if r["settings"].get("track_running_stats", True)]
        kinds: list[tuple[str, list[dict[str, Any]]]] = [
            (
                "did not change its running mean in training (limit 1 change)",
                [r for r in kept if r["name"] in still and (most.get(r["name"]) or 0.0) > o.vary],
            ),
            (
                f"still has {max(shares.values(), default=0.0):.0%} of the mean 0 and variance 1 that it was made with "
                f"(limit {o.left:.0%})",
                [r for r in kept if r["name"] in shares],
            ),
            (
                f"keeps only the newest batch in its running mean (limit on momentum {o.high:g})",
                [r for r in kept if r["settings"].get("momentum", 0.0) >= o.high],
            ),
            (
                f"divides by an eps larger than the variance it meets (limit {o.eps:g})",
                [
                    r
                    for r in norms
                    if r["settings"].get("eps", 0.0) > o.eps and r["settings"]["eps"] > (start.get(r["name"]) or 0.0)
                ],
            ),
        ]
        for what, bad in kinds:
            if bad:
                momentum, eps = (bad[0]["settings"].get(k) for k in ("momentum", "eps"))
                yield Finding(
                    message=(
                        f"{bad[0]['name']}{'' if len(bad) == 1 else f' and {len(bad) - 1} more'} {what}: momentum "
                        f"{momentum}, eps {eps}; in eval() the network is not the one that was trained"
                    ),
                    place=Place(layer=bad[0]["name"]),
                    evidence={"layers": [r["name"] for r in bad][:20], "momentum": momentum, "eps": eps},
                    affected=len(bad),
                    of=len(norms),
                    fix=Fix(FixSafety.UNSAFE, f"set momentum to 0.1 and eps to 1e-5 in {plural(len(bad), 'layer')}"),
                )
