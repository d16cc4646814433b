"""Losses of classifiers and segmenters: other libraries' values, identities, slopes, and batches cut up."""

import math

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from sklearn.metrics import jaccard_score
from sklearn.utils.class_weight import compute_class_weight
from torchvision.ops import sigmoid_focal_loss

from snellen.errors import UseError
from snellen.models.loss import LossTerm
from snellen.models.losses import (
    LOSSES,
    class_weights,
    cross_entropy,
    dice,
    expected_at_start,
    focal,
    lovasz_hinge,
    lovasz_softmax,
    named_loss,
    ohem_cross_entropy,
)
from snellen.training.recipe import LOSS_NAMES, Recipe

WEIGHTS = torch.tensor([0.5, 2.0, 1.5])


def maps(seed: int = 0, images: int = 3, classes: int = 3, ignored: bool = True, dtype: torch.dtype = torch.float32):
    """Logits (N, K, 7, 5) and labels (N, 7, 5), a tenth of them ignored."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, classes, 7, 5, generator=generator, dtype=dtype) * 2
    targets = torch.randint(classes, (images, 7, 5), generator=generator)
    if ignored:
        targets[torch.rand(targets.shape, generator=generator) < 0.1] = 255
    return logits, targets


def value(term: LossTerm) -> torch.Tensor:
    return term.total / term.weight


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_batch_cut_up_has_the_same_sum_and_count(name, weights):
    logits, targets = maps(images=4)
    targets[2] = 255
    whole = LOSSES[name](logits, targets, class_weights=weights)
    parts = [LOSSES[name](logits[i : i + 1], targets[i : i + 1], class_weights=weights) for i in range(4)]
    assert torch.allclose(whole.total, sum(p.total for p in parts))
    assert torch.allclose(whole.weight, sum(p.weight for p in parts))
    assert not whole.weight.requires_grad


@pytest.mark.parametrize("name", [*LOSSES, "ce+dice", "focal+lovasz"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_gradients(name, weights):
    logits, targets = maps(images=2, dtype=torch.float64)
    logits.requires_grad_()
    loss = named_loss(name, class_weights=weights)

    def total(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([value(t) for t in loss(x, targets).values()]).sum()

    assert torch.autograd.gradcheck(total, logits)


def test_the_hinge_has_the_right_gradient():
    logits, targets = maps(classes=2, dtype=torch.float64)
    scores = logits[:, 0].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: value(lovasz_hinge(x, targets)), scores)


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_to_learn_from_is_zero_with_a_finite_slope(name):
    logits, targets = maps()
    logits.requires_grad_()
    term = LOSSES[name](logits, torch.full_like(targets, 255))
    term.total.backward()
    assert term.total == 0
    assert term.weight == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", LOSSES)
def test_certain_outputs_have_finite_losses_and_slopes(name):
    logits, targets = maps()
    extreme = (logits.sign() * 1e4).requires_grad_()
    term = LOSSES[name](extreme, targets)
    term.total.backward()
    assert torch.isfinite(term.total)
    assert torch.isfinite(extreme.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_pixels_do_not_matter(name):
    logits, targets = maps()
    other = torch.where((targets == 255).unsqueeze(1), torch.full_like(logits, 9.0), logits)
    assert torch.allclose(LOSSES[name](logits, targets).total, LOSSES[name](other, targets).total)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(weights, smoothing):
    logits, targets = maps()
    theirs = torch.nn.CrossEntropyLoss(weights, ignore_index=255, label_smoothing=smoothing)
    mine = cross_entropy(logits, targets, class_weights=weights, label_smoothing=smoothing)
    assert torch.allclose(value(mine), theirs(logits, targets))
    labels = targets[:, 0, 0].where(targets[:, 0, 0] != 255, 0)
    single = cross_entropy(logits[:, :, 0, 0], labels, class_weights=weights, label_smoothing=smoothing)
    assert torch.allclose(value(single), theirs(logits[:, :, 0, 0], labels))


def test_cross_entropy_takes_shares_of_classes():
    logits, targets = maps(ignored=False)
    shares = torch.nn.functional.one_hot(targets, 3).movedim(-1, 1).float()
    assert torch.allclose(value(cross_entropy(logits, shares)), value(cross_entropy(logits, targets)))
    mixed = 0.3 * shares + 0.7 * shares.roll(1, 0)
    theirs = torch.nn.functional.cross_entropy(logits, mixed)
    assert torch.allclose(value(cross_entropy(logits, mixed)), theirs)


@pytest.mark.parametrize("name", ["focal", "ohem-ce"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_shares_of_one_class_are_its_label(name, weights):
    logits, targets = maps(ignored=False)
    logits, targets = logits[:, :, 0, 0], targets[:, 0, 0]
    shares = torch.nn.functional.one_hot(targets, 3).float()
    of_labels, of_shares = (LOSSES[name](logits, t, class_weights=weights) for t in (targets, shares))
    assert torch.allclose(of_labels.total, of_shares.total)
    assert of_shares.weight == 3


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_focal_without_focus_is_cross_entropy(weights):
    logits, targets = maps()
    plain, focused = (f(logits, targets, class_weights=weights) for f in (cross_entropy, focal))
    level = focal(logits, targets, gamma=0.0, class_weights=weights)
    mixed = torch.rand(3, 3, 7, 5, generator=torch.Generator().manual_seed(1)).softmax(dim=1)
    of_shares = cross_entropy(logits, mixed, class_weights=weights)
    assert torch.allclose(focal(logits, mixed, gamma=0.0, class_weights=weights).total, of_shares.total)
    assert torch.allclose(level.total, plain.total)
    assert torch.allclose(level.weight, plain.weight)
    assert focused.total < plain.total


def test_focal_of_two_classes_is_torchvisions():
    logits, targets = maps(classes=2, ignored=False)
    theirs = sigmoid_focal_loss(logits[:, 1] - logits[:, 0], targets.float(), alpha=-1, gamma=1.5, reduction="mean")
    assert torch.allclose(value(focal(logits, targets, gamma=1.5)), theirs)


def test_dice_of_a_perfect_mask_is_zero():
    _logits, targets = maps(classes=3)
    perfect = torch.nn.functional.one_hot(targets.where(targets != 255, 0), 3).movedim(-1, 1) * 100.0
    assert value(dice(perfect, targets)) == pytest.approx(0, abs=1e-6)
    wrong = perfect.roll(1, 1)
    assert value(dice(wrong, targets)) == pytest.approx(1, abs=1e-6)


def test_dice_is_that_of_segmentation_models():
    logits, targets = maps()
    theirs = smp.losses.DiceLoss("multiclass", smooth=1e-6, ignore_index=255)
    expected = torch.stack([theirs(logits[i : i + 1], targets[i : i + 1]) for i in range(3)]).mean()
    assert torch.allclose(value(dice(logits, targets, smooth=1e-6)), expected, atol=1e-6)


def test_lovasz_is_that_of_segmentation_models():
    logits, targets = maps()
    theirs = smp.losses.LovaszLoss("multiclass", per_image=True, ignore_index=255)
    assert torch.allclose(value(lovasz_softmax(logits, targets)), theirs(logits, targets), atol=1e-6)
    logits, targets = maps(classes=2)
    binary = smp.losses.LovaszLoss("binary", per_image=True, ignore_index=255)
    assert torch.allclose(value(lovasz_hinge(logits[:, 0], targets)), binary(logits[:, 0], targets), atol=1e-6)


def test_lovasz_of_a_decided_map_is_one_minus_jaccard():
    logits, targets = maps(images=1)
    decided = torch.nn.functional.one_hot(logits.argmax(dim=1), 3).movedim(-1, 1) * 200.0
    counted = targets != 255
    expected = jaccard_score(targets[counted].numpy(), decided.argmax(dim=1)[counted].numpy(), average="macro")
    assert value(lovasz_softmax(decided, targets)) == pytest.approx(1 - expected, abs=1e-6)


def test_ohem_keeps_the_hardest():
    logits, targets = maps(images=1)
    everything = ohem_cross_entropy(logits, targets, threshold=1.0)
    plain = cross_entropy(logits, targets)
    assert torch.allclose(everything.total, plain.total)
    assert torch.allclose(everything.weight, plain.weight)

    each = torch.nn.functional.cross_entropy(logits, targets, ignore_index=255, reduction="none")
    each = np.sort(each[targets != 255].numpy())[::-1]
    hard = each[each >= -math.log(0.7)]
    mined = ohem_cross_entropy(logits, targets, threshold=0.7)
    assert mined.weight == len(hard)
    assert mined.total.item() == pytest.approx(hard.sum(), rel=1e-5)

    least = math.ceil(0.25 * len(each))
    mined = ohem_cross_entropy(logits, targets, threshold=1e-6, least_kept=0.25)
    assert mined.weight == least
    assert mined.total.item() == pytest.approx(each[:least].sum(), rel=1e-5)


def test_ohem_of_single_labels_leaves_none_out():
    logits, targets = maps(ignored=False)
    logits, targets = logits[:, :, 0, 0], targets[:, 0, 0]
    mined = ohem_cross_entropy(logits, targets, threshold=0.01)
    assert torch.allclose(mined.total, cross_entropy(logits, targets).total)


def test_balanced_class_weights_are_scikit_learns():
    labels = np.repeat([0, 1, 2], [70, 25, 5])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert np.allclose(class_weights([70, 25, 5], "balanced").numpy(), expected)
    assert np.allclose(class_weights([70, 25, 5], "sqrt").numpy(), np.sqrt(expected))
    assert np.allclose(class_weights([70, 25, 5], "median").numpy(), [25 / 70, 1, 5])
    assert class_weights([70, 25, 5], "none") is None
    assert class_weights([4, 0, 4], "balanced").tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="not all 0"):
        class_weights([0, 0], "balanced")


@pytest.mark.parametrize("name", [*LOSSES, "ce+focal", "ce+dice"])
def test_the_loss_before_learning(name):
    _, targets = maps()
    targets[1] = 2
    pixels = np.stack([np.bincount(t[t != 255].numpy(), minlength=3) for t in targets])
    terms = named_loss(name)(torch.zeros(3, 3, 7, 5), targets)
    expected = expected_at_start(name, 3, pixels_NK=pixels)
    assert sum(value(t).item() for t in terms.values()) == pytest.approx(expected, rel=1e-5)
    assert expected_at_start("ce+dice", 3) is None


@pytest.mark.parametrize("name", ["cross", "ce+ce", "ce+", ""])
def test_losses_that_do_not_exist(name):
    with pytest.raises(UseError, match="no loss is called"):
        named_loss(name)


def test_recipes_know_the_same_losses():
    assert frozenset(LOSSES) == LOSS_NAMES
    plain = {"task": "classification", "model": "any", "image_size": 64}
    assert Recipe.build({**plain, "loss": "ce+focal"}).loss == "ce+focal"
    with pytest.raises(UseError, match=r"loss: .*ohem-ce"):
        Recipe.build({**plain, "loss": "mse"})


def test_losses_of_regions_need_maps():
    with pytest.raises(UseError, match="ce, focal, ohem-ce"):
        named_loss("dice", maps=False)


def test_options_reach_their_loss():
    logits, targets = maps()
    terms = named_loss("ce+focal", options={"focal": {"gamma": 0.0}})(logits, targets)
    assert torch.allclose(terms["ce"].total, terms["focal"].total)
