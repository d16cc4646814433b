"""How far the cells of a detector's levels see, to which anchors can be fitted (`anchors.fit_sides`).

A cell's output is swayed by a Gaussian patch far smaller than its theoretical receptive field (Luo et al. 2016,
"Understanding the Effective Receptive Field"); an anchor larger than that is guessed from its middle.
"""

import math

from torch import Tensor

from snellen.models.detection.base import Detector
from snellen.network.effective_field import effective_field


def level_fields(model: Detector, image_size: int, *, images: Tensor | None = None, samples: int = 4) -> list[float]:
    """Side in input pixels, sqrt(height x width), of the effective receptive field of each level, finest first.

    The field is the box that holds 95 % of the gradient's absolute value. Costs one forward and one backward pass per
    level; the model, its gradients and the random generators are left as they were.

    Args:
        model: With weights; an untrained one sees less than it will when trained.
        image_size: Side of the square input, for the noise that is shown where `images` is None.
        images: NCHW, normalised as the model takes them.
        samples: Images of noise.

    Raises:
        ExamineError: A level's module is not there, or no gradient reaches the image.
    """
    sides = []
    for layer, _ in model.feature_levels():
        found = effective_field(model, layer, images, size=(image_size, image_size), samples=samples)
        sides.append(math.sqrt(found.height * found.width))
    return sides
