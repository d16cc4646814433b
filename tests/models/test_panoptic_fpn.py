"""Panoptic FPN: its shapes, its loss, and that it learns a scene of things and stuff."""

import numpy as np
import pytest
import torch

from snellen.evaluation.panoptic import PanopticImage, Segment, evaluate_panoptic
from snellen.models.detection.base import Target
from snellen.models.losses import cross_entropy
from snellen.models.segmentation.panoptic_fpn import (
    PanopticFpn,
    SemanticHead,
    build_panoptic_fpn,
    semantic_targets,
)

SIZE = 64
CLASSES = ["box", "ball", "sky", "ground"]
COLOURS = torch.tensor([[1.5, -1.0, 0.0], [-1.0, 1.5, 0.0], [0.0, 0.0, 1.5], [-0.5, -0.5, -0.5]])


def scene(seed: int) -> tuple[torch.Tensor, Target, torch.Tensor]:
    """Image (3, S, S), its things and its class map: sky above ground, a box and a ball."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.full((SIZE, SIZE), 3)
    labels[: SIZE // 2] = 2
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    corner = int(torch.randint(2, 10, (1,), generator=generator))
    masks = torch.stack([
        (y >= corner) & (y < corner + 24) & (x >= 4) & (x < 26),
        (y - 40) ** 2 + (x - 46) ** 2 < 13**2,
    ])  # fmt: skip
    for k in range(2):
        labels[masks[k]] = k
    boxes = torch.tensor([[4.0, corner, 26, corner + 24], [33, 27, 59, 53]])
    image = COLOURS[labels].permute(2, 0, 1) + 0.1 * torch.randn(3, SIZE, SIZE, generator=generator)
    return image, Target(boxes, torch.tensor([0, 1]), masks), labels


def batch(count: int) -> tuple[torch.Tensor, list[Target], torch.Tensor]:
    images, targets, maps = zip(*(scene(i) for i in range(count)), strict=True)
    return torch.stack(images), list(targets), torch.stack(maps)


def test_outputs_loss_and_gradients():
    torch.manual_seed(0)
    model = build_panoptic_fpn(2, 2, image_size=SIZE)
    x, targets, maps = batch(2)
    maps[0, :4] = 255
    outputs = model(x, targets)
    assert outputs.semantic.shape == (2, 3, SIZE, SIZE)
    terms = model.loss(outputs, targets, maps)
    assert {"semantic", "masks"} < set(terms)
    plain = cross_entropy(outputs.semantic, semantic_targets(maps, 2))
    assert torch.allclose(terms["semantic"].total, 0.5 * plain.total)
    torch.stack([t.total / t.weight.clamp(min=1) for t in terms.values()]).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_things_are_one_class_to_the_semantic_head():
    maps = torch.tensor([0, 1, 2, 3, 255])
    assert semantic_targets(maps, 2).tolist() == [0, 0, 1, 2, 255]


@pytest.mark.parametrize("size", [64, 80])
def test_the_head_brings_all_levels_to_stride_4(size):
    torch.manual_seed(0)
    head = SemanticHead(16, [4, 8, 16, 32], 8, 5)
    maps = [torch.randn(1, 16, -(-size // s), -(-size // s)) for s in (4, 8, 16, 32)]
    assert head(maps).shape == (1, 5, size // 4, size // 4)
    # Fig. 3: three enlargements from stride 32, none from stride 4.
    assert [sum(isinstance(m, torch.nn.Upsample) for m in level) for level in head.levels] == [0, 1, 2, 3]


@pytest.mark.slow
def test_it_learns_a_scene():
    torch.manual_seed(0)
    model = build_panoptic_fpn(2, 2, image_size=SIZE)
    x, targets, maps = batch(2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        terms = model.loss(model(x, targets), targets, maps).values()
        optimizer.zero_grad()
        torch.stack([t.total / t.weight.clamp(min=1) for t in terms]).sum().backward()
        optimizer.step()
    assert quality(model) > 0.5


def quality(model: PanopticFpn) -> float:
    """PQ on the scenes."""
    x, targets, maps = batch(2)
    model.eval()
    with torch.no_grad():
        found = model.panoptic(model(x), min_stuff_area=16)
    images = []
    for i, (said, target) in enumerate(zip(found, targets, strict=True)):
        true = maps[i].numpy() + 1
        assert target.masks is not None
        segments = [Segment(k + 1, name) for k, name in enumerate(CLASSES)]
        named = [Segment(s.id, CLASSES[s.label]) for s in said.segments]
        images.append(PanopticImage(str(i), true.astype(np.int64), segments, said.ids, named))
    return float(evaluate_panoptic(images, CLASSES, CLASSES[:2], bootstrap=0).score("pq") or 0)
