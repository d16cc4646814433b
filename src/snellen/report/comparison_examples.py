"""Pictures of what one of two runs alone gets right."""

import polars as pl

from snellen.boxes import CORNERS
from snellen.evaluation.facts import ScoreFacts
from snellen.report.plain import number, plain
from snellen.report.thumbnails import Overlay, Thumbnails, Tile


def examples(
    odd: pl.DataFrame, mine: ScoreFacts, theirs: ScoreFacts, names: tuple[str, str], thumbnails: Thumbnails, most: int
) -> list[Tile]:
    """Up to `most` pictures of the rows `odd` of `disagreements`, one of an image; none without a dataset at hand.

    `names` are what the first and the other run are called.
    """
    if thumbnails.root is None:
        return []
    tiles = []
    for row in odd.unique("image", keep="first", maintain_order=True).head(most).to_dicts():
        told = [_said(facts, row[at], name) for facts, at, name in
                ((mine, "first_row", names[0]), (theirs, "other_row", names[1]))]  # fmt: skip
        box = tuple(row[c] for c in CORNERS)
        overlays = []
        if row["x1"] is not None:
            overlays.append(Overlay(box, "truth lit", plain(row["class_name"], 60)))
            right, at = (mine, "first_row") if row["only"] == "first" else (theirs, "other_row")
            overlays += _match(right, row[at])
        note = f"{plain(row['class_name'], 40)} · {' · '.join(told)}"
        tile = thumbnails.tile(row["image"], overlays, note=note, focus=box if overlays else None)
        tiles += [tile] if tile else []
    return tiles


def _said(facts: ScoreFacts, at: int, name: str) -> str:
    """What one run made of an object or image."""
    if facts.task == "classification":
        row = facts.predictions.row(at, named=True)
        return f"{name}: {plain(row['class_name'], 40)} {number(row['score'], 2)}"
    row = facts.objects.row(at, named=True)
    if row["score"] is None:
        return f"{name}: missed, best IoU {number(row['best_iou'], 2)}"
    threshold = facts.score("f1_threshold")
    below = " below its threshold" if threshold is not None and row["score"] < threshold else ""
    return f"{name}: {number(row['score'], 2)}{below}, IoU {number(row['best_iou'], 2)}"


def _match(facts: ScoreFacts, at: int) -> list[Overlay]:
    """The prediction that finds the object in row `at`."""
    rows = facts.predictions.filter((pl.col("object") == at) & (pl.col("outcome") == "correct")).head(1).to_dicts()
    return [
        Overlay((r["x1"], r["y1"], r["x2"], r["y2"]), "guess lit",
                f"{plain(r['class_name'], 60)} {number(r['score'], 2)}")
        for r in rows
    ]  # fmt: skip
