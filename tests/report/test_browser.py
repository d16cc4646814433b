"""The page in a real browser: it filters, asks the network for nothing, and reads without scripts."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import snellen
from snellen.report.comparison_page import render_comparison
from snellen.report.html import render_html
from snellen.result import Result
from tests.report.subjects import hostile, result, verdict
from tests.rules.evaluation_injections import mediocre_detections

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


class Visit:
    """A page that is open, and what it complained of."""

    def __init__(self, browser, text: str, folder: Path, **options) -> None:
        path = folder / "report.html"
        path.write_text(text, encoding="utf-8")
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page = browser.new_page(**options)
        self.page.on("request", lambda r: self.asked.append(r.url))
        self.page.on("console", lambda m: self.complaints.append(m.text))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("dialog", lambda d: (self.complaints.append(d.message), d.dismiss()))
        self.page.goto(path.as_uri())

    def cards(self) -> list[str]:
        return self.page.locator(".card:visible h3").all_inner_texts()

    def check(self) -> None:
        assert self.complaints == []
        assert [url for url in self.asked if not url.startswith(("file:", "data:"))] == []
        self.page.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("data")
    return render_html(result(root), image_root=root)


def test_filters_by_severity_text_and_wing_and_sorts(browser, text: str, tmp_path: Path) -> None:
    visit = Visit(browser, text, tmp_path)
    box, loss, imbalance = "box-out-of-bounds ANN003", "loss-diverged RUN105", "class-imbalance DST002"
    assert visit.cards() == [box, loss, imbalance]
    visit.page.uncheck("input[value=error]")
    assert visit.cards() == [loss, imbalance]
    visit.page.fill("input[name=text]", "doubled")
    assert visit.cards() == [loss]
    assert visit.page.inner_text(".filter output") == "1 of 3"
    visit.page.fill("input[name=text]", "")
    visit.page.check("input[value=error]")
    visit.page.select_option("select[name=wing]", "data")
    assert visit.cards() == [box, imbalance]
    visit.page.select_option("select[name=wing]", "")
    visit.page.select_option("select[name=order]", "name")
    assert visit.cards() == [box, imbalance, loss]
    visit.check()


def test_a_root_cause_leads_to_its_card_even_when_filtered(browser, text: str, tmp_path: Path) -> None:
    visit = Visit(browser, text, tmp_path)
    visit.page.uncheck("input[value=warning]")
    visit.page.click(".causes li:nth-child(2) a")
    assert len(visit.cards()) == 3
    visit.check()


def test_pictures_enlarge_and_tables_sort(browser, text: str, tmp_path: Path) -> None:
    visit = Visit(browser, text, tmp_path)
    visit.page.click("#cause-1 .tile svg >> nth=0")
    assert visit.page.locator("#lightbox svg").is_visible()
    first = visit.page.inner_text("#lightbox p")
    visit.page.keyboard.press("ArrowRight")
    assert visit.page.inner_text("#lightbox p") != first
    visit.page.keyboard.press("Escape")
    assert not visit.page.locator("#lightbox").is_visible()
    visit.page.click(".sorted th >> nth=1")
    assert visit.page.get_attribute(".sorted th >> nth=1", "aria-sort") == "descending"
    visit.check()


def test_reads_without_scripts(browser, text: str, tmp_path: Path) -> None:
    visit = Visit(browser, text, tmp_path, java_script_enabled=False)
    assert len(visit.cards()) == 3
    assert not visit.page.locator(".filter").is_visible()
    fold = visit.page.locator("#cause-1 details.page")
    fold.locator("summary").click()
    assert fold.get_by_text("What it does").is_visible()
    visit.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone_and_has_contrast(browser, text: str, tmp_path: Path, scheme: str) -> None:
    visit = Visit(browser, text, tmp_path, viewport={"width": 390, "height": 800}, color_scheme=scheme)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    worst = visit.page.evaluate(CONTRAST)
    assert worst[0] >= 4.5, worst
    visit.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_scores_and_comparison_fit_a_phone_and_have_contrast(browser, tmp_path: Path, scheme: str) -> None:
    facts = mediocre_detections(tmp_path)[0]
    exam = Result(subject="s", verdict=verdict([]), scores=facts)
    runs = [replace(exam, subject="first"), replace(exam, subject="second")]
    compared = render_comparison(snellen.compare(*runs, replicates=100), runs)
    for text in (render_html(exam, image_root=None), compared):
        visit = Visit(browser, text, tmp_path, viewport={"width": 390, "height": 800}, color_scheme=scheme)
        visit.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
        worst = visit.page.evaluate(CONTRAST)
        assert worst[0] >= 4.5, worst
        visit.check()


def test_paper_shows_whole_tables(browser, tmp_path: Path) -> None:
    exam = Result(subject="s", verdict=verdict([]), scores=mediocre_detections(tmp_path)[0])
    visit = Visit(browser, render_html(exam, image_root=None), tmp_path, viewport={"width": 720, "height": 1000})
    visit.page.emulate_media(media="print")
    wide = visit.page.evaluate(
        "Math.max(...[...document.querySelectorAll('table')].map((t) => t.getBoundingClientRect().right))"
    )
    assert wide <= 720
    visit.check()


def test_hostile_names_run_nothing(browser, tmp_path: Path) -> None:
    visit = Visit(browser, render_html(hostile(tmp_path), image_root=tmp_path), tmp_path)
    visit.page.wait_for_timeout(100)
    visit.check()


CONTRAST = """() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => {
    const f = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  let worst = [99, ""];
  for (const e of document.querySelectorAll("p, a, span, h1, h2, h3, h4, dt, dd, td, th, small, summary, li, label, .chart .tick, .chart .name, .chart .label, .chart .limit-text")) {
    if (!e.textContent.trim() || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(parse(e.closest("svg") ? style.fill : style.color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, e.outerHTML.slice(0, 120)];
  }
  return worst;
}"""  # noqa: E501  # one line of selectors
"""The smallest contrast between a text and what lies behind it (WCAG 2.2), and where."""
