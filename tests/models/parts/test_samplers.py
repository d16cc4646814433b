"""Sampling against torchvision's sampler and its SSD, and against what is documented."""

import pytest
import torch
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.ops import box_iou

from snellen.models.detection.parts.samplers import balanced, generator_of, hard_negatives, hardest
from tests.models.parts.scenes import clustered


def some_rows(count: int, seed: int, positives: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    kind = torch.rand(count, generator=generator)
    rows = torch.randint(0, 5, (count,), generator=generator)
    return torch.where(kind < positives, rows, torch.where(kind < 0.9, -1, -2))


@pytest.mark.parametrize(("count", "positives"), [(1000, 0.3), (1000, 0.01), (40, 0.9)])
def test_balanced_sample_is_torchvisions_under_the_same_seed(count: int, positives: float) -> None:
    rows = [some_rows(count, seed, positives) for seed in range(3)]
    # theirs: 0 background, above an object, -1 ignored
    theirs_labels = [torch.where(r >= 0, r + 1, torch.where(r == -1, 0, -1)) for r in rows]
    torch.manual_seed(7)
    positive, negative = BalancedPositiveNegativeSampler(64, 0.25)(theirs_labels)
    torch.manual_seed(7)
    for i, r in enumerate(rows):
        ours = balanced(r, 64, 0.25)
        assert torch.equal(ours[0], positive[i].bool())
        assert torch.equal(ours[1], negative[i].bool())
        assert ours[0].sum() + ours[1].sum() <= 64


def test_with_a_seed_of_its_own_an_image_is_sampled_alike_wherever_it_stands() -> None:
    rows = some_rows(1000, 0, 0.3)

    def drawn(seed: int | None, stage: int = 0) -> torch.Tensor:
        return torch.stack(balanced(rows, 64, 0.25, generator_of(seed, stage, rows.device)))

    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = drawn(2**31 - 1)
    assert torch.equal(torch.get_rng_state(), before)
    drawn(None)
    assert torch.equal(first, drawn(2**31 - 1))
    assert not torch.equal(first, drawn(2**31 - 2))
    assert not torch.equal(first, drawn(2**31 - 1, stage=1))
    assert not torch.equal(drawn(None), drawn(None))


@pytest.mark.parametrize("seed", range(5))
def test_hard_negatives_are_those_of_torchvisions_ssd(seed: int) -> None:
    rows = torch.stack([some_rows(400, seed * 10 + i, p) for i, p in enumerate((0.1, 0.02, 0.0))]).clamp(min=-1)
    loss = torch.rand(3, 400, generator=torch.Generator().manual_seed(seed))
    # as in torchvision.models.detection.ssd.SSD.compute_loss
    foreground = rows >= 0
    masked = loss.clone()
    masked[foreground] = -float("inf")
    theirs = masked.sort(1, descending=True)[1].sort(1)[1] < 3 * foreground.sum(1, keepdim=True)
    assert torch.equal(hard_negatives(loss, rows), theirs)
    assert hard_negatives(loss, rows)[2].sum() == 0


def test_hard_negatives_are_never_objects_or_ignored() -> None:
    rows = torch.tensor([[0, 1, 2, -2, -1]])
    assert hard_negatives(torch.arange(5.0)[None], rows).tolist() == [[False, False, False, False, True]]


def test_hardest_regions_are_apart_and_of_largest_loss() -> None:
    boxes, loss = clustered(300, 0)
    rows = hardest(loss, boxes, 20)
    assert len(rows) == 20
    assert torch.equal(loss[rows], loss[rows].sort(descending=True).values)
    assert rows[0] == loss.argmax()
    assert float((box_iou(boxes[rows], boxes[rows]) - torch.eye(20)).max()) <= 0.7
    assert len(hardest(loss[:0], boxes[:0], 20)) == 0
