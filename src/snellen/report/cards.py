"""What the page shows of each root cause: numbers, evidence, pictures, consequences, the rule's page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from snellen.findings.finding import Finding
from snellen.findings.words import plural
from snellen.report.causes import Cause
from snellen.report.marks import gauge
from snellen.report.pages import rule_sections, rule_summary
from snellen.report.plain import number, plain, value_text
from snellen.report.thumbnails import Box, Overlay, Thumbnails, Tile, class_kind
from snellen.result import Result

PLACES = 10
MOST_EVIDENCE = 16
TILES = 12
FEWEST_TILES = 3
TYPICAL_TILE = 7000
"""Bytes of page that one picture takes."""
WINGS = {
    "IMG": "data", "ANN": "data", "LBL": "data", "SPL": "data", "DST": "data", "NET": "network", "RUN": "training",
    "EVL": "scores", "CFG": "recipe", "EXM": "exam",
}  # fmt: skip
"""Code prefix -> the section of the report it belongs to."""
PARALLEL = ("images", "boxes")
"""Evidence shown as pictures, not as text."""


@dataclass(frozen=True)
class Card:
    """One root cause, ready to be set."""

    position: int
    """1 is the worst."""
    cause: Cause
    wing: str
    summary: str
    message: str
    counted: str
    places: list[tuple[str, str]]
    """Place and message of the worst findings."""
    more: int
    evidence: list[tuple[str, str]]
    gauges: list[Markup]
    trace: str
    tiles: list[Tile]
    fix: tuple[str, str] | None
    """Safety and title."""
    consequences: list[tuple[str, str, str, int, list[tuple[str, str]]]]
    """Rule, code, severity, count, worst places."""
    sections: list[tuple[str, Markup]]
    options: list[tuple[str, str]]

    @property
    def searched(self) -> str:
        """The text that the page's filter looks through."""
        followers = " ".join(f"{rule} {code}" for rule, code, *_ in self.consequences)
        told = " ".join(place for place, _ in self.places)
        return f"{self.cause.rule} {self.cause.code} {self.message} {followers} {told}".lower()[:1000]


def make_cards(result: Result, causes: Sequence[Cause], thumbnails: Thumbnails) -> list[Card]:
    """One card per cause; pictures are handed out in the same order."""
    boxes = _boxes_by_image(result, causes)
    # Many rules share the room for pictures; each shows a few rather than the first ones all.
    tiles = max(FEWEST_TILES, min(TILES, thumbnails.budget // TYPICAL_TILE // max(len(causes), 1)))
    return [_card(result, cause, position, thumbnails, boxes, tiles) for position, cause in enumerate(causes, 1)]


def _card(
    result: Result, cause: Cause, position: int, thumbnails: Thumbnails, boxes: Mapping[str, list[Overlay]], tiles: int
) -> Card:
    worst = cause.worst
    options = dict(result.verdict.options.get(cause.rule, {}))
    evidence, gauges = _evidence(worst.evidence, options)
    trace = worst.evidence.get("traceback", "")
    several = plural(len(cause.findings), "finding") if len(cause.findings) > 1 else ""
    return Card(
        position=position,
        cause=cause,
        wing=WINGS.get(cause.code[:3], "exam"),
        summary=rule_summary(cause.rule),
        message=plain(worst.message, 600),
        counted=" · ".join(part for part in (several, cause.extent) if part),
        places=_places(cause.findings),
        more=max(0, len(cause.findings) - PLACES),
        evidence=evidence,
        gauges=gauges,
        trace="\n".join(plain(line, 200) for line in str(trace).splitlines()[:40]),
        tiles=[
            tile for image, drawn, note, focus in _examples(cause, boxes)[:tiles]
            if (tile := thumbnails.tile(image, drawn, note=note, focus=focus))
        ],
        fix=(str(worst.fix.safety), plain(worst.fix.title)) if worst.fix else None,
        consequences=[
            (follow[0].rule, follow[0].code, str(follow[0].severity), len(follow), _places(follow)[:3])
            for follow in cause.consequences
        ],
        sections=rule_sections(cause.rule),
        options=[(name.replace("_", "-"), value_text(value)) for name, value in options.items()],
    )  # fmt: skip


def _places(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(plain(f.place, 160) or "whole subject", plain(f.message, 400)) for f in findings[:PLACES]]


def _evidence(evidence: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[Markup]]:
    """Evidence as rows; where a number has a limit, in the evidence or among the rule's options, it is drawn too."""
    rows: list[tuple[str, str]] = []
    gauges: list[Markup] = []
    drawn: set[str] = set()
    limits: list[object] = []
    for key, value in list(evidence.items())[:MOST_EVIDENCE]:
        source = _limit_of(key, evidence, options)
        limit = evidence.get(source, options.get(source))
        if source and _is_number(value) and _is_number(limit):
            drawn |= {key, source}
            limits.append(limit)
            name = plain(key, 60).replace("_", " ")
            told = gauge(f"{name}: {number(value)}, limit {number(limit)}", float(value), float(limit))
            gauges.append(Markup("<figure><figcaption>{}</figcaption>{}</figure>").format(name, told))
    for key, value in list(evidence.items())[:MOST_EVIDENCE]:
        if key not in PARALLEL and key != "traceback" and key not in drawn and not (key == "limit" and value in limits):
            rows.append((plain(key, 60).replace("_", " "), value_text(value)))
    return rows, gauges


def _limit_of(key: str, evidence: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """The name under which the limit of an evidence's number stands; empty where it has none."""
    named = [name for name in (f"max_{key}", f"min_{key}") if name in evidence or name in options]
    if named:
        return named[0]
    return "limit" if key == "value" and "limit" in evidence else ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def _examples(
    cause: Cause, boxes: Mapping[str, list[Overlay]]
) -> list[tuple[str, list[Overlay], str, Box | None]]:  # fmt: skip
    """Up to 12 pictures, the worst finding's first; one per image, with all offending boxes in it."""
    marked: dict[str, list[Overlay]] = {}
    for finding in cause.findings:
        for image, overlay in _pictures(finding):
            if image in marked or len(marked) < TILES:
                marked.setdefault(image, []).extend([overlay] if overlay else [])
    out: list[tuple[str, list[Overlay], str, Box | None]] = []
    for image, found in marked.items():
        offending = {o.box for o in found}
        context = [o for o in boxes.get(image, ()) if o.box not in offending]
        focus = found[0].box if len(offending) == 1 else None
        out.append((image, context + found, plural(len(found), "place") if len(found) > 1 else "", focus))
    return out


def _pictures(finding: Finding) -> Iterator[tuple[str, Overlay | None]]:
    """The images of one finding, with the offending box where there is one: so a pair of duplicates stays together."""
    place = finding.place
    if place.image is not None:
        yield place.image, Overlay(place.box, "bad", plain(finding.message, 200)) if place.box is not None else None
    named, boxes = finding.evidence.get("images"), finding.evidence.get("boxes")
    if isinstance(named, list | tuple):
        aligned = boxes if isinstance(boxes, list | tuple) and len(boxes) == len(named) else [None] * len(named)
        for image, corners in zip(named, aligned, strict=True):
            box = _as_box(corners)
            if isinstance(image, str):
                yield image, Overlay(box, "bad") if box else None


def _as_box(value: object) -> Box | None:
    if not isinstance(value, list | tuple) or len(value) != 4 or not all(isinstance(v, int | float) for v in value):
        return None
    x1, y1, x2, y2 = map(float, value)
    return x1, y1, x2, y2


def _boxes_by_image(result: Result, causes: Sequence[Cause]) -> dict[str, list[Overlay]]:
    """The labelled boxes of every image that a card may show."""
    if result.data is None or not len(result.data.boxes):
        return {}
    wanted = {image for cause in causes for image, *_ in _examples(cause, {})}
    return boxes_of(result, wanted)


def boxes_of(result: Result, images: set[str]) -> dict[str, list[Overlay]]:
    """Image -> its labelled boxes, coloured by class."""
    if result.data is None or not images:
        return {}
    order = {name: i for i, name in enumerate(result.data.classes["class_name"].drop_nulls())}
    # A finding may name a file whose name is no text; no table holds such a name.
    images = {image for image in images if not any("\ud800" <= c <= "\udfff" for c in image)}
    found: dict[str, list[Overlay]] = {}
    rows = result.data.boxes.filter(pl.col("image").is_in(list(images))).select(
        "image", "class_name", "x1", "y1", "x2", "y2"
    )
    for image, name, *corners in rows.iter_rows():
        if all(c is not None for c in corners):
            kind = class_kind(order.get(name, 0))
            found.setdefault(image, []).append(Overlay((*corners,), kind, plain(name, 80) if name else ""))
    return found
