"""A calibration as text, JSON and HTML."""

from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from snellen.files import to_json
from snellen.report.charts import histogram
from snellen.report.plain import plain

if TYPE_CHECKING:
    from snellen.verbs.calibrate import Calibration, Cut

WIDTH = 40
"""Columns of the longest bar."""


def render_text(calibration: "Calibration") -> str:
    """A block a rule: threshold and what it cuts, percentiles, a histogram with the cut marked."""
    cuts = [cut for cut in calibration.cuts if cut.count]
    none = [cut.rule for cut in calibration.cuts if not cut.count]
    lines = [f"{plain(calibration.subject)}: {len(cuts)} rules with a threshold"]
    for cut in cuts:
        lines += ["", *_block(cut)]
    if none:
        lines += ["", f"nothing to measure for: {', '.join(none)}"]
    return "\n".join(lines) + "\n"


def _block(cut: "Cut") -> list[str]:
    option = cut.option.replace("_", "-")
    side = "at or above" if cut.above else "at or below"
    lines = [
        f"{cut.rule} ({cut.code})  {cut.quantity}",
        f"  {option} = {cut.threshold:g}: {cut.beyond:,} of {cut.count:,} {cut.records} lie {side} it "
        f"({cut.beyond / cut.count:.2%}); the rule reports {cut.found:,}",
        "  percentiles  " + "  ".join(f"p{p} {v:.4g}" for p, v in cut.percentiles.items()),
        f"  {option} = {cut.at_thousandth:.4g} would cut 0.1 %, {cut.at_hundredth:.4g} would cut 1 %",
    ]
    most = max(cut.counts)
    marked = False
    for low, high, count in zip(cut.edges, cut.edges[1:], cut.counts, strict=False):
        inside = not marked and (low <= cut.threshold <= high)
        marked |= inside
        bar = "#" * max(round(WIDTH * count / most), int(count > 0))
        lines.append(f"  {low:>10.4g} {'<' if inside else '|'} {bar}{' ' if bar else ''}{count or ''}".rstrip())
    return lines


def render_json(calibration: "Calibration") -> str:
    """Strict JSON: `{"subject": ..., "cuts": [...]}`."""
    return to_json({"version": 1, "subject": calibration.subject, "cuts": [c.to_dict() for c in calibration.cuts]})


def render_html(calibration: "Calibration") -> str:
    """One self-contained page: a histogram a rule, with the threshold drawn in."""
    parts = [Markup("<h1>{}</h1>").format(plain(calibration.subject))]
    for cut in calibration.cuts:
        if not cut.count:
            continue
        span = (cut.edges[0], cut.edges[-1])
        mark = (cut.threshold, f"{cut.option.replace('_', '-')} {cut.threshold:g}")
        chart = histogram(cut.rule, [(cut.records, cut.values)], x_label=cut.quantity, mark=mark, span=span)
        told = (
            f"{cut.beyond:,} of {cut.count:,} {cut.records} lie beyond {cut.threshold:g}; the rule reports "
            f"{cut.found:,}. {cut.at_thousandth:.4g} would cut 0.1 %, {cut.at_hundredth:.4g} would cut 1 %."
        )
        parts.append(Markup("<h2>{} ({})</h2><p>{}</p>{}").format(cut.rule, cut.code, told, chart))
    head = Markup(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>{}</title><style>'
        "body{{font:15px system-ui;max-width:46rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}}"
        "svg{{max-width:100%;height:auto;font-size:11px}}svg text{{fill:currentColor}}"
        ".area{{fill:#4878a8;fill-opacity:.45;stroke:#4878a8}}.limit{{stroke:#c0392b;stroke-width:2}}"
        ".hit{{fill:transparent}}.axis,.grid{{stroke:#8888}}</style>"
    ).format(escape(plain(calibration.subject)))
    return str(head + Markup("\n").join(parts)) + "\n"
