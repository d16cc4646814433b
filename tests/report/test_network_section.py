"""The network in the page: drawn to scale, bounded, escaped, and with the convention by which it counts."""

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest
from PIL import Image

from snellen.facts import table
from snellen.network.devices import DEVICES
from snellen.network.facts import CONVENTION, EDGES, EFFECTIVE, TIMES, NetworkFacts
from snellen.report.architecture import architecture
from snellen.report.block_graph import Node, block_graph
from snellen.report.html import render_html
from snellen.report.json import render_json
from tests.report.subjects import dataset, network, result


def _rich(facts: NetworkFacts) -> NetworkFacts:
    names = facts.layers["layer"].to_list()
    edges = [
        {"source": a, "source_kind": "Conv2d", "source_call": 1, "target": b, "target_kind": "Conv2d", "target_call": 1}
        for a, b in [*pairwise(names), (names[0], names[-1])]
    ]
    effective = {
        "layer": names[-1], "height": 9.0, "width": 11.0, "centre_row": 32.0, "centre_column": 30.0, "heat_rows": 2,
        "heat_columns": 2, "heat": [0.1, 0.2, 0.3, 0.4],
    }  # fmt: skip
    times = [{"layer": n, "kind": "Conv2d", "calls": 1, "seconds": 0.001 * (i + 1)} for i, n in enumerate(names)]
    levels = facts.levels.with_columns(layer=pl.lit(names[-1]))
    layers = facts.layers.with_columns(
        rf_rows=pl.lit([-12.0, 12.0]), rf_columns=pl.lit([-12.0, 12.0]), stride=pl.lit(1.0), stride_width=pl.lit(1.0)
    )
    return replace(
        facts, layers=layers, levels=levels, edges=table(EDGES, edges), effective=table(EFFECTIVE, [effective]),
        times=table(TIMES, times), seconds_per_pass=0.1, timed_on="a machine", assumptions=["one thing"],
    )  # fmt: skip


def test_every_part_is_there_and_tells_its_convention(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    facts = dataset(tmp_path)
    for name in facts.images["image"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (320, 240), (200, 30, 30)).save(tmp_path / name)
    section = architecture(_rich(network()), facts, tmp_path)
    assert [title for title, *_ in section.charts] == [
        "Where it is concentrated", "Operations per byte", "Slowest layers here", "What each level sees",
    ]  # fmt: skip
    assert section.convention == CONVENTION
    assert "assumed: one thing" in section.warnings
    assert [row[0] for row in section.devices[1]] == list(DEVICES)
    ((title, drawn, hint),) = section.fields
    assert (title, hint) == ("stage3.11.conv, stride 1", "")
    assert 'href="data:image/jpeg;base64,' in drawn
    assert "theoretical 25 x 25 px" in drawn
    assert "effective (95 %) 11 x 9 px" in drawn
    assert "median" in drawn
    page = render_html(result(tmp_path), image_root=tmp_path)
    assert CONVENTION in page
    assert not re.search(r"\sstyle=", page.split("</style>", 1)[1])


def test_the_json_tells_the_convention_too(tmp_path: Path) -> None:
    told = json.loads(render_json(result(tmp_path)))
    assert told["facts"]["network"]["scalars"]["convention"] == CONVENTION


def test_arcs_pass_the_blocks_between_and_boxes_lead_to_their_rows() -> None:
    nodes = [Node(f"<b{i}>", "1 × 8", 0.25, f"block-{i}") for i in range(4)]
    drawn = block_graph(nodes, {("<b0>", "<b1>"): 3, ("<b0>", "<b3>"): 1, ("<b1>", "<b2>"): 1, ("gone", "<b1>"): 1})
    root = ElementTree.fromstring(drawn)
    assert [a.get("href") for a in root.iter("a")] == [f"#block-{i}" for i in range(4)]
    assert len([p for p in root.iter("path") if p.get("class") == "line flow"]) == 1
    assert len([p for p in root.iter("line") if p.get("class") == "line flow"]) == 2
    assert "<b0>" not in drawn


def test_a_network_of_thousands_of_layers_stays_small() -> None:
    section = architecture(_rich(network(layers=3000)), None)
    assert sum(len(c[1]) for c in section.charts) + len(section.graph) < 200_000


@pytest.mark.parametrize("shape", [[1, 3, 64], [2, 7]])
def test_inputs_that_are_no_images_have_no_pictures(shape: list[int]) -> None:
    bare = replace(_rich(network()), input_shape=shape, levels=network().levels.clear())
    assert architecture(bare, None).fields == []
