"""Colour masks: images/[<split>/], masks/[<split>/] of RGB PNGs, and class_dict.csv with name, r, g, b.

Precision: every pixel, as for index masks. Classes keep their colours; those without one, or with that of another, get
VOC's colours. Black is the background where no class has it. Class ids cannot be held: they become positions.
"""

from pathlib import Path

import numpy as np

from snellen.data.facts import DataFacts
from snellen.data.mask_classes import packed
from snellen.data.writers.csv_boxes import lines
from snellen.data.writers.losses import Losses
from snellen.data.writers.masks import write_masks
from snellen.data.writers.painting import Canvas, colour_png
from snellen.data.writers.written import Written


def write(data: DataFacts, losses: Losses) -> Written:
    """Masks of colours."""
    colours = _colours(data, losses)
    by_id: dict[int, int] = {}

    def listing(ids: list[int], names: list[str]) -> tuple[str, bytes]:
        by_id.update(zip(ids, colours, strict=True))
        if ids != list(range(len(ids))):
            losses.add("class-ids", "class ids changed: a list of colours has none", "all classes", len(ids))
        channels = [(c & 255, c >> 8 & 255, c >> 16) for c in colours]
        rows = ((name, *rgb) for name, rgb in zip(names, channels, strict=True))
        return "class_dict.csv", lines([("name", "r", "g", "b"), *rows])

    def content(_: Path | None, ids: Canvas) -> bytes:
        drawn = np.zeros_like(ids)
        for value in np.unique(ids):
            drawn[ids == value] = by_id.get(int(value), 0)
        return colour_png(drawn)

    return write_masks(data, losses, listing, content)


def _colours(data: DataFacts, losses: Losses) -> list[int]:
    """One colour a class, packed, all different."""
    declared = [packed(c) if c else None for c in data.classes["colour"]]
    taken = {c for c in declared if c is not None}
    found: list[int] = []
    # Of objects, black is where none is; of masks, it is the class of id 0.
    first = int(bool(data.boxes.height))
    for colour, number, name in zip(declared, data.classes["class_id"], data.classes["class_name"], strict=True):
        if colour is None or colour in found:
            if colour is not None:
                losses.add("colours", "classes got another colour: it was that of another class", name)
            own = range(max(number, first) if number < 1 << 23 else first, 1 << 24)
            colour = next(c for c in map(_voc_colour, own) if c not in taken)
            taken.add(colour)
        found.append(colour)
    return found


def _voc_colour(number: int) -> int:
    """The colour map of the PASCAL VOC devkit: the bits of the number, spread over the channels."""
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
    return channels[0] | channels[1] << 8 | channels[2] << 16
