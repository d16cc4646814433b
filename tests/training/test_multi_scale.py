"""Batches at a size drawn for each step."""

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2.functional import resize

from snellen.training import Recipe
from snellen.training.batches import Batch
from snellen.training.multi_scale import resized, side_of_step

RECIPE = Recipe(task="detection", model="ssdlite", image_size=128, multi_scale=0.5)


def test_sides_are_drawn_by_seed_epoch_and_batch_alone() -> None:
    sides = [side_of_step(RECIPE, epoch, batch) for epoch in range(5) for batch in range(40)]
    assert set(sides) == {64, 96, 128, 160, 192}
    assert sides == [side_of_step(RECIPE, epoch, batch) for epoch in range(5) for batch in range(40)]
    assert sides[:40] != sides[40:80]
    assert sides[:40] != [side_of_step(RECIPE.vary(seed=1), 0, batch) for batch in range(40)]
    assert {side_of_step(RECIPE.vary(multi_scale=0.0), 0, batch) for batch in range(9)} == {128}


@pytest.mark.parametrize("side", [64, 128, 192])
def test_images_boxes_and_masks_are_resized_as_torchvision_does(side: int) -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8)
    boxes = torch.tensor([[10.0, 20.0, 90.0, 64.0]])
    masks = torch.zeros(1, 128, 128, dtype=torch.bool)
    masks[:, 20:64, 10:90] = True
    classes = torch.randint(0, 4, (128, 128), dtype=torch.uint8)
    labels = [torch.tensor([1]), torch.tensor([])]
    out = resized(Batch(images, [boxes, boxes[:0]], labels, [masks, classes], [1, 2]), side)
    wanted = resize(images, [side, side], antialias=True)
    assert int((out.images.int() - wanted.int()).abs().max()) <= 1
    framed = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(128, 128))
    assert torch.allclose(out.boxes[0], resize(framed, [side, side]).as_subclass(torch.Tensor))
    assert out.boxes[1].shape == (0, 4)
    assert out.seeds == [1, 2]
    assert out.masks[0].dtype == torch.bool
    assert out.masks[0].shape == (1, side, side)
    assert set(out.masks[1].unique().tolist()) <= {0, 1, 2, 3}
    rows, columns = torch.nonzero(out.masks[0][0], as_tuple=True)
    factor = side / 128
    seen = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
    assert (seen - boxes[0] * factor).abs().max() <= 0.5 + factor / 2


def test_no_objects_no_masks() -> None:
    batch = Batch(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), [torch.zeros(0, 4)], [torch.zeros(0)],
                  [torch.zeros(0, 64, 64, dtype=torch.bool)], [None])  # fmt: skip
    assert resized(batch, 96).masks[0].shape == (0, 96, 96)
