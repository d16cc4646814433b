"""The result as one HTML page that needs nothing else: no network, no server, no script to be read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snellen.findings.severity import Severity
from snellen.report.architecture import architecture
from snellen.report.cards import make_cards
from snellen.report.causes import root_causes, sentence, skipped_by_reason
from snellen.report.eye_chart import eye_chart
from snellen.report.field_pictures import BYTES
from snellen.report.galleries import Gallery, galleries
from snellen.report.mask_layers import MaskLayers
from snellen.report.performance import Performance, performance
from snellen.report.plain import number, plain, value_text
from snellen.report.portrait import portrait
from snellen.report.preflight import preflight
from snellen.report.templating import render
from snellen.report.thumbnails import Thumbnails
from snellen.report.totals import data_totals, headline_rows, network_totals, run_totals
from snellen.report.training import training
from snellen.result import Result

BUDGET = 2_000_000
"""Bytes of the whole page, at most."""
PICTURES = 1_300_000
"""Bytes of pictures, at most: half for findings, the rest for the gallery and the samples."""
RESERVE = 10_000
"""Bytes kept free for the headings that pictures bring along."""
LEDGER_ROWS = 50


def render_html(result: Result, *, image_root: Path | None) -> str:
    """One self-contained page of at most 2 MB. Pictures are read from `image_root`, None: the page has none.

    Pictures that do not fit are left out, then the least of the root causes, and the page says so; it reads without
    JavaScript, in the dark, on paper and on a phone.
    """
    cards = len(root_causes(result.verdict))
    scores = performance(result.scores, result.verdict) if result.scores else None
    while (bare := len(_page(result, scores, image_root, 0, cards).encode())) > BUDGET and cards:
        cards //= 2
    return _page(result, scores, image_root, max(0, min(PICTURES, BUDGET - bare - RESERVE)), cards)


def render_fragment(result: Result) -> str:
    """A short form for notebooks: verdict, root causes and totals; no picture, no script, its own styles only."""
    return render("fragment.html", {**_common(result), "tables": _totals(result)})


def _page(result: Result, scores: Performance | None, root: Path | None, allowance: int, cards: int) -> str:
    # One picture has the fields of the network drawn over it.
    over = result.network is not None and result.data is not None and allowance >= 4 * BYTES
    left = allowance - BYTES * over
    for_findings, for_scores, for_samples = (Thumbnails(root, int(left * part)) for part in (0.55, 0.3, 0.15))
    common = _common(result)
    context = {
        **common,
        "cards": make_cards(result, common["causes"][:cards], for_findings),
        "cards_dropped": len(common["causes"]) - cards,
        "data": portrait(result, result.data, for_samples) if result.data else None,
        "network": architecture(result.network, result.data, root if over else None) if result.network else None,
        "run": training(result.run) if result.run else None,
        "preflight": preflight(result.run, result.pictures),
        "scores": scores,
        "galleries": _galleries(result, for_scores),
        "ledger": _ledger(result),
        "pictures_dropped": for_findings.dropped + for_scores.dropped + for_samples.dropped,
    }
    return render("page.html", context)


def _galleries(result: Result, thumbnails: Thumbnails) -> list[Gallery]:
    if result.scores is None:
        return []
    told = Path(result.subject)
    masks = MaskLayers(result.data, told) if result.data is not None and _is_folder(told) else None
    return galleries(result.scores, thumbnails, result.verdict.findings, masks)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a subject may have any name, also one that no file can have
        return False


def _common(result: Result) -> dict[str, Any]:
    verdict = result.verdict
    causes = root_causes(verdict)
    worst = max((c.severity for c in causes), default=None)
    return {
        "subject": plain(result.subject),
        "sentence": sentence(verdict),
        "state": str(worst) if worst is not None else ("healthy" if verdict.ran else "idle"),
        "counts": [(str(s), sum(c.severity == s for c in causes)) for s in sorted(Severity, reverse=True)],
        "causes": causes,
        "verdict": verdict,
        "skipped": skipped_by_reason(verdict),
        "recipe": [(plain(k, 60), value_text(v)) for k, v in list(result.recipe.items())[:120]],
        "environment": [(plain(k, 60), plain(v, 120)) for k, v in list(result.environment.items())[:60]],
        "seconds": [(plain(k, 60), f"{v:.1f} s") for k, v in list(result.seconds.items())[:40]],
        "eye_chart": eye_chart(),
    }


def _totals(result: Result) -> list[tuple[str, list[tuple[str, str]]]]:
    tables = []
    if result.data is not None:
        tables.append(("dataset", data_totals(result.data)))
    if result.network is not None:
        tables.append(("network", network_totals(result.network)))
    if result.run is not None:
        tables.append(("training", run_totals(result.run)))
    if result.scores is not None:
        rows = [(row.metric, number(row.value)) for row in headline_rows(result.scores)]
        if simple := result.scores.simple_baseline:
            rows.append((f"accuracy of {simple['name']}", number(simple["accuracy"])))
        tables.append(("scores", rows))
    return tables


def _ledger(result: Result) -> Mapping[str, Any] | None:
    if result.data is None or not len(result.data.ledger):
        return None
    ledger = result.data.ledger
    reasons = ledger["reason"].value_counts(sort=True).head(20).rows()
    rows = [
        (plain(r["record"], 40), plain(r["file"] or r["image"] or "", 120) + (f":{r['row']}" if r["row"] else ""),
         plain(r["reason"], 160))
        for r in ledger.head(LEDGER_ROWS).to_dicts()
    ]  # fmt: skip
    reasons_told = [(plain(reason, 160), f"{count:,}") for reason, count in reasons]
    return {"count": len(ledger), "reasons": reasons_told, "rows": rows, "more": len(ledger) - len(rows)}
