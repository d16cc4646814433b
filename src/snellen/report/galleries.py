"""Pictures of what went wrong: likely label errors, confident errors, misses, each once."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import exp
from typing import Any

import numpy as np
import polars as pl

from snellen.boxes import CORNERS, pairwise_iou
from snellen.evaluation.facts import ScoreFacts
from snellen.findings.finding import Finding
from snellen.report.mask_layers import Layer, MaskLayers
from snellen.report.plain import number, plain
from snellen.report.thumbnails import Box, Overlay, Thumbnails, Tile

TILES = 12
NEAR = 0.1
"""IoU from which another prediction is named beside a missed object."""
CONTEXT = 12
"""Other predictions drawn over a picture, at most."""
BOXES_HINT = "Dashed is the label, solid the prediction, red the one in question; the others are faint."


@dataclass(frozen=True)
class Gallery:
    """One row of pictures."""

    title: str
    hint: str
    tiles: list[Tile]
    legend: list[tuple[str, str]] = field(default_factory=list)
    """CSS class and name of the colours of masks."""


@dataclass
class _Shelf:
    """Hands out pictures: one of an image in each gallery, and no box twice."""

    thumbnails: Thumbnails
    told: set[str]
    """Images that cards show."""
    shown: set[tuple[str, Box | None]] = field(default_factory=set)
    tiles: list[Tile] = field(default_factory=list)

    def first(self, rows: pl.DataFrame) -> Iterable[dict[str, Any]]:
        """The first row of each of the first images that are not shown yet."""
        seen: set[str] = set()
        for row in rows.iter_rows(named=True):
            if len(seen) == TILES:
                return
            image = row["image"]
            box = _box(row) if row.get("x1") is not None else None
            if image not in seen and image not in self.told and (image, box) not in self.shown:
                seen.add(image)
                yield row

    def add(
        self, image: str, overlays: Iterable[Overlay] = (), note: str = "", focus: Box | None = None,
        layer: Layer | None = None,
    ) -> None:  # fmt: skip
        drawn = list(overlays)
        tile = self.thumbnails.tile(image, drawn, note=note, focus=focus, layer=layer)
        if tile:
            self.tiles.append(tile)
            self.shown |= {(image, o.box) for o in drawn if "lit" in o.kind} or {(image, None)}

    def close(self, title: str, hint: str) -> Gallery:
        gallery = Gallery(title, hint, self.tiles)
        self.tiles = []
        return gallery


def galleries(
    scores: ScoreFacts, thumbnails: Thumbnails, findings: Iterable[Finding], masks: MaskLayers | None = None
) -> list[Gallery]:
    """The pictures of an evaluation; images that findings about the scores show are left to them.

    `masks` are laid over the worst images of a segmentation. Nothing where the dataset is not at hand.
    """
    if thumbnails.root is None:
        return []
    shelf = _Shelf(thumbnails, set(_told(findings)))
    if scores.task == "detection":
        found = [_label_errors(scores, shelf), _false_positives(scores, shelf), _misses(scores, shelf)]
    elif scores.task == "classification":
        found = [_wrong_labels(scores, shelf), _wrong_answers(scores, shelf)]
    elif scores.task == "multi-label":
        found = [_told_wrongly(scores, shelf), _not_told(scores, shelf)]
    else:
        found = [_worst(scores, shelf, masks if scores.task == "semantic" else None)]
    return [gallery for gallery in found if gallery.tiles]


def _told(findings: Iterable[Finding]) -> Iterable[str]:
    """The images that the cards of findings about scores show."""
    for finding in findings:
        if finding.code.startswith("EVL"):
            named = finding.evidence.get("images")
            yield from [i for i in (named if isinstance(named, list | tuple) else ())[:TILES] if isinstance(i, str)]
            if finding.place.image is not None:
                yield finding.place.image


def _label_errors(scores: ScoreFacts, shelf: _Shelf) -> Gallery:
    for row in shelf.first(scores.suspects):
        guess = _box(row)
        said = f"{plain(row['suggested'], 40)} {number(row['score'], 2)}"
        overlays, note = [Overlay(guess, "guess lit", said)], f"not labelled: {said}?"
        if row["object"] is not None:
            label = scores.objects.row(row["object"], named=True)
            told = plain(row["label"], 40)
            overlays.insert(0, Overlay(_box(label), "truth lit bad", told))
            what = "better boxed as" if row["kind"] == "misplaced" else "looks like"
            note = f"labelled {told}, {what} {said} · IoU {number(_iou(_box(label), guess), 2)}"
        else:
            overlays = [Overlay(guess, "guess lit bad", said)]
        shelf.add(row["image"], [*_context(scores, row["image"], overlays), *overlays], note, guess)
    return shelf.close("Likely label errors", f"Where sure predictions speak against the labels. {BOXES_HINT}")


def _false_positives(scores: ScoreFacts, shelf: _Shelf) -> Gallery:
    wrong = scores.predictions.filter(~pl.col("outcome").is_in(["correct", "ignored"])).sort(
        "score", descending=True, maintain_order=True
    )
    for row in shelf.first(wrong):
        guess = _box(row)
        said = f"{plain(row['class_name'], 40)} {number(row['score'], 2)}"
        overlays, note = [Overlay(guess, "guess lit bad", said)], f"{said} · {plain(row['outcome'], 30)}"
        if row["object"] is not None:
            label = _box(scores.objects.row(row["object"], named=True))
            overlays.insert(0, Overlay(label, "truth lit", plain(row["true_class"], 60)))
            labelled = plain(row["true_class"], 40)
            note = f"{said} on {labelled} · IoU {number(_iou(label, guess), 2)} · {plain(row['outcome'], 30)}"
        shelf.add(row["image"], [*_context(scores, row["image"], overlays), *overlays], note, guess)
    return shelf.close("Most confident false positives", BOXES_HINT)


def _misses(scores: ScoreFacts, shelf: _Shelf) -> Gallery:
    missed = scores.objects.filter(~pl.col("found") & ~pl.col("crowd").fill_null(False)).with_columns(
        side=(pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1"))
    ).sort("side", descending=True, maintain_order=True)  # fmt: skip
    for row in shelf.first(missed):
        label = _box(row)
        overlays = [Overlay(label, "truth lit bad", plain(row["class_name"]))]
        note = f"{plain(row['class_name'], 40)} missed"
        near, overlap = _nearest(scores, row["image"], label)
        if near:
            said = f"{plain(near['class_name'], 40)} {number(near['score'], 2)}"
            overlays.append(Overlay(_box(near), "guess lit", said))
            note += f" · nearest {said}, IoU {number(overlap, 2)}"
        else:
            note += " · nothing near"
        shelf.add(row["image"], [*_context(scores, row["image"], overlays), *overlays], note, label)
    return shelf.close("Largest misses", BOXES_HINT)


def _nearest(scores: ScoreFacts, image: str, box: Box) -> tuple[dict[str, Any] | None, float]:
    """The prediction that overlaps `box` most, whatever its class, and by how much."""
    rows = scores.predictions.filter(pl.col("image") == image)
    if not len(rows):
        return None, 0.0
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        overlaps = np.nan_to_num(pairwise_iou(np.array([box]), rows.select(CORNERS).to_numpy())[0], nan=0.0)
    best = int(np.argmax(overlaps))
    return (rows.row(best, named=True), float(overlaps[best])) if overlaps[best] >= NEAR else (None, 0.0)


def _box(row: dict[str, Any]) -> Box:
    return row["x1"], row["y1"], row["x2"], row["y2"]


def _iou(box: Box, other: Box) -> float:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return float(pairwise_iou(np.array([box]), np.array([other]))[0, 0])


def _context(scores: ScoreFacts, image: str, but: list[Overlay]) -> list[Overlay]:
    """The other labels of an image, and the other predictions at or above the threshold of the best F1."""
    labels = scores.objects.filter(pl.col("image") == image)
    sure = scores.score("f1_threshold")
    guesses = scores.predictions.filter((pl.col("image") == image) & (pl.col("score") >= (sure or 0.0))).sort(
        "score", descending=True
    ).head(CONTEXT)  # fmt: skip
    out = [Overlay(_box(r), "truth", plain(r["class_name"])) for r in labels.to_dicts()]
    out += [
        Overlay(_box(r), "guess", f"{plain(r['class_name'], 60)} {number(r['score'], 2)}") for r in guesses.to_dicts()
    ]
    drawn = {overlay.box for overlay in but}
    return [overlay for overlay in out if overlay.box not in drawn]


def _wrong_labels(scores: ScoreFacts, shelf: _Shelf) -> Gallery:
    for row in shelf.first(scores.suspects):
        note = f"labelled {plain(row['label'], 40)}, looks like {plain(row['suggested'], 40)} {number(row['score'], 2)}"
        left = row["label_score"]
        shelf.add(row["image"], note=note + (f" · label {number(left, 2)}" if left is not None else ""))
    return shelf.close("Likely label errors", "Where the network is sure of another class than the label.")


def _wrong_answers(scores: ScoreFacts, shelf: _Shelf) -> Gallery:
    wrong = scores.predictions.filter(pl.col("class_name") != pl.col("true_class")).sort(
        ["score", "loss"], descending=True, nulls_last=True, maintain_order=True
    )
    for row in shelf.first(wrong):
        note = f"{plain(row['true_class'], 40)} taken for {plain(row['class_name'], 40)} {number(row['score'], 2)}"
        left = f" · label {number(exp(-row['loss']), 2)}" if row["loss"] is not None else ""
        shelf.add(row["image"], note=note + left)
    return shelf.close("Most confidently wrong", "The label, what it was taken for, and how sure the network was.")


def _told_wrongly(scores: ScoreFacts, shelf: _Shelf) -> Gallery:
    wrong = scores.predictions.filter(pl.col("outcome") == "background").sort(
        "score", descending=True, maintain_order=True
    )
    for row in shelf.first(wrong):
        shelf.add(row["image"], note=f"not {plain(row['class_name'], 40)}, told at {number(row['score'], 2)}")
    return shelf.close("Labels told wrongly", "The surest first.")


def _not_told(scores: ScoreFacts, shelf: _Shelf) -> Gallery:
    for row in shelf.first(scores.objects.filter(~pl.col("found")).sort("score", maintain_order=True)):
        shelf.add(row["image"], note=f"{plain(row['class_name'], 40)} not told, score {number(row['score'], 2)}")
    return shelf.close("Labels not told", "Those with the lowest score first.")


def _worst(scores: ScoreFacts, shelf: _Shelf, masks: MaskLayers | None) -> Gallery:
    """Images of a label map, or segments, with the largest loss; with masks, label and prediction side by side."""
    wrong = scores.predictions.filter(pl.col("class_name") != pl.col("true_class")).sort(
        ["loss", "score"], descending=True, nulls_last=True, maintain_order=True
    )
    for row in shelf.first(wrong):
        note = f"{plain(row['true_class'], 30)} taken for {plain(row['class_name'], 30)} · IoU {number(row['iou'], 2)}"
        true, told = (masks.true(row["image"]), masks.predicted(row["image"])) if masks else (None, None)
        if true is None or told is None:
            shelf.add(row["image"], note=note)
        elif len(shelf.tiles) < TILES:
            shelf.add(row["image"], note="as labelled", layer=true)
            shelf.add(row["image"], note=f"as predicted: {note}", layer=told)
    hint = "The segment, what it was taken for, and how far the two overlap."
    if scores.task == "semantic":
        hint = "The confusion that costs the image most pixels, and the image's mean IoU."
    gallery = shelf.close("Worst images" if scores.task == "semantic" else "Worst mistakes", hint)
    return replace(gallery, legend=masks.legend() if masks else [])
