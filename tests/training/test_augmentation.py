"""Augmented images: what was drawn and its box and mask stay on each other, and the operations are what others mean."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_sample_images
from torch import Tensor
from torchvision import tv_tensors

from snellen.training.augmentation import LEAST_VISIBLE, augmented
from snellen.training.augmentation.colour import brightened, contrasted, hue_shifted, saturated
from snellen.training.augmentation.draws import Draws
from snellen.training.augmentation.follow import moved_boxes
from snellen.training.augmentation.geometry import moved
from snellen.training.batches import Sample
from snellen.training.recipe import Recipe

SIZE = 128
OFF: dict[str, Any] = {"task": "detection", "model": "any", "image_size": SIZE}
MOVES: dict[str, dict[str, Any]] = {
    "flip": {"flip": True},
    "flip_vertical": {"flip_vertical": True},
    "zoom": {"jitter_scale": 0.5},
    "rotate": {"rotate": 180.0},
    "translate": {"translate": 0.4},
    "shear": {"shear": 25.0},
    "perspective": {"perspective": 0.5},
    "erase": {"erase": 1.0},
    "blur": {"blur": 1.0},
    "noise": {"noise": 0.05},
    "colours": {"jitter_colour": 0.2, "jitter_saturation": 0.3, "jitter_hue": 0.03},
    "all": {
        "flip": True, "flip_vertical": True, "jitter_scale": 0.3, "rotate": 30.0, "translate": 0.2, "shear": 10.0,
        "perspective": 0.2, "blur": 0.6, "noise": 0.03, "jitter_colour": 0.15, "erase": 0.5,
    },
}  # fmt: skip


def drawn(box: tuple[int, int, int, int], masks: str) -> Sample:
    """A red rectangle on blue, with its box, and its mask where wanted."""
    x1, y1, x2, y2 = box
    image = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
    image[2] = 230
    image[:, y1:y2, x1:x2] = torch.tensor([230, 0, 0], dtype=torch.uint8)[:, None, None]
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[y1:y2, x1:x2] = True
    kept = {"none": None, "instance": mask[None], "classes": mask.to(torch.uint8)}[masks]
    return Sample(image, torch.tensor([[x1, y1, x2, y2]], dtype=torch.float32), torch.tensor([3]), kept)


def red(image: Tensor) -> Tensor:
    """Pixels of the rectangle: far more red than blue, and little green, unlike the grey around and what is erased."""
    r, g, b = image.int()
    return (r - b > 60) & (r - g > 60)


def overlap(a: Tensor, b: Tensor) -> float:
    return float((a & b).sum() / (a | b).sum().clamp(min=1))


boxes = st.tuples(st.integers(8, 56), st.integers(8, 56), st.integers(40, 64), st.integers(40, 64)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@pytest.mark.parametrize("name", list(MOVES))
@settings(max_examples=25, deadline=None, derandomize=True)
@given(box=boxes, seed=st.integers(0, 2**32))
def test_what_is_drawn_and_its_box_and_mask_stay_on_each_other(
    name: str, box: tuple[int, int, int, int], seed: int
) -> None:
    recipe = Recipe.build(OFF | MOVES[name])
    hides = recipe.erase > 0
    for masks in ("none", "instance"):
        out = augmented(drawn(box, masks), recipe, np.random.default_rng(seed))
        assert out.image.shape == (3, SIZE, SIZE)
        assert out.image.dtype == torch.uint8
        # What is erased may be red itself; the same image without it shows what may be seen.
        sight = red(out.image)
        if hides:
            shown = augmented(drawn(box, masks), recipe.vary(erase=0.0), np.random.default_rng(seed))
            sight = red(shown.image) & (out.image == shown.image).all(dim=0)
        if len(out.labels) == 0:
            # Dropped: less than its share of what was drawn is in sight, but for the pixels of its edge.
            assert sight.sum() < 1.3 * LEAST_VISIBLE * (box[2] - box[0]) * (box[3] - box[1]) * 2.5
            continue
        assert out.labels.tolist() == [3]
        rows, columns = torch.nonzero(sight, as_tuple=True)
        seen = torch.zeros(SIZE, SIZE, dtype=torch.bool)
        seen[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        told = torch.zeros(SIZE, SIZE, dtype=torch.bool)
        x1, y1, x2, y2 = out.boxes[0].round().long().tolist()
        told[y1:y2, x1:x2] = True
        assert (out.boxes >= 0).all()
        assert (out.boxes <= SIZE).all()
        slim = min(x2 - x1, y2 - y1) < 40  # an edge of one pixel all around is a tenth of it
        limit = 0.75 if slim or recipe.blur else 0.9
        if masks == "instance":
            assert out.masks is not None
            assert overlap(out.masks[0], sight) >= limit
        if not (hides and masks == "none"):  # a box without a mask stays where something is covered
            assert overlap(told, seen) >= limit


@settings(max_examples=20, deadline=None, derandomize=True)
@given(box=boxes, seed=st.integers(0, 2**32))
def test_class_maps_follow_and_what_is_unknown_is_ignored(box: tuple[int, int, int, int], seed: int) -> None:
    recipe = Recipe.build({**OFF, **MOVES["all"], "blur": 0.0, "task": "segmentation", "noise": 0.0, "erase": 1.0})
    sample = drawn(box, "classes")._replace(boxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.int64))
    out = augmented(sample, recipe, np.random.default_rng(seed))
    assert out.masks is not None
    assert set(out.masks.unique().tolist()) <= {0, 1, 255}
    known = out.masks != 255
    assert ((out.masks == 1) & known == red(out.image) & known).float().mean() > 0.97
    grey = (out.image == 114).all(dim=0)
    assert (grey & known).float().mean() < 0.02


def test_shapes_without_a_mask_are_hulls_of_what_is_inside() -> None:
    angle = np.pi / 4
    turn = np.array([[np.cos(angle), -np.sin(angle), 50], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    hulls, share = moved_boxes(torch.tensor([[0.0, 0.0, 40.0, 40.0]]), turn, 100)
    half = 20 * 2**0.5
    assert torch.allclose(hulls, torch.tensor([[50 - half, 0, 50 + half, 2 * half]]), atol=1e-4)
    assert torch.allclose(share, torch.ones(1))
    turn[0, 2] = 0  # the left half is outside
    hulls, share = moved_boxes(torch.tensor([[0.0, 0.0, 40.0, 40.0]]), turn, 100)
    assert torch.allclose(hulls, torch.tensor([[0, 0, half, 2 * half]]), atol=1e-4)
    assert torch.allclose(share, torch.full((1,), 0.5))


def photograph() -> Tensor:
    return torch.from_numpy(load_sample_images().images[0][100:228, 200:328].copy()).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("ours", "theirs", "apart"),
    [
        (lambda x: brightened(x, 1.3), lambda x: tv.adjust_brightness(x, 1.3), 0.6),
        (lambda x: contrasted(x, 0.6), lambda x: tv.adjust_contrast(x, 0.6), 0.8),
        (lambda x: contrasted(x, 1.5), lambda x: tv.adjust_contrast(x, 1.5), 0.8),
        (lambda x: saturated(x, 0.4), lambda x: tv.adjust_saturation(x, 0.4), 0.8),
        (lambda x: saturated(x, 0.0), lambda x: tv.rgb_to_grayscale(x, 3), 0.8),
        (lambda x: hue_shifted(x, 0.1), lambda x: tv.adjust_hue(x, 0.1), 2.0),
        (lambda x: hue_shifted(x, -0.3), lambda x: tv.adjust_hue(x, -0.3), 2.0),
    ],
)
def test_colours_change_as_torchvision_changes_them(
    ours: Callable[[Any], Any], theirs: Callable[[Tensor], Tensor], apart: float
) -> None:
    image = photograph()
    mine = torch.from_numpy(ours(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))).permute(2, 0, 1)
    assert (mine.float() - theirs(image).float()).abs().mean() < apart


def test_rotation_and_translation_are_torchvisions_affine() -> None:
    draws = Draws.by(np.random.default_rng(5))
    image = photograph()
    box = torch.tensor([[40.0, 50.0, 80.0, 90.0]])
    out = moved(Sample(image, box, torch.tensor([0])), Recipe.build(OFF | {"rotate": 40.0, "translate": 0.2}), draws)
    shift = [0.2 * SIZE * draws.translate_x, 0.2 * SIZE * draws.translate_y]
    linear = tv.InterpolationMode.BILINEAR
    expected = tv.affine(image, 40.0 * draws.rotate, shift, 1.0, [0.0, 0.0], interpolation=linear, fill=[114.0] * 3)
    assert (out.image.float() - expected.float()).abs().mean() < 1.5
    hull = tv_tensors.BoundingBoxes(box, format="XYXY", canvas_size=(SIZE, SIZE))  # type: ignore[call-arg]
    assert (out.boxes - tv.affine(hull, 40.0 * draws.rotate, shift, 1.0, [0.0, 0.0])).abs().max() < 0.5


def test_one_operation_more_changes_no_other() -> None:
    sample = drawn((30, 40, 80, 90), "instance")
    base = Recipe.build(OFF | {"flip": True, "jitter_scale": 0.3})
    for seed in range(10):
        few = augmented(sample, base, np.random.default_rng(seed))
        more = augmented(sample, base.vary(erase=1.0, noise=0.1, jitter_hue=0.1), np.random.default_rng(seed))
        untouched = augmented(sample, base.vary(jitter_hue=0.1), np.random.default_rng(seed))
        assert torch.equal(few.boxes, untouched.boxes)
        assert len(more.boxes) <= len(few.boxes)
    assert torch.equal(augmented(sample, Recipe.build(OFF), np.random.default_rng(0)).image, sample.image)


def test_noise_and_blur_are_as_strong_as_they_are_said_to_be() -> None:
    flat = Sample(torch.full((3, SIZE, SIZE), 128, dtype=torch.uint8), torch.zeros(0, 4), torch.tensor([0]))
    for seed in range(5):
        strength = Draws.by(np.random.default_rng(seed)).noise
        out = augmented(flat, Recipe.build(OFF | {"noise": 0.1}), np.random.default_rng(seed))
        assert abs(float(out.image.float().std()) - 25.5 * strength) < 0.5
    image = photograph()
    sigma = Draws.by(np.random.default_rng(1)).blur * 3
    out = augmented(flat._replace(image=image), Recipe.build(OFF | {"blur": 3.0}), np.random.default_rng(1))
    expected = tv.gaussian_blur(image, [2 * round(4 * sigma) + 1] * 2, [sigma] * 2)
    inner = slice(16, -16)
    assert (out.image.float() - expected.float())[:, inner, inner].abs().mean() < 1.0
