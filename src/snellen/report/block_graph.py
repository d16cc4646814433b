"""The network as a graph of its blocks: boxes in the order of the pass, arcs where one reads an earlier one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from snellen.network.facts import NetworkFacts
from snellen.report.plain import share
from snellen.report.svg import drawing, element, path, rect, text, tooltip

ROW = 26.0
BOX = 19.0
LEFT = 118.0
"""Room for the arcs."""
WIDE = 330.0
MOST_ARCS = 80


@dataclass(frozen=True)
class Node:
    """One block of the graph."""

    name: str
    shape: str
    part: float
    """Share of all multiply-adds, 0..1."""
    target: str
    """Id of what a click on it leads to."""


def block_of(network: NetworkFacts, depth: int) -> dict[str, str]:
    """Layer -> the name of the block that holds it, its first `depth` parts."""
    return {layer: ".".join(layer.split(".")[:depth]) or "(root)" for layer in network.layers["layer"]}


def block_edges(network: NetworkFacts, blocks: Mapping[str, str]) -> dict[tuple[str, str], int]:
    """(block, block that reads it) -> how many layers of the one are read by layers of the other."""
    found: dict[tuple[str, str], int] = {}
    for source, target in network.edges.select("source", "target").unique(maintain_order=True).iter_rows():
        pair = blocks.get(source, source), blocks.get(target, target)
        if pair[0] != pair[1]:
            found[pair] = found.get(pair, 0) + 1
    return found


def block_graph(nodes: Sequence[Node], edges: Mapping[tuple[str, str], int]) -> Markup:
    """An SVG: a box per block with its share of the cost, a line to the next, an arc past the blocks in between."""
    if not nodes:
        return Markup("")
    place = {node.name: index for index, node in enumerate(nodes)}
    known = [(place[a], place[b]) for a, b in edges if a in place and b in place]
    parts: list[Markup] = []
    arcs = sorted({pair for pair in known if pair[1] - pair[0] != 1}, key=lambda p: abs(p[1] - p[0]))[:MOST_ARCS]
    for source, target in arcs:
        reach = min(16.0 + 9.0 * (abs(target - source) - 1) ** 0.75, LEFT - 6)
        top, bottom = source * ROW + BOX / 2 + 2, target * ROW + BOX / 2 - 2
        bend = LEFT - reach
        d = f"M{LEFT:.1f} {top:.1f}C{bend:.1f} {top:.1f} {bend:.1f} {bottom:.1f} {LEFT:.1f} {bottom:.1f}"
        tip = tooltip(f"{nodes[source].name} → {nodes[target].name}")
        parts.append(element("path", [tip], d=d, class_="line flow"))
        parts.append(path([(LEFT - 5, bottom - 3), (LEFT, bottom), (LEFT - 5, bottom + 3)], "tip", closed=True))
    peak = max((node.part for node in nodes), default=0.0) or 1.0
    for index, node in enumerate(nodes):
        y = index * ROW
        if (index, index + 1) in known:
            middle = LEFT + 20
            parts.append(element("line", x1=middle, x2=middle, y1=y + BOX, y2=y + ROW, class_="line flow"))
        tip_text = f"{node.name}: {node.shape}, {share(node.part) or 'none'} of the cost"
        drawn = [
            rect(LEFT, y, WIDE, BOX, tip_text, class_="track"),
            rect(LEFT, y, WIDE * node.part / peak, BOX, class_="s0 pale"),
            text(LEFT + 7, y + 13.5, node.name, class_="name", cut=30),
            text(LEFT + WIDE - 6, y + 13.5, node.shape, "end", "tick", cut=22),
        ]
        parts.append(element("a", drawn, href=f"#{node.target}"))
        parts.append(text(LEFT + WIDE + 7, y + 13.5, share(node.part) or "–", class_="tick"))
    return drawing(LEFT + WIDE + 52, len(nodes) * ROW, parts, "blocks and who reads whom")
