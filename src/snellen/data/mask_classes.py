"""What the values of index and colour masks mean: the classes declared or, without a list, those in use."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from snellen.data.records import Records

IGNORED = 255
"""Value of pixels that are not to be learnt in index masks: of VOC, Cityscapes, torchvision and MMSegmentation."""
UNLABELLED = 0
"""Value of pixels without a class or segment, where the class list does not name it."""
MOST = 65_535
"""Largest id of an index mask (PNG has 16 bits): above it a value is a packed colour."""
MOST_CLASSES = 256
"""Values in use that are taken as classes where none are declared."""
Measured = Mapping[tuple[str, str], Mapping[str, Any]]
"""File and kind -> what `masks.measure_mask` said of it."""


def meaning(records: Records, measured: Measured) -> dict[str, dict[int, str]]:
    """Kind -> value -> class name, for index and colour masks; classes in use are added to `records.classes`.

    Without a class list, a value that is solid in no mask and mostly lies between others is what interpolation left,
    and no class; and 255 is no class beside two others or more. Index masks without a list that hold colours become
    colour masks.
    """
    found: dict[str, dict[int, str]] = {}
    for kind in dict.fromkeys(kind for _, kind in measured):
        pixels, between, solid = _usage(measured, kind)
        used = sorted(v for v in pixels if v in solid or 2 * between[v] < pixels[v])
        if kind not in ("index", "colour") or not used:
            continue
        coloured = not records.classes and _mostly_coloured(measured)
        if len(used) > MOST_CLASSES and not records.classes:
            records.notes.append(f"masks hold {len(used):,} values: the {MOST_CLASSES} most frequent are classes")
            used = sorted(sorted(used, key=lambda v: -pixels[v])[:MOST_CLASSES])
        if records.classes:
            found[kind] = _declared(records, kind)
        elif coloured:
            found[kind] = {v: colour_of(v) for v in used}
            records.masks.column("kind")[:] = ["colour"] * len(records.masks)
        else:
            found[kind] = {v: str(v) for v in used if v <= MOST and (v != IGNORED or len(used) <= 2)}
        if kind == "index" and used == [0, 255] and 255 not in records.classes and len(records.classes) <= 2:
            names = [name for _, (name, _) in sorted(records.classes.items())] or ["background", "foreground"]
            found[kind] = {0: names[0] if len(names) == 2 else "background", 255: names[-1]}
            records.notes.append(f"masks hold 0 and 255 only: 255 is taken as class 1, {names[-1]}")
        if not records.classes:
            _use(records, found[kind], coloured)
    return found


def _mostly_coloured(measured: Measured) -> bool:
    """Whether at least half of the masks that are not all zero hold colours."""
    largest = [max((r["value"] for r in row.get("regions") or ()), default=0) for row in measured.values()]
    drawn = [value for value in largest if value]
    return 2 * sum(value > MOST for value in drawn) >= len(drawn) > 0


def _usage(measured: Measured, kind: str) -> tuple[Counter[int], Counter[int], set[int]]:
    """Pixels, blended pixels and solid values of all masks of one kind."""
    pixels: Counter[int] = Counter()
    between: Counter[int] = Counter()
    solid: set[int] = set()
    for (_, its), row in measured.items():
        for region in row.get("regions") or () if its == kind else ():
            pixels[region["value"]] += region["pixels"]
            between[region["value"]] += region["between"]
            if region["solid"]:
                solid.add(region["value"])
    return pixels, between, solid


def _declared(records: Records, kind: str) -> dict[int, str]:
    if kind == "index":
        return {number: name for number, (name, _) in records.classes.items()}
    colours = {number: records.class_details.get(number, {}).get("colour") for number in records.classes}
    return {packed(colour): records.classes[number][0] for number, colour in colours.items() if colour}


def _use(records: Records, names: Mapping[int, str], coloured: bool) -> None:
    """Take the values in use for the classes, undeclared: colours and 0/255 by position, ids as they are."""
    by_position = coloured or list(names) == [0, 255]
    for position, (value, name) in enumerate(names.items()):
        number = position if by_position else value
        records.classes[number] = (name, False)
        if coloured:
            records.class_details[number] = {"colour": colour_of(value)}


def packed(colour: str) -> int:
    """#rrggbb as r + 256 g + 65536 b."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red + (green << 8) + (blue << 16)


def colour_of(value: int) -> str:
    """r + 256 g + 65536 b as #rrggbb."""
    return "#" + bytes((value & 255, value >> 8 & 255, value >> 16 & 255)).hex()


def undeclared(
    regions: Sequence[Mapping[str, Any]], names: Mapping[int, str | None], kind: str
) -> tuple[float, float | None]:
    """The columns `undeclared` and `blended` of a mask in which the values of `names` are declared."""
    spared = (UNLABELLED, IGNORED) if kind == "index" else (UNLABELLED,)
    strange = [r for r in regions if r["value"] not in names and r["value"] not in spared]
    total, pixels = sum(r["pixels"] for r in regions), sum(r["pixels"] for r in strange)
    blended = None if kind == "panoptic" else sum(r["between"] for r in strange) / max(pixels, 1)
    return pixels / max(total, 1), blended
