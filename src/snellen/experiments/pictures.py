"""What the network really gets, drawn: the first images of a batch, with the boxes that belong to them."""

from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from snellen.experiments.nest import tensors

MOST = 4
SIDE = 320
"""Pixels of the longer side of a picture; smaller inputs are enlarged by a whole factor."""
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080")


def input_pictures(inputs: Any, targets: Any, most: int = MOST) -> dict[str, bytes]:
    """Caption -> PNG of the first `most` images; empty when the inputs are no images.

    Images are (N, C, H, W) or a list of (C, H, W), C of 1 or 3, in whatever range: each is stretched from its lowest to
    its highest value. Boxes (M, 4) xyxy in input pixels are taken from targets with `boxes` (and `labels`), one a
    sample; boxes in 0..1 are drawn as they are, in the corner, which is what the network would be taught.
    """
    images = _images(inputs)
    found: dict[str, bytes] = {}
    for i, image in enumerate(images[:most]):
        boxes, labels = _boxes(targets, i)
        low, high = float(image.min()), float(image.max())
        std = float(image.float().std(correction=0))
        size = "x".join(str(n) for n in image.shape)
        caption = f"input {i}: {size}, values {low:.3g} to {high:.3g}, deviation {std:.3g}"
        if boxes is not None:
            caption += f", {len(boxes)} boxes"
        elif labels:
            caption += f", target {labels[0]}"
        found[caption] = _png(image, boxes, labels)
    return found


def _images(inputs: Any) -> list[Tensor]:
    first = next(iter(tensors(inputs)), None)
    if first is None or not (first.is_floating_point() or first.dtype == torch.uint8):
        return []
    stack = list(first) if first.dim() == 4 else list(tensors(inputs)) if first.dim() == 3 else []
    return [t.detach().float().cpu() for t in stack if t.dim() == 3 and t.shape[0] in (1, 3) and min(t.shape[1:]) >= 4]


def _boxes(targets: Any, i: int) -> tuple[Tensor | None, list[Any]]:
    if isinstance(targets, Tensor):
        return None, [targets[i].item()] if targets.dim() == 1 and i < len(targets) else []
    if not isinstance(targets, list | tuple) or i >= len(targets):
        return None, []
    one = targets[i]
    boxes = one.get("boxes") if isinstance(one, Mapping) else getattr(one, "boxes", None)
    labels = one.get("labels") if isinstance(one, Mapping) else getattr(one, "labels", None)
    if not isinstance(boxes, Tensor) or boxes.dim() != 2 or boxes.shape[-1] != 4:
        return None, []
    return boxes.detach().float().cpu(), labels.tolist() if isinstance(labels, Tensor) else []


def _png(image: Tensor, boxes: Tensor | None, labels: list[Any]) -> bytes:
    low, high = image.min(), image.max()
    pixels = ((image - low) / (high - low).clamp_min(1e-12) * 255).byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(np.repeat(pixels, 3, 2) if pixels.shape[2] == 1 else pixels)
    factor = max(1, SIDE // max(picture.size))
    picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(picture)
    for (x1, y1, x2, y2), label in _named(boxes, labels):
        colour = COLOURS[sum(map(ord, str(label))) % len(COLOURS)]
        corners = [min(x1, x2) * factor, min(y1, y2) * factor, max(x1, x2) * factor, max(y1, y2) * factor]
        draw.rectangle(corners, outline=colour, width=2)
        draw.text((corners[0] + 3, corners[1] + 1), str(label), fill=colour)
    if max(picture.size) > SIDE:
        picture.thumbnail((SIDE, SIDE))
    file = BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def _named(boxes: Tensor | None, labels: list[Any]) -> Iterator[tuple[list[float], Any]]:
    for i, box in enumerate(boxes.tolist() if boxes is not None else []):
        if all(np.isfinite(box)):
            yield box, labels[i] if i < len(labels) else ""
