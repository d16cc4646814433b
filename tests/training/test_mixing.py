"""Images made of several: what is seen is what is labelled."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchvision.transforms.v2 import MixUp

from snellen.training.augmentation.follow import LEAST_VISIBLE
from snellen.training.batches import Sample
from snellen.training.mixing import copy_paste, cutmix, mixup, mosaic

SIZE = 64


def plain(colour: int, label: int) -> Sample:
    image = torch.full((3, SIZE, SIZE), colour, dtype=torch.uint8)
    return Sample(image, torch.zeros(0, 4), torch.tensor([label]))


def with_objects(colours: list[int], places: list[tuple[int, int, int, int]], masks: bool) -> Sample:
    """Rectangles, each of its own grey level, on black; the label is the position in `colours`."""
    image = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
    drawn = torch.zeros(len(places), SIZE, SIZE, dtype=torch.bool)
    for i, (colour, (x1, y1, x2, y2)) in enumerate(zip(colours, places, strict=True)):
        image[:, y1:y2, x1:x2] = colour
        drawn[i, y1:y2, x1:x2] = True
    boxes = torch.tensor(places, dtype=torch.float32).reshape(-1, 4)
    return Sample(image, boxes, torch.arange(len(places)), drawn if masks else None)


def losses(labels: Tensor, one: int, other: int, share: float, smoothing: float) -> tuple[Tensor, Tensor]:
    logits = torch.randn(1, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    mixed = cross_entropy(logits, labels.double(), label_smoothing=smoothing)
    apart = [cross_entropy(logits, torch.tensor([k]), label_smoothing=smoothing) for k in (one, other)]
    return mixed, share * apart[0] + (1 - share) * apart[1]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.7, 1.0])
def test_the_loss_of_a_mixed_image_is_the_mixture_of_losses(share: float, smoothing: float) -> None:
    out = mixup(plain(200, 1), plain(40, 3), share, 5)
    assert out.image.unique().tolist() == [round(share * 200 + (1 - share) * 40)]
    mixed, expected = losses(out.labels, 1, 3, share, smoothing)
    assert torch.allclose(mixed, expected, atol=1e-6)
    cut = cutmix(plain(200, 1), plain(40, 3), share, (0.2, 0.9), 5)
    seen = float((cut.image[0] == 200).float().mean())
    mixed, expected = losses(cut.labels, 1, 3, seen, smoothing)
    assert torch.allclose(mixed, expected, atol=1e-6)
    assert set(cut.image.unique().tolist()) <= {40, 200}


def test_mixup_is_torchvisions() -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (2, 3, SIZE, SIZE)).to(torch.uint8)
    theirs, shares = MixUp(num_classes=5, alpha=1.0)(images.float(), torch.tensor([1, 3]))
    share = float(shares[0, 1])
    ours = mixup(
        Sample(images[0], torch.zeros(0, 4), torch.tensor([1])), plain(0, 3)._replace(image=images[1]), share, 5
    )
    assert torch.allclose(ours.labels[0], shares[0])
    assert (ours.image.float() - theirs[0]).abs().max() <= 0.51


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    scale=st.floats(0.5, 1.0), x=st.floats(0.25, 0.75), y=st.floats(0.25, 0.75), masks=st.booleans(),
    place=st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(16, 30), st.integers(16, 30)),
)  # fmt: skip
def test_objects_of_a_mosaic_are_where_they_are_drawn(
    scale: float, x: float, y: float, masks: bool, place: tuple[int, int, int, int]
) -> None:
    box = (place[0], place[1], place[0] + place[2], place[1] + place[3])
    four = [with_objects([250], [box], masks)._replace(labels=torch.tensor([k])) for k in range(4)]
    out = mosaic(four, scale, (x, y))
    assert out.image.shape == (3, SIZE, SIZE)
    assert (out.masks is not None) == masks
    parts = [
        (slice(None, round(y * SIZE)), slice(round(y * SIZE), None)),
        (slice(None, round(x * SIZE)), slice(round(x * SIZE), None)),
    ]
    for k in range(4):
        window = torch.zeros(SIZE, SIZE, dtype=torch.bool)
        window[parts[0][k // 2], parts[1][k % 2]] = True
        bright = (out.image[0] > 125) & window
        mine = torch.nonzero(out.labels == k).flatten().tolist()
        if not mine:
            assert bright.sum() <= (LEAST_VISIBLE + 0.1) * scale**2 * place[2] * place[3]
            continue
        rows, columns = torch.nonzero(bright, as_tuple=True)
        seen = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert (out.boxes[mine[0]] - seen).abs().max() <= 1.5
        if out.masks is not None and bright.sum() > 150:  # of less, the edge is too large a part
            own = out.masks[mine[0]]
            assert (own & bright).sum() / (own | bright).sum() >= 0.85


@pytest.mark.parametrize("masks", [False, True])
def test_pasted_objects_hide_what_they_cover(masks: bool) -> None:
    sample = with_objects([100, 120, 140], [(0, 0, 20, 20), (30, 0, 50, 20), (0, 40, 20, 60)], masks)
    other = with_objects([200, 220], [(10, 0, 30, 20), (30, 0, 52, 22)], masks)._replace(labels=torch.tensor([7, 8]))
    found = set()
    for seed in range(20):
        out = copy_paste(sample, other, np.random.default_rng(seed))
        again = copy_paste(sample, other, np.random.default_rng(seed))
        assert torch.equal(out.image, again.image)
        labels = out.labels.tolist()
        found.add(tuple(labels))
        assert 2 in labels  # nothing comes near it
        assert (8 in labels) == bool((out.image == 220).any())
        assert 1 not in labels or 8 not in labels  # covered whole
        levels = {0: 100, 1: 120, 2: 140, 7: 200, 8: 220}
        for i, label in enumerate(labels):
            there = out.image[0] == levels[label]
            if out.masks is not None:
                assert torch.equal(out.masks[i], there)
                rows, columns = torch.nonzero(out.masks[i], as_tuple=True)
                hull = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                assert out.boxes[i].tolist() == [float(v) for v in hull]
    assert len(found) == 4
