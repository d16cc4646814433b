"""Small pictures of the dataset with boxes over them, inside a budget of bytes.

The report is hostile ground: a path may lead out of the dataset, a file may be a pipe, a bomb or no image. Whatever
cannot be shown becomes a tile that says why.
"""

import base64
import io
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image, features

from snellen.data.decoding import UNREADABLE, eight_bit, file_size, open_image, orientation, too_large, upright
from snellen.report.plain import plain
from snellen.report.svg import SERIES, element, rect, tooltip

SIDE = 176
"""Longer side of a thumbnail, pixels."""
SMALL = 0.11
"""A box shorter than this share of the picture's longer side is shown enlarged, with its surroundings."""
NAME = 21
"""Characters of a file's name under a thumbnail."""
FRAME = 500
"""Bytes of page around a picture: caption, markup."""
LAYER_COLOURS = ("3fd0df", "ffa94d", "b79bff", "9be36f", "ff8fbd", "e6c46b", "86b6ff", "d5d9df")
"""Red, green, blue of the CSS classes `m0` ... `m7`."""
LAYER_SHARE = 0.55
"""How much of a coloured pixel is the colour."""
MOST_BOXES = 60
"""Boxes drawn over one picture."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Overlay:
    """A box to draw: xyxy pixels of the decoded image."""

    box: Box
    kind: str
    """CSS class: `bad` (the offending one), `truth`, `guess`, or a class colour `b0` ... `b7`."""
    tip: str = ""


@dataclass(frozen=True)
class Tile:
    """A picture in the page, or the reason why there is none."""

    caption: str
    """The image's path."""
    picture: Markup | None
    why: str = ""
    note: str = ""
    """A second line: scores, "enlarged"."""

    @property
    def name(self) -> str:
        """The end of the path, which tells images apart where their folders and beginnings are the same."""
        name = self.caption.rsplit("/", 1)[-1] or self.caption
        return name if len(name) <= NAME else "…" + name[1 - NAME :]


@dataclass
class Thumbnails:
    """Reads pictures below `root` until `budget` bytes of page are spent; counts those it had to leave out."""

    root: Path | None
    budget: int
    dropped: int = 0
    spent: int = 0

    def tile(
        self, image: str, overlays: Sequence[Overlay] = (), *, note: str = "", focus: Box | None = None,
        layer: NDArray[np.int16] | None = None,
    ) -> Tile | None:  # fmt: skip
        """The picture at `image` (relative to the root), enlarged around `focus` when that is small.

        `layer` (h, w), of any size, gives pixels of the whole picture one of the `LAYER_COLOURS`; below 0: none.

        None when the page is full; a tile without picture when there is none to show.
        """
        tile = self._read(image, overlays, note, focus, layer) if self.spent < self.budget else None
        cost = len(tile.picture or "") + FRAME if tile else 0
        if tile is None or self.spent + cost > self.budget:
            self.dropped += 1
            return None
        self.spent += cost
        return tile

    def _read(
        self, image: str, overlays: Sequence[Overlay], note: str, focus: Box | None, layer: NDArray[np.int16] | None
    ) -> Tile:
        caption = plain(image, 200)
        if self.root is None:
            return Tile(caption, None, "the dataset was not at hand", note)
        try:
            path = inside(self.root, image)
            with warnings.catch_warnings():
                # Pillow warns of much that it then reads; the size is limited below.
                warnings.simplefilter("ignore")
                data, frame = _encode(path, focus, layer)
        except UNREADABLE as error:
            why = str(error).replace(str(self.root), "…") or type(error).__name__
            return Tile(caption, None, plain(why, 120), note)
        note = " · ".join(part for part in (note, "enlarged" if frame.cropped else "") if part)
        return Tile(caption, _picture(data, frame, overlays, caption), note=note)


def inside(root: Path, image: str) -> Path:
    """The file at `image` below `root`, links followed. Raises ValueError when it lies outside or is no plain file."""
    # Not Path.resolve, which raises RuntimeError on a loop of links before Python 3.13.
    base = Path(os.path.realpath(root))
    path = Path(os.path.realpath(base / image))
    if not path.is_relative_to(base):
        raise ValueError("outside the dataset's folder: not opened")
    if not path.exists():
        raise ValueError("no such file")
    if not path.is_file():
        raise ValueError("not a file")
    return path


@dataclass(frozen=True)
class _Frame:
    """Which part of the decoded image a thumbnail shows, in its pixels, and how large it is."""

    x: float
    y: float
    width: float
    height: float
    cropped: bool


def _encode(path: Path, focus: Box | None, layer: NDArray[np.int16] | None) -> tuple[str, _Frame]:
    with open_image(path) as image:
        width, height = file_size(image)
        if refusal := too_large(width, height):
            raise ValueError(refusal)
        if orientation(image) >= 5:
            width, height = height, width
        frame = _window(width, height, focus)
        wanted = SIDE * 2 / max(frame.width, frame.height)
        if wanted < 1:
            # A JPEG decoded at an eighth of its size costs a fraction of the time.
            image.draft("RGB", (max(1, int(image.size[0] * wanted)), max(1, int(image.size[1] * wanted))))
        image.load()
        whole = eight_bit(upright(image)).convert("RGB")
    sx, sy = whole.size[0] / width, whole.size[1] / height
    corners = (frame.x * sx, frame.y * sy, (frame.x + frame.width) * sx, (frame.y + frame.height) * sy)
    factor = SIDE / max(frame.width, frame.height)
    size = (max(1, round(frame.width * factor)), max(1, round(frame.height * factor)))
    if not frame.cropped and max(width, height) < SIDE // 2:
        size = (width * max(1, SIDE // max(width, height)), height * max(1, SIDE // max(width, height)))
        small = whole.resize(size, Image.Resampling.NEAREST)
    else:
        small = whole.resize(size, Image.Resampling.BILINEAR, box=corners, reducing_gap=2.0)
    if layer is not None:
        small = _coloured(small, layer)
    buffer = io.BytesIO()
    kind = "webp" if features.check("webp") else "jpeg"
    small.save(buffer, kind, quality=60 if kind == "webp" else 70)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}", frame


def _coloured(picture: Image.Image, layer: NDArray[np.int16]) -> Image.Image:
    fitted = np.asarray(Image.fromarray(layer.astype(np.int32)).resize(picture.size, Image.Resampling.NEAREST))
    colours = np.array([bytes.fromhex(c) for c in LAYER_COLOURS]).view(np.uint8).reshape(-1, 3)
    shown = fitted >= 0
    pixels = np.array(picture)
    pixels[shown] = (1 - LAYER_SHARE) * pixels[shown] + LAYER_SHARE * colours[fitted[shown] % len(colours)]
    return Image.fromarray(pixels)


def _window(width: int, height: int, focus: Box | None) -> _Frame:
    whole = _Frame(0, 0, width, height, False)
    if focus is None or not all(map(math.isfinite, focus)):
        return whole
    x1, y1, x2, y2 = focus
    side = max(abs(x2 - x1), abs(y2 - y1))
    long = max(width, height)
    if side >= SMALL * long or long <= SIDE:
        return whole
    window = min(max(5 * side, 64.0, 0.15 * long), width, height)
    x = min(max((x1 + x2) / 2 - window / 2, 0), width - window)
    y = min(max((y1 + y2) / 2 - window / 2, 0), height - window)
    return _Frame(x, y, window, window, True)


def _picture(data: str, frame: _Frame, overlays: Sequence[Overlay], caption: str) -> Markup:
    w, h = frame.width, frame.height
    parts = [element("image", href=data, width=float(w), height=float(h), preserveAspectRatio="none")]
    for overlay in [o for o in overlays if all(map(math.isfinite, o.box))][:MOST_BOXES]:
        # Far corners are cut to three frames away: a drawing with coordinates of 1e30 is not drawn at all.
        x1, x2 = (min(max(v - frame.x, -3 * w), 4 * w) for v in sorted((overlay.box[0], overlay.box[2])))
        y1, y2 = (min(max(v - frame.y, -3 * h), 4 * h) for v in sorted((overlay.box[1], overlay.box[3])))
        parts.append(rect(x1, y1, x2 - x1, y2 - y1, overlay.tip or None, class_=f"box {overlay.kind}"))
        if "bad" in overlay.kind and min(x2 - x1, y2 - y1) < 0.03 * max(w, h):
            ring = 0.07 * max(w, h)
            parts.append(element("circle", cx=(x1 + x2) / 2, cy=(y1 + y2) / 2, r=ring, class_="box bad"))
    factor = SIDE / max(w, h)
    return element(
        "svg", [tooltip(caption), *parts], class_="photo", viewBox=f"0 0 {w:g} {h:g}", width=float(w * factor),
        height=float(h * factor), role="img", aria_label=caption,
    )  # fmt: skip


def class_kind(position: int) -> str:
    """CSS class of the boxes of the class at `position`."""
    return f"b{position % SERIES}"
