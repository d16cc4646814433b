"""The page: whole, self-contained, within its budget, and deaf to what its subjects are called."""

import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

from snellen.data.facts import CLASSES
from snellen.evaluation.facts import CONFUSION, CURVES, PER_CLASS
from snellen.facts import table
from snellen.findings import Place, Severity
from snellen.report import html
from snellen.report.html import BUDGET, render_fragment, render_html
from snellen.report.templating import asset
from snellen.result import Result
from snellen.watching.facts import STEPS, RunFacts
from tests.report.subjects import HOSTILE, MARKS, dataset, finding, hostile, network, result, run, scores, verdict

VOID = {"meta", "link", "input", "br", "img", "hr", "rect", "line", "path", "circle", "image"}


class Page(HTMLParser):
    """Elements, attributes, and whether every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in {"meta", "link", "input", "br", "hr"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        # `li`, `p` and table cells are always closed here, so the order is strict.
        assert self.open.pop() == tag


def page(subject: Result, root: Path | None) -> tuple[str, Page]:
    text = render_html(subject, image_root=root)
    return text, Page(text)


def test_page_is_well_formed_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    _, parsed = page(result(tmp_path), tmp_path)
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))
    links = [value[1:] for tag, name, value in parsed.attributes if tag == "a" and name == "href"]
    assert links
    assert set(links) <= set(parsed.ids)


def test_sections_come_in_order(tmp_path: Path) -> None:
    text, parsed = page(result(tmp_path), tmp_path)
    order = ["causes", "findings", "cause-1", "cause-2", "cause-3", "dataset", "network", "training", "scores", "about"]
    assert [i for i in parsed.ids if i in order] == order
    for told in (
        "3 root causes behind 28 findings", "clip the box to the image", "explains 1 finding of low-ap75",
        "What it does", "+ 15 more in findings.json", "Largest misses", "no area", "COCO",
    ):  # fmt: skip
        assert told in text, told


def test_sections_without_facts_are_absent(tmp_path: Path) -> None:
    alone = Result(subject="s", verdict=verdict([]), network=network())
    _, parsed = page(alone, None)
    assert {"network", "about"} <= set(parsed.ids)
    assert not {"dataset", "training", "scores", "findings", "causes"} & set(parsed.ids)
    healthy = render_html(alone, image_root=None)
    assert "Healthy: 1 rule looked and found nothing wrong." in healthy
    assert 'class="state-healthy"' in healthy


def test_nothing_is_fetched_and_no_style_attribute_is_left(tmp_path: Path) -> None:
    text, parsed = page(result(tmp_path), tmp_path)
    for tag, name, value in parsed.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name != "style", tag
        if name in {"src", "href", "xlink:href", "action", "srcset", "poster"}:
            assert value.startswith(("#", "data:")), value
    assert "url(" not in text
    assert "@import" not in text
    policy = next(v for t, n, v in parsed.attributes if n == "content" and "default-src" in v)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_reports_need_no_torch() -> None:
    code = "import sys, snellen.report.html, snellen.report.text, snellen.report.sarif; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_page_is_the_same_each_time(tmp_path: Path) -> None:
    subject = result(tmp_path)
    assert render_html(subject, image_root=tmp_path) == render_html(subject, image_root=tmp_path)


def test_pictures_show_the_offending_box_and_say_why_one_is_missing(tmp_path: Path) -> None:
    text, _ = page(result(tmp_path), tmp_path)
    assert "data:image/webp;base64," in text
    assert 'class="box bad"' in text
    assert "no such file" in text
    assert "outside the dataset" in text
    without, _ = page(result(tmp_path), None)
    assert "base64" not in without
    assert "the dataset was not at hand" in without


def test_a_number_is_drawn_against_its_limit(tmp_path: Path) -> None:
    text, _ = page(result(tmp_path), tmp_path)
    assert "outside: 0.15, limit 0.02" in text
    assert "value: 4, limit 2" in text


@pytest.mark.parametrize("render", [lambda r, p: render_html(r, image_root=p), lambda r, p: render_fragment(r)])
def test_hostile_names_stay_text(render, tmp_path: Path) -> None:
    text = render(hostile(tmp_path), tmp_path)
    text.encode()
    body = text.replace(asset("report.js"), "")
    for mark in MARKS:
        assert mark not in body, mark
    parsed = Page(text)
    assert parsed.tags.count("script") <= 1
    assert "img" not in parsed.tags
    assert not [a for a in parsed.attributes if a[1].startswith("on") or a[1] == "style"]
    assert "{{7*7}}" in text
    assert "&lt;script&gt;alert(1)" in text


def test_absurd_numbers_do_not_break_a_drawing(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    wild = data.boxes.with_columns(x2=pl.lit(1e300), y1=pl.lit(-math.inf), y2=pl.lit(math.nan))
    steps = [
        {"step": i, "loss": v, "lr": 0.0} for i, v in enumerate([math.nan, math.inf, -math.inf, 1e300, -1e300, None])
    ]
    broken = RunFacts(**{**RunFacts.empty_tables(), "steps": table(STEPS, steps)})
    place = Place(image="images/000.png", box=(math.nan, -math.inf, 1e300, 0.0))
    out = [
        finding("r", "ANN105", message="m", place=place, evidence={"value": math.nan, "limit": 1.0}, affected=0, of=0)
    ]
    subject = Result(subject="s", verdict=verdict(out), data=replace(data, boxes=wild), run=broken, scores=scores(data))
    text, parsed = page(subject, tmp_path)
    numbers = ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "d", "fill-opacity", "transform")
    for tag, name, value in parsed.attributes:
        if name in numbers:
            assert not re.search(r"nan|inf|e\+|\d{7}", value), (tag, name, value)
    assert len(text) < BUDGET


def test_empty_tables_make_a_page(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    empty = replace(data, **{name: t.clear() for name, t in ((n, getattr(data, n)) for n in data.TABLES)})
    lone = scores(data)
    none = replace(lone, **{n: getattr(lone, n).clear() for n in lone.TABLES}, error_costs={})
    bare = replace(network(), layers=network().layers.clear(), levels=network().levels.clear(), macs=0)
    subject = Result(
        subject="s", verdict=verdict([]), data=empty, scores=none, network=bare, run=RunFacts(**RunFacts.empty_tables())
    )
    assert page(subject, tmp_path)[1].open == []


def huge(root: Path) -> Result:
    """A hundred rules with long messages and many pictures, a thousand classes, deep networks, long runs."""
    data = dataset(root, images=60)
    names = [f"class {i} " + "x" * 60 for i in range(1000)]
    classes = table(CLASSES, [{"class_id": i, "class_name": n, "declared": True} for i, n in enumerate(names)])
    images = data.images["image"].to_list()
    out = [
        finding(
            f"rule-{k}", f"ANN{200 + k}", Severity.WARNING, message="m" * 5000, affected=1, of=10,
            place=Place(file=f"{'f' * 300}{i}", row=i, image=images[(7 * k + i) % 60], box=(20.0, 20.0, 90.0, 90.0)),
            evidence={f"e{j}": ["v" * 500] * 50 for j in range(40)},
        )
        for k in range(100)
        for i in range(30)
    ]  # fmt: skip
    lone = scores(data)
    pairs = [{"true_class": a, "predicted_class": b, "count": 3} for a in names[:60] for b in names[:60]]
    many = replace(
        lone,
        per_class=table(PER_CLASS, [{"class_name": n, "objects": 5, "predictions": 5, "ap": 0.5} for n in names]),
        curves=table(
            CURVES, [{"class_name": n, "recall": i / 100, "precision": 0.5} for n in names for i in range(101)]
        ),
        confusion=table(CONFUSION, pairs),
    )
    return Result(
        subject="s" * 9000, verdict=verdict(out), data=replace(data, classes=classes), network=network(3000),
        run=run(50_000), scores=many, recipe={f"k{i}": "v" * 900 for i in range(900)},
    )  # fmt: skip


def test_huge_results_stay_within_the_budget_and_say_what_was_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = huge(tmp_path)
    text = render_html(subject, image_root=tmp_path)
    assert len(text.encode()) <= BUDGET
    assert re.search(r"\d+ pictures left out to keep this page below 2 MB", text)
    assert "+ 20 more in findings.json" in text
    # Where leaving out pictures is not enough, the least of the root causes go.
    monkeypatch.setattr(html, "BUDGET", 800_000)
    text = render_html(subject, image_root=tmp_path)
    assert len(text.encode()) <= 800_000
    assert re.search(r"\d+ lesser root causes left out", text)


def test_at_most_twelve_pictures_a_rule(tmp_path: Path) -> None:
    data = dataset(tmp_path, images=30)
    out = [
        finding("r", "ANN105", message="m", place=Place(image=image), rank=float(-i))
        for i, image in enumerate(data.images["image"])
    ]
    text = render_html(Result(subject="s", verdict=verdict(out), data=data), image_root=tmp_path)
    card = text[text.index('id="cause-1"') : text.index("</article>")]
    assert card.count("<image ") == 12


def test_fragment_is_short_and_has_no_script(tmp_path: Path) -> None:
    text = result(tmp_path)._repr_html_()
    assert len(text) < 20_000
    assert "<script" not in text
    assert "right edge 1.24" in text
    assert HOSTILE not in text
