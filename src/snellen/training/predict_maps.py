"""Class maps of a trained segmenter, at each image's own size, and as PNG files.

Shapes: K classes, S side of the input, H W pixels of an image.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

from snellen.data.decoding import UNREADABLE, decode
from snellen.data.readers.voc_masks import voc_colour
from snellen.data.records import IMAGE_SUFFIXES
from snellen.files import written_whole
from snellen.models.segmentation.dense_crf import CrfSettings, dense_crf
from snellen.progress import Progress, silent
from snellen.training.pixels import fit_frame, normalised
from snellen.training.recipe import Recipe

AT_ONCE = 1 << 26
"""Probabilities that are held at an image's own size at a time: 256 MB."""


@dataclass(frozen=True)
class PredictedMap:
    """What a segmenter says of one image."""

    image: str
    labels: NDArray[np.uint8]
    """(H, W) positions among the run's classes, at the size of the decoded, EXIF-applied image."""
    probabilities: NDArray[np.float32] | None
    """(K, H, W), where they were asked for."""


@torch.no_grad()
def predict_maps(
    model: nn.Module,
    recipe: Recipe,
    images: Mapping[str, Path],
    unreadable: dict[str, str],
    *,
    probabilities: bool = False,
    crf: CrfSettings | None = None,
    progress: Progress = silent,
) -> Iterator[PredictedMap]:
    """Segment every image that can be read, one after the other.

    Probabilities are upsampled and the best class is taken then: edges are finer than one cell of the input.

    Args:
        model: As `load_run` or `train` return it; used on the device it is on, put in eval mode.
        recipe: Its recipe: input size and normalisation.
        images: Key -> file.
        unreadable: Takes up the key of each image that cannot be read -> why.
        probabilities: Hand them out, too.
        crf: Refine the probabilities by a dense CRF on the image's own pixels.
        progress: Told after each image.
    """
    model.eval()
    device = next(model.parameters()).device
    mean, std = (torch.tensor(v, device=device) * 255 for v in (recipe.mean, recipe.std))
    for done, (name, path) in enumerate(images.items(), 1):
        try:
            pixels = decode(path)
        except UNREADABLE as error:
            unreadable[name] = getattr(error, "strerror", None) or str(error) or type(error).__name__
            progress("predict", done, len(images))
            continue
        height, width = pixels.shape[:2]
        frame, scale_x, scale_y = fit_frame(pixels, recipe.image_size, keep_ratio=True)
        shares = model(normalised(frame[None].to(device), mean, std)).float().softmax(dim=1)
        # Beside the image lies the letterbox, of which nothing is said.
        shares = shares[:, :, : max(1, round(height * scale_y)), : max(1, round(width * scale_x))]
        if probabilities or crf is not None:
            whole = _resized(shares, height, width)[0].cpu().numpy()
            if crf is not None:
                whole = dense_crf(whole, pixels, crf)
            labels = whole.argmax(axis=0).astype(np.uint8)
            yield PredictedMap(name, labels, whole if probabilities else None)
        else:
            yield PredictedMap(name, _best(shares, height, width), None)
        progress("predict", done, len(images))


def _resized(shares: Tensor, height: int, width: int) -> Tensor:
    return interpolate(shares, size=(height, width), mode="bilinear", align_corners=False)


def _best(shares: Tensor, height: int, width: int) -> NDArray[np.uint8]:
    """The best class of each pixel, a few classes at a time, so that many classes of a large image fit."""
    step = max(1, AT_ONCE // (height * width))
    best = shares.new_full((height, width), -1.0)
    labels = torch.zeros((height, width), dtype=torch.uint8, device=shares.device)
    for first in range(0, shares.shape[1], step):
        value, at = _resized(shares[:, first : first + step], height, width)[0].max(dim=0)
        better = value > best
        best[better] = value[better]
        labels[better] = (at[better] + first).to(torch.uint8)
    return labels.cpu().numpy()


def write_map(path: Path, labels: NDArray[np.uint8]) -> None:
    """Write (H, W) labels as a PNG whose values are the labels and whose palette, VOC's, is for the eye."""
    picture = Image.fromarray(labels)
    picture.putpalette(bytes(v for k in range(256) for v in bytes.fromhex(voc_colour(k)[1:])))
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        picture.save(temporary, format="PNG")


def map_names(images: Sequence[str]) -> dict[str, str]:
    """Image -> the name of its mask, relative to the folder of masks: the image's, less what all have in common.

    Two images whose paths differ in their suffix alone keep it.
    """
    parts = {image: Path(image).parts for image in images}
    folders = [p[:-1] for p in parts.values()]
    common = 0
    while folders and all(len(f) > common and f[common] == folders[0][common] for f in folders):
        common += 1
    stems: dict[str, list[str]] = {}
    for image, p in parts.items():
        own = Path(*p[common:])
        # A frame of a video, `clip.mp4#t=12.500`, has no suffix to lose.
        plain = own.with_suffix("") if own.suffix.lower() in IMAGE_SUFFIXES else own
        stems.setdefault(plain.as_posix(), []).append(image)
    return {
        image: (f"{stem}.png" if len(same) == 1 else f"{stem}{Path(image).suffix}.png")
        for stem, same in stems.items()
        for image in same
    }
