"""See GriddingDilation."""

from collections.abc import Iterator, Sequence
from typing import Any

from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.network.facts import NetworkFacts
from snellen.rules.network._graph import LayerGraph, Node


class GriddingDilation(Rule):
    """Successive dilated convolutions read a sparse grid.

    ## What it does
    Reports runs of dilated convolutions whose rates share a factor, or are too far apart, so that together they skip
    most of the cells within their own window.

    ## Why is this bad?
    Neighbouring outputs are computed from disjoint sets of inputs: predictions come out as a grid, and detail between
    its lines, small objects first, is not seen however deep the run is.

    ## How it is computed
    Along an axis a run of kernels k and rates r reaches the offsets that are sums of one tap of each; the share seen
    is their number over the length of the window, and over a map the product of the axes. Rates 2, 2, 2, ... tend to a
    quarter, rates 1, 2, 5 see everything. A run is the longest path of dilated stride-1 convolutions with no dense one
    between them; one dilated layer among dense ones is no run.

    ## Example
        gridding-dilation  block1.conv, block2.conv: rates 4, 4 see 9 % of their window

    ## Fix
    Rates without a common factor that grow slowly, such as 1, 2, 3 or 1, 2, 5 (hybrid dilated convolution).

    ## Known false positives
    Runs behind many dense layers, whose cells already know their neighbours.

    ## References
    Wang et al. 2018, Understanding Convolution for Semantic Segmentation, arXiv:1702.08502, sec. 3.2 and fig. 2;
    Yu, Koltun & Funkhouser 2017, Dilated Residual Networks, arXiv:1705.09914, sec. 4.
    """

    name = "gridding-dilation"
    code = "NET018"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Thresholds."""

        seen: float = 0.2
        """Share of the window, 0..1, below which a run is reported; the dilated ResNets of DeepLabv3 see 0.25."""

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        graph = LayerGraph(network)
        following = {n: list(_next_spatial(graph, n)) for n, row in graph.nodes() if _dilated(row)}
        following = {n: [m for m in after if m in following] for n, after in following.items()}
        inner = {m for after in following.values() for m in after}
        longest: dict[Node, list[Node]] = {}
        for start in following:
            if start in inner:
                continue
            run = _longest(start, following, longest)
            rows = [graph.rows[n[:2]] for n in run]
            share = _share_seen(rows)
            if len(run) < 2 or share >= self.options.seen:
                continue
            rates = ", ".join(str(max(r["dilation"])) for r in rows[:8])
            yield Finding(
                message=f"the {len(run)} dilated convolutions from {run[0][0]} to {run[-1][0]}, rates {rates}, together"
                f" see {share:.0%} of the cells in their window (limit {self.options.seen:.0%}): outputs come out as a"
                f" grid",
                place=Place(layer=run[0][0]),
                evidence={"layers": [n[0] for n in run[:20]], "dilation": [r["dilation"] for r in rows[:20]]},
                affected=len(run),
                rank=1 - share,
            )


def _spatial(row: dict[str, Any]) -> bool:
    return max(row["kernel"] or [1]) > 1


def _dilated(row: dict[str, Any]) -> bool:
    return (
        ("Conv" in row["kind"] or row["kind"] == "aten.convolution")
        and "Transpose" not in row["kind"]
        and _spatial(row)
        and max(row["step"] or [1]) == 1
        and max(row["dilation"] or [1]) > 1
    )


def _next_spatial(graph: LayerGraph, node: Node) -> Iterator[Node]:
    """The convolutions and pooling layers with a kernel that come next, over any path."""
    queue, seen = list(graph.readers.get(node, [])), {node}
    for n in queue:
        if n in seen:
            continue
        seen.add(n)
        if _spatial(graph.rows[n[:2]]):
            yield n
        else:
            queue.extend(graph.readers.get(n, []))


def _longest(node: Node, following: dict[Node, list[Node]], known: dict[Node, list[Node]]) -> list[Node]:
    if node not in known:
        known[node] = [node]  # Met again within itself, a loop of calls ends here.
        tails = [_longest(n, following, known) for n in following[node]]
        known[node] = [node, *max(tails, key=len, default=[])]
    return known[node]


def _share_seen(rows: Sequence[dict[str, Any]]) -> float:
    share = 1.0
    for axis in range(min(len(r["kernel"]) for r in rows)):
        offsets = {0}
        for r in rows:
            step = r["dilation"][axis]
            offsets = {o + tap * step for o in offsets for tap in range(r["kernel"][axis])}
        share *= len(offsets) / (max(offsets) + 1)
    return share
