"""The page of a comparison: true to its tables, deaf to names, within its budget."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from typer.testing import CliRunner

import snellen
from snellen.cli.app import app
from snellen.data.facts import DataFacts
from snellen.evaluation.comparison import Comparison
from snellen.evaluation.detection import evaluate_detection
from snellen.evaluation.disagreement import disagreements
from snellen.evaluation.facts import ScoreFacts
from snellen.report.comparison_charts import Priced, cost_benefit, front, gaps
from snellen.report.comparison_page import render_comparison
from snellen.report.html import BUDGET
from snellen.report.plain import number
from snellen.report.templating import asset
from snellen.result import Result
from snellen.verbs.run_folder import write_run
from tests.report.subjects import HOSTILE, MARKS, dataset, network, verdict
from tests.report.test_html import Page
from tests.rules.evaluation_injections import classified, detector, digits, objects, scored


def run(name: str, facts: ScoreFacts, data: DataFacts | None = None, cost: int = 1, **recipe: object) -> Result:
    net = replace(network(name=name), macs=1000 * cost, total_params=10 * cost)
    facts = replace(facts, seconds_per_image=0.002 * cost)
    return Result(subject=name, verdict=verdict([]), scores=facts, data=data, network=net,
                  recipe={"lr": 0.01, "model": "x", **recipe}, environment={"date": name, "torch": "2"},
                  seconds={"train": 10.0 * cost})  # fmt: skip


def detectors(worse: float = 0.25, images: int = 60, classes: int = 3) -> list[ScoreFacts]:
    rng = np.random.default_rng(0)
    truth, names = objects(rng, images, 4, classes)
    return [
        scored(truth, detector(truth, names, rng, missed=0.2 + m, jitter=0.1, classes=classes), names, classes,
               bootstrap=0)[0]
        for m in (0.0, worse, worse / 2)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Result], Comparison]:
    root = tmp_path_factory.mktemp("pictures")
    facts = detectors()
    for image in facts[0].evaluated["image"]:
        Image.new("RGB", (640, 640), (40, 60, 80)).save(root / image)
    data = replace(dataset(root, images=1), root=str(root))
    results = [run("first", facts[0], data, 4), run("second", facts[1], data, 1, lr=0.02)]
    return results, snellen.compare(*results, replicates=200)


def test_the_numbers_are_those_of_the_comparison(pair: tuple[list[Result], Comparison]) -> None:
    results, found = pair
    text = render_comparison(found, results)
    assert Page(text).open == []
    head = found.metrics.row(0, named=True)
    assert head["real"]
    assert f"second falls behind first: mAP {head['difference']:+.3f}".replace("-", "−") in text
    for r in [*found.metrics.to_dicts(), *found.classes.to_dicts()]:
        row = re.search(rf"<tr><td>{r['name']}</td>(.*?)</tr>", text)
        assert row, r["name"]
        told = re.findall(r">([^<]+)</td>", row[1])
        assert told[1:4] == [number(r["first"]), number(r["other"]), f"{r['difference']:+.3f}"]
        assert told[-1] == {None: "–", True: "better", False: "worse"}[r["better"]]
    agreement = found.agreement.row(0, named=True)
    for words, column in (("both right", "both"), ("only first", "only_first"), ("both wrong", "neither")):
        assert f"{words} <b>{agreement[column]:,}</b>" in text


def test_disagreements_are_those_that_agreement_counts(pair: tuple[list[Result], Comparison]) -> None:
    results, found = pair
    odd = disagreements(results[0].scores, results[1].scores)
    agreement = found.agreement.row(0, named=True)
    assert (odd["only"] == "first").sum() == agreement["only_first"]
    assert (odd["only"] == "other").sum() == agreement["only_other"]
    for row in odd.to_dicts():
        for facts, at in ((results[0].scores, "first_row"), (results[1].scores, "other_row")):
            there = facts.objects.row(row[at], named=True)
            assert [there[c] for c in ("image", "class_name", "x1", "y2")] == [
                row[c] for c in ("image", "class_name", "x1", "y2")
            ]
    labels, p, _ = digits()
    noisy = digits(noise=2.0)[1]
    first, other = classified(labels, p, bootstrap=0)[0], classified(labels, noisy, bootstrap=0)[0]
    odd = disagreements(first, other)
    a, b = ((f.predictions["outcome"] == "correct").to_numpy() for f in (first, other))
    assert ((odd["only"] == "first").sum(), (odd["only"] == "other").sum()) == ((a & ~b).sum(), (~a & b).sum())


def test_examples_show_the_label_and_the_box_that_finds_it(pair: tuple[list[Result], Comparison]) -> None:
    results, found = pair
    text = render_comparison(found, results)
    begin = text.index("Only first is right")
    part = text[begin : text.index("</section>", begin)]
    tiles = re.findall(r'<figure class="tile">.*?</figure>', part, re.DOTALL)
    assert tiles
    for tile in tiles:
        assert "truth lit" in tile
        assert "guess lit" in tile
        assert re.search(r"first: 0?\.?\d+.*IoU .* second: (missed|0\.\d+ below its threshold)", tile), tile[-400:]
    without = render_comparison(found, [replace(results[0], data=None), results[1]])
    assert "<image" not in without
    assert "Only first is right" not in without


def test_only_settings_that_differ_are_listed(pair: tuple[list[Result], Comparison]) -> None:
    results, found = pair
    text = render_comparison(found, results)
    part = text[text.index('id="settings"') :]
    assert "<td>lr</td>" in part
    assert "<td>model</td>" not in part
    assert "1 setting the same" in part
    assert "Environment" not in part  # the date alone differs
    other = replace(results[1], environment={"torch": "3"})
    assert "<td>torch</td>" in render_comparison(found, [results[0], other])


def test_costs_are_drawn_where_they_differ_and_the_front_is_told(pair: tuple[list[Result], Comparison]) -> None:
    results, found = pair
    text = render_comparison(found, results)
    for words in ("multiply-adds of one forward pass", "parameters", "seconds of training", "milliseconds an image"):
        assert f"mAP against {words}" in text
    table = text[text.index('id="cost"') : text.index("<figure>")]
    row = table[table.index("<td>first") : table.index("<td>second")]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", row)[3:6] == ["40", "4 k", "8"]
    same = [
        replace(r, network=results[0].network, seconds={}, scores=replace(r.scores, seconds_per_image=None))
        for r in results
    ]
    again = snellen.compare(*same, replicates=100)
    assert "The runs cost the same" in render_comparison(again, same)


def test_the_front_holds_what_no_cheaper_run_beats() -> None:
    points = {"a": (1, 0.5), "b": (2, 0.4), "c": (2, 0.7), "d": (3, 0.7), "e": (9, 0.8), "f": (9, 0.6)}
    rows = [Priced(name, cost, value, None, None, 0) for name, (cost, value) in points.items()]
    assert [row.name for row in front(rows)] == ["a", "c", "e"]
    drawn = cost_benefit("c", rows, "x", "y")
    assert drawn.count("on-front") == 3
    assert not cost_benefit("c", rows[:1], "x", "y")
    assert not gaps("g", [])


def test_three_runs_stand_against_the_first() -> None:
    results = [run(name, facts, cost=k + 1) for k, (name, facts) in enumerate(zip("abc", detectors(), strict=True))]
    text = render_comparison(snellen.compare(*results, replicates=100), results)
    parsed = Page(text)
    assert parsed.open == []
    assert {"run-1", "run-2"} <= set(parsed.ids)
    assert "2 runs against a" in text
    links = [value[1:] for tag, name, value in parsed.attributes if tag == "a" and name == "href"]
    assert set(links) <= set(parsed.ids)


def test_classification_is_compared_by_class() -> None:
    labels, p, _ = digits()
    noisy = digits(noise=2.0)[1]
    results = [run("a", classified(labels, p, bootstrap=0)[0]), run("b", classified(labels, noisy, bootstrap=0)[0])]
    text = render_comparison(snellen.compare(*results, replicates=100), results)
    assert Page(text).open == []
    assert "b falls behind a: accuracy −" in text
    assert "Classes that differ most" in text
    assert text.count('aria-label="precision against recall of ') == 10


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    clean = HOSTILE.replace("\udc80", "")
    facts = detectors()[:2]
    named = {name: f"{clean}{k}" for k, name in enumerate(facts[0].per_class["class_name"])}
    odd = []
    for own in facts:
        tables = {
            n: getattr(own, n).with_columns(
                pl.col(c).replace(named) for c in ("class_name", "true_class", "predicted_class", "bin")
                if c in getattr(own, n).columns
            )
            for n in own.TABLES
        }  # fmt: skip
        odd.append(replace(own, **tables, split=HOSTILE))
    data = dataset(tmp_path, class_name=clean)
    results = [
        run(HOSTILE + end, f, data, cost, **{HOSTILE: HOSTILE + end})
        for end, f, cost in zip("ab", odd, (1, 3), strict=True)
    ]
    found = snellen.compare(*results, replicates=100)
    text = render_comparison(replace(found, notes=[HOSTILE]), results)
    text.encode()
    body = text.replace(asset("report.js"), "")
    for mark in MARKS:
        assert mark not in body, mark
    parsed = Page(text)
    assert parsed.open == []
    assert parsed.tags.count("script") == 1
    assert "img" not in parsed.tags
    assert not [a for a in parsed.attributes if a[1].startswith("on") or a[1] == "style"]
    assert "&lt;script&gt;alert(1)" in text


def test_many_runs_and_classes_stay_within_the_budget() -> None:
    rng = np.random.default_rng(0)
    truth, images = objects(rng, 80, 5, 4)
    names = [f"c{i} {'x' * 300}" for i in range(80)]
    own = [
        f.with_columns(class_name=pl.col("image").str.slice(0, 4).cast(pl.Int64).replace_strict(dict(enumerate(names))))
        for f in (truth, detector(truth, images, rng, classes=4))
    ]
    facts = evaluate_detection(*own, names, images=images, bootstrap=0)
    recipe = {f"k{i}": "v" * 900 for i in range(500)}
    results = [run(f"{'n' * 300}{k}", facts, cost=k + 1, **{**recipe, "k1": k}) for k in range(8)]
    text = render_comparison(snellen.compare(*results, replicates=100), results)
    assert len(text.encode()) < BUDGET


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    folders = []
    for name, facts in zip("ab", detectors()[:2], strict=True):
        write_run(replace(run(name, facts), folder=tmp_path / name, recipe={}))
        folders.append(str(tmp_path / name))
    page = tmp_path / "out" / "compare.html"
    told = CliRunner().invoke(
        app, ["compare", *folders, "--format", "html", "--output", str(page), "--replicates", "100"]
    )
    assert told.exit_code == 0, told.output
    assert Page(page.read_text(encoding="utf-8")).open == []
    assert "b falls behind a" in page.read_text(encoding="utf-8")
