"""See StrideBeyondKernel."""

from collections.abc import Iterator
from math import prod
from typing import Any

from snellen.findings import Category, Finding, Place, Rule
from snellen.network.facts import NetworkFacts
from snellen.rules.network._graph import ACTIVATIONS, PASSIVE, LayerGraph, Node


class StrideBeyondKernel(Rule):
    """A layer's stride is larger than its kernel.

    ## What it does
    Reports convolutions and pooling layers that step further than their kernel reaches, where no other layer reads
    the cells they step over.

    ## Why is this bad?
    The cells between two steps are computed and thrown away: a 1x1 kernel at stride 2 reads a quarter of the map, so
    three quarters of the work in front of it are lost, and small things with it.

    ## How it is computed
    Along some axis k < s: the share of cells read is the product of min(1, k/s) over the axes. A layer is passed over
    when its map has another reader, as the main branch beside the 1x1 shortcut of a residual block, or when its source
    is not known; norms, activations and padding on the way are seen through.

    ## Example
        stride-beyond-kernel  down.conv: a kernel of 1x1 at stride 2x2 reads 25 % of the cells

    ## Fix
    Use a kernel at least as large as the stride, or average pooling in front of the 1x1 convolution.

    ## Known false positives
    Sub-sampling on purpose, to save compute.

    ## References
    He et al. 2019, Bag of Tricks for Image Classification, arXiv:1812.01187, sec. 4.1 (ResNet-B and ResNet-D);
    Dumoulin & Visin 2016, A guide to convolution arithmetic, arXiv:1603.07285, sec. 2.
    """

    name = "stride-beyond-kernel"
    code = "NET016"
    category = Category.SUSPICIOUS

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        graph = LayerGraph(network)
        first = next((r for r in network.layers.iter_rows(named=True) if r["order"] == 0), None)
        done: set[str] = set()
        for node, row in graph.nodes():
            if row["layer"] in done or not _skips(row) or not (row is first or _reads_alone(graph, node)):
                continue
            done.add(row["layer"])
            read = _share_read(row)
            yield Finding(
                message=f"{row['layer']} reads a kernel of {_sizes(row['kernel'])} at stride {_sizes(row['step'])}:"
                f" {1 - read:.0%} of the cells of its input are never read",
                place=Place(layer=row["layer"]),
                evidence={"kernel": row["kernel"], "stride": row["step"], "share_read": read},
                rank=1 - read,
            )


def _reads_alone(graph: LayerGraph, node: Node) -> bool:
    """Whether nothing else reads the map, followed back to where its cells were last mixed."""
    while len(sources := graph.sources.get(node, [])) == 1 and len(graph.readers[sources[0]]) == 1:
        node = sources[0]
        if not (node[1] in PASSIVE or node[1] in ACTIVATIONS or "Norm" in node[1] or "Pad" in node[1]):
            return True
    return False


def _skips(row: dict[str, Any]) -> bool:
    kind = row["kind"]
    reads = ("Conv" in kind or "Pool" in kind or kind == "aten.convolution") and "Transpose" not in kind
    return reads and bool(row["kernel"] and row["step"]) and _share_read(row) < 1


def _share_read(row: dict[str, Any]) -> float:
    return prod(min(1.0, k / s) for k, s in zip(row["kernel"], row["step"], strict=False))


def _sizes(values: list[int]) -> str:
    return "x".join(map(str, values))
