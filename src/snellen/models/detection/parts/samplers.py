"""Which anchors or regions a loss is taken over; far more are background than objects.

* `balanced`: a random few of each image with a share of objects (Ren 2015, Faster R-CNN, sec. 3.1.3).
* `hard_negatives`: all objects, and three times as many backgrounds, those of largest loss (Liu 2016, SSD, sec. 2.2).
* `hardest`: regions of largest loss, objects and backgrounds alike (Shrivastava 2016, OHEM, arXiv:1604.03540, sec. 4).
* The focal loss (`losses.sigmoid_focal`) takes all of them and weighs them instead.

`rows` are those of the matcher: an object's row, BACKGROUND (-1), and what is below that takes no part.
"""

import torch
from torch import Tensor

from snellen.models.detection.parts.matcher import BACKGROUND
from snellen.models.detection.parts.nms import nms


def generator_of(seed: int | None, stage: int, device: torch.device) -> torch.Generator | None:
    """What draws for one image: a generator of its own, another for each stage; None, the global one, without a seed.

    So what is drawn of an image depends neither on the images beside it nor on the process that has it.

    Args:
        seed: Of the image, its target's.
        stage: 0 or 1.
        device: Of what is drawn from.
    """
    # The processor's generator takes the lowest 32 bits of its seed.
    return None if seed is None else torch.Generator(device).manual_seed(2 * seed + stage)


def balanced(
    rows_A: Tensor, count: int, positive_fraction: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw at most `count` of one image's anchors, at most that fraction of them objects, the rest background.

    Draws a permutation of the objects and then one of the backgrounds, as torchvision's sampler does: the same seed
    gives the same sample.

    Args:
        rows_A: (A,) int64, as the matcher has them.
        count: Anchors to draw; fewer where there are fewer.
        positive_fraction: In 0..1.
        generator: Of the tensor's device; None: torch's global one of it.

    Returns:
        Two masks (A,) bool: the objects drawn, the backgrounds drawn.
    """
    positive = (rows_A >= 0).nonzero().squeeze(1)
    negative = (rows_A == BACKGROUND).nonzero().squeeze(1)
    positives = min(len(positive), int(count * positive_fraction))
    negatives = min(len(negative), count - positives)
    drawn_positive = positive[torch.randperm(len(positive), device=rows_A.device, generator=generator)[:positives]]
    drawn_negative = negative[torch.randperm(len(negative), device=rows_A.device, generator=generator)[:negatives]]
    masks = torch.zeros((2, len(rows_A)), dtype=torch.bool, device=rows_A.device)
    masks[0, drawn_positive] = True
    masks[1, drawn_negative] = True
    return masks[0], masks[1]


def hard_negatives(loss_NA: Tensor, rows_NA: Tensor, ratio: float = 3.0) -> Tensor:
    """Mask (N, A) of the backgrounds of largest loss, in each image `ratio` times as many as it has objects' anchors.

    An image without objects has none, as in SSD. Unlike torchvision's SSD, which takes objects a second time where an
    image has too few backgrounds, only backgrounds are taken.

    Args:
        loss_NA: Classification loss of every anchor; no gradient flows through the choice.
        rows_NA: (N, A) int64, as the matcher has them.
        ratio: Backgrounds per positive anchor.
    """
    background_NA = rows_NA == BACKGROUND
    wanted_N1 = ratio * (rows_NA >= 0).sum(1, keepdim=True)
    order_NA = loss_NA.detach().masked_fill(~background_NA, -torch.inf).sort(1, descending=True).indices
    place = torch.arange(loss_NA.shape[1], device=loss_NA.device).expand_as(order_NA)
    rank_NA = torch.empty_like(order_NA).scatter_(1, order_NA, place)
    return (rank_NA < wanted_N1) & background_NA


def hardest(loss_R: Tensor, boxes_R4: Tensor, count: int, nms_iou: float = 0.7) -> Tensor:
    """Rows (at most `count`,) int64 of one image's regions of largest loss, largest first.

    Regions that overlap one of larger loss by more than `nms_iou` are left out: they project onto the same cells, and
    their loss would count twice (Shrivastava 2016, sec. 4.2).

    Args:
        loss_R: Loss of each region.
        boxes_R4: xyxy.
        count: The B / N of the paper: 128 in a batch of one image.
        nms_iou: In 0..1.
    """
    return nms(boxes_R4.detach(), loss_R.detach(), nms_iou)[:count]
